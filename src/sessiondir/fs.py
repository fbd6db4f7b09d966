"""The only module that calls the operating system about files and locks.

``FileSystem`` names every call the store makes; the methods are the functions of ``os``
themselves, so going through the seam costs one attribute look-up. Tests replace it by a
subclass that fails or stops at the n-th call.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Callable

_RANGE = struct.Struct("hhqqi4x")
_FULL_SYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)

OFD_SETLK: int = getattr(fcntl, "F_OFD_SETLK", -1)
"""The ``fcntl`` command that takes or releases a byte range for an open file description."""

OFD_GETLK: int = getattr(fcntl, "F_OFD_GETLK", -1)
"""The ``fcntl`` command that asks who would be in the way of such a lock."""

HAS_OFD_LOCKS = OFD_SETLK >= 0
"""Whether this platform has open-file-description byte-range locks (Linux does)."""

LOCK_EX, LOCK_UN, LOCK_NB = fcntl.LOCK_EX, fcntl.LOCK_UN, fcntl.LOCK_NB
F_UNLCK = fcntl.F_UNLCK

READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""For a file that somebody may have replaced by a link, which is refused, or by a FIFO, which must not block."""


def range_request(position: int, *, unlock: bool = False, shared: bool = False) -> bytes:
    """The ``struct flock`` asking for (or releasing) one byte at ``position``."""
    kind = fcntl.F_UNLCK if unlock else fcntl.F_RDLCK if shared else fcntl.F_WRLCK
    return _RANGE.pack(kind, os.SEEK_SET, position, 1, 0)


def is_free(answer: bytes) -> bool:
    """Whether the answer to ``OFD_GETLK`` says that nobody is in the way."""
    return bool(_RANGE.unpack(answer)[0] == fcntl.F_UNLCK)


def _full_sync(fd: int) -> None:
    # macOS: fsync() leaves the bytes in the drive's cache; F_FULLFSYNC does not (fsync(2) there).
    assert _FULL_SYNC is not None
    fcntl.fcntl(fd, _FULL_SYNC)


def _listdir(fd: int) -> list[str]:
    # Not of ``fd`` itself: ``os.listdir`` reads at an offset that all users of a descriptor
    # share, so of two threads that list it at once each would get a part of the names.
    own = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
    try:
        return os.listdir(own)
    finally:
        os.close(own)


def _link(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
    # Never through a symbolic link: put in place of the source at the last moment, it would give
    # a file of somebody else a name of ours (G10).
    os.link(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, follow_symlinks=False)


class FileSystem:
    """The real file system."""

    open = staticmethod(os.open)
    close = staticmethod(os.close)
    pread = staticmethod(os.pread)
    pwrite = staticmethod(os.pwrite)
    ftruncate = staticmethod(os.ftruncate)
    fstat = staticmethod(os.fstat)
    stat = staticmethod(os.stat)
    realpath: Callable[..., str] = staticmethod(os.path.realpath)
    fchmod = staticmethod(os.fchmod)
    fchown = staticmethod(os.fchown)
    listdir: Callable[[int], list[str]] = staticmethod(_listdir)
    mkdir = staticmethod(os.mkdir)
    rmdir = staticmethod(os.rmdir)
    rename = staticmethod(os.rename)
    link = staticmethod(_link)
    unlink = staticmethod(os.unlink)
    flock = staticmethod(fcntl.flock)
    fcntl: Callable[[int, int, bytes], bytes] = staticmethod(fcntl.fcntl)  # type: ignore[assignment]
    fsync: Callable[[int], None] = staticmethod(_full_sync if _FULL_SYNC is not None else os.fsync)
    fdatasync: Callable[[int], None] = staticmethod(
        _full_sync if _FULL_SYNC is not None else getattr(os, "fdatasync", os.fsync)
    )

    def read_all(self, fd: int, limit: int) -> bytes:
        """Read a whole regular file of at most ``limit`` bytes; ``OverflowError`` above that."""
        size = self.fstat(fd).st_size
        if size > limit:
            raise OverflowError(size)
        parts: list[bytes] = []
        position = 0
        while part := self.pread(fd, max(size - position, 0) + 1, position):
            parts.append(part)
            position += len(part)
            if position > limit:
                raise OverflowError(position)
        return b"".join(parts) if len(parts) != 1 else parts[0]


SYSTEM_FS = FileSystem()
