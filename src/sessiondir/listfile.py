"""``listing.jsonl``: metadata of all sessions, newest first, so that a listing need not read every session file.

    {"n":0,"rows":[[key,version,updatedAt,sessionId,size],...],"gone":[],"crc":"8 hex"}

Lines up to ``base`` hold sorted rows; each later line holds what one checkpoint changed.
Nothing but a hint: it is used only as far as ``state.json`` vouches for it (see
``StateListing``), and whatever is wrong with it means that session files are read instead.
The check sum covers the file's identity and the line, whose number is its place.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sessiondir import codec, durable, layout
from sessiondir.directory import StoreDirectory
from sessiondir.document import Document
from sessiondir.errors import StoreError
from sessiondir.model import SessionInfo
from sessiondir.state import StateListing

_BLOCK_ROWS = 64
_FIRST_READ_BYTES = 1 << 14
_READ_BYTES = 1 << 18
_LONGEST_LINE_BYTES = 1 << 24
_CRC = b',"crc":"'
_CRC_LENGTH = len(_CRC) + 8 + len(b'"}\n')

Rank = tuple[Any, ...]
"""What sessions are sorted by: unique, its last item the key."""


class UnusableListing(Exception):
    """The listing file is not what the state file says; the message is the reason."""


def info_of(doc: Document) -> SessionInfo:
    """What a listing tells of a document."""
    fields = doc.fields or {}
    session_id = fields.get("sessionId")
    return SessionInfo(
        doc.key, doc.version, doc.updated_at(), session_id if isinstance(session_id, str) else None, doc.size
    )


def recency(info: SessionInfo) -> Rank:
    """Newest first; sessions without a time last."""
    updated_at = info.updated_at
    return (1, 0, info.key) if updated_at is None else (0, -updated_at, info.key)


def stamp(directory: StoreDirectory) -> tuple[int, int]:
    """Inode and change time (ns) of ``entries/``: no session file comes, goes or is replaced without a new one.

    A change time cannot be set, as that of modification can: a copy or a restored backup has others.
    (0, 0), which no state file names, if there is none or nobody can tell.
    """
    try:
        status = directory.fs.stat(layout.ENTRIES, dir_fd=directory.fd, follow_symlinks=False)
    except OSError:
        return (0, 0)
    return status.st_ino, status.st_ctime_ns


class ListingFile:
    """The file that ``mark`` describes, held open; for one listing.

    Raises ``UnusableListing``, as all its methods do.
    """

    def __init__(self, directory: StoreDirectory, mark: StateListing) -> None:
        self._fs = directory.fs
        self._mark = mark
        self._salt = mark.identity.encode()
        try:
            self._fd = directory.open_fd(layout.LISTING, os.O_RDONLY)
        except (OSError, StoreError) as exc:
            raise UnusableListing(str(exc)) from exc

    def close(self) -> None:
        """Close the descriptor."""
        self._fs.close(self._fd)

    def newest(self) -> Iterator[SessionInfo]:
        """The sorted rows, read as far as they are asked for."""
        for number, line in enumerate(self._lines(0, self._mark.base)):
            rows, gone = _parse(line, number, self._salt)
            if gone:
                raise UnusableListing(f"line {number} has deletions among the sorted rows")
            yield from rows

    def changes(self) -> dict[str, SessionInfo | None]:
        """What changed since the rows were sorted; None for a session that is gone."""
        found: dict[str, SessionInfo | None] = {}
        for number, line in enumerate(self._lines(self._mark.base, self._mark.size), self._mark.blocks):
            rows, gone = _parse(line, number, self._salt)
            found.update((row.key, row) for row in rows)
            found.update(dict.fromkeys(gone))
        return found

    def everything(self) -> dict[str, SessionInfo]:
        """All sessions, by key. O(sessions)."""
        found: dict[str, SessionInfo | None] = {row.key: row for row in self.newest()}
        found.update(self.changes())
        return {key: info for key, info in found.items() if info is not None}

    def _lines(self, start: int, end: int) -> Iterator[bytes]:
        rest, size = b"", _FIRST_READ_BYTES
        while start < end:
            try:
                data = self._fs.pread(self._fd, min(size, end - start), start)
            except OSError as exc:
                raise UnusableListing(str(exc)) from exc
            if not data or len(rest) > _LONGEST_LINE_BYTES:
                raise UnusableListing(f"it ends at byte {start} or has no line there")
            start += len(data)
            size = _READ_BYTES
            *lines, rest = (rest + data).split(b"\n")
            yield from lines
        if rest:
            raise UnusableListing("its last line is not whole")


def _parse(line: bytes, number: int, salt: bytes) -> tuple[list[SessionInfo], list[str]]:
    """Rows and deleted keys of a line without its line feed."""
    cut = len(line) + 1 - _CRC_LENGTH
    body = line[: max(cut, 0)]
    if line[len(body) :] != _ending(body, salt)[:-1]:
        raise UnusableListing(f"line {number} is damaged, or of another file")
    try:
        value = codec.decode(body + b"}")
        rows = [SessionInfo(*row) for row in value["rows"]]
        gone = value["gone"]
        good = value["n"] == number and all(map(_is_sound, rows)) and all(type(key) is str for key in gone)
    except (ValueError, TypeError, KeyError) as exc:
        raise UnusableListing(f"line {number}: {exc}") from exc
    if not good:
        raise UnusableListing(f"line {number} is not what it should be")
    return rows, gone


def _is_sound(info: SessionInfo) -> bool:
    return (
        type(info.key) is str
        and type(info.version) is int
        and (info.updated_at is None or type(info.updated_at) in (int, float))
        and (info.session_id is None or type(info.session_id) is str)
        and type(info.size) is int
    )


def _ending(body: bytes, salt: bytes) -> bytes:
    return _CRC + b"%08x" % zlib.crc32(body, zlib.crc32(salt)) + b'"}\n'


def _line(number: int, rows: Iterable[SessionInfo], gone: Sequence[str], salt: bytes) -> bytes:
    value = {
        "n": number,
        "rows": [[row.key, row.version, row.updated_at, row.session_id, row.size] for row in rows],
        "gone": gone,
    }
    body = codec.encode(value)[:-1]
    return body + _ending(body, salt)


def write_listing(directory: StoreDirectory, infos: Iterable[SessionInfo]) -> StateListing:
    """Replace the listing file by one of these sessions; what a state file has to say of it.

    ``entries`` of the result is for the caller to fill in. O(sessions log sessions). Raises ``OSError``,
    ``StoreError`` or ``codec.EncodeError``; the old file stands then.
    """
    identity = os.urandom(8).hex()
    rows = sorted(infos, key=recency)
    salt = identity.encode()
    lines = [
        _line(number, rows[start : start + _BLOCK_ROWS], (), salt)
        for number, start in enumerate(range(0, len(rows), _BLOCK_ROWS))
    ]
    data = b"".join(lines)
    durable.replace(directory.fs, directory.fd, layout.LISTING, data, directory.owner)
    return StateListing(identity, len(data), len(data), len(lines), 0, (0, 0))


def append_changes(
    directory: StoreDirectory, mark: StateListing, changes: Mapping[str, SessionInfo | None]
) -> StateListing:
    """Append a line, durably; what a state file has to say of the file now.

    Until that state file is written nobody looks at the line. Raises as ``write_listing``, or ``UnusableListing``.
    """
    rows = [info for info in changes.values() if info is not None]
    gone = [key for key, info in changes.items() if info is None]
    line = _line(mark.blocks + mark.appended, rows, gone, mark.identity.encode())
    try:
        with directory.open_file(layout.LISTING, os.O_WRONLY) as fd:
            if directory.fs.fstat(fd).st_size < mark.size:
                raise UnusableListing("it is too short")
            durable.write_all(directory.fs, fd, line, mark.size)
            directory.fs.fdatasync(fd)
    except FileNotFoundError as exc:
        raise UnusableListing("it is not there") from exc
    return replace(mark, size=mark.size + len(line), appended=mark.appended + 1)
