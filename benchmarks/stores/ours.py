"""sessiondir itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from benchmarks.stores.base import LOCK_WAIT_S, Durability, Entry, Store
from benchmarks.stores.directory import write_layout
from sessiondir import SessionStore
from sessiondir.fs import SYSTEM_FS, FileSystem
from sessiondir.listkeeping import FEWEST_SESSIONS

_MANY = 2_000
_LISTING_S = 60.0


class Ours(Store):
    """sessiondir through its public names."""

    title = "sessiondir"
    about = 'durability="process" and "power", everything else at its default; messages go to the session\'s inbox'
    packages = ("msgspec",)

    def __init__(
        self,
        place: Path,
        durability: Durability,
        *,
        checkpoint_interval: float = 1.0,
        cache_bytes: int = 64 << 20,
        fs: FileSystem = SYSTEM_FS,
    ) -> None:
        self.directory = place / "sessions.d"
        self._options = {
            "durability": durability,
            "checkpoint_interval": checkpoint_interval,
            "cache_bytes": cache_bytes,
            "fs": fs,
        }
        self._cursor: str | None = None
        self._open()

    def _open(self) -> None:
        self.store = SessionStore.open(str(self.directory), lock_timeout=LOCK_WAIT_S, **self._options)  # type: ignore[arg-type]

    def modify(self, key: str, fn: Callable[[Entry], Entry]) -> None:
        self.store.update(key, fn)

    def patch(self, key: str, name: str, value: object) -> None:
        self.store.patch(key, {name: value})

    def put(self, key: str, entry: Entry) -> None:
        self.store.put(key, entry)

    def delete(self, key: str) -> None:
        del self.store[key]

    def get(self, key: str) -> Entry:
        return self.store[key]

    def updated_at(self, key: str) -> int:
        return self.store.updated_at(key)  # type: ignore[return-value]

    def items(self) -> Iterator[tuple[str, Entry]]:
        yield from self.store.snapshot().items()

    def fill(self, entries: Mapping[str, Entry]) -> None:
        if len(entries) > _MANY:
            # A directory as a program writes that knows only layout 1: no journal to go through.
            self.store.close()
            write_layout(self.directory, entries, keys="exact")
            self._open()
            return
        for key, entry in entries.items():
            self.store.put(key, entry)
        self.store.flush()

    def index_for_listing(self) -> None:
        if len(self.store) < FEWEST_SESSIONS:
            return
        # The background thread of a process that writes makes the listing file within seconds.
        self.store.put("agent:bench:listing", {"updatedAt": 0})
        self.store.delete("agent:bench:listing")
        deadline = time.monotonic() + _LISTING_S
        while b'"listing"' not in (self.directory / "state.json").read_bytes():
            if time.monotonic() > deadline:
                raise TimeoutError(f"no listing file after {_LISTING_S:.0f} s")
            time.sleep(0.05)

    def page(self, limit: int, before: int | None = None) -> list[tuple[str, int]]:
        if before is None:
            self._cursor = None
        page = self.store.list(limit=limit, cursor=self._cursor)
        self._cursor = page.next_cursor
        return [(item.key, item.updated_at) for item in page.items]  # type: ignore[misc]

    def page_of(self, prefix: str, limit: int) -> list[tuple[str, int]]:
        page = self.store.list(prefix=prefix, limit=limit)
        return [(item.key, item.updated_at) for item in page.items]  # type: ignore[misc]

    def deliver(self, key: str, message: Entry) -> None:
        self.store.post(key, message)

    def delivered(self, key: str) -> list[Entry]:
        return [message.body for message in self.store.take(key, ack=True)]

    def problems(self) -> list[str]:
        return [str(finding) for finding in self.store.check()]

    def close(self) -> None:
        self.store.close()
