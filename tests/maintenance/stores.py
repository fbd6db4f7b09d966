"""Stores with sessions of given ages, and what the tests of maintenance ask of them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

from sessiondir import SessionStore
from sessiondir.clock import Clock
from sessiondir.fs import SYSTEM_FS, FileSystem
from sessiondir.maintenance import Plan, Policy, list_trash

DAY = 86_400_000
HOUR = 3_600_000
NOW = 1_790_000_000_000
"""The time of day in these tests, epoch milliseconds."""


class Today(Clock):
    """A clock whose time of day is set by the test, and which never really waits long."""

    def __init__(self, at_ms: int = NOW) -> None:
        self.at_ms = at_ms

    def now(self) -> float:  # type: ignore[override]
        return self.at_ms / 1000


class Going(Today):
    """A clock whose elapsed time goes with its time of day."""

    def up(self) -> float:  # type: ignore[override]
        return self.at_ms / 1000


def open_store(path: str, clock: Clock | None = None, fs: FileSystem = SYSTEM_FS, **options: Any) -> SessionStore:
    """A handle whose background thread never does anything."""
    defaults = {"checkpoint_interval": 3600.0, "durability": "process", "lock_timeout": 2.0}
    return SessionStore.open(path, clock=clock or Today(), fs=fs, **{**defaults, **options})


def entry(age_ms: float | None, session_id: str | None = None, **more: Any) -> dict[str, Any]:
    """An entry that was updated so long ago; None: without ``updatedAt``."""
    found: dict[str, Any] = {} if session_id is None else {"sessionId": session_id}
    if age_ms is not None:
        found["updatedAt"] = int(NOW - age_ms)
    return found | more


def fill(store: SessionStore, entries: Mapping[str, Mapping[str, Any]]) -> None:
    """Put many sessions, a few in each commit."""
    keys = list(entries)
    for start in range(0, len(keys), 20):
        some = keys[start : start + 20]
        with store.transaction(*some) as txn:
            for key in some:
                txn[key] = entries[key]


def enforce(**settings: Any) -> Policy:
    """An enforcing policy with settings in the legacy form."""
    return Policy.from_config({"mode": "enforce", **settings})


def actions(plan: Plan) -> dict[str, str]:
    """What the plan says of each session that would go."""
    return {session.key: session.action for session in plan.removals}


def write_transcript(folder: str, name: str, size: int = 40) -> None:
    """A transcript of one record and ``size`` bytes."""
    text = json.dumps({"type": "session", "version": 3, "id": name.removesuffix(".jsonl"), "pad": ""})
    line = text[:-2] + "x" * max(0, size - len(text) - 1) + text[-2:] + "\n"
    fd = os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.write(fd, line.encode())
    finally:
        os.close(fd)


def trashed(store: SessionStore) -> list[str]:
    """The keys in the trash, sorted."""
    return sorted(item.key for item in list_trash(store).items)


def names(folder: str, *parts: str) -> list[str]:
    """The names in a folder that contain all of ``parts``."""
    return sorted(name for name in os.listdir(folder) if all(part in name for part in parts))


def nowhere(sessions: Iterable[str], store: SessionStore) -> list[str]:
    """Keys that are neither in the store nor in its trash."""
    there = {*store.keys(), *trashed(store)}
    return [key for key in sessions if key not in there]
