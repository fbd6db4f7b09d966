"""The legacy store: one ``NAME.json`` that holds every session. Reading only; nothing is written.

The file is read as the program that wrote it reads it: keys in JavaScript's order, two
spellings of a key resolved by time, old field names renamed. What that program silently
takes for "empty" (damaged text, a link, an array) is told apart here and never used.

Differences kept on purpose: integers above 2**53 keep all their digits, and an entry that
is no object, or whose key no JavaScript program can look up safely, is left out and named.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from sessiondir import codec, jsjson, layout
from sessiondir.errors import CorruptFile, InvalidKey, storage_error
from sessiondir.fs import FileSystem
from sessiondir.model import Document, Limits

Signature = tuple[int, int, int, int]
"""Device, inode, size in bytes and modification time in nanoseconds: another one, another content."""

LegacyStatus = Literal["missing", "empty", "invalid", "usable"]

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_READ_TRIES = 5
_BLANK_LIMIT = 1 << 16
OLD_NAMES: Final = (("channel", "provider"), ("lastChannel", "lastProvider"), ("groupChannel", "room"))
"""Fields that old releases called otherwise: today's name, and theirs."""


@dataclass(frozen=True, slots=True)
class Alias:
    """Several spellings of one key: which entry of the file stands for ``key`` now."""

    key: str
    spellings: tuple[str, ...]
    winner: str


