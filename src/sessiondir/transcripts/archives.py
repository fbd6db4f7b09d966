"""Archives of transcripts: setting aside, bringing back, compressing.

An archive keeps its bytes. A name that is taken is never written over: an empty file is
made under the new name first (which fails if there is one), and the rename replaces that.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from sessiondir import durable, layout
from sessiondir.errors import (
    CorruptFile,
    InvalidOption,
    InvalidTranscript,
    StorageError,
    TranscriptNotFound,
    translated,
)
from sessiondir.fs import LOCK_EX, LOCK_NB
from sessiondir.transcripts.handle import Handle
from sessiondir.transcripts.lines import chunks
from sessiondir.transcripts.names import (
    COMPRESSED,
    REASONS,
    FileName,
    Reason,
    archive_name,
    is_transcript_name,
    parse,
)
from sessiondir.transcripts.zstd import compressed, decompressed

_NEW: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def archive(handle: Handle, name: str, reason: Reason) -> str:
    """Rename a transcript to an archive, under its lock; the archive's name."""
    if reason not in REASONS:
        raise InvalidOption(f"reason must be one of {', '.join(REASONS)}, not {reason!r}")
    fd = handle.locked(name, os.O_RDWR)
    try:
        with translated(handle.path_of(name), "archive"):
            at_ms = int(handle.clock.now() * 1000)
            while not _reserve(handle, target := archive_name(name, reason, at_ms)):
                at_ms += 1
            _rename_over_reserved(handle, name, target)
            handle.sync_names(name)
        return target
    finally:
        handle.unlock(fd)


def restore_archive(handle: Handle, name: str) -> str:
    """Give an archive the name that it had; that name.

    Raises ``TranscriptNotFound``, and ``InvalidTranscript`` if it is compressed or there is a
    transcript of that name again; nothing was changed then.
    """
    told = _archive_told(name)
    if told.compressed:
        raise InvalidTranscript(f"{name} is compressed: expand() it first", name=name, reason="compressed")
    _require_there(handle, name)
    handle.require_writable(told.base)
    fd = handle.locked(told.base, os.O_RDWR, create=True)
    try:
        with translated(handle.path_of(name), "restore"):
            if handle.fs.fstat(fd).st_size:
                raise InvalidTranscript(
                    f"{handle.path_of(told.base)} is in use again; archive it before you restore {name}",
                    name=told.base,
                    reason="in use",
                )
            _rename_over_reserved(handle, name, told.base)
            handle.sync_names(told.base)
        return told.base
    finally:
        handle.unlock(fd)


def compress_archive(handle: Handle, name: str) -> str:
    """Replace an archive by its compressed form ``<name>.zst``; that name.

    The archive is removed only after what was written has been read back, found equal and is
    durable. Raises ``InvalidOption`` without the package ``zstandard``, ``InvalidTranscript`` if it
    is no archive or compressed already, ``TranscriptNotFound``; the archive is as it was then.
    """
    if _archive_told(name).compressed:
        raise InvalidTranscript(f"{name} is compressed already", name=name, reason="compressed")

    def packed(data: Iterable[bytes], size: int) -> Iterator[bytes]:
        return compressed(data, size, handle.path_of(name))

    return _Recoding(handle, name, name + COMPRESSED, packed).run()


def expand_archive(handle: Handle, name: str) -> str:
    """Replace a compressed archive by what it holds; the archive's name. Errors as ``compress_archive``."""
    if not _archive_told(name).compressed:
        raise InvalidTranscript(f"{name} is not compressed", name=name, reason="not compressed")

    def unpacked(data: Iterable[bytes], _size: int) -> Iterator[bytes]:
        return decompressed(data, handle.path_of(name))

    return _Recoding(handle, name, name.removesuffix(COMPRESSED), unpacked).run()


def _archive_told(name: str) -> FileName:
    told = parse(name)
    if told is None or told.kind != "archive" or not is_transcript_name(told.base):
        raise InvalidTranscript(f"{name!r} is not the name of an archive", name=name, reason="not an archive")
    return told


def _require_there(handle: Handle, name: str) -> None:
    if handle.status(name) is None:
        path = handle.path_of(name)
        raise TranscriptNotFound(f"there is no {path}", path=path)


def _reserve(handle: Handle, name: str) -> bool:
    """Make an empty file under a name; False if something stands there."""
    try:
        fd = handle.fs.open(name, _NEW, 0o600, dir_fd=handle.directory.fd)
    except FileExistsError:
        return False
    handle.close_file(fd)
    return True


