"""Appending to a transcript and taking its last record back. Called with the file's lock held.

Only ``append`` and ``take_back`` change what a transcript holds; neither rewrites anything
that stands before the last record.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from typing import Final

from sessiondir import durable
from sessiondir.errors import CorruptFile, RecordTooLarge, translated
from sessiondir.transcripts.handle import Handle
from sessiondir.transcripts.lines import split_backward
from sessiondir.transcripts.records import Line, Record, Settling, frame, seal

# With O_APPEND the system puts every write at the end: a program that takes no lock loses nothing to us.
_APPENDING: Final = os.O_RDWR | os.O_APPEND
_COMPARE: Final = 1 << 20

Encode = Callable[[int, int], Sequence[bytes]]
"""From the open file and its size to the encoded records that are to be appended."""


def append(handle: Handle, name: str, encode: Encode, *, durability: str) -> int:
    """Append what ``encode`` gives, all or nothing, and return the file's size; the size as it is for nothing.

    On failure the file is as before, or ends in a piece of a record that nobody takes for one.
    """
    fd = handle.locked(name, _APPENDING, create=True)
    try:
        try:
            with translated(handle.path_of(name), "append to"):
                size, end = _append_locked(handle, name, fd, encode, durability)
        finally:
            handle.release(fd)
        if durability == "power" and end > size:
            handle.sync_file(name, fd)  # without the lock: nobody waits for our disk
        return end
    finally:
        handle.close_file(fd)


def _append_locked(handle: Handle, name: str, fd: int, encode: Encode, durability: str) -> tuple[int, int]:
    """The file's size before and after."""
    fs = handle.fs
    size = fs.fstat(fd).st_size
    try:
        if not size and durability == "power":
            # First, so that nothing can be acknowledged in a file whose name may be lost.
            durable.sync_directory(fs, handle.directory.fd)
        lines = encode(fd, size)
        if not lines:
            return size, size
        data = seal(fs.pread(fd, 1, max(0, size - 1))) + frame(lines)
        try:
            durable.write_all(fs, fd, data, size)
        except BaseException:
            _cut_back(handle, fd, size, data)
            raise
    except BaseException:
        _forget_empty(handle, name, fd)
        raise
    return size, size + len(data)


def _cut_back(handle: Handle, fd: int, size: int, data: bytes) -> None:
    """Remove the beginning of ``data``, unless somebody else has written behind it."""
    with contextlib.suppress(OSError):
        written = handle.fs.fstat(fd).st_size - size
        if not 0 < written <= len(data):
            return
        for at in range(0, written, _COMPARE):
            part = data[at : min(at + _COMPARE, written)]
            if handle.fs.pread(fd, len(part), size + at) != part:
                return
        handle.fs.ftruncate(fd, size)


def _forget_empty(handle: Handle, name: str, fd: int) -> None:
    """Remove a file that was made for nothing."""
    with contextlib.suppress(OSError):
        if handle.fs.fstat(fd).st_size == 0:
            handle.fs.unlink(name, dir_fd=handle.directory.fd)


def last_id(handle: Handle, fd: int, size: int) -> str | None:
    """The ``id`` of the last record that has one and is not the header."""
    settling = Settling(backward=True)
    for line in split_backward(handle.fs, fd, size, handle.record_bytes):
        for record in settling.feed(line):
            found = record.value.get("id")
            if isinstance(found, str) and record.type != "session":
                return found
    return None


def take_back(handle: Handle, name: str) -> Record | None:
    """Remove the last record and what stands behind it and does not count; None if there is no record.

    Raises ``CorruptFile`` if a damaged line stands behind it, ``RecordTooLarge`` if it is above
    the handle's limit; nothing was changed then.
    """
    fd = handle.locked(name, os.O_RDWR)
    path = handle.path_of(name)
    try:
        with translated(path, "cut"):
            size = handle.fs.fstat(fd).st_size
            found, neighbour = _last_two(handle, fd, size, path)
            if found is None:
                return None
            if neighbour is None:
                handle.fs.ftruncate(fd, found.offset)
            else:
                _close_group_before(handle, name, fd, neighbour)
                with contextlib.suppress(OSError):  # it no longer counts, whether it stands there or not
                    handle.fs.ftruncate(fd, found.offset)
        if handle.durability == "power":
            handle.sync_file(name, fd)
        return found
    finally:
        handle.unlock(fd)


def _last_two(handle: Handle, fd: int, size: int, path: str) -> tuple[Record | None, Line | None]:
    """The last record that counts, and the line before it if both are of one group."""
    settling = Settling(backward=True)
    found: Record | None = None
    for line in split_backward(handle.fs, fd, size, handle.record_bytes):
        for record in settling.feed(line):
            if found is not None:
                return found, record.line
            problem = record.problem
            if problem == "damaged":
                raise CorruptFile(
                    f"{path}: the line at byte {record.offset} is damaged and stands behind the last record; "
                    "nothing was removed: archive the transcript, or mend the line by hand",
                    path=path,
                    reason=f"damaged line at byte {record.offset}",
                )
            if problem == "too large":
                raise RecordTooLarge(
                    f"{path}: the last record has {record.size:,} bytes, the limit is {handle.record_bytes:,} "
                    "(record_bytes); nothing was removed",
                    where="",
                    reason="too large",
                    size=record.size,
                    limit=handle.record_bytes,
                )
            if problem:
                continue
            if record.line.mark() != "last":
                return record, None
            found = record
    return found, None


def _close_group_before(handle: Handle, name: str, fd: int, before: Line) -> None:
    """Let the rest of a group count without its last record: one byte, which is the moment of change."""
    alone = before.mark() == "first"
    # ">{...}>" becomes "_{...}>", a plain line; ">{...}>>" becomes ">{...}_>", the last of its group.
    durable.write_all(handle.fs, fd, b" ", before.offset if alone else before.offset + before.size - 2)
    if handle.durability == "power":
        handle.sync_file(name, fd)