@dataclass(frozen=True)
class LegacyFile:
    """A legacy file as it was at one moment.

    ``legacy_count`` counts every member of the file, ``documents`` holds what a store takes
    over (normalised key to document, version 1), ``sources`` the spelling each came from.
    ``size`` (bytes) and ``sha256`` describe the file's bytes. ``reason`` says why a file is
    ``"invalid"`` (it is then not used at all) or ``"empty"``.
    """

    path: str
    status: LegacyStatus
    reason: str = ""
    legacy_count: int = 0
    documents: dict[str, Document] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    signature: Signature | None = None
    aliases: tuple[Alias, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    size: int = 0
    sha256: str = ""


def legacy_signature(fs: FileSystem, path: str) -> Signature | None:
    """What tells one content of the file from the next; None if there is no file. One system call.

    Raises ``UnreadableFile`` when the system does not say.
    """
    try:
        return _signature(fs.stat(path, follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as exc:
        raise storage_error(exc, path, "read") from exc


def _signature(status: os.stat_result) -> Signature:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def read_legacy(fs: FileSystem, path: str, limits: Limits) -> LegacyFile:
    """Read and classify a legacy file; follows no link, takes no lock, changes nothing.

    Raises ``UnreadableFile`` for what the system refuses: that is neither "empty" nor
    "invalid". Cost: O(file); about three times its size in memory.
    """
    try:
        found = _read_bytes(fs, path, limits)
    except (FileNotFoundError, NotADirectoryError):
        return LegacyFile(path, "missing", "there is no such file")
    except OSError as exc:
        raise storage_error(exc, path, "read") from exc
    if isinstance(found, LegacyFile):
        return found
    return _Reading(path, limits, *found).parse()


def read_legacy_bytes(fs: FileSystem, path: str, limits: Limits) -> bytes | None:
    """The bytes of a legacy file, not understood yet; None if there is no file.

    Raises ``CorruptFile`` for what is no regular file or above the limit, ``UnreadableFile`` as
    ``read_legacy``. Follows no link, takes no lock.
    """
    try:
        found = _read_bytes(fs, path, limits)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as exc:
        raise storage_error(exc, path, "read") from exc
    if isinstance(found, LegacyFile):
        raise CorruptFile(
            f"{path}: {found.reason}; it was left unchanged, run: sessiondir check", path=path, reason=found.reason
        )
    return found[0]


def _read_bytes(fs: FileSystem, path: str, limits: Limits) -> tuple[bytes, Signature] | LegacyFile:
    try:
        fd = fs.open(path, _READ)
    except OSError as exc:
        if exc.errno in (errno.ELOOP, errno.ENXIO):
            return _refused(fs, path)
        raise
    try:
        for _ in range(_READ_TRIES):
            status = fs.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                return _invalid(path, "not a regular file", _signature(status))
            try:
                data = fs.read_all(fd, limits.legacy_bytes)
            except OverflowError as exc:
                reason = f"{exc.args[0]} bytes, the limit is {limits.legacy_bytes}"
                return _invalid(path, reason, _signature(status))
            # A program that writes in place may have been at it; what we hold would then be two halves.
            if _signature(fs.fstat(fd)) == _signature(status):
                break
        return data, _signature(status)
    finally:
        fs.close(fd)


def _refused(fs: FileSystem, path: str) -> LegacyFile:
    status = fs.stat(path, follow_symlinks=False)
    link = stat.S_ISLNK(status.st_mode)
    return _invalid(path, "a symbolic link" if link else "not a regular file", _signature(status))


def _invalid(path: str, reason: str, signature: Signature, warnings: tuple[str, ...] = ()) -> LegacyFile:
    return LegacyFile(path, "invalid", reason, warnings=warnings, signature=signature)


class _Unusable(Exception):
    """The file as a whole cannot be used; the text says why."""


class _Reading:
    """One file on its way from bytes to documents."""

    def __init__(self, path: str, limits: Limits, data: bytes, signature: Signature) -> None:
        self._path = path
        self._limits = limits
        self._data = data
        self._signature = signature
        self._size = len(data)
        self._sha256 = hashlib.sha256(data).hexdigest()
        self._warnings: list[str] = []
        self._documents: dict[str, Document] = {}
        self._sources: dict[str, str] = {}
        self._spellings: dict[str, list[str]] = {}
        self._count = 0

    def parse(self) -> LegacyFile:
        try:
            return self._parse()
        except _Unusable as exc:
            return _invalid(self._path, str(exc), self._signature, tuple(self._warnings))

    def _parse(self) -> LegacyFile:
        if self._is_blank():
            return self._result("empty", "the file is blank")
        members = self._members()
        self._count = len(members)
        for name in jsjson.iteration_order(members):
            self._take(name, members.pop(name))
        if not self._documents:
            return self._result("empty", "it has no entry that is an object with a usable key")
        if len(self._documents) > self._limits.sessions:
            raise _Unusable(f"{len(self._documents)} sessions, the limit is {self._limits.sessions}")
        return self._result("usable", "")

    def _is_blank(self) -> bool:
        if not self._data.strip():
            return True
        return len(self._data) <= _BLANK_LIMIT and not layout.js_trim(self._data.decode("utf-8", "replace"))

    def _members(self) -> dict[str, bytes]:
        data, self._data = self._data, b""
        try:
            data.decode()
        except UnicodeDecodeError as exc:
            # The legacy program reads such a file, with the same marks in place of the bad bytes.
            data = data.decode("utf-8", "replace").encode()
            self._warnings.append(f"not UTF-8 at byte {exc.start}; unreadable bytes were replaced by U+FFFD")
        try:
            return codec.split_object(data)
        except codec.DecodeError as exc:
            reason = self._not_an_object(data) or f"not JSON ({exc})"
            raise _Unusable(reason) from exc
        except RecursionError as exc:
            raise _Unusable("nested too deeply") from exc

    @staticmethod
    def _not_an_object(data: bytes) -> str:
        try:
            return "" if isinstance(codec.decode(data), dict) else "not a JSON object"
        except codec.DecodeError:
            return ""

    def _take(self, name: str, raw: bytes) -> None:
        """Take one member of the file over, or say why not."""
        fields = self._fields(name, raw)
        if fields is None:
            self._drop(name, "the entry is not an object")
            return
        try:
            key = layout.normalise_key(name, "lowercase")
        except InvalidKey as exc:
            self._drop(name, f"the key is {exc.reason}" if exc.reason != "NUL" else "the key has a NUL")
            return
        size = codec.fields_weight(fields)
        if size > self._limits.entry_bytes:
            # Leaving it out would lose a session, so nothing is taken over until the limit is raised.
            limit = self._limits.entry_bytes
            raise _Unusable(f"the entry of {_shown(name)} has {size} bytes, the limit is {limit}")
        doc = Document(key, 1, fields, size)
        spellings = self._spellings.setdefault(key, [])
        spellings.append(name)
        before = self._documents.get(key)
        if before is None or _time(doc) >= _time(before):
            self._documents[key] = doc
            self._sources[key] = name

    def _fields(self, name: str, raw: bytes) -> codec.Fields | None:
        try:
            if raw.lstrip()[:1] != b"{":
                codec.decode(raw)
                return None
            fields = codec.decode_fields(raw)
        except codec.DecodeError as exc:
            raise _Unusable(f"not JSON (in the entry of {_shown(name)}: {exc})") from exc
        except RecursionError as exc:
            raise _Unusable(f"the entry of {_shown(name)} is nested too deeply") from exc
        rename_old_fields(fields)
        return fields

    def _drop(self, name: str, reason: str) -> None:
        self._warnings.append(f"{_shown(name)} was left out: {reason}")

    def _result(self, status: LegacyStatus, reason: str) -> LegacyFile:
        aliases = tuple(
            Alias(key, tuple(spellings), self._sources[key])
            for key, spellings in self._spellings.items()
            if len(spellings) > 1
        )
        return LegacyFile(
            self._path,
            status,
            reason,
            self._count,
            self._documents,
            tuple(self._warnings),
            self._signature,
            aliases,
            self._sources,
            self._size,
            self._sha256,
        )


def rename_old_fields(fields: dict[str, Any]) -> None:
    """Give old fields today's names, in place, as the legacy program does with every entry it loads."""
    for new, old in OLD_NAMES:
        if not isinstance(fields.get(new), str) and isinstance(fields.get(old), str):
            fields[new] = fields.pop(old)
    fields.pop("room", None)


def _time(doc: Document) -> float:
    return doc.updated_at() or 0


def _shown(name: str) -> str:
    """A key for a message: quoted, shortened."""
    return repr(name if len(name) <= 80 else name[:80] + "...")
