"""What a durable write is. Nothing else in the package creates or replaces files.

A file is replaced in four steps, and only all four keep both the old-or-new promise and
durability (each shorter recipe loses one; see the crash model in ``docs/design``): write
a temporary file beside the target, sync it, rename it over the target, sync the directory.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from sessiondir import layout
from sessiondir.fs import READ_FLAGS, FileSystem

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def write_new(
    fs: FileSystem,
    dir_fd: int,
    name: str,
    data: bytes | Iterable[bytes],
    owner: tuple[int, int] | None = None,
    *,
    sync: bool = True,
) -> None:
    """Create ``name`` with ``data``; ``FileExistsError`` if it is there. Mode 0600 whatever the umask.

    Data that comes in parts is written part by part. On any failure, of the parts too,
    nothing of the file remains. The name is durable after ``sync_directory``.
    """
    fd = fs.open(name, _CREATE, 0o600, dir_fd=dir_fd)
    try:
        fs.fchmod(fd, 0o600)
        if owner is not None:
            fs.fchown(fd, *owner)
        position = 0
        for part in (data,) if isinstance(data, bytes) else data:
            write_all(fs, fd, part, position)
            position += len(part)
        if sync:
            fs.fsync(fd)
    except BaseException:
        fs.close(fd)
        _discard(fs, dir_fd, name)
        raise
    fs.close(fd)


def write_temporary(
    fs: FileSystem, dir_fd: int, data: bytes | Iterable[bytes], owner: tuple[int, int] | None = None
) -> str:
    """Write ``data`` to a fresh temporary file and return its name; not yet synced."""
    name = layout.temporary_name()
    write_new(fs, dir_fd, name, data, owner, sync=False)
    return name


def sync_file(fs: FileSystem, dir_fd: int, name: str) -> None:
    """Make the bytes of ``name`` durable."""
    fd = fs.open(name, READ_FLAGS, dir_fd=dir_fd)
    try:
        fs.fsync(fd)
    finally:
        fs.close(fd)


def replace(fs: FileSystem, dir_fd: int, name: str, data: bytes, owner: tuple[int, int] | None = None) -> None:
    """Replace ``name`` by ``data``, durably; old or new, never anything else.

    On failure the old file stands and no temporary file remains.
    """
    temporary = layout.temporary_name()
    write_new(fs, dir_fd, temporary, data, owner)
    try:
        fs.rename(temporary, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    except BaseException:
        _discard(fs, dir_fd, temporary)
        raise
    sync_directory(fs, dir_fd)


def sync_directory(fs: FileSystem, dir_fd: int) -> None:
    """Make the names in a directory durable."""
    fs.fsync(dir_fd)


def write_all(fs: FileSystem, fd: int, data: bytes | memoryview, position: int) -> None:
    """``pwrite`` until everything is written; raises what the system raises, with a part written."""
    view = memoryview(data)
    while view:
        done = fs.pwrite(fd, view, position)
        position += done
        view = view[done:]


def _discard(fs: FileSystem, dir_fd: int, name: str) -> None:
    try:
        fs.unlink(name, dir_fd=dir_fd)
    except OSError:
        pass  # the first failure is the one to report; the next sweep removes the rest
