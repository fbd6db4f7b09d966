"""Records and lines: what a line of a transcript is, and which lines belong together.

A record is one JSON object on one line. Records that were appended at once and are more
than one carry marks that JSON readers skip, blanks around the object (``_`` is a space,
``>`` a tab):

    >{...}>       the first
    >{...}>>      any between
    >{...}_       the last

They count only when all of them stand there in a row, from the first to the last. What a
writer that died has left without a line feed is closed by the next one with a tab and a
line feed, so nothing is glued to it, and no tail of marks becomes a last one. Pure functions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal

from sessiondir import codec
from sessiondir.errors import InvalidRecord, RecordTooLarge

GROUP_BYTES: Final = 64 << 20
"""What may be appended at once, all records together; a longer group is none of ours."""

SEAL: Final = b"\t\n"

Problem = Literal["", "damaged", "torn", "incomplete", "too large"]
Mark = Literal["plain", "blank", "first", "between", "last"]


class Line:
    """A line without its line feed; ``raw`` is None when it is longer than the reader's limit.

    ``offset`` and ``size`` are bytes in the file; ``head`` and ``tail`` its first byte and
    its last three.
    """

    __slots__ = ("head", "offset", "raw", "size", "tail", "terminated")

    def __init__(
        self, offset: int, size: int, raw: bytes | None, head: bytes, tail: bytes, terminated: bool
    ) -> None:
        self.offset = offset
        self.size = size
        self.raw = raw
        self.head = head
        self.tail = tail
        self.terminated = terminated

    def mark(self) -> Mark:
        """What the blanks around the object say."""
        raw = self.raw
        if self.head != b"\t":
            return "plain" if raw is None or raw.strip() else "blank"
        if raw is not None and not raw.strip():
            return "blank"
        body = self.tail.rstrip(b"\t")
        if body.endswith(b" "):
            return "last"
        tabs = len(self.tail) - len(body)
        if not tabs:
            # Not "plain" while its mark may still be missing: closing it makes it a "first", too.
            return "plain" if self.terminated else "first"
        return "first" if tabs == 1 else "between"


class Record:
    """One record as it stands in a transcript.

    Attributes: ``offset`` and ``size`` (bytes in the file; of a compressed archive, in what it
    holds), ``end`` (offset of the next line: pass it on as ``since``).
    """

    __slots__ = ("_problem", "_value", "line")

    def __init__(self, line: Line, problem: Problem = "") -> None:
        self.line = line
        self._problem = problem
        self._value: dict[str, Any] | None = None

    def __repr__(self) -> str:
        return f"<Record at {self.offset}, {self.size} bytes{', ' if self.problem else ''}{self.problem}>"

    @property
    def offset(self) -> int:
        """Where the line begins."""
        return self.line.offset

    @property
    def size(self) -> int:
        """Bytes of the line, without its line feed."""
        return self.line.size

    @property
    def end(self) -> int:
        """Where the next line begins."""
        return self.line.offset + self.line.size + self.line.terminated

    @property
    def raw(self) -> bytes:
        """The line as it stands; empty if it is too large."""
        return self.line.raw or b""

    @property
    def problem(self) -> Problem:
        """Why there is no value, or an empty text.

        ``damaged``: not a JSON object. ``torn``: its writer died in the middle. ``incomplete``:
        one of several appended at once that are not all there. ``too large``: above the reader's limit.
        """
        if not self._problem and self._value is None:
            self._read()
        return self._problem

    @property
    def value(self) -> dict[str, Any]:
        """The record, parsed when first asked for; empty if there is a ``problem``."""
        if self._value is None:
            self._read()
        return self._value or {}

    @property
    def type(self) -> str:
        """The record's ``type``; empty if it has none."""
        kind = self.value.get("type")
        return kind if isinstance(kind, str) else ""

    def _read(self) -> None:
        if self._problem:
            return
        line = self.line
        if line.raw is None:
            self._problem = "too large"
            return
        try:
            value = codec.decode(line.raw)
        except codec.DecodeError:
            value = None
        if isinstance(value, dict):
            self._value = value
        else:
            # What was closed for a writer that died ends in a tab; JSON that programs write does not.
            closed = line.raw.endswith(b"\t") and line.head != b"\t"
            self._problem = "torn" if closed or not line.terminated else "damaged"


