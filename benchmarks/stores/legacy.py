"""The legacy store: one JSON file for all sessions, read and written whole under one lock file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from benchmarks.stores.atomic import replace_file
from benchmarks.stores.base import LOCK_WAIT_S, Durability, Entry, Store
from benchmarks.stores.lockfile import LockFile


class SingleJson(Store):
    """``sessions.json``, indented by two spaces.

    A writer reads the file anew under the lock. A reader keeps what it parsed for as long as
    the file's times and size stay the same, and copies only the entry it was asked for.
    """

    title = "one JSON file"
    about = (
        "all sessions in one file under an exclusively created lock file, parsed and rewritten whole, as the "
        "legacy program does; readers keep what they parsed while the file is unchanged; power: with syncs"
    )

    def __init__(self, place: Path, durability: Durability) -> None:
        self._path = place / "sessions.json"
        self._lock = LockFile(place / "sessions.json.lock", LOCK_WAIT_S)
        self._synced = durability == "power"
        self._seen: tuple[int, int, int] | None = None
        self._sessions: dict[str, Entry] = {}
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder().decode

    def modify(self, key: str, fn: Callable[[Entry], Entry]) -> None:
        with self._lock:
            sessions = self._read()
            sessions[key] = fn(sessions[key])
            self._write(sessions)

    def put(self, key: str, entry: Entry) -> None:
        with self._lock:
            self._write(self._read() | {key: entry})

    def delete(self, key: str) -> None:
        with self._lock:
            sessions = self._read()
            del sessions[key]
            self._write(sessions)

    def get(self, key: str) -> Entry:
        entry: Entry = self._decode(self._encode(self._current()[key]))
        return entry

    def updated_at(self, key: str) -> int:
        return int(self._current()[key]["updatedAt"])

    def items(self) -> Iterator[tuple[str, Entry]]:
        yield from self._current().items()

    def fill(self, entries: Mapping[str, Entry]) -> None:
        self._write(dict(entries))

    def close(self) -> None:
        self._sessions, self._seen = {}, None

    def _current(self) -> dict[str, Entry]:
        found = self._path.stat()
        seen = (found.st_ino, found.st_size, found.st_mtime_ns)
        if seen != self._seen:
            self._sessions, self._seen = self._read(), seen
        return self._sessions

    def _read(self) -> dict[str, Entry]:
        try:
            sessions: dict[str, Entry] = self._decode(self._path.read_bytes())
        except FileNotFoundError:
            return {}
        return sessions

    def _write(self, sessions: dict[str, Entry]) -> None:
        replace_file(self._path, msgspec.json.format(self._encode(sessions), indent=2), synced=self._synced)
