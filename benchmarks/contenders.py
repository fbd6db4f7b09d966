"""The stores that are measured, behind one small interface.

Each does the same work for an operation: read the session's entry, decode it with msgspec,
change one field, encode it, commit. Competitors are set up as their own documentation
advises and stay inside this package.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec

from sessiondir import SessionStore

Entry = dict[str, Any]
LOCK_WAIT_S = 30.0


class Contender(Protocol):
    """One open handle; used by one thread of one process."""

    def bump(self, key: str) -> None: ...
    def modify(self, key: str, fn: Callable[[Entry], Entry]) -> None: ...
    def patch(self, key: str, value: int) -> None: ...
    def get(self, key: str) -> Entry: ...
    def updated_at(self, key: str) -> int: ...
    def fill(self, entries: Mapping[str, Entry]) -> None: ...
    def counters(self) -> int: ...
    def problems(self) -> list[str]: ...
    def close(self) -> None: ...


def _add_one(entry: Entry) -> Entry:
    entry["counter"] += 1
    return entry


class Ours:
    """sessiondir."""

    def __init__(self, place: Path, durability: str, *, checkpoint_interval: float = 1.0) -> None:
        self.store = SessionStore.open(
            str(place / "sessions.d"),
            durability=durability,  # type: ignore[arg-type]
            lock_timeout=LOCK_WAIT_S,
            checkpoint_interval=checkpoint_interval,
        )

    def bump(self, key: str) -> None:
        self.store.update(key, _add_one)

    def modify(self, key: str, fn: Callable[[Entry], Entry]) -> None:
        self.store.update(key, fn)

    def patch(self, key: str, value: int) -> None:
        self.store.patch(key, {"counter": value})

    def get(self, key: str) -> Entry:
        entry = self.store.get(key)
        assert entry is not None
        return entry

    def updated_at(self, key: str) -> int:
        at = self.store.updated_at(key)
        assert at is not None
        return int(at)

    def fill(self, entries: Mapping[str, Entry]) -> None:
        for key, entry in entries.items():
            self.store.put(key, entry)
        self.store.flush()

    def counters(self) -> int:
        return sum(entry["counter"] for entry in self.store.snapshot().values())

    def problems(self) -> list[str]:
        return [str(finding) for finding in self.store.check()]

    def close(self) -> None:
        self.store.close()


class Sqlite:
    """SQLite in WAL mode, one row a session, every operation a transaction of its own.

    ``synchronous`` is NORMAL where surviving the process is enough (WAL commits then do not
    sync) and FULL where power loss counts.
    """

    def __init__(self, place: Path, durability: str) -> None:
        self._db = sqlite3.connect(
            place / "sessions.sqlite", timeout=LOCK_WAIT_S, isolation_level=None, check_same_thread=False
        )
        run = self._db.execute
        run("PRAGMA journal_mode=WAL")
        run(f"PRAGMA synchronous={'FULL' if durability == 'power' else 'NORMAL'}")
        run("CREATE TABLE IF NOT EXISTS sessions (key TEXT PRIMARY KEY, updated_at INTEGER, entry BLOB)")
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder().decode

    def bump(self, key: str) -> None:
        self.modify(key, _add_one)

    def modify(self, key: str, fn: Callable[[Entry], Entry]) -> None:
        run = self._db.execute
        # IMMEDIATE, because a transaction that begins with a read fails when it turns to writing late.
        run("BEGIN IMMEDIATE")
        try:
            (data,) = run("SELECT entry FROM sessions WHERE key = ?", (key,)).fetchone()
            entry = fn(self._decode(data))
            run(
                "UPDATE sessions SET entry = ?, updated_at = ? WHERE key = ?",
                (self._encode(entry), entry["updatedAt"], key),
            )
        except BaseException:
            run("ROLLBACK")
            raise
        run("COMMIT")

    def patch(self, key: str, value: int) -> None:
        # One statement inside the database is its best answer to a one-field change.
        self._db.execute(
            "UPDATE sessions SET entry = CAST(json_set(CAST(entry AS TEXT), '$.counter', ?) AS BLOB)"
            " WHERE key = ?",
            (value, key),
        )

    def get(self, key: str) -> Entry:
        (data,) = self._db.execute("SELECT entry FROM sessions WHERE key = ?", (key,)).fetchone()
        entry: Entry = self._decode(data)
        return entry

    def updated_at(self, key: str) -> int:
        (at,) = self._db.execute("SELECT updated_at FROM sessions WHERE key = ?", (key,)).fetchone()
        return int(at)

    def fill(self, entries: Mapping[str, Entry]) -> None:
        run = self._db.execute
        run("BEGIN IMMEDIATE")
        for key, entry in entries.items():
            run("INSERT INTO sessions VALUES (?, ?, ?)", (key, entry["updatedAt"], self._encode(entry)))
        run("COMMIT")
        run("PRAGMA wal_checkpoint(TRUNCATE)")

    def counters(self) -> int:
        rows = self._db.execute("SELECT entry FROM sessions")
        return sum(self._decode(data)["counter"] for (data,) in rows)

    def problems(self) -> list[str]:
        (answer,) = self._db.execute("PRAGMA quick_check").fetchone()
        return [] if answer == "ok" else [str(answer)]

    def close(self) -> None:
        self._db.close()


CONTENDERS: dict[str, Callable[[Path, str], Contender]] = {"sessiondir": Ours, "sqlite": Sqlite}
