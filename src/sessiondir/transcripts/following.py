"""Following a file of a sessions folder as it grows, is archived, cleared and cut.

No lock is taken: the file is looked at every 20 ms. What has been passed is remembered by the
hash of its last lines, so that a record which is taken back, and another appended in its
place before the next look, is not mistaken for the one that was passed.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator

from sessiondir.errors import translated
from sessiondir.transcripts.handle import Handle
from sessiondir.transcripts.lines import chunks, split, split_backward
from sessiondir.transcripts.records import Line, Record, Settling

_log = logging.getLogger("sessiondir")
_POLL_S = 0.02
_REMEMBERED = 64
"""So many lines may be taken back between two looks."""


class Follower:
    """One reader's way through a growing file, from ``position`` on; ends after ``timeout_s`` without a record."""

    def __init__(self, handle: Handle, name: str, position: int, timeout_s: float | None) -> None:
        self._handle = handle
        self._name = name
        self._path = handle.path_of(name)
        self._position = position
        self._timeout_s = timeout_s
        self._passed: deque[tuple[int, int, int]] = deque(maxlen=_REMEMBERED)
        """Offset, size and hash of the last lines that were passed."""
        if position:
            self._look_back()

    def records(self) -> Iterator[Record]:
        """The records; errors as those of ``TranscriptReader.records``."""
        handle = self._handle
        deadline = self._deadline()
        while True:
            with handle.opened(self._name) as fd:
                seen, settled = (-1, 0), False
                while fd is not None:
                    # Asked first: nothing of ours is appended to a file that has lost its name.
                    named = handle.is_named(self._name, fd)
                    before, seen = seen, self._moment(fd)
                    # Looked at once more after a change: the clock of files stands still for milliseconds.
                    unchanged, settled = settled and seen == before, seen == before
                    for record in () if unchanged else self._news(fd, seen[0]):
                        if not record.problem:
                            yield record
                            deadline = self._deadline()
                        elif record.problem in ("damaged", "too large"):
                            warn_of(self._path, record)
                    if not named:
                        self._position = 0
                        self._passed.clear()
                        break
                    if self._is_over(deadline):
                        return
                    handle.clock.sleep(_POLL_S)
            if fd is None:
                if self._is_over(deadline):
                    return
                handle.clock.sleep(_POLL_S)

    def _deadline(self) -> float | None:
        return None if self._timeout_s is None else self._handle.clock.monotonic() + self._timeout_s

    def _is_over(self, deadline: float | None) -> bool:
        return deadline is not None and self._handle.clock.monotonic() >= deadline

    def _moment(self, fd: int) -> tuple[int, int]:
        """Size and time of change: while they stay, nothing was appended or taken back."""
        with translated(self._path, "read"):
            status = self._handle.fs.fstat(fd)
        return status.st_size, status.st_mtime_ns

    def _news(self, fd: int, size: int) -> Iterator[Record]:
        """What is complete behind what was passed; what waits for more stays for the next look."""
        handle = self._handle
        with translated(self._path, "read"):
            self._go_back(fd, size)
            start = self._position
            settling = Settling(trusted=start > 0)
            for line in split(chunks(handle.fs, fd, start, size), start, handle.record_bytes):
                if not line.terminated:
                    return
                for record in settling.feed(line):
                    self._position = record.end
                    self._remember(record.line)
                    yield record

    def _remember(self, line: Line) -> None:
        if line.raw is not None:
            self._passed.append((line.offset, line.size, hash(line.raw)))

    def _look_back(self) -> None:
        """Remember the line that ends where following begins."""
        handle = self._handle
        with handle.opened(self._name) as fd, translated(self._path, "read"):
            if fd is None:
                return
            for line in split_backward(handle.fs, fd, self._position, handle.record_bytes):
                self._remember(line)
                return

    def _go_back(self, fd: int, size: int) -> None:
        """To the first of the remembered lines that does not stand where it stood."""
        passed, fs = self._passed, self._handle.fs
        self._position = min(self._position, size)
        while passed:
            offset, length, known = passed[-1]
            end = offset + length
            if end <= size and hash(b"".join(chunks(fs, fd, offset, end))) == known:
                return
            passed.pop()
            self._position = min(self._position, offset)


def warn_of(path: str, record: Record) -> None:
    """Log that a record was left out."""
    _log.warning("%s: the line at byte %d is %s; it was left out", path, record.offset, record.problem)
