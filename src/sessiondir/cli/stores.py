"""Which stores a command looks at: the one named, one agent's, or those of all agents."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import click
from click.core import ParameterSource

from sessiondir.cli.options import STORE_VARIABLE, Common
from sessiondir.errors import StoreNotFound
from sessiondir.layout import store_path
from sessiondir.sessions.ids import DEFAULT_AGENT, agent_id
from sessiondir.sessions.keys import parse_key
from sessiondir.sessions.values import trimmed

STATE_VARIABLE: Final = "OPENCLAW_STATE_DIR"
_HOME_VARIABLES: Final = ("OPENCLAW_HOME", "HOME", "USERPROFILE")
_STATE_NAMES: Final = (".openclaw", ".clawdbot", ".moldbot")

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class AgentStore:
    """A store and the agent whose it is; ``path`` is that of the legacy file, there or not."""

    agent: str
    path: str


@dataclass(frozen=True, slots=True)
class Choice:
    """What the options say: a path, an agent, all agents, or nothing."""

    path: str | None
    agent: str | None
    all_agents: bool = False

    def stores(self) -> list[AgentStore]:
        """The stores to look at. Raises ``StoreNotFound`` if what was named is not there."""
        if self.path is not None:
            directory, legacy = store_path(self.path)
            if not os.path.lexists(directory) and not os.path.lexists(legacy):
                raise StoreNotFound(f"there is no store at {directory} and no {legacy}", path=directory)
            return [AgentStore(DEFAULT_AGENT, self.path)]
        found = agent_stores(os.environ)
        if self.all_agents:
            return found
        wanted = agent_id(self.agent)
        chosen = [one for one in found if one.agent == wanted]
        if chosen:
            return chosen
        where = os.path.join(state_directory(os.environ), "agents")
        known = ", ".join(one.agent for one in found) or "none"
        raise StoreNotFound(
            f"agent {wanted!r} has no store in {where} (agents with one: {known}); name a store with --store",
            path=where,
        )

    def store_of(self, key: str) -> str:
        """The path of the store that a session is in; without options the key tells the agent."""
        if self.path is None and self.agent is None:
            parsed = parse_key(key)
            return Choice(None, parsed.agent_id if parsed is not None else None).stores()[0].path
        return self.stores()[0].path


def store_or_agent(command: Command) -> Command:
    """``--store PATH`` and ``--agent ID`` as the arguments ``path`` and ``agent``, for ``choose``."""
    command = click.option(
        "--agent",
        metavar="ID",
        help=f"The store of this agent, in the gateway's state directory.  [default: {DEFAULT_AGENT}]",
    )(command)
    return click.option(
        "--store",
        "path",
        metavar="PATH",
        help=f"The store: .../NAME.d, or a legacy .../NAME.json.  [default: ${STORE_VARIABLE}, else the agent's]",
    )(command)


def choose(path: str | None, agent: str | None, *, all_agents: bool = False) -> Choice:
    """What the options of the running command say. Raises ``UsageError`` if they contradict each other.

    A store in the environment counts only where no agent is named.
    """
    context = click.get_current_context()
    common = context.find_object(Common) or Common()
    typed = context.find_root().get_parameter_source("store") is ParameterSource.COMMANDLINE
    by_agent = agent is not None or all_agents
    if agent is not None and all_agents:
        raise click.UsageError("--agent and --all-agents cannot be used together", context)
    if by_agent and (path is not None or (common.store is not None and typed)):
        raise click.UsageError("--store cannot be combined with --agent or --all-agents", context)
    return Choice(path or (None if by_agent else common.store), agent, all_agents)


def home_directory(environ: Mapping[str, str]) -> str:
    """The home directory that the gateway takes; ``OPENCLAW_HOME`` may begin with ``~``."""
    for name in _HOME_VARIABLES:
        value = trimmed(environ.get(name))
        if value and value not in ("undefined", "null"):
            return os.path.abspath(os.path.expanduser(value) if value[:2] in ("~", "~/") else value)
    return os.path.expanduser("~")


def state_directory(environ: Mapping[str, str]) -> str:
    """The gateway's state directory; an older name of it if only that exists."""
    named = trimmed(environ.get(STATE_VARIABLE))
    home = home_directory(environ)
    if named:
        return os.path.abspath(home + named[1:] if named == "~" or named.startswith("~/") else named)
    candidates = [os.path.join(home, name) for name in _STATE_NAMES]
    return next((path for path in candidates if os.path.isdir(path)), candidates[0])


def agent_stores(environ: Mapping[str, str]) -> list[AgentStore]:
    """The stores in the state directory, by the name of the agent's directory."""
    root = os.path.join(state_directory(environ), "agents")
    try:
        names = sorted(os.listdir(root))
    except (FileNotFoundError, NotADirectoryError):
        return []
    stores = []
    for name in names:
        agent = agent_id(name)
        stem = os.path.join(root, name, "sessions", "sessions")
        # A name of which nothing is left would pose as the main agent.
        is_agent = agent != DEFAULT_AGENT or name.lower() == DEFAULT_AGENT
        if is_agent and (os.path.isfile(f"{stem}.json") or os.path.isdir(f"{stem}.d")):
            stores.append(AgentStore(agent, f"{stem}.json"))
    return stores
