"""The earlier directory design: a store-wide lock, then the entry's file, then the state file.

One JSON file a session and a ``state.json`` whose version every write counts up, so that
readers notice. The lock is that of the legacy program, one for the whole store.
"""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.stores.atomic import replace_file
from benchmarks.stores.base import LOCK_WAIT_S, Durability, Entry, Store
from benchmarks.stores.lockfile import LockFile


class EarlierDirectory(Store):
    """Layout 1 without a journal."""

    title = "earlier directory"
    about = (
        "one indented JSON file a session; a write takes the store-wide lock file, replaces the session's file, "
        "then state.json with the next version; readers keep entries while the version stays; power: files and "
        "directories are synced"
    )

    def __init__(self, place: Path, durability: Durability) -> None:
        self._directory = place / "sessions.d"
        self._lock = LockFile(place / "sessions.json.lock", LOCK_WAIT_S)
        self._synced = durability == "power"
        self._version = -1
        self._entries: dict[str, bytes] = {}
        self._decode = msgspec.json.Decoder().decode

    def modify(self, key: str, fn: Callable[[Entry], Entry]) -> None:
        with self._lock:
            entry = self._decode(_path(self._directory, key).read_bytes())["entry"]
            self._write(key, fn(entry))

    def put(self, key: str, entry: Entry) -> None:
        with self._lock:
            self._write(key, entry)

    def delete(self, key: str) -> None:
        with self._lock:
            _path(self._directory, key).unlink()
            self._count_up()

    def get(self, key: str) -> Entry:
        version = self._state_version()
        if version != self._version:
            self._entries, self._version = {}, version
        data = self._entries.get(key)
        if data is None:
            data = self._entries[key] = _path(self._directory, key).read_bytes()
        entry: Entry = self._decode(data)["entry"]
        return entry

    def items(self) -> Iterator[tuple[str, Entry]]:
        for name in os.listdir(self._directory / "entries"):
            if name.startswith("session-"):
                document = self._decode((self._directory / "entries" / name).read_bytes())
                yield document["sessionKey"], document["entry"]

    def fill(self, entries: Mapping[str, Entry]) -> None:
        write_layout(self._directory, entries)

    def close(self) -> None:
        self._entries.clear()

    def _write(self, key: str, entry: Entry) -> None:
        replace_file(_path(self._directory, key), _document(key, entry), synced=self._synced)
        self._count_up()

    def _count_up(self) -> None:
        _write_state(self._directory, self._state_version() + 1, synced=self._synced)

    def _state_version(self) -> int:
        return int(self._decode((self._directory / "state.json").read_bytes())["version"])


def write_layout(directory: Path, entries: Mapping[str, Entry], **more: Any) -> None:
    """A whole layout-1 directory, without a sync; ``more`` are further members of the state file."""
    (directory / "entries").mkdir(parents=True, mode=0o700)
    for path in (directory, directory / "entries"):
        path.chmod(0o700)
    for key, entry in entries.items():
        fd = os.open(_path(directory, key), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(fd, _document(key, entry))
        finally:
            os.close(fd)
    _write_state(directory, 1, synced=False, **more)


def _document(key: str, entry: Entry) -> bytes:
    return msgspec.json.format(msgspec.json.encode({"sessionKey": key, "entry": entry}), indent=2)


def _path(directory: Path, key: str) -> Path:
    name = base64.urlsafe_b64encode(key.encode()).rstrip(b"=").decode()
    return directory / "entries" / f"session-{name}.json"


def _write_state(directory: Path, version: int, *, synced: bool, **more: Any) -> None:
    state = {
        "kind": "openclaw-session-store-directory",
        "layoutVersion": 1,
        "version": version,
        "updatedAt": int(time.time() * 1000),
    }
    text = msgspec.json.format(msgspec.json.encode(state | more), indent=2)
    replace_file(directory / "state.json", text, synced=synced)