def _rename_over_reserved(handle: Handle, name: str, target: str) -> None:
    dir_fd = handle.directory.fd
    try:
        handle.fs.rename(name, target, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    except BaseException:
        _remove_empty(handle, target)
        raise


def _remove_empty(handle: Handle, name: str) -> None:
    with contextlib.suppress(OSError):
        if handle.fs.stat(name, dir_fd=handle.directory.fd, follow_symlinks=False).st_size == 0:
            handle.fs.unlink(name, dir_fd=handle.directory.fd)


Transform = Callable[[Iterable[bytes], int], Iterator[bytes]]


class _Recoding:
    """Writes an archive in another form beside it, proves that both hold the same, removes the first."""

    def __init__(self, handle: Handle, name: str, target: str, transform: Transform) -> None:
        self._handle = handle
        self._fs = handle.fs
        self._name = name
        self._target = target
        self._transform = transform
        self._path = handle.path_of(name)

    def run(self) -> str:
        """The new name. The old file is as it was if anything is raised."""
        handle, fs = self._handle, self._fs
        handle.require_writable(self._name)
        _sweep(handle)
        fd = handle.locked(self._name, os.O_RDONLY)
        try:
            with translated(self._path, "recode"):
                temporary = layout.temporary_name()
                written = handle.directory.open_fd(temporary, os.O_RDWR | os.O_EXCL, create=True)
                try:
                    # Tells others that the file is not abandoned.
                    fs.flock(written, LOCK_EX | LOCK_NB)
                    self._write(fd, written)
                    self._put_in_place(fd, temporary)
                finally:
                    handle.close_file(written)
                    with contextlib.suppress(OSError):
                        fs.unlink(temporary, dir_fd=handle.directory.fd)
            self._remove_old()
            return self._target
        finally:
            handle.unlock(fd)

    def _write(self, fd: int, written: int) -> None:
        fs, position = self._fs, 0
        size = fs.fstat(fd).st_size
        for piece in self._transform(chunks(fs, fd, 0, size), size):
            durable.write_all(fs, written, piece, position)
            position += len(piece)
        fs.fsync(written)
        if self._plain(written, self._target) != self._plain(fd, self._name):
            raise CorruptFile(
                f"{self._path}: what was written does not read back the same; the archive was left as it is",
                path=self._path,
                reason="does not read back the same",
            )

    def _remove_old(self) -> None:
        """Sync before you remove: the new form is durable here."""
        handle = self._handle
        try:
            self._fs.unlink(self._name, dir_fd=handle.directory.fd)
            durable.sync_directory(self._fs, handle.directory.fd)
        except OSError as exc:
            raise StorageError(
                f"{handle.path_of(self._target)} is written and durable, but removing {self._name} failed: "
                f"{exc.strerror}; both hold the same, call it again",
                path=self._path,
                errno=exc.errno,
            ) from exc

    def _plain(self, fd: int, name: str) -> bytes:
        """The hash of what a file holds, compressed or not."""
        data = chunks(self._fs, fd, 0, self._fs.fstat(fd).st_size)
        digest = hashlib.sha256()
        for piece in decompressed(data, self._path) if name.endswith(COMPRESSED) else data:
            digest.update(piece)
        return digest.digest()

    def _put_in_place(self, fd: int, temporary: str) -> None:
        handle, target = self._handle, self._target
        if (
            _reserve(handle, target)
            or not self._fs.stat(target, dir_fd=handle.directory.fd, follow_symlinks=False).st_size
        ):
            _rename_over_reserved(handle, temporary, target)
        else:
            # Perhaps a run that died before it could remove the first form.
            with handle.directory.open_file(target, os.O_RDONLY) as other:
                if self._plain(other, target) != self._plain(fd, self._name):
                    raise InvalidTranscript(
                        f"{handle.path_of(target)} is there already and holds something else; move it away",
                        name=target,
                        reason="in use",
                    )
        durable.sync_directory(self._fs, handle.directory.fd)


def _sweep(handle: Handle) -> None:
    """Remove what runs that died have left half-written."""
    fs, dir_fd = handle.fs, handle.directory.fd
    with contextlib.suppress(OSError, CorruptFile):  # the next run tries again
        for name in filter(layout.is_temporary, fs.listdir(dir_fd)):
            with handle.directory.open_file(name, os.O_RDONLY) as fd:
                fs.flock(fd, LOCK_EX | LOCK_NB)
                fs.unlink(name, dir_fd=dir_fd)
