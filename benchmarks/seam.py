"""System calls of sessiondir counted where it makes them, for machines without strace."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.stores.ours import Ours
from sessiondir.fs import FileSystem

_NAMES = {"pread": "pread64", "pwrite": "pwrite64"}
"""What strace calls them."""


class CountingFileSystem(FileSystem):
    """The real file system; counts every call by name."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        for name, value in vars(FileSystem).items():
            if isinstance(value, staticmethod):
                setattr(self, name, self._counted(name, getattr(FileSystem, name)))

    def _counted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        shown = _NAMES.get(name, name)

        def counted(*arguments: Any, **more: Any) -> Any:
            self.calls[shown] += 1
            return call(*arguments, **more)

        return counted


def ours_through_the_seam(
    place: Path, keys: list[str], operation: str, durability: str, count: int
) -> Counter[str]:
    """The calls of ``count`` operations, background work in that time included."""
    fs = CountingFileSystem()
    with contextlib.closing(Ours(place, durability, fs=fs)) as store:  # type: ignore[arg-type]
        for key in keys:
            store.bump(key)
            store.get(key)
        step: dict[str, Callable[[str], object]] = {
            "get": store.get,
            "updated_at": store.updated_at,
            "update": store.bump,
        }
        fs.calls.clear()
        for number in range(count):
            step[operation](keys[number % len(keys)])
        return fs.calls.copy()
