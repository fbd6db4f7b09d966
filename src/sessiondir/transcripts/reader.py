"""Reading a transcript or an archive: from the start, from the end, and as it grows.

No lock is taken. What is read is what stood there when reading began; lines that do not
count yet, or never will, are left out.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator

from sessiondir.errors import InvalidOption, translated
from sessiondir.transcripts.following import Follower, warn_of
from sessiondir.transcripts.handle import Handle
from sessiondir.transcripts.lines import chunks, split, split_backward
from sessiondir.transcripts.names import parse
from sessiondir.transcripts.records import Line, Record, Settling
from sessiondir.transcripts.zstd import decompressed

TAIL_BYTES = 64 << 20


class TranscriptReader:
    """What can be read of one file of a sessions folder. Threads may share it; it holds nothing open."""

    def __init__(self, handle: Handle, name: str) -> None:
        self._handle = handle
        self.name = name
        self.path = handle.path_of(name)
        told = parse(name)
        self.session_id = told.session_id if told is not None else None
        self._compressed = told is not None and told.compressed

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path}>"

    def exists(self) -> bool:
        """Whether the file is there."""
        return self._status() is not None

    @property
    def size(self) -> int:
        """Bytes of the file; 0 if there is none."""
        status = self._status()
        return status.st_size if status is not None else 0

    def _status(self) -> os.stat_result | None:
        return self._handle.status(self.name)

    def __iter__(self) -> Iterator[Record]:
        return self.records()

    def __reversed__(self) -> Iterator[Record]:
        return self.records(reverse=True)

    def records(
        self, *, reverse: bool = False, since: int = 0, before: int | None = None, damaged: bool = False
    ) -> Iterator[Record]:
        """The records, oldest first; nothing if there is no file.

        Args:
            reverse: newest first; not for compressed archives.
            since: begin at this offset, the ``end`` of a record.
            before: stop at this offset, the ``offset`` of a record. None: the end of the file.
            damaged: also what does not count, with its ``problem``. Otherwise a line that is
                damaged or too large is logged, and what was never acknowledged is left out.

        Raises ``UnreadableFile``, and ``CorruptFile`` if it is not a regular file. Memory: one
        chunk and one record (or one group of records appended at once); the cost of
        reading backwards is that of what is asked for.
        """
        for record in self.scan(reverse=reverse, since=since, before=before):
            problem = record.problem
            if not problem or damaged:
                yield record
            elif problem in ("damaged", "too large"):
                warn_of(self.path, record)

    def scan(self, *, reverse: bool = False, since: int = 0, before: int | None = None) -> Iterator[Record]:
        """As ``records(damaged=True)``, but nothing is parsed that need not be."""
        settling = Settling(backward=reverse, trusted=since > 0 or (reverse and before is not None))
        with self._handle.opened(self.name) as fd, translated(self.path, "read"):
            if fd is None:
                return
            for line in self._lines(fd, reverse, since, before):
                beyond = line.offset < since if reverse else before is not None and line.offset >= before
                if beyond and not settling.waiting:
                    return
                for record in settling.feed(line):
                    if record.offset >= since and (before is None or record.offset < before):
                        yield record
            yield from settling.give_up()

    def _lines(self, fd: int, reverse: bool, since: int, before: int | None) -> Iterator[Line]:
        handle = self._handle
        fs, limit = handle.fs, handle.record_bytes
        end = fs.fstat(fd).st_size
        if self._compressed:
            if reverse or since or before is not None:
                raise InvalidOption(f"{self.path} is compressed: it can only be read from the start; use tail()")
            yield from split(decompressed(chunks(fs, fd, 0, end), self.path), 0, limit)
            return
        if reverse:
            yield from split_backward(fs, fd, end if before is None else min(before, end), limit)
        else:
            yield from split(chunks(fs, fd, since, end), since, limit)

    def tail(self, count: int, *, max_bytes: int = TAIL_BYTES) -> list[Record]:
        """The last ``count`` records, oldest first.

        Fewer if they have more than ``max_bytes`` together (the last one is always there). Cost
        and memory depend on what is returned, not on the file; a compressed archive is read
        from the start.
        """
        if count < 0:
            raise InvalidOption(f"count must not be negative: {count}")
        found: deque[Record] = deque()
        size = 0
        for record in self.records(reverse=not self._compressed) if count else ():
            size += record.size
            if self._compressed:
                found.append(record)
                while len(found) > count or (size > max_bytes and len(found) > 1):
                    size -= found.popleft().size
                continue
            if size > max_bytes and found:
                break
            found.appendleft(record)
            if len(found) == count:
                break
        return list(found)

    def follow(self, since: int | None = None, *, timeout: float | None = None) -> Iterator[Record]:
        """Records as they are appended, by whatever program.

        Args:
            since: begin at this offset, the ``end`` of a record. None: only what comes from now on.
            timeout: end after so many seconds without a record. None: never.

        A file that does not exist yet is waited for. When it is archived or cleared, what was
        still in it comes first, then the new one from its start. Damaged lines are logged.
        A record shows within some 20 ms. One that takes the place of a record that was taken back
        (``pop``) comes, too.
        """
        if self._compressed:
            raise InvalidOption(f"{self.path} is compressed: nothing is ever appended to it")
        position = self.size if since is None else since
        return Follower(self._handle, self.name, position, timeout).records()
