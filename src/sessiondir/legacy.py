"""The legacy store: one ``NAME.json`` that holds every session. Reading only; nothing is written.

The file is read as the program that wrote it reads it: keys in JavaScript's order, two
spellings of a key resolved by time, old field names renamed. What that program silently
takes for "empty" (damaged text, a link, an array) is told apart here and never used.

    index_legacy(fs, path, limits)    what is in the file and where, entry by entry
    read_legacy(fs, path, limits)     the same with all entries in memory

Differences kept on purpose: integers above 2**53 keep all their digits (what no double can hold at
all becomes null and is named, see ``jsnumbers``), an entry that is no
object, or whose key no JavaScript program can look up safely, is left out and named, and a
file that is JSON5 rather than JSON is read, with a note, where that program sees nothing.

Memory of ``index_legacy``: some 0.5 kB a session, 1 MiB, and about five times the largest
entry, whatever the size of the file. A JSON5 file is held whole, so it may be of 16 MiB.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from sessiondir import codec, layout
from sessiondir.document import Document
from sessiondir.errors import CorruptFile, storage_error
from sessiondir.fs import READ_FLAGS, FileSystem
from sessiondir.legacyparse import (
    Alias,
    Located,
    Reading,
    Unusable,
    json_of_json5,
    shown,
)
from sessiondir.model import KeyRule, Limits
from sessiondir.signature import Signature, signature_of

LegacyStatus = Literal["missing", "empty", "invalid", "usable"]

USUAL_NAME: Final = "sessions.json"
"""What the legacy program calls its store unless it is configured otherwise."""

JSON5_BYTES = 16 << 20
"""The longest file that is read as JSON5, which people write by hand."""

_READ_TRIES = 5
_PART_BYTES = 1 << 20
_BLANK_LIMIT = 1 << 16


@dataclass(frozen=True)
class LegacyFile:
    """A legacy file as it was at one moment.

    ``legacy_count`` counts every member of the file; ``sessions`` tells for each normalised
    key which entry stands for it. ``documents`` holds those entries as documents of version 1
    if the file was read with ``read_legacy``, else nothing. ``dropped`` names members that
    were left out, with the reason. ``size`` (bytes) and ``sha256`` describe the file's bytes.
    ``reason`` says why a file is ``"invalid"`` (it is then not used at all) or ``"empty"``.
    ``is_recognised``: it has a store's usual name, or an entry in it looks like a session.
    """

    path: str
    status: LegacyStatus
    reason: str = ""
    legacy_count: int = 0
    sessions: Mapping[str, Located] = field(default_factory=dict)
    documents: dict[str, Document] = field(default_factory=dict)
    dropped: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    signature: Signature | None = None
    aliases: tuple[Alias, ...] = ()
    size: int = 0
    sha256: str = ""
    is_json5: bool = False
    is_recognised: bool = False

    @property
    def warnings(self) -> tuple[str, ...]:
        """What there is to say of the file, for people."""
        left_out = tuple(f"{shown(name)} was left out: {reason}" for name, reason in self.dropped.items())
        return self.notes + left_out


ANY_SIZE: Final = Limits(legacy_bytes=1 << 62, entry_bytes=1 << 40)
"""For files that we wrote or took over ourselves: whatever was allowed then, they have to be known again."""


def read_legacy(fs: FileSystem, path: str, limits: Limits) -> LegacyFile:
    """As ``index_legacy``, and keep all entries: two to three times the file's size in memory."""
    return _read(fs, path, limits, keep=True)


def index_legacy(fs: FileSystem, path: str, limits: Limits, keys: KeyRule = "lowercase") -> LegacyFile:
    """Read and classify a legacy file; follows no link, takes no lock, changes nothing.

    ``keys``: which spellings are one session; the legacy program's own rule if not told otherwise.

    Raises ``UnreadableFile`` for what the system refuses: that is neither "empty" nor
    "invalid". Cost: O(file) in time; for memory see above.
    """
    return _read(fs, path, limits, keep=False, keys=keys)


def read_legacy_bytes(fs: FileSystem, path: str, limits: Limits) -> bytes | None:
    """The bytes of a legacy file, not understood yet; None if there is no file.

    Raises ``CorruptFile`` for what is no regular file or above the limit, ``UnreadableFile`` as
    ``read_legacy``. Follows no link, takes no lock.
    """
    try:
        fd = fs.open(path, READ_FLAGS)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as exc:
        if exc.errno in (errno.ELOOP, errno.ENXIO):
            raise _corrupt(_refused(fs, path)) from exc
        raise storage_error(exc, path, "read") from exc
    try:
        for _ in range(_READ_TRIES):
            status = fs.fstat(fd)
            refused = _refused_open(path, status, limits)
            if refused is not None:
                raise _corrupt(refused)
            data = fs.read_all(fd, limits.legacy_bytes)
            if signature_of(fs.fstat(fd)) == signature_of(status):
                break
        return data
    except OverflowError as exc:
        raise _corrupt(_too_large(path, exc.args[0], status, limits)) from exc
    except OSError as exc:
        raise storage_error(exc, path, "read") from exc
    finally:
        fs.close(fd)


