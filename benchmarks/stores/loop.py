"""No store at all: what the machine itself does to processes that only compute.

With more processes than processors the longest wait of each and the shares they get are the
scheduler's doing first. What a store adds can be told only beside this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from benchmarks.entries import SLIM, make_entry
from benchmarks.stores.base import Durability, Entry, Store


class Loop(Store):
    """Decodes, changes and encodes entries in the memory of one process; they are gone with it."""

    title = "a loop without a store"
    about = "the same decoding and encoding, in the memory of each process: no file, no lock, nothing shared"

    def __init__(self, _place: Path, _durability: Durability) -> None:
        self._entries: dict[str, bytes] = {}

    def modify(self, key: str, fn: Callable[[Entry], Entry]) -> None:
        self.put(key, fn(self.get(key)))

    def put(self, key: str, entry: Entry) -> None:
        self._entries[key] = msgspec.json.encode(entry)

    def delete(self, key: str) -> None:
        del self._entries[key]

    def get(self, key: str) -> Entry:
        if key not in self._entries:
            self.put(key, make_entry(SLIM, 0))
        entry: Entry = msgspec.json.decode(self._entries[key])
        return entry

    def items(self) -> Iterator[tuple[str, Entry]]:
        for key in self._entries:
            yield key, self.get(key)

    def fill(self, entries: Mapping[str, Entry]) -> None:
        for key, entry in entries.items():
            self.put(key, entry)

    def close(self) -> None:
        self._entries.clear()
