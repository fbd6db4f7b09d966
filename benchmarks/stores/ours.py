"""sessiondir itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from benchmarks.stores.base import LOCK_WAIT_S, Durability, Entry, Store
from benchmarks.stores.directory import write_layout
from sessiondir import SessionStore
from sessiondir.fs import SYSTEM_FS, FileSystem

_MANY = 2_000


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

    def page(self, limit: int, before: int | None = None) -> list[tuple[str, int]]:
        if before is None:
            self._cursor = None
        page = self.store.list(limit=limit, cursor=self._cursor)
        self._cursor = page.next_cursor
        return [(item.key, item.updated_at) for item in page.items]  # type: ignore[misc]

    def deliver(self, key: str, message: Entry) -> None:
        self.store.post(key, message)

    def delivered(self, key: str) -> list[Entry]:
        return [message.body for message in self.store.take(key, ack=True)]

    def problems(self) -> list[str]:
        return [str(finding) for finding in self.store.check()]

    def close(self) -> None:
        self.store.close()
