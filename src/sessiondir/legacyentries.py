"""Reading single entries of a legacy file that was indexed before, one at a time."""

from __future__ import annotations

import errno
from types import TracebackType
from typing import Self

from sessiondir import codec
from sessiondir.document import Document, put_document
from sessiondir.errors import storage_error
from sessiondir.fs import READ_FLAGS, FileSystem
from sessiondir.legacy import JSON5_BYTES, LegacyFile
from sessiondir.legacyparse import Located, digest_of, entry_fields, json_of_json5, repaired
from sessiondir.signature import signature_of


class LegacyChanged(Exception):
    """The file is no longer the one that was indexed."""


class LegacyEntries:
    """Reads entries of an indexed file again, one at a time; close it after use.

    Raises ``LegacyChanged`` as soon as the file turns out to be another one, ``UnreadableFile``.
    """

    def __init__(self, fs: FileSystem, file: LegacyFile) -> None:
        self._fs = fs
        self._file = file
        self._text: bytes | None = None
        try:
            self._fd = fs.open(file.path, READ_FLAGS)
        except OSError as exc:
            if exc.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO):
                raise LegacyChanged from exc
            raise storage_error(exc, file.path, "read") from exc
        try:
            self._require_unchanged()
            if file.is_json5:
                self._text = self._whole_text()
        except BaseException:
            self.close()
            raise

    def _whole_text(self) -> bytes:
        try:
            return json_of_json5(self._fs.read_all(self._fd, JSON5_BYTES))[0]
        except (codec.DecodeError, OverflowError) as exc:
            raise LegacyChanged from exc

    def _require_unchanged(self) -> None:
        if signature_of(self._fs.fstat(self._fd)) != self._file.signature:
            raise LegacyChanged

    def document(self, key: str) -> Document:
        """The session ``key`` as a document of version 1."""
        place = self._file.sessions[key]
        try:
            raw = self._raw(place)
        except OSError as exc:
            raise storage_error(exc, self._file.path, "read") from exc
        if digest_of(raw) != place.digest:
            raise LegacyChanged
        try:
            raw.isascii() or raw.decode()
        except UnicodeDecodeError:
            raw = repaired(raw)
        return put_document(key, 1, entry_fields(raw, place.name))

    def _raw(self, place: Located) -> bytes:
        if self._text is not None:
            return self._text[place.at : place.at + place.length]
        parts, at, end = [], place.at, place.at + place.length
        while at < end and (part := self._fs.pread(self._fd, end - at, at)):
            parts.append(part)
            at += len(part)
        return b"".join(parts)

    def close(self) -> None:
        """Close the file."""
        self._fs.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
