"""Splitting a file into lines, from either end, in memory that does not grow with file or line.

A line above the reader's limit is passed over without being kept: only its place, its
first byte and its last three are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from sessiondir.fs import FileSystem
from sessiondir.transcripts.records import Line

CHUNK: Final = 1 << 18
_FIRST_CHUNK: Final = 1 << 14


class _Parts:
    """A line that is being put together, from either end."""

    __slots__ = ("_limit", "_parts", "head", "size", "tail")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.reset()

    def reset(self) -> None:
        """Begin another line."""
        self._parts: list[bytes] | None = []
        self.size = 0
        self.head = self.tail = b""

    def _keep(self, part: bytes) -> None:
        self.size += len(part)
        if self.size > self._limit:
            self._parts = None
        elif self._parts is not None:
            self._parts.append(part)

    def add(self, part: bytes) -> None:
        """Put a part at the end."""
        self.head = self.head or part[:1]
        self.tail = (self.tail + part[-3:])[-3:]
        self._keep(part)

    def add_before(self, part: bytes) -> None:
        """Put a part at the beginning."""
        self.head = part[:1] or self.head
        if len(self.tail) < 3:
            self.tail = (part[-3:] + self.tail)[-3:]
        self._keep(part)

    def line(self, offset: int, terminated: bool, *, backward: bool = False) -> Line:
        """The line."""
        raw = None
        if self._parts is not None:
            raw = b"".join(reversed(self._parts) if backward else self._parts)
        return Line(offset, self.size, raw, self.head, self.tail, terminated)


def chunks(fs: FileSystem, fd: int, start: int, end: int) -> Iterator[bytes]:
    """The bytes from ``start`` up to ``end``, or to where the file ends now."""
    while start < end and (data := fs.pread(fd, min(CHUNK, end - start), start)):
        start += len(data)
        yield data


def split(data: Iterable[bytes], offset: int, limit: int) -> Iterator[Line]:
    """The lines of a stream of bytes that begins at ``offset``; the last may have no line feed."""
    parts = _Parts(limit)
    for chunk in data:
        begin = 0
        if parts.size:
            begin = chunk.find(b"\n") + 1
            if not begin:
                parts.add(chunk)
                continue
            parts.add(chunk[: begin - 1])
            yield parts.line(offset, True)
            offset += parts.size + 1
            parts.reset()
        stop = chunk.rfind(b"\n")
        if stop >= begin:
            for raw in chunk[begin:stop].split(b"\n"):
                size = len(raw)
                yield Line(offset, size, raw if size <= limit else None, raw[:1], raw[-3:], True)
                offset += size + 1
            begin = stop + 1
        if begin < len(chunk):
            parts.add(chunk[begin:])
    if parts.size:
        yield parts.line(offset, False)


def split_backward(fs: FileSystem, fd: int, end: int, limit: int) -> Iterator[Line]:
    """The lines before ``end``, the last one first."""
    parts = _Parts(limit)
    position = line_end = end
    terminated = False
    size = _FIRST_CHUNK
    while position:
        count = min(size, position)
        size = min(CHUNK, size * 2)
        position -= count
        chunk = b"".join(chunks(fs, fd, position, position + count))
        if len(chunk) < count:
            # Somebody cut the file meanwhile: what was there is no longer.
            parts.reset()
            line_end, terminated = position + len(chunk), False
        pieces = chunk.split(b"\n")
        for piece in reversed(pieces[1:]):
            parts.add_before(piece)
            offset = line_end - parts.size
            if terminated or parts.size:
                yield parts.line(offset, terminated, backward=True)
            line_end, terminated = offset - 1, True
            parts.reset()
        parts.add_before(pieces[0])
    if terminated or parts.size:
        yield parts.line(0, terminated, backward=True)
