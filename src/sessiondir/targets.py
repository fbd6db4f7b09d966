"""Which stores there are: configured ones, and every agent's that is found on disk.

    here = Installation.find(environment)
    discover(here)                          all stores, unmigrated and migrated alike
    select(here, agent="main")              some of them; contradictions are refused

Every path is canonical (the real directory and the store's name), so that a store reached
by several links is found once. Places that cannot be read, or that a link leads out of
where they belong, are skipped and told, never fatal; so are files that the configuration was read
from, and files that fit a template but hold no session. Nothing is changed.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sessiondir import layout
from sessiondir.clock import SYSTEM_CLOCK
from sessiondir.errors import InvalidOption, InvalidPath, StoreError
from sessiondir.fs import SYSTEM_FS, FileSystem
from sessiondir.installation import AGENT_MARK, CONFIG_NAMES, Installation
from sessiondir.legacy import USUAL_NAME
from sessiondir.place import Place
from sessiondir.recognition import why_no_store
from sessiondir.sessions.ids import DEFAULT_AGENT, agent_id

__all__ = ("Discovery", "Installation", "Skipped", "Target", "discover", "select")

_MISSING = (errno.ENOENT, errno.ENOTDIR)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_IS_CONFIGURATION = "the gateway's configuration is read from it, so it is no store"


@dataclass(frozen=True, slots=True)
class Target:
    """One store. ``path`` is its legacy file and ``store_path`` its directory, whichever exists."""

    agent: str
    path: str
    store_path: str
    configured: bool = True

    def __fspath__(self) -> str:
        return self.path


@dataclass(frozen=True, slots=True)
class Skipped:
    """A place where a store may be that was not looked at, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Discovery:
    """The stores, configured ones first, and what was skipped."""

    targets: tuple[Target, ...]
    skipped: tuple[Skipped, ...] = ()

    def __iter__(self) -> Iterator[Target]:
        return iter(self.targets)

    def __len__(self) -> int:
        return len(self.targets)


def select(
    here: Installation,
    *,
    stores: Sequence[str | os.PathLike[str]] = (),
    agent: str | None = None,
    all_agents: bool = False,
    fs: FileSystem = SYSTEM_FS,
) -> Discovery:
    """The stores that somebody named; with nothing named, the default agent's.

    Args:
        stores: paths; ``{agentId}`` in them is the default agent. They need not exist.
        agent: one agent, configured or found on disk.
        all_agents: every store that ``discover`` finds.

    Raises ``InvalidOption`` for a contradiction or an unknown agent, ``InvalidPath``, and
    ``CorruptFile`` if the answer depends on a configuration that cannot be understood.
    """
    if stores and (agent is not None or all_agents):
        raise InvalidOption("a store path cannot be combined with an agent or all agents")
    if agent is not None and all_agents:
        raise InvalidOption("one agent and all agents cannot be used together")
    search = _Search(here, fs)
    if stores:
        for path in stores:
            search.add_named(os.fspath(path))
    elif all_agents:
        return discover(here, fs=fs)
    else:
        if here.problem is not None:
            raise here.problem
        search.add_agent(here.config.default_agent if agent is None else agent_id(agent))
    return search.result()


def discover(here: Installation, *, fs: FileSystem = SYSTEM_FS) -> Discovery:
    """Every store of an installation: configured agents' first, then every agent's found on disk.

    A configured store in a place of its own is listed even if it does not exist yet; all
    others exist, as a legacy file or as a directory.
    """
    search = _Search(here, fs)
    if here.problem is not None:
        search.skip(here.problem.path, f"{here.problem.reason}; agents are taken from the disk alone")
    search.add_configured()
    search.add_found()
    return search.result()


