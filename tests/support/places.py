"""The lower layers of a store, put together for unit tests."""

from __future__ import annotations

import os
from pathlib import Path

from sessiondir.clock import SYSTEM_CLOCK, Clock
from sessiondir.directory import StoreDirectory
from sessiondir.fs import SYSTEM_FS, FileSystem
from sessiondir.lockfile import LockFile


class Place:
    """A store directory with what a unit test opens in it; ``close`` closes all of it."""

    def __init__(self, path: Path, fs: FileSystem = SYSTEM_FS, clock: Clock = SYSTEM_CLOCK) -> None:
        path.mkdir(mode=0o700, exist_ok=True)
        self.path = path
        self.clock = clock
        self._fs = fs
        self._open: list[StoreDirectory | LockFile] = []
        self.directory = self.open()

    def open(self) -> StoreDirectory:
        """Another set of descriptors on the same directory."""
        directory = StoreDirectory(self._fs, str(self.path))
        self._open.append(directory)
        return directory

    def lock_file(self) -> LockFile:
        """The lock file, with a descriptor of its own, as in another process."""
        lock_file = LockFile(self.open(), self.clock)
        self._open.append(lock_file)
        return lock_file

    def write(self, name: str, data: bytes) -> Path:
        """Put a file in place."""
        target = self.path / name
        target.parent.mkdir(mode=0o700, exist_ok=True)
        target.write_bytes(data)
        os.chmod(target, 0o600)
        return target

    def close(self) -> None:
        """Close everything, newest first."""
        while self._open:
            self._open.pop().close()