class Settling:
    """Finds out which lines count, fed line by line in either direction.

    ``trusted``: reading begins behind (or, backwards, before) a record that counts, so the rest
    of its group does, too. Memory: one group.
    """

    def __init__(self, *, backward: bool = False, trusted: bool = False) -> None:
        self._opens: Mark = "last" if backward else "first"
        self._closes: Mark = "first" if backward else "last"
        self._trusted = trusted
        self._group: list[Line] = []
        self._bytes = 0

    @property
    def waiting(self) -> bool:
        """Whether there is a group whose end was not met yet."""
        return bool(self._group)

    def feed(self, line: Line) -> Iterator[Record]:
        """What the next line settles."""
        mark = line.mark()
        if mark == "plain":
            yield from self.give_up()
            self._trusted = False
            yield Record(line)
        elif mark == "blank":
            yield from self.give_up()
            self._trusted = False
        elif mark == self._opens:
            yield from self.give_up()
            self._trusted = False
            self._group, self._bytes = [line], line.size
        elif self._trusted:
            self._trusted = mark == "between"
            yield Record(line)
        elif not self._group:
            yield Record(line, "incomplete")
        else:
            self._group.append(line)
            self._bytes += line.size
            if self._bytes > GROUP_BYTES:
                yield from self.give_up()
            elif mark == self._closes:
                group, self._group = self._group, []
                whole = _is_whole(group, group[0] if self._closes == "first" else line)
                for one in group:
                    yield Record(one, "" if whole else "incomplete")

    def give_up(self) -> Iterator[Record]:
        """There is no more to come: what waits does not count."""
        group, self._group = self._group, []
        for line in group:
            yield Record(line, "incomplete")


def _is_whole(group: list[Line], last: Line) -> bool:
    """Whether a group that has all its marks was written to its end."""
    # Zeros are what a power cut leaves of bytes that never reached the disk.
    if any(one.raw is not None and b"\0" in one.raw for one in group):
        return False
    # A text may hold what looks like the last mark, just where its writer died.
    may_be_torn = not last.terminated or last.tail.endswith(b"\t")
    return not may_be_torn or not Record(last).problem


def encode_record(record: object, limit: int) -> bytes:
    """A record as the line it becomes, without line feed. Raises ``InvalidRecord``, ``RecordTooLarge``."""
    if not isinstance(record, Mapping):
        reason = f"a record is a JSON object, not {type(record).__name__}"
        raise InvalidRecord(f"{reason}; nothing was appended", where="", reason=reason)
    try:
        data = codec.encode(record if type(record) is dict else dict(record))
    except codec.EncodeError as exc:
        raise InvalidRecord(f"{exc}; nothing was appended", where=exc.where, reason=exc.reason) from exc
    if len(data) > limit:
        raise RecordTooLarge(
            f"the record has {len(data):,} bytes, the limit is {limit:,} (record_bytes); nothing was appended: "
            "keep large content in a file of its own and refer to it",
            where="",
            reason="too large",
            size=len(data),
            limit=limit,
        )
    return data


def frame(lines: Sequence[bytes]) -> bytes:
    """Encoded records as the bytes to append; several get the marks that keep them together."""
    if len(lines) == 1:
        return lines[0] + b"\n"
    size = sum(map(len, lines)) + 4 * len(lines)
    if size > GROUP_BYTES:
        raise RecordTooLarge(
            f"{len(lines)} records at once have {size:,} bytes, the limit is {GROUP_BYTES:,}; nothing was "
            "appended: append fewer at a time",
            where="",
            reason="too large",
            size=size,
            limit=GROUP_BYTES,
        )
    between = (b"\t%b\t\t\n" % line for line in lines[1:-1])
    return b"\t%b\t\n%b\t%b \n" % (lines[0], b"".join(between), lines[-1])


def seal(tail: bytes) -> bytes:
    """What to write before the next record, given the last byte of the file (none if it is empty)."""
    return SEAL if tail not in (b"", b"\n") else b""
