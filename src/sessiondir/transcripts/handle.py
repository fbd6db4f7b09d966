"""An open sessions folder: its descriptor, and how its handle was told to work."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Final

from sessiondir import durable
from sessiondir.clock import Clock
from sessiondir.directory import StoreDirectory
from sessiondir.errors import (
    DurabilityUnknown,
    InvalidOption,
    LockTimeout,
    ReadOnlyStore,
    StoreClosed,
    StoreNotFound,
    TranscriptNotFound,
    translated,
)
from sessiondir.fs import LOCK_UN, FileSystem
from sessiondir.lockfile import take_flock
from sessiondir.model import Durability
from sessiondir.procfs import require_local

_LOSING_S: Final = 1.0
"""How much longer than the timeout to go on when the lock is free and the file is always another one."""


class Handle:
    """What all transcripts of a folder share. Holds one descriptor and no lock, so it survives a fork."""

    def __init__(
        self,
        fs: FileSystem,
        clock: Clock,
        path: str,
        *,
        read_only: bool,
        durability: Durability,
        lock_timeout_s: float,
        record_bytes: int,
        allow_network: bool,
    ) -> None:
        if durability not in ("power", "process"):
            raise InvalidOption(f"durability must be 'power' or 'process', not {durability!r}")
        if record_bytes < 1 or lock_timeout_s < 0:
            raise InvalidOption("record_bytes must be at least 1 and lock_timeout not negative")
        self.fs = fs
        self.clock = clock
        self.path = path
        self.durability = durability
        self.lock_timeout_s = lock_timeout_s
        self.record_bytes = record_bytes
        self._read_only = read_only
        self._allow_network = allow_network
        self._doubtful: dict[str, int | None] = {}
        """Files that a sync failed on, and its errno."""
        with translated(path, "read"):
            try:
                # The folder may be reached through links, being the caller's own word; what is in it may not.
                self._directory: StoreDirectory | None = StoreDirectory(fs, path, follow=True)
            except FileNotFoundError as exc:
                raise StoreNotFound(f"there is no sessions folder {path}", path=path) from exc

    @property
    def directory(self) -> StoreDirectory:
        """The folder's descriptor. Raises ``StoreClosed``."""
        if self._directory is None:
            raise StoreClosed(f"the handle on {self.path} is closed; open the folder again")
        return self._directory

    def close(self) -> None:
        """Close the descriptor; nothing else is held."""
        directory, self._directory = self._directory, None
        if directory is not None:
            with translated(self.path, "close"):
                directory.close()

    def path_of(self, name: str) -> str:
        """The path of a file, for messages."""
        return f"{self.path}/{name}"

    def status(self, name: str) -> os.stat_result | None:
        """What stands under a name, not followed; None if nothing does. Raises ``UnreadableFile``."""
        with translated(self.path_of(name), "read"):
            return self._status(name)

    def _status(self, name: str) -> os.stat_result | None:
        try:
            return self.fs.stat(name, dir_fd=self.directory.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    @contextlib.contextmanager
    def opened(self, name: str) -> Iterator[int | None]:
        """A file open for reading; None if there is none. Raises ``UnreadableFile``, ``CorruptFile``."""
        fd: int | None = None
        with translated(self.path_of(name), "read"), contextlib.suppress(FileNotFoundError):
            fd = self.directory.open_fd(name, os.O_RDONLY)
        try:
            yield fd
        finally:
            if fd is not None:
                self.close_file(fd)

    def is_named(self, name: str, fd: int) -> bool:
        """Whether ``name`` still stands for the open file. Raises ``UnreadableFile``."""
        with translated(self.path_of(name), "read"):
            return self._is_named(name, fd)

    def _is_named(self, name: str, fd: int) -> bool:
        named, ours = self._status(name), self.fs.fstat(fd)
        return named is not None and (named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino)

    def require_writable(self, name: str) -> None:
        """Raise unless this handle may change the file."""
        path = self.path_of(name)
        if self._read_only:
            raise ReadOnlyStore(
                f"{path}: the folder was opened read-only; nothing was changed", path=path, errno=None
            )
        if name in self._doubtful:
            raise DurabilityUnknown(
                f"{path}: an earlier sync failed; this handle refuses to change the file further: "
                "close it and open the folder again",
                path=path,
                errno=self._doubtful[name],
            )
        if not self._allow_network:
            require_local(self.path, "where locks cannot be relied on; keep the folder on a local disk")
            self._allow_network = True  # asked once

    def locked(self, name: str, flags: int, *, create: bool = False) -> int:
        """Open a file and take its lock; the descriptor, to be given to ``unlock``.

        The lock is the ``flock`` of the file itself, and dies with its owner. Raises
        ``LockTimeout``, ``TranscriptNotFound`` unless ``create``, and as ``StoreDirectory.open_fd``.
        """
        started = self.clock.monotonic()
        while True:
            fd = self._open(name, flags, create)
            try:
                left_s = max(0.0, started + self.lock_timeout_s - self.clock.monotonic())
                with translated(self.path_of(name), "lock"):
                    free = take_flock(self.fs, self.clock, fd, left_s)
                    if free and self._is_named(name, fd):
                        return fd
            except BaseException:
                self.close_file(fd)
                raise
            self.close_file(fd)
            # Free, but archived while we waited: the next try finds the new file.
            if not free or self.clock.monotonic() - started > self.lock_timeout_s + _LOSING_S:
                raise LockTimeout(
                    f"{self.path_of(name)} was being changed by another process or thread for "
                    f"{self.lock_timeout_s:.1f} s; nothing was changed: try again later or "
                    "give a longer lock_timeout",
                    session=None,
                    holder_pid=None,
                    holder="another process or thread",
                    held_s=None,
                    waited_s=self.clock.monotonic() - started,
                )

    def _open(self, name: str, flags: int, create: bool) -> int:
        directory, path = self.directory, self.path_of(name)
        with translated(path, "open"):
            try:
                return directory.open_fd(name, flags)
            except FileNotFoundError as exc:
                if not create:
                    raise TranscriptNotFound(f"there is no {path}", path=path) from exc
            return directory.open_fd(name, flags, create=True)

    def release(self, fd: int) -> None:
        """Let go of a file's lock."""
        # Said aloud, because a child forked meanwhile shares the lock until it ends.
        try:
            self.fs.flock(fd, LOCK_UN)
        except OSError:
            pass  # closing does it, too

    def unlock(self, fd: int) -> None:
        """Let go of a file's lock and close it."""
        self.release(fd)
        self.close_file(fd)

    def close_file(self, fd: int) -> None:
        """Close a file, whatever the system says to it: what had to be durable was synced."""
        try:
            self.fs.close(fd)
        except OSError:
            pass

    def sync_file(self, name: str, fd: int) -> None:
        """Make a file's bytes durable. A failure is final for this handle: ``DurabilityUnknown``."""
        try:
            self.fs.fdatasync(fd)
        except OSError as exc:
            raise self._doubt(name, exc) from exc

    def sync_names(self, name: str) -> None:
        """Make the folder's names durable, if asked for; ``name`` was changed. Errors as ``sync_file``."""
        if self.durability != "power":
            return
        try:
            durable.sync_directory(self.fs, self.directory.fd)
        except OSError as exc:
            raise self._doubt(name, exc) from exc

    def _doubt(self, name: str, exc: OSError) -> DurabilityUnknown:
        self._doubtful[name] = exc.errno
        path = self.path_of(name)
        return DurabilityUnknown(
            f"sync {path}: {exc.strerror}; the change is visible but may not survive a power cut, "
            "this handle refuses to change the file further: close it and open the folder again",
            path=path,
            errno=exc.errno,
        )
