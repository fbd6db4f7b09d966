"""LMDB, one value a session."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import lmdb
import msgspec

from benchmarks.stores.base import Durability, Entry, Store

_MAP_BYTES = 4 << 30
_open: dict[tuple[str, bool], tuple[lmdb.Environment, int]] = {}
_opening = threading.Lock()


class Lmdb(Store):
    """One value a session; every operation is a transaction of its own."""

    title = "LMDB"
    about = (
        "one value a session; for process durability sync=False without writemap (with it LMDB is quicker, but "
        "a power cut may damage the database, where other stores lose the last commits), for power sync=True"
    )
    packages = ("lmdb",)

    def __init__(self, place: Path, durability: Durability) -> None:
        sync = durability == "power"
        self._name = (str(place / "sessions.lmdb"), sync)
        # An environment must not be opened twice in one process.
        with _opening:
            environment, users = _open.get(self._name) or (_environment(*self._name), 0)
            _open[self._name] = (environment, users + 1)
        self._environment = environment
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder().decode

    def modify(self, key: str, fn: Callable[[Entry], Entry]) -> None:
        name = key.encode()
        with self._environment.begin(write=True, buffers=True) as txn:
            txn.put(name, self._encode(fn(self._decode(txn.get(name)))))

    def put(self, key: str, entry: Entry) -> None:
        with self._environment.begin(write=True) as txn:
            txn.put(key.encode(), self._encode(entry))

    def delete(self, key: str) -> None:
        with self._environment.begin(write=True) as txn:
            txn.delete(key.encode())

    def get(self, key: str) -> Entry:
        with self._environment.begin(buffers=True) as txn:
            entry: Entry = self._decode(txn.get(key.encode()))
            return entry

    def items(self) -> Iterator[tuple[str, Entry]]:
        with self._environment.begin(buffers=True) as txn:
            for key, data in txn.cursor():
                yield bytes(key).decode(), self._decode(data)

    def fill(self, entries: Mapping[str, Entry]) -> None:
        with self._environment.begin(write=True) as txn:
            for key, entry in entries.items():
                txn.put(key.encode(), self._encode(entry))

    def close(self) -> None:
        with _opening:
            environment, users = _open.pop(self._name)
            if users > 1:
                _open[self._name] = (environment, users - 1)
            else:
                environment.close()


def _environment(path: str, sync: bool) -> lmdb.Environment:
    return lmdb.open(path, map_size=_MAP_BYTES, sync=sync, metasync=sync, max_readers=256)