def _corrupt(found: LegacyFile) -> CorruptFile:
    text = f"{found.path}: {found.reason}; it was left unchanged, run: sessiondir check"
    return CorruptFile(text, path=found.path, reason=found.reason)


def _read(fs: FileSystem, path: str, limits: Limits, *, keep: bool, keys: KeyRule = "lowercase") -> LegacyFile:
    try:
        fd = fs.open(path, READ_FLAGS)
    except (FileNotFoundError, NotADirectoryError):
        return LegacyFile(path, "missing", "there is no such file")
    except OSError as exc:
        if exc.errno in (errno.ELOOP, errno.ENXIO):
            return _refused(fs, path)
        raise storage_error(exc, path, "read") from exc
    try:
        for _ in range(_READ_TRIES):
            status = fs.fstat(fd)
            found = _read_open(fs, fd, path, status, limits, Reading(limits, keep, keys))
            # A program that writes in place may have been at it; what we hold would then be two halves.
            if signature_of(fs.fstat(fd)) == signature_of(status):
                break
        return found
    except OSError as exc:
        raise storage_error(exc, path, "read") from exc
    finally:
        fs.close(fd)


def _refused(fs: FileSystem, path: str) -> LegacyFile:
    try:
        status = fs.stat(path, follow_symlinks=False)
    except OSError as exc:
        raise storage_error(exc, path, "read") from exc
    link = stat.S_ISLNK(status.st_mode)
    return _invalid(path, "a symbolic link" if link else "not a regular file", status)


def _invalid(path: str, reason: str, status: os.stat_result) -> LegacyFile:
    return LegacyFile(path, "invalid", reason, signature=signature_of(status))


def _refused_open(path: str, status: os.stat_result, limits: Limits) -> LegacyFile | None:
    """What is open and must not be used; None if it may be."""
    if not stat.S_ISREG(status.st_mode):
        return _invalid(path, "not a regular file", status)
    return _too_large(path, status.st_size, status, limits) if status.st_size > limits.legacy_bytes else None


def _too_large(path: str, size: int, status: os.stat_result, limits: Limits) -> LegacyFile:
    reason = f"{size} bytes, the limit is {limits.legacy_bytes}; raise it (--max-bytes, or Limits.legacy_bytes)"
    return _invalid(path, reason, status)


def _read_open(
    fs: FileSystem, fd: int, path: str, status: os.stat_result, limits: Limits, reading: Reading
) -> LegacyFile:
    refused = _refused_open(path, status, limits)
    if refused is not None:
        return refused
    data = _Bytes(fs, fd)
    try:
        if status.st_size <= _BLANK_LIMIT and _is_blank(fs.pread(fd, _BLANK_LIMIT, 0)):
            problem = "the file is blank"
            data.rest()
        else:
            problem = _parse(fs, fd, data, status, reading)
    except Unusable as exc:
        return LegacyFile(path, "invalid", str(exc), notes=tuple(reading.notes), signature=signature_of(status))
    return LegacyFile(
        path,
        "empty" if problem else "usable",
        problem,
        reading.count,
        reading.sessions,
        reading.documents,
        reading.dropped,
        tuple(reading.notes),
        signature_of(status),
        reading.aliases,
        data.size,
        data.sha256.hexdigest(),
        reading.is_json5,
        reading.has_session or os.path.basename(path) == USUAL_NAME,
    )


def _parse(fs: FileSystem, fd: int, data: _Bytes, status: os.stat_result, reading: Reading) -> str:
    """Take the members of the file in; why it holds no session, or "". Raises ``Unusable``."""
    try:
        return reading.take(data.parts())
    except codec.DecodeError as exc:
        problem = exc
    data.rest()
    reason = f"not JSON ({problem})"
    if status.st_size > JSON5_BYTES:
        raise Unusable(reason)
    text = fs.read_all(fd, JSON5_BYTES)
    try:
        value, notes = json_of_json5(text)
    except (codec.DecodeError, RecursionError):
        raise Unusable(reason) from problem
    if not value.startswith(b"{"):
        raise Unusable("not a JSON object")
    reading.begin_again(
        "JSON5, not JSON: the legacy program reads it as empty; comments go, NaN and Infinity become null", *notes
    )
    return reading.take(iter((value,)))


def _is_blank(data: bytes) -> bool:
    return not layout.js_trim(data.decode("utf-8", "replace"))


class _Bytes:
    """The file's bytes in parts, summed up on the way."""

    def __init__(self, fs: FileSystem, fd: int) -> None:
        self._fs = fs
        self._fd = fd
        self.size = 0
        self.sha256 = hashlib.sha256()

    def parts(self) -> Iterator[bytes]:
        while part := self._fs.pread(self._fd, _PART_BYTES, self.size):
            self.size += len(part)
            self.sha256.update(part)
            yield part

    def rest(self) -> None:
        """Read what is left, for the sums."""
        for _ in self.parts():
            pass
