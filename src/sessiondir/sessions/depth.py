"""How deep a session is nested below the one that a person talks to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Protocol

from sessiondir import jsjson
from sessiondir.reading import StoreReader
from sessiondir.sessions.ids import DEFAULT_AGENT, agent_id
from sessiondir.sessions.keys import AGENTLESS, parse_key, subagent_marks
from sessiondir.sessions.values import member, trimmed, truthy, whole_number

_PAGE: Final = 1000


class Entries(Protocol):
    """What depth is computed from: a mapping of entries, or an open store."""

    def get(self, key: str, /) -> Any:
        """The entry of a session, None if there is none."""

    def __iter__(self) -> Iterator[str]: ...


OpenAgent = Callable[[str], Entries]
"""Gives the entries of an agent's store; called at most once an agent. ``{}`` for none."""


def session_depth(
    key: object,
    entries: Entries | None = None,
    *,
    default_agent: str | None = None,
    open_agent: OpenAgent | None = None,
) -> int:
    """The depth of a session: 0 for one that nothing spawned.

    A stored ``spawnDepth`` counts as it is. Else it is one more than the depth of the session
    in ``spawnedBy``; where that cannot be told (it is missing, has no lineage, or the chain
    runs in a circle) its ``:subagent:`` marks are counted instead. A session without either
    has the marks of its own key.

    Args:
        key: session key, or a session id.
        entries: the store to look in. Keys compare as the store compares them; of a plain
            mapping, exactly.
        default_agent: the agent that keys without one belong to. None tries such keys only as
            they are, and with ``open_agent`` stands for ``main``.
        open_agent: without ``entries``, gives the store of each agent that the chain leads to.

    Cost: one look-up for each ancestor; a look through a whole store for a session id.
    """
    return _Walk(entries, default_agent, open_agent).depth(key)


class _Walk:
    def __init__(self, entries: Entries | None, default_agent: str | None, open_agent: OpenAgent | None) -> None:
        self._entries = entries
        self._default_agent = DEFAULT_AGENT if default_agent is None and open_agent is not None else default_agent
        self._open_agent = open_agent
        self._opened: dict[str, Entries] = {}

    def depth(self, key: object) -> int:
        current = trimmed(key)
        visited: list[str] = []
        while current and current not in visited:
            entry = self._entry(current)
            stored = whole_number(member(entry, "spawnDepth"))
            if stored is not None:
                return _above(stored, len(visited))
            parent = trimmed(member(entry, "spawnedBy"))
            if not parent:
                break
            visited.append(current)
            current = parent
        # Nothing is known of the last one, or it closes a circle: its key has to tell.
        return _above(subagent_marks(current), len(visited))

    def _entry(self, key: str) -> Any:
        candidates = self._candidates(key)
        if self._entries is not None:
            for candidate in candidates:
                entry = self._entries.get(candidate)
                if truthy(entry):
                    return entry
            return _by_session_id(self._entries, key)
        for candidate in candidates:
            parsed = parse_key(candidate)
            if parsed is None or self._open_agent is None:
                continue
            entries = self._opened.get(parsed.agent_id)
            if entries is None:
                entries = self._opened[parsed.agent_id] = self._open_agent(parsed.agent_id)
            entry = entries.get(candidate)
            if entry is None:
                entry = _by_session_id(entries, key)
            if truthy(entry):
                return entry
        return None

    def _candidates(self, key: str) -> tuple[str, ...]:
        if self._default_agent is None or key in AGENTLESS or parse_key(key) is not None:
            return (key,)
        return key, f"agent:{agent_id(self._default_agent)}:{key}"


def _above(depth: int, steps: int) -> int:
    """``depth`` and ``steps`` more, counted as JavaScript counts: above 2**53 nothing is added."""
    total = float(depth)
    for _ in range(steps):
        total += 1
    return int(total)


def _by_session_id(entries: Entries, session_id: str) -> Any:
    if isinstance(entries, StoreReader):
        return _listed(entries, session_id)
    for key in jsjson.iteration_order(entries):
        entry = entries.get(key)
        if trimmed(member(entry, "sessionId")) == session_id:
            return entry
    return None


def _listed(store: StoreReader, session_id: str) -> Any:
    """As ``_by_session_id``; a store's listing knows the ids without reading the entries again."""
    cursor = None
    while True:
        page = store.list(order="key", limit=_PAGE, cursor=cursor)
        for info in page:
            if trimmed(info.session_id) == session_id:
                return store.get(info.key)
        cursor = page.next_cursor
        if cursor is None:
            return None


def by_agent(stores: Mapping[str, Entries]) -> OpenAgent:
    """``open_agent`` for stores that are at hand."""
    return lambda agent: stores.get(agent, {})
