"""One JSON file per session, each with a lock file of its own: what many write themselves."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import filelock
import msgspec

from benchmarks.stores.atomic import replace_file
from benchmarks.stores.base import LOCK_WAIT_S, Durability, Entry, Store

_POLL_S = 0.001


class FilePerSession(Store):
    """Read, change, write a temporary file, rename it over, all under the session's ``filelock``."""

    title = "file + filelock"
    about = (
        "one compact JSON file a session, replaced by rename, under filelock.FileLock with a lock file kept for "
        "each session and polled every millisecond (its default is 50); power: file and directory are synced"
    )
    packages = ("filelock",)

    def __init__(self, place: Path, durability: Durability) -> None:
        self._folder = place / "sessions.files"
        self._folder.mkdir(exist_ok=True)
        self._synced = durability == "power"
        self._locks: dict[str, filelock.BaseFileLock] = {}
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder().decode

    def modify(self, key: str, fn: Callable[[Entry], Entry]) -> None:
        path = self._path(key)
        with self._lock(key):
            replace_file(path, self._encode(fn(self._decode(path.read_bytes()))), synced=self._synced)

    def put(self, key: str, entry: Entry) -> None:
        with self._lock(key):
            replace_file(self._path(key), self._encode(entry), synced=self._synced)

    def delete(self, key: str) -> None:
        with self._lock(key):
            self._path(key).unlink()

    def get(self, key: str) -> Entry:
        entry: Entry = self._decode(self._path(key).read_bytes())
        return entry

    def items(self) -> Iterator[tuple[str, Entry]]:
        for name in os.listdir(self._folder):
            if name.endswith(".json"):
                key = base64.urlsafe_b64decode(name.removesuffix(".json")).decode()
                yield key, self.get(key)

    def fill(self, entries: Mapping[str, Entry]) -> None:
        for key, entry in entries.items():
            self._path(key).write_bytes(self._encode(entry))

    def close(self) -> None:
        self._locks.clear()

    def _path(self, key: str) -> Path:
        return self._folder / f"{base64.urlsafe_b64encode(key.encode()).decode()}.json"

    def _lock(self, key: str) -> filelock.BaseFileLock:
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = filelock.FileLock(
                f"{self._path(key)}.lock", LOCK_WAIT_S, poll_interval=_POLL_S, preserve_lock_file=True
            )
        return lock
