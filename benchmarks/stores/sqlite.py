"""SQLite in WAL mode, one row a session."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from benchmarks.stores.base import LOCK_WAIT_S, Durability, Entry, Store
from sessiondir import UNSET


class Sqlite(Store):
    """One row a session; every operation is a transaction of its own."""

    title = "SQLite"
    about = (
        "WAL, autocommit, busy timeout 30 s; synchronous=NORMAL for process durability (commits do not sync), "
        "FULL for power; read-modify-write in BEGIN IMMEDIATE, a patch is one UPDATE with json_set"
    )

    def __init__(self, place: Path, durability: Durability) -> None:
        self._db = sqlite3.connect(
            place / "sessions.sqlite", timeout=LOCK_WAIT_S, isolation_level=None, check_same_thread=False
        )
        run = self._db.execute
        run("PRAGMA journal_mode=WAL")
        run(f"PRAGMA synchronous={'FULL' if durability == 'power' else 'NORMAL'}")
        run("CREATE TABLE IF NOT EXISTS sessions (key TEXT PRIMARY KEY, updated_at INTEGER, entry BLOB)")
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder().decode

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

    def patch(self, key: str, name: str, value: object) -> None:
        # One statement inside the database is its best answer to a one-field change.
        path = f'$."{name}"'
        if value is UNSET:
            changed, arguments = "json_remove(CAST(entry AS TEXT), ?)", (path, key)
        else:
            changed = "json_set(CAST(entry AS TEXT), ?, json(?))"
            arguments = (path, msgspec.json.encode(value).decode(), key)  # type: ignore[assignment]
        self._db.execute(f"UPDATE sessions SET entry = CAST({changed} AS BLOB) WHERE key = ?", arguments)

    def put(self, key: str, entry: Entry) -> None:
        self._db.execute(
            "INSERT INTO sessions VALUES (?, ?, ?) ON CONFLICT (key)"
            " DO UPDATE SET updated_at = excluded.updated_at, entry = excluded.entry",
            (key, entry["updatedAt"], self._encode(entry)),
        )

    def delete(self, key: str) -> None:
        self._db.execute("DELETE FROM sessions WHERE key = ?", (key,))

    def get(self, key: str) -> Entry:
        (data,) = self._db.execute("SELECT entry FROM sessions WHERE key = ?", (key,)).fetchone()
        entry: Entry = self._decode(data)
        return entry

    def updated_at(self, key: str) -> int:
        (at,) = self._db.execute("SELECT updated_at FROM sessions WHERE key = ?", (key,)).fetchone()
        return int(at)

    def items(self) -> Iterator[tuple[str, Entry]]:
        for key, data in self._db.execute("SELECT key, entry FROM sessions"):
            yield key, self._decode(data)

    def index_for_listing(self) -> None:
        self._db.execute("CREATE INDEX IF NOT EXISTS by_time ON sessions (updated_at DESC, key)")

    def page(self, limit: int, before: int | None = None) -> list[tuple[str, int]]:
        where, arguments = ("WHERE updated_at < ?", (before, limit)) if before is not None else ("", (limit,))
        rows = self._db.execute(
            f"SELECT key, updated_at FROM sessions {where} ORDER BY updated_at DESC, key LIMIT ?", arguments
        )
        return rows.fetchall()

    def page_of(self, prefix: str, limit: int) -> list[tuple[str, int]]:
        # A range of keys, which the primary key's index answers; LIKE would go through the table.
        rows = self._db.execute(
            "SELECT key, updated_at FROM sessions WHERE key >= ? AND key < ?"
            " ORDER BY updated_at DESC, key LIMIT ?",
            (prefix, prefix + "\U0010ffff", limit),
        )
        return rows.fetchall()

    def fill(self, entries: Mapping[str, Entry]) -> None:
        run = self._db.execute
        run("BEGIN IMMEDIATE")
        for key, entry in entries.items():
            run("INSERT INTO sessions VALUES (?, ?, ?)", (key, entry["updatedAt"], self._encode(entry)))
        run("COMMIT")
        run("PRAGMA wal_checkpoint(TRUNCATE)")

    def problems(self) -> list[str]:
        (answer,) = self._db.execute("PRAGMA quick_check").fetchone()
        return [] if answer == "ok" else [str(answer)]

    def close(self) -> None:
        self._db.close()