@dataclass(slots=True)
class _Search:
    here: Installation
    fs: FileSystem
    found: dict[str, Target] = field(default_factory=dict)
    skipped: dict[str, Skipped] = field(default_factory=dict)

    def result(self) -> Discovery:
        return Discovery(tuple(self.found.values()), tuple(self.skipped.values()))

    def skip(self, path: str, reason: str) -> None:
        self.skipped.setdefault(path, Skipped(path, reason))

    def _add(self, agent: str, path: str, *, configured: bool) -> None:
        store_path, legacy_path = layout.store_path(path)
        if self.here.is_configuration(legacy_path, self.fs):
            self.skip(legacy_path, _IS_CONFIGURATION)
            return
        self.found.setdefault(store_path, Target(agent, legacy_path, store_path, configured))

    # -- named ------------------------------------------------------------------------------

    def add_named(self, path: str) -> None:
        agent = self.here.config.default_agent
        legacy_path = self._canonical(layout.store_path(self.here.store_path(agent, path))[1])
        if self.here.is_configuration(legacy_path, self.fs):
            raise InvalidPath(f"{legacy_path}: {_IS_CONFIGURATION}", path=legacy_path)
        self._add(agent, legacy_path, configured=False)

    def _canonical(self, path: str) -> str:
        """``path`` with its directory's real path, as far as that exists."""
        try:
            return f"{self.fs.realpath(os.path.dirname(path), strict=True)}/{os.path.basename(path)}"
        except OSError:
            return path

    def add_agent(self, agent: str) -> None:
        here = self.here
        if agent in here.config.agents:
            self._add(agent, self._canonical(here.store_path(agent)), configured=True)
            for one in self.skipped.values():
                raise InvalidPath(f"{one.path}: {one.reason}", path=one.path)
            return
        known = discover(here, fs=self.fs)
        for target in known:
            if target.agent == agent:
                self._add(agent, target.path, configured=False)
        if not self.found:
            names = ", ".join(sorted({*here.config.agents, *(target.agent for target in known)}))
            raise InvalidOption(f"there is no agent {agent!r}; known are: {names}")

    # -- configured -------------------------------------------------------------------------

    def add_configured(self) -> None:
        for agent in self.here.config.agents:
            path = self.here.store_path(agent)
            root = _agents_root(path)
            try:
                if root is not None:
                    self._look(agent, path, root, configured=True)
                else:
                    self._add(agent, self._canonical(path), configured=True)
            except InvalidPath as exc:
                self.skip(path, str(exc))

    # -- on disk ----------------------------------------------------------------------------

    def add_found(self) -> None:
        here = self.here
        paths = [here.store_path(agent) for agent in here.config.agents]
        roots = [root for path in paths if (root := _agents_root(path)) is not None]
        for root in dict.fromkeys([*roots, here.agents_dir]):
            for name in self._directory_names(root):
                agent = agent_id(name)
                if agent == DEFAULT_AGENT and name.lower() != DEFAULT_AGENT:
                    self.skip(f"{root}/{name}", "its name would make it agent main")
                    continue
                self._look(agent, f"{root}/{name}/sessions/sessions.json", root, configured=False)
        if here.config.store and AGENT_MARK in here.config.store and not roots:
            self._add_by_template(here.expand(here.config.store))

    def _add_by_template(self, template: str) -> None:
        """Agents that are no longer configured: what on disk has the shape of the template?"""
        parts = template.split("/")
        place = next(number for number, part in enumerate(parts) if AGENT_MARK in part)
        root = "/".join(parts[:place]) or "/"
        part = parts[place]
        if place == len(parts) - 1:
            part = os.path.splitext(part)[0]
        first, *rest = map(re.escape, part.split(AGENT_MARK))
        ending = r"\.(?:json|d)" if place == len(parts) - 1 else ""
        pattern = re.compile(first + "(?P<agent>.+)" + "(?P=agent)".join(rest) + ending + r"\Z")
        for name in self._directory_names(root):
            match = pattern.match(name)
            # Only normal ids are ever put into a path.
            if match is not None and agent_id(match["agent"]) == match["agent"]:
                agent = match["agent"]
                if agent in self.here.config.agents:
                    continue  # it was named, so less has to speak for it
                self._look(agent, template.replace(AGENT_MARK, agent), root, configured=False, judged=True)

    def _directory_names(self, path: str) -> list[str]:
        try:
            fd = self.fs.open(path, _DIRECTORY)
            try:
                return sorted(self.fs.listdir(fd))
            finally:
                self.fs.close(fd)
        except OSError as exc:
            if exc.errno not in _MISSING:
                self.skip(path, exc.strerror or str(exc))
            return []

    def _look(self, agent: str, path: str, root: str, *, configured: bool, judged: bool = False) -> None:
        """Add the store at ``path`` if there is one, and if it lies below ``root`` in truth.

        ``judged``: only its place speaks for it, so what is in it has to.
        """
        try:
            reason = self._examine(agent, path, root, configured, judged)
        except StoreError as exc:
            reason = str(exc)
        except OSError as exc:
            reason = "" if exc.errno in _MISSING else exc.strerror or str(exc)
        if reason:
            self.skip(path, reason)

    def _examine(self, agent: str, path: str, root: str, configured: bool, judged: bool) -> str:
        fs = self.fs
        real_root = fs.realpath(root, strict=True)
        folder = fs.realpath(os.path.dirname(path), strict=True)
        if folder != real_root and not folder.startswith(real_root.rstrip("/") + "/"):
            return f"it leads to {folder}, outside of {real_root}"
        store_path, legacy_path = layout.store_path(f"{folder}/{os.path.basename(path)}")
        kind = self._kind(legacy_path)
        if kind != "file" or judged:
            reason = self._why_no_store(legacy_path) if kind == "file" else kind
            if (kind != "file" or reason) and not self._holds_store(store_path, legacy_path):
                return reason
        self._add(agent, legacy_path, configured=configured)
        return ""

    def _kind(self, path: str) -> str:
        """``"file"`` for a regular file, "" for nothing, else what it is."""
        try:
            mode = self.fs.stat(path, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return ""
        if stat.S_ISLNK(mode):
            return "a symbolic link"
        return "file" if stat.S_ISREG(mode) else "not a regular file"

    def _why_no_store(self, path: str) -> str:
        name = os.path.basename(path)
        if name in CONFIG_NAMES:
            return "a gateway's configuration has this name"
        if name == USUAL_NAME or self.here.is_configuration(path, self.fs):
            return ""  # which is told as such
        reason = why_no_store(self.fs, path)
        return reason and f"it is not taken for a store: {reason}; if it is one, name it with --store"

    def _holds_store(self, store_path: str, legacy_path: str) -> bool:
        place = Place(self.fs, SYSTEM_CLOCK, store_path, legacy_path)
        try:
            return place.store_is_active()
        finally:
            place.close()


def _agents_root(path: str) -> str | None:
    """The ``agents`` directory above a path of the usual shape ``.../agents/<agent>/sessions/sessions.json``."""
    parts = path.rsplit("/", 4)
    usual = len(parts) == 5 and parts[1] == "agents" and parts[3:] == ["sessions", "sessions.json"]
    return f"{parts[0]}/agents" if usual else None
