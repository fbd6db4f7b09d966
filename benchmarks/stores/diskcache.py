"""diskcache, one value a session."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import diskcache
import msgspec

from benchmarks.stores.base import LOCK_WAIT_S, Durability, Entry, Store

_SYNCHRONOUS = {"process": 1, "power": 2}


class DiskCache(Store):
    """Values are bytes, so nothing is pickled; nothing is ever evicted."""

    title = "diskcache"
    about = (
        "values as bytes up to 16 MB inside its SQLite database, no eviction, no statistics; synchronous NORMAL "
        "for process durability, FULL for power; read-modify-write in transact()"
    )
    packages = ("diskcache",)

    def __init__(self, place: Path, durability: Durability) -> None:
        self._cache = diskcache.Cache(
            str(place / "sessions.diskcache"),
            timeout=LOCK_WAIT_S,
            eviction_policy="none",
            cull_limit=0,
            size_limit=1 << 40,
            disk_min_file_size=16 << 20,
            sqlite_synchronous=_SYNCHRONOUS[durability],
        )
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder().decode

    def modify(self, key: str, fn: Callable[[Entry], Entry]) -> None:
        with self._cache.transact():
            self._cache.set(key, self._encode(fn(self._decode(self._cache.get(key)))))

    def put(self, key: str, entry: Entry) -> None:
        self._cache.set(key, self._encode(entry))

    def delete(self, key: str) -> None:
        self._cache.delete(key)

    def get(self, key: str) -> Entry:
        entry: Entry = self._decode(self._cache.get(key))
        return entry

    def items(self) -> Iterator[tuple[str, Entry]]:
        for key in self._cache:
            yield key, self.get(key)

    def fill(self, entries: Mapping[str, Entry]) -> None:
        with self._cache.transact():
            for key, entry in entries.items():
                self.put(key, entry)

    def problems(self) -> list[str]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of what it returns
            return [str(found.message) for found in self._cache.check()]

    def close(self) -> None:
        self._cache.close()
