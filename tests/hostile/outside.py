"""What lies outside of a store and must not be touched: bytes, times and inodes are watched."""

from __future__ import annotations

import os
from pathlib import Path

from harness.watched import QuickFs
from support.files import copy_store

from sessiondir import SessionStore

SECRET = "outside-secret"
_LONG_AGO_NS = 1_000_000_000 * 10**9


def _listed(path: Path) -> list[str]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOATIME)
    try:
        return os.listdir(fd)
    finally:
        os.close(fd)


class Outside:
    """A whole store that somebody would like to see read or written: the target of planted links.

    Access times are set before the modification times, so that even a mount with ``relatime``
    moves them when a file is read or a directory listed.
    """

    def __init__(self, folder: Path, store: Path) -> None:
        self.store = folder / "outside.d"
        copy_store(store, self.store)
        # A copy that went on: its files and its journal would be taken for the store's own.
        with SessionStore.open(str(self.store), fs=QuickFs(), durability="process") as other:
            for key in other.snapshot():
                other.put(key, {"text": SECRET, "updatedAt": 10**12})
            other.post("waiting", SECRET)
        self.tells_of_reading = self._probe(folder)
        self.paths = [self.store, *sorted(self.store.rglob("*"))]
        self.begin()

    def begin(self) -> None:
        """Watch from now on."""
        for path in self.paths:
            os.utime(path, ns=(_LONG_AGO_NS, path.stat().st_mtime_ns))
        self._before = self.look()

    @staticmethod
    def _probe(folder: Path) -> bool:
        """Whether this mount notes when a file was read."""
        path = folder / "probe"
        path.write_bytes(b"x")
        os.utime(path, ns=(_LONG_AGO_NS, path.stat().st_mtime_ns))
        path.read_bytes()
        return path.stat().st_atime_ns != _LONG_AGO_NS

    def look(self) -> dict[str, tuple[object, ...]]:
        """Everything that a touch would change, by path; looking touches nothing."""
        found: dict[str, tuple[object, ...]] = {}
        for path in self.paths:
            status = path.lstat()
            data = b""
            if path.is_file():
                fd = os.open(path, os.O_RDONLY | os.O_NOATIME)
                try:
                    data = os.read(fd, status.st_size + 1)
                finally:
                    os.close(fd)
            times = (status.st_mtime_ns, status.st_atime_ns)
            found[str(path)] = (status.st_ino, status.st_mode, status.st_uid, status.st_size, *times, data)
        names = [f"{path}/{name}" for path in self.paths if path.is_dir() for name in _listed(path)]
        return found | {"names": ("\n".join(sorted(names)),)}

    def touched(self) -> list[str]:
        """What changed since the beginning."""
        after = self.look() if self.store.exists() else {}
        return [path for path, before in self._before.items() if after.get(path) != before]

    def written(self) -> list[str]:
        """As ``touched``, but that something was read does not count."""
        after = self.look() if self.store.exists() else {}
        return [
            path
            for path, before in self._before.items()
            if path not in after or _without_access(after[path]) != _without_access(before)
        ]


def _without_access(facts: tuple[object, ...]) -> tuple[object, ...]:
    return facts[:5] + facts[6:]
