"""Where a gateway keeps its state: home, state directory, configuration, store paths.

The environment is handed in, never read here. What counts:

    OPENCLAW_HOME           the home directory, before HOME and USERPROFILE
    OPENCLAW_STATE_DIR      the state directory; else ~/.openclaw, or an older name that exists
    OPENCLAW_CONFIG_PATH    the configuration; else openclaw.json, or an older name that exists
    OPENCLAW_TEST_FAST=1    older names of the state directory are not looked for

If the second or third is not set, the same variable under the program's older names counts:
``CLAWDBOT_STATE_DIR``, then ``MOLTBOT_STATE_DIR``; ``CLAWDBOT_CONFIG_PATH``, then ``MOLTBOT_CONFIG_PATH``.
Of the configuration (see ``configfile``) only ``session.store`` and ``agents.list`` are looked at.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sessiondir import layout
from sessiondir.configfile import ConfigFile, corrupt_config, load_config, missing_variable
from sessiondir.errors import CorruptFile
from sessiondir.fs import SYSTEM_FS, FileSystem
from sessiondir.sessions.ids import DEFAULT_AGENT, agent_id

AGENT_MARK: Final = "{agentId}"
_PREFIXES: Final = ("OPENCLAW", "CLAWDBOT", "MOLTBOT")
_STATE_NAMES: Final = (".openclaw", ".clawdbot", ".moldbot", ".moltbot")
CONFIG_NAMES: Final = ("openclaw.json", "clawdbot.json", "moldbot.json", "moltbot.json")
_UNSET: Final = ("", "undefined", "null")


def home_directory(env: Mapping[str, str]) -> str:
    """The home directory, absolute."""
    own = _value(env, "OPENCLAW_HOME")
    return os.path.abspath(_expand(own, _system_home(env))) if own else _system_home(env)


def _system_home(env: Mapping[str, str]) -> str:
    named = _value(env, "HOME") or _value(env, "USERPROFILE")
    if named:
        return os.path.abspath(named)
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return os.path.abspath(os.curdir)


def _value(env: Mapping[str, str], name: str) -> str:
    text = layout.js_trim(env.get(name, ""))
    return "" if text in _UNSET else text


def _by_any_name(env: Mapping[str, str], name: str) -> str:
    """A variable under the program's present name, else under an older one."""
    return next((value for prefix in _PREFIXES if (value := _value(env, f"{prefix}_{name}"))), "")


def _expand(path: str, home: str) -> str:
    """``path`` with a leading ``~`` replaced; ``~user`` is left alone."""
    return home + path[1:] if path[:1] == "~" and path[1:2] in ("", "/", "\\") else path


@dataclass(frozen=True, slots=True)
class Config:
    """What the configuration says of stores. ``store`` is a path or template, None for the default place."""

    store: str | None = None
    agents: tuple[str, ...] = (DEFAULT_AGENT,)
    default_agent: str = DEFAULT_AGENT


@dataclass(frozen=True, slots=True)
class Installation:
    """A gateway's state directory and configuration. ``problem`` says why the configuration was not used.

    ``config_files`` are those it was read from, whether or not it could be used; ``config_path`` is the
    one that names the others, there or not.
    """

    home: str
    state_dir: str
    config: Config = Config()
    problem: CorruptFile | None = None
    config_files: frozenset[ConfigFile] = frozenset()
    config_path: str = ""

    @classmethod
    def find(cls, env: Mapping[str, str], fs: FileSystem = SYSTEM_FS) -> Installation:
        """The installation that ``env`` points to; it need not exist.

        Raises ``UnreadableFile`` if the configuration cannot be read; if it cannot be
        understood, that is ``problem``.
        """
        home = home_directory(env)
        named = _by_any_name(env, "STATE_DIR")
        places = [os.path.abspath(_expand(named, home))] if named else [f"{home}/{name}" for name in _STATE_NAMES]
        looked_for = places[:1] if env.get("OPENCLAW_TEST_FAST") == "1" else places
        state_dir = next((place for place in looked_for if _exists(fs, place)), places[0])
        own = _by_any_name(env, "CONFIG_PATH")
        candidates = [f"{place}/{name}" for place in places for name in CONFIG_NAMES]
        path = (
            os.path.abspath(_expand(own, home))
            if own
            else next((one for one in candidates if _exists(fs, one)), f"{state_dir}/{CONFIG_NAMES[0]}")
        )
        files: set[ConfigFile] = set()
        config, problem = Config(), None
        try:
            config = read_config(path, fs, env, files)
        except CorruptFile as exc:
            problem = exc
        return cls(home, state_dir, config, problem, frozenset(files), path)

    def is_configuration(self, path: str, fs: FileSystem = SYSTEM_FS) -> bool:
        """Whether ``path`` leads, by whatever name or link, to a file that the configuration was read from."""
        if not self.config_files:
            return False
        # By its path, too: a configuration that was saved meanwhile is another file of the same name.
        if fs.realpath(path) in {file.path for file in self.config_files}:
            return True
        try:
            status = fs.stat(path)
        except OSError:
            return False  # what cannot be looked at cannot be migrated either
        return (status.st_dev, status.st_ino) in {(file.device, file.inode) for file in self.config_files}

    def expand(self, path: str) -> str:
        """``path`` absolute, a leading ``~`` being this installation's home."""
        return os.path.abspath(_expand(path, self.home))

    @property
    def agents_dir(self) -> str:
        """Where every agent has a directory of its own."""
        return f"{self.state_dir}/agents"

    def store_path(self, agent: str, template: str | None = None) -> str:
        """The path of an agent's store: its legacy file, as configured or by ``template``."""
        template = template or self.config.store
        if not template:
            return f"{self.agents_dir}/{agent_id(agent)}/sessions/sessions.json"
        return self.expand(template.replace(AGENT_MARK, agent_id(agent)))


def _exists(fs: FileSystem, path: str) -> bool:
    try:
        fs.stat(path)
    except OSError:
        return False
    return True


def read_config(
    path: str,
    fs: FileSystem = SYSTEM_FS,
    env: Mapping[str, str] | None = None,
    files: set[ConfigFile] | None = None,
) -> Config:
    """What a configuration file says, with what it includes; the defaults if there is none.

    ``env`` is what variables in it stand for; ``files`` gets what was read. Raises as ``configfile.load_config``.
    """
    value = load_config(path, env or {}, fs, files)
    if value is None:
        return Config()
    config = _config(value)
    for text in (config.store or "", *(name for name, _ in _agents(value))):
        name = missing_variable(text)
        if name is not None:
            raise corrupt_config(path, f"{text!r} needs the variable {name}, which is not set")
    return config


def _agents(value: dict[str, Any]) -> list[tuple[str, bool]]:
    """The agents in ``agents.list``: the id as it is written, and whether it is marked as the default."""
    agents = value.get("agents")
    listed = agents.get("list") if isinstance(agents, dict) else None
    found = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    ids = [one.get("id") for one in found]
    return [
        (name if isinstance(name, str) else "", one.get("default") is True)
        for name, one in zip(ids, found, strict=True)
    ]


def _config(value: dict[str, Any]) -> Config:
    session = value.get("session")
    store = session.get("store") if isinstance(session, dict) else None
    store = layout.js_trim(store) if isinstance(store, str) else ""
    found: dict[str, bool] = {}
    for name, is_default in _agents(value):
        agent = agent_id(name)
        found[agent] = found.get(agent, False) or is_default
    if not found:
        return Config(store or None)
    default = next((agent for agent, chosen in found.items() if chosen), next(iter(found)))
    return Config(store or None, tuple(found), default)
