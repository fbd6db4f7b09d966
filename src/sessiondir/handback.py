"""A store is handed back to the legacy program: one ``NAME.json`` again. See ``takeover`` for the order.

The text is what the legacy program itself would write (``jsjson``), with one choice of our
own: the store does not keep the order in which sessions were added, so they stand sorted
by key, array indexes first as in every JavaScript object.

What a legacy file cannot hold stays in ``NAME.d.bak.<ms>`` alone: quarantined files, what
retention removed, and members of session files beyond the entry.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from sessiondir import durable, jsjson
from sessiondir.clock import Clock
from sessiondir.directory import StoreDirectory
from sessiondir.document import Document
from sessiondir.errors import LockTimeout, MigrationError, translated
from sessiondir.fs import FileSystem
from sessiondir.legacy import ANY_SIZE, LegacyFile, index_legacy
from sessiondir.legacylock import NO_LINKS, LegacyLock
from sessiondir.lockfile import take_flock
from sessiondir.place import Place
from sessiondir.takeover import LOCK_TIMEOUT_S, Origin, origin_of

_PART_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class HandedBack:
    """Where everything went; ``previous_path`` is a file that had to make way, ``size`` is in bytes."""

    legacy_path: str
    backup_path: str
    previous_path: str | None
    size: int


def in_javascript_order(keys: Iterable[str]) -> list[str]:
    """``keys`` in the order in which a JavaScript object has them once they were added sorted."""
    return jsjson.iteration_order(sorted(keys))


def legacy_text(documents: Iterable[Document]) -> Iterator[bytes]:
    """The bytes of a legacy file that holds ``documents``, in their order, in parts of about 1 MiB."""
    part = bytearray()
    for piece in jsjson.encode_members((doc.key, doc.entry()) for doc in documents):
        part += piece
        if len(part) >= _PART_BYTES:
            yield bytes(part)
            part.clear()
    if part:
        yield bytes(part)


def what_is_in_the_way(
    fs: FileSystem, clock: Clock, store_path: str, legacy_path: str, *, overwrite: bool
) -> Origin | None:
    """Where a legacy file beside the store comes from; None if there is none. Changes nothing.

    Raises ``MigrationError`` if it is in the way and not to be moved (``overwrite``).
    """
    with translated(store_path, "read"):
        place = Place(fs, clock, store_path, legacy_path)
        try:
            return _origin(place, index_legacy(fs, legacy_path, ANY_SIZE), overwrite)
        finally:
            place.close()


def _origin(place: Place, legacy: LegacyFile, overwrite: bool) -> Origin | None:
    if legacy.status == "missing":
        return None
    origin = origin_of(place, legacy)
    if origin == "foreign" and not overwrite:
        reason = f"{place.legacy_name} exists and is not what this store was made from"
        raise MigrationError(
            f"{place.legacy_path}: {reason}; nothing was changed: move it away, or roll back with overwrite "
            "(it is kept as a backup then)",
            path=place.legacy_path,
            reason=reason,
        )
    return origin


def roll_back(
    fs: FileSystem,
    clock: Clock,
    store_path: str,
    legacy_path: str,
    documents: Iterable[Document],
    *,
    seal: Callable[[], None],
    version: int,
    overwrite: bool = False,
    lock_timeout_s: float = LOCK_TIMEOUT_S,
) -> HandedBack:
    """Write the legacy file and move the store away. The caller holds the commit lock.

    Args:
        documents: every session, in the order of ``in_javascript_order``; gone through once.
        seal: finishes the journal durably, so that nobody can commit any more.
        version: the store's version that ``documents`` are of.
        overwrite: move a foreign legacy file to its backup name instead of refusing.

    Raises ``MigrationError``, ``LockTimeout``, ``StorageError``; the directory still counts
    then, and what was begun is taken back as far as possible. Durable on return.
    """
    with translated(store_path, "roll back"):
        place = Place(fs, clock, store_path, legacy_path)
        try:
            with _held_store(place, lock_timeout_s) as owner, place.locked(lock_timeout_s) as lock:
                return _HandingBack(place, documents, owner, lock).run(seal, version, overwrite)
        finally:
            place.close()


def tidy_up(fs: FileSystem, clock: Clock, store_path: str, legacy_path: str, lock_timeout_s: float) -> None:
    """Where the legacy file counts after a rollback: make that durable, remove what a killed run left."""
    with translated(store_path, "roll back"):
        place = Place(fs, clock, store_path, legacy_path)
        try:
            with place.alone(lock_timeout_s):
                place.sync()
                place.sweep()
                place.clear_stale_lock()
        finally:
            place.close()


@contextlib.contextmanager
def _held_store(place: Place, timeout_s: float) -> Iterator[tuple[int, int] | None]:
    """Hold the flock of the store directory, which everybody takes who gets ready to write there.

    Gives the owner that files in the store have to have, if that is not us.
    """
    directory = StoreDirectory(place.fs, place.store_path)
    try:
        if not take_flock(place.fs, place.clock, directory.fd, timeout_s):
            raise LockTimeout(
                f"{place.store_path}: another process has been setting the store up for {timeout_s:.1f} s; "
                "nothing was changed, try again later",
                session=None,
                holder_pid=None,
                holder="another process",
                held_s=None,
                waited_s=timeout_s,
            )
        yield directory.owner
    finally:
        with contextlib.suppress(OSError):  # nothing was written through it
            directory.close()


class _HandingBack:
    def __init__(
        self, place: Place, documents: Iterable[Document], owner: tuple[int, int] | None, lock: LegacyLock
    ) -> None:
        self._place = place
        self._documents = documents
        self._size = 0
        self._sha256 = hashlib.sha256()
        self._owner = owner
        self._lock = lock
        self._written: tuple[int, int] | None = None

    def run(self, seal: Callable[[], None], version: int, overwrite: bool) -> HandedBack:
        place = self._place
        legacy = index_legacy(place.fs, place.legacy_path, ANY_SIZE)
        origin = _origin(place, legacy, overwrite)
        place.sweep()
        temporary = place.temporary_name()
        durable.write_new(place.fs, place.fd, temporary, self._summed_text(), self._owner)
        moved = False
        try:
            # First, or a copy from an earlier rollback would outlive the marker that describes it.
            previous = self._make_way(origin)
            backup = place.fresh_name(f"{place.store_name}.bak")
            place.write_marker(self._size, self._sha256.hexdigest(), backup, version, self._owner)
            self._name(temporary)
            seal()
            self._lock.require_ours()
            place.fs.rename(place.store_name, backup, src_dir_fd=place.fd, dst_dir_fd=place.fd)
            moved = True
            place.sync()
        finally:
            if not moved:
                self._take_back(temporary)
        return HandedBack(place.legacy_path, f"{place.path}/{backup}", previous, self._size)

    def _summed_text(self) -> Iterator[bytes]:
        for part in legacy_text(self._documents):
            self._size += len(part)
            self._sha256.update(part)
            yield part

    def _make_way(self, origin: Origin | None) -> str | None:
        """Clear the legacy name; what may not be lost is kept under a backup name."""
        place = self._place
        self._lock.require_ours()
        if origin is None:
            return None
        if origin == "rollback":
            # A copy of what the directory held; the directory has it all, and more.
            place.fs.unlink(place.legacy_name, dir_fd=place.fd)
            return None
        backup = place.fresh_name(f"{place.legacy_name}.bak")
        place.rename(place.legacy_name, backup)
        return f"{place.path}/{backup}"

    def _name(self, temporary: str) -> None:
        """Give the written file its name, durably, but never over another file."""
        place, fs = self._place, self._place.fs
        self._lock.require_ours()
        status = fs.stat(temporary, dir_fd=place.fd, follow_symlinks=False)
        try:
            try:
                fs.link(temporary, place.legacy_name, src_dir_fd=place.fd, dst_dir_fd=place.fd)
            except OSError as exc:
                if exc.errno not in NO_LINKS or place.status(place.legacy_name) is not None:
                    raise
                fs.rename(temporary, place.legacy_name, src_dir_fd=place.fd, dst_dir_fd=place.fd)
            self._written = (status.st_dev, status.st_ino)
        except FileExistsError as exc:
            reason = f"{place.legacy_name} appeared during the rollback"
            text = f"{place.legacy_path}: {reason}; stop the program that writes it and try again"
            raise MigrationError(text, path=place.legacy_path, reason=reason) from exc
        with contextlib.suppress(FileNotFoundError):
            fs.unlink(temporary, dir_fd=place.fd)
        place.sync()

    def _take_back(self, temporary: str) -> None:
        """After a failure: the directory counts, so a copy beside it would only mislead."""
        place = self._place
        with contextlib.suppress(OSError, MigrationError):
            self._lock.require_ours()
            status = place.status(place.legacy_name)
            if status is not None and (status.st_dev, status.st_ino) == self._written:
                place.fs.unlink(place.legacy_name, dir_fd=place.fd)
            place.remove_marker()
        with contextlib.suppress(OSError):
            place.fs.unlink(temporary, dir_fd=place.fd)
