"""The sessions of several agents' stores seen as one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sessiondir import jsjson
from sessiondir.clock import SYSTEM_CLOCK, Clock
from sessiondir.fs import SYSTEM_FS, FileSystem
from sessiondir.model import Entry, Limits
from sessiondir.sessions.canonical import Scope, agent_key, main_alias
from sessiondir.sessions.ids import agent_id
from sessiondir.sessions.keys import AGENTLESS, parse_key
from sessiondir.sessions.state import read_entries
from sessiondir.sessions.values import number, trimmed


def combined_entries(
    stores: Iterable[tuple[str, Mapping[str, Any]]], *, main: object = None, scope: Scope = "per-sender"
) -> dict[str, Entry]:
    """The entries of several stores under keys that name the agent. O(all fields).

    Args:
        stores: agent id and entries of each store; one agent may have several.
        main: configured name of main sessions.
        scope: session scope.

    Where two entries come to one key the newer is laid over the older field by field (of equally
    new ones the later). ``spawnedBy`` gets the agent, too, and is taken from the other entry if
    the newer has none. What is no object is left out.
    """
    combined: dict[str, Entry] = {}
    for agent, entries in stores:
        for key in jsjson.iteration_order(entries):
            entry = entries[key]
            if isinstance(entry, Mapping):
                _add(combined, agent_key(agent, key), entry, agent, main, scope)
    return {key: combined[key] for key in jsjson.iteration_order(combined)}


def _add(
    combined: dict[str, Entry], key: str, entry: Mapping[str, Any], agent: str, main: object, scope: Scope
) -> None:
    other = combined.get(key, {})
    older, newer = (entry, other) if key in combined and _time(other) > _time(entry) else (other, entry)
    merged = {**older, **newer}
    parent = newer.get("spawnedBy")
    parent = _parent_key(parent if parent is not None else older.get("spawnedBy"), agent, main, scope)
    if parent is not None:
        merged["spawnedBy"] = parent
    else:
        merged.pop("spawnedBy", None)
    combined[key] = merged


def _parent_key(parent: object, agent: str, main: object, scope: Scope) -> str | None:
    lower = trimmed(parent).lower()
    if not lower or lower in AGENTLESS:
        return lower or None
    key = lower if lower.startswith("agent:") else f"agent:{agent_id(agent)}:{lower}"
    parsed = parse_key(key)
    return main_alias(key, parsed.agent_id if parsed is not None else agent, main=main, scope=scope)


def _time(entry: Mapping[str, Any]) -> int | float:
    return number(entry.get("updatedAt")) or 0


def read_combined(
    stores: Iterable[tuple[str, str]],
    *,
    main: object = None,
    scope: Scope = "per-sender",
    tolerant: bool = False,
    limits: Limits | None = None,
    fs: FileSystem = SYSTEM_FS,
    clock: Clock = SYSTEM_CLOCK,
) -> dict[str, Entry]:
    """``combined_entries`` of the stores at the given paths: pairs of agent id and path.

    Takes no lock and writes nothing; reading and errors as ``read_entries``.
    """
    read = (
        (agent, read_entries(path, tolerant=tolerant, limits=limits, fs=fs, clock=clock)) for agent, path in stores
    )
    return combined_entries(read, main=main, scope=scope)
