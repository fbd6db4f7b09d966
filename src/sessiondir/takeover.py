"""One store takes another's place: legacy file to directory, and back.

Which one counts at any moment is decided by one name: **while ``NAME.d`` holds a store, it
counts; otherwise the legacy file does.** Both changes of hands are a single rename of that
directory, and everything before the rename is preparation that nobody reads.

Taking over (``take_over``):

    1  build the store beside the legacy file, without a lock, and sync all of it
    2  take the legacy lock; if the file changed since, bring the difference in
    3  rename the staging directory to ``NAME.d``: this is the moment of change
    4  rename the legacy file to ``NAME.json.bak.<ms>``

Killed before 3 the legacy file counts and the staging directory is rubbish, which a later
run removes (its builder's ``flock`` has died with it). Killed between 3 and 4 both are
there: the next run sees that the legacy file is, to the byte, the one the directory was
made from, and does step 4. A legacy file that is anything else was written by a program
that does not know the directory: it stays, it is reported, and nothing of it is merged,
because sessions deleted meanwhile would come back. The flock of the new directory is held
until step 3 is durable, and whoever wants to write to it takes that flock first; so no
commit is acknowledged in a directory whose name a power cut could still take away.

Rolling back (``handback.roll_back``):

    1  write the legacy file under a temporary name and sync it; move what has its name out of the way
    2  leave a marker that describes the written file, to the byte
    3  link it to its name (never over another) and sync the directory
    4  finish the journal, so that a process that still has the store open cannot commit any more
    5  rename ``NAME.d`` to ``NAME.d.bak.<ms>``: this is the moment of change

Killed before 5 the directory counts, whatever stands beside it. The marker tells that a
legacy file which it describes is only a copy: rolling back again replaces it, migrating
moves it away. After 5 the legacy file counts, and the marker keeps the first write from
migrating it again; migrating by hand removes the marker. The marker alone means nothing:
it is looked at only together with the name that decides. A finished journal without a
successor is mended by the next process that opens the directory under its old name.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from sessiondir import codec, journal
from sessiondir.clock import Clock
from sessiondir.directory import StoreDirectory
from sessiondir.entries import SessionFiles, ignores_case
from sessiondir.errors import (
    LockTimeout,
    MigrationError,
    StoreError,
    storage_error,
    translated,
)
from sessiondir.fs import FileSystem
from sessiondir.journal import Header
from sessiondir.legacy import LegacyFile, legacy_signature, read_legacy
from sessiondir.legacylock import LegacyLock
from sessiondir.lockfile import LockFile, take_flock
from sessiondir.model import Document, Limits
from sessiondir.opening import new_store_id
from sessiondir.place import Place
from sessiondir.procfs import require_local
from sessiondir.state import State, write_state

Outcome = Literal["migrated", "already_directory", "skipped_empty", "skipped_invalid", "missing", "failed"]
Progress = Callable[[int, int], None]
"""Called with the sessions staged so far and their number."""

LOCK_TIMEOUT_S = 10.0
_TRIES = 10
_BATCH_FILES = 64
_BATCH_BYTES = 8 << 20
# What may still be written while the legacy lock is held, which others respect for 30 s only.
_LATE_FILES = 256
_LATE_BYTES = 16 << 20
_IN_THE_WAY = frozenset((errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR))


@dataclass(frozen=True, slots=True)
class TakeOver:
    """What became of a legacy store.

    ``legacy_count`` counts the members of the file, ``migrated_count`` the sessions made of
    them; ``backup_path`` is where the file went.
    """

    outcome: Outcome
    store_path: str
    legacy_count: int = 0
    migrated_count: int = 0
    backup_path: str | None = None
    warnings: tuple[str, ...] = ()


def is_rolled_back(fs: FileSystem, store_path: str) -> bool:
    """Whether a rollback asked not to migrate this store without being told to. One system call."""
    try:
        fs.stat(f"{store_path}.rolled-back", follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as exc:
        raise storage_error(exc, store_path, "read") from exc
    return True


def take_over(
    fs: FileSystem,
    clock: Clock,
    legacy_path: str,
    store_path: str,
    limits: Limits,
    *,
    by_hand: bool = False,
    allow_network: bool = False,
    lock_timeout_s: float = LOCK_TIMEOUT_S,
    progress: Progress | None = None,
) -> TakeOver:
    """Make the legacy file a store directory, or finish what an interrupted run began.

    Args:
        by_hand: somebody asked for it; without this a rolled-back store is left alone.
        allow_network: go on although locks on a network file system are not trusted.
        lock_timeout_s: seconds to wait for the legacy lock.
        progress: called with (sessions staged, sessions in all).

    Returns every outcome but ``"failed"``. Raises ``MigrationError``, ``LockTimeout``,
    ``UnsafeDirectory``, ``UnsupportedFileSystem``, ``StorageError``; one whole store is there then, and running it
    again goes on. Durable on return. Cost: O(file), one sync for each session.
    """
    with translated(legacy_path, "migrate"):
        try:
            place = Place(fs, clock, store_path, legacy_path)
        except FileNotFoundError:
            return TakeOver("missing", store_path)
        try:
            return _TakingOver(place, limits, by_hand, allow_network, lock_timeout_s, progress).run()
        finally:
            place.close()


class _TakingOver:
    def __init__(
        self,
        place: Place,
        limits: Limits,
        by_hand: bool,
        allow_network: bool,
        lock_timeout_s: float,
        progress: Progress | None,
    ) -> None:
        self._place = place
        self._fs = place.fs
        self._limits = limits
        self._by_hand = by_hand
        self._allow_network = allow_network
        self._timeout_s = lock_timeout_s
        self._progress = progress

    def run(self) -> TakeOver:
        staging: _Staging | None = None
        try:
            for _ in range(_TRIES):
                legacy = self._read()
                active = self._place.store_is_active()
                if active or legacy.status != "usable":
                    result = self._settle(legacy, active)
                else:
                    self._refuse_if_rolled_back()
                    staging = staging or self._begin()
                    staging.bring_level(legacy, self._progress)
                    result = self._change_hands(staging, legacy)
                if result is not None:
                    return result
            reason = f"the legacy file changed {_TRIES} times during the migration"
            text = f"{self._place.legacy_path}: {reason}; stop the program that writes it and try again"
            raise MigrationError(text, path=self._place.legacy_path, reason=reason)
        finally:
            if staging is not None:
                staging.close()

    def _read(self) -> LegacyFile:
        return read_legacy(self._fs, self._place.legacy_path, self._limits)

    def _is_unchanged(self, legacy: LegacyFile) -> bool:
        return legacy_signature(self._fs, self._place.legacy_path) == legacy.signature

    def _refuse_if_rolled_back(self) -> None:
        if not self._by_hand and is_rolled_back(self._fs, self._place.store_path):
            reason = "the store was rolled back to the legacy file"
            raise MigrationError(
                f"{self._place.legacy_path}: {reason}, which is only read now; run: sessiondir migrate",
                path=self._place.legacy_path,
                reason=reason,
            )

    def _begin(self) -> _Staging:
        if not self._allow_network:
            require_local(
                self._place.path,
                "where a store's locks cannot be relied on between hosts; the legacy file was left as it is: keep "
                "it on a local file system, or allow the network explicitly",
            )
        with self._place.alone(self._timeout_s):
            self._place.sweep()
            return _Staging(self._place, self._limits)

    # -- the moment of change -------------------------------------------------------------

    def _change_hands(self, staging: _Staging, legacy: LegacyFile) -> TakeOver | None:
        """Put the staged store in place; None if things have moved and have to be looked at again."""
        with self._place.locked(self._timeout_s) as lock:
            if self._place.store_is_active():
                return None
            if not self._is_unchanged(legacy):
                legacy = self._read()
                if legacy.status != "usable" or not staging.is_nearly_level(legacy):
                    return None
                staging.bring_level(legacy, None)
                if not self._is_unchanged(legacy):
                    return None
            lock.require_ours()
            staging.promote()
            with self._explained():
                self._place.sync()
                self._place.remove_marker()
                return self._retire(legacy, lock)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Say where things stand when something fails after the moment of change."""
        try:
            yield
        except OSError as exc:
            if isinstance(exc, StoreError):
                raise
            reason = f"{exc.strerror or exc}"
            raise MigrationError(
                f"{self._place.store_path} is in place, but {self._place.legacy_name} could not be moved away "
                f"({reason}); run: sessiondir migrate",
                path=self._place.legacy_path,
                reason=reason,
            ) from exc

    def _retire(self, legacy: LegacyFile, lock: LegacyLock, note: str = "") -> TakeOver:
        """Move the legacy file to its backup name; its content is in the directory. Locks held."""
        place = self._place
        warnings = [*legacy.warnings, note] if note else [*legacy.warnings]
        result = TakeOver("migrated", place.store_path, legacy.legacy_count, len(legacy.documents))
        lock.require_ours()
        if not self._is_unchanged(legacy):
            return replace(result, warnings=(*warnings, self._foreign()))
        backup = place.fresh_name(f"{place.legacy_name}.bak")
        place.rename(place.legacy_name, backup)
        return replace(result, backup_path=f"{place.path}/{backup}", warnings=tuple(warnings))

    # -- nothing to stage -----------------------------------------------------------------

    def _settle(self, legacy: LegacyFile, active: bool) -> TakeOver | None:
        """The result where there is nothing to take over; None if things have moved meanwhile."""
        place = self._place
        if active and legacy.status == "usable":
            return self._finish(legacy)
        if active and self._by_hand:
            with place.alone(self._timeout_s):
                place.sweep()
                place.clear_stale_lock()
                place.remove_marker()
        if legacy.status == "missing":
            return TakeOver("already_directory" if active else "missing", place.store_path)
        outcome: Outcome = "skipped_empty" if legacy.status == "empty" else "skipped_invalid"
        reason = f"{place.legacy_path} was left as it is: {legacy.reason}"
        return TakeOver(outcome, place.store_path, legacy.legacy_count, warnings=(*legacy.warnings, reason))

    def _finish(self, legacy: LegacyFile) -> TakeOver | None:
        """A directory and a legacy file: finish an interrupted run, or leave the file and say so."""
        place = self._place
        with place.locked(self._timeout_s) as lock:
            if not place.store_is_active() or not self._is_unchanged(legacy):
                return None
            place.sweep()
            origin = origin_of(place, legacy)
            if origin == "migration":
                result = self._retire(legacy, lock, "finished an interrupted migration")
            elif origin == "rollback":
                note = f"{place.legacy_name} was the copy of an interrupted rollback"
                result = replace(self._retire(legacy, lock, note), outcome="already_directory", migrated_count=0)
            else:
                result = TakeOver(
                    "already_directory", place.store_path, legacy.legacy_count, warnings=(self._foreign(),)
                )
            if self._by_hand:
                place.remove_marker()
            return result

    def _foreign(self) -> str:
        return (
            f"{self._place.legacy_path} was written after the migration, by a program that does not know "
            f"{self._place.store_name}; it was left as it is and nothing of it was taken over"
        )


Origin = Literal["migration", "rollback", "empty", "foreign"]


def origin_of(place: Place, legacy: LegacyFile) -> Origin:
    """Where a legacy file beside an active store comes from, by its size and check sum.

    ``"migration"``: the store was made from it; ``"rollback"``: an interrupted rollback wrote
    it; ``"empty"``: it holds no member at all; ``"foreign"``: anything else.
    """
    marker, state = place.marker(), place.store_state()
    if marker is not None and marker.describes(legacy):
        return "rollback"
    origin = state.migrated_from if state is not None else None
    if origin and legacy.sha256 and (origin.get("bytes"), origin.get("sha256")) == (legacy.size, legacy.sha256):
        return "migration"
    return "empty" if legacy.status == "empty" and not legacy.legacy_count else "foreign"


class _Staging:
    """A store being built beside the legacy file; make it inside ``Place.alone``."""

    def __init__(self, place: Place, limits: Limits) -> None:
        fs = place.fs
        self._place = place
        self._fs = fs
        self._digests: dict[str, bytes] = {}
        self._promoted = False
        self._name = f"{place.store_name}.staging-{os.urandom(8).hex()}"
        fs.mkdir(self._name, 0o700, dir_fd=place.fd)
        try:
            self._directory = StoreDirectory(fs, f"{place.path}/{self._name}")
        except BaseException:
            self._discard()
            raise
        try:
            self._begin(limits)
        except BaseException:
            self.close()
            raise

    def _begin(self, limits: Limits) -> None:
        directory, place = self._directory, self._place
        # Whoever sweeps takes a staging directory whose lock is free for abandoned.
        if not take_flock(self._fs, place.clock, directory.fd, 0):
            raise LockTimeout(
                f"{directory.path}: another process has locked it; try again",
                session=None,
                holder_pid=None,
                holder="another process",
                held_s=None,
                waited_s=0.0,
            )
        self._fs.fchmod(directory.fd, 0o700)
        self._adopt_owner()
        self._require_usable()
        at_ms = int(place.clock.now() * 1000)
        header = Header(new_store_id(), 1, 1, "lowercase")
        name = journal.create_journal(directory, header, at_ms)
        self._state = State(1, at_ms, header.store_id, name, "lowercase")
        write_state(directory, self._state)
        self._files = SessionFiles(directory, place.clock, limits.entry_bytes, hashed_only=ignores_case(directory))

    def _adopt_owner(self) -> None:
        """What root builds must belong to whom the legacy file belongs to."""
        status = self._place.status(self._place.legacy_name)
        if os.geteuid() == 0 and status is not None and status.st_uid != 0:
            self._fs.fchown(self._directory.fd, status.st_uid, status.st_gid)
            self._directory.owner = (status.st_uid, status.st_gid)

    def _require_usable(self) -> None:
        """Prove that a store here could be written to, or the legacy file would go for nothing.

        There are file systems that give every file to everybody, and some without locks.
        """
        self._directory.require_safe()
        lock_file = LockFile(self._directory, self._place.clock)
        try:
            lock_file.probe()
        finally:
            lock_file.close()

    def is_nearly_level(self, legacy: LegacyFile) -> bool:
        """Whether what ``legacy`` changes is little enough to be written under the legacy lock."""
        changed = self._changed(legacy)
        return len(changed) <= _LATE_FILES and sum(doc.size for doc in changed) <= _LATE_BYTES

    def _changed(self, legacy: LegacyFile) -> list[Document]:
        documents = legacy.documents
        gone = [Document(key, 1, None, 0) for key in self._digests if key not in documents]
        return gone + [doc for doc in documents.values() if self._digests.get(doc.key) != _digest(doc)]

    def bring_level(self, legacy: LegacyFile, progress: Progress | None) -> None:
        """Make the staged store hold exactly what ``legacy`` holds, durably."""
        changed = self._changed(legacy)
        done = len(legacy.documents) - len(changed)
        while changed:
            batch: list[Document] = []
            size = 0
            while changed and len(batch) < _BATCH_FILES and size < _BATCH_BYTES:
                batch.append(changed.pop(0))
                size += batch[-1].size
            self._files.write(batch)
            self._digests.update({doc.key: _digest(doc) for doc in batch})
            done += len(batch)
            if progress is not None:
                progress(done, len(legacy.documents))
        self._digests = {key: self._digests[key] for key in legacy.documents}
        self._verify(legacy)
        write_state(self._directory, replace(self._state, migrated_from=self._origin(legacy)))

    def _verify(self, legacy: LegacyFile) -> None:
        """Two sessions that ended in one file must stop the migration, not lose one of them."""
        found = sum(1 for _ in self._files.names())
        if found != len(legacy.documents):
            reason = f"{len(legacy.documents)} sessions gave {found} files"
            text = f"{self._place.legacy_path}: {reason}; nothing was changed, is the file system full or odd?"
            raise MigrationError(text, path=self._place.legacy_path, reason=reason)

    def _origin(self, legacy: LegacyFile) -> dict[str, object]:
        return {
            "path": self._place.legacy_name,
            "at": int(self._place.clock.now() * 1000),
            "entries": legacy.legacy_count,
            "sessions": len(legacy.documents),
            "bytes": legacy.size,
            "sha256": legacy.sha256,
        }

    def promote(self) -> None:
        """Give the staged store its real name; from here on it counts."""
        place = self._place
        try:
            # rename(2) replaces an empty directory and refuses any other: no store is ever overwritten.
            self._fs.rename(self._name, place.store_name, src_dir_fd=place.fd, dst_dir_fd=place.fd)
        except OSError as exc:
            if exc.errno not in _IN_THE_WAY:
                raise
            reason = "something that is no store stands in its place"
            raise MigrationError(
                f"{place.store_path}: {reason}; move it away and try again", path=place.store_path, reason=reason
            ) from exc
        self._promoted = True

    def close(self) -> None:
        """Close the descriptors; a store that was not promoted is removed."""
        if not self._promoted:
            self._discard()
        with contextlib.suppress(OSError):  # everything was synced, or is rubbish
            self._directory.close()

    def _discard(self) -> None:
        # The first failure is the one to report; what stays is removed by a later migration.
        with contextlib.suppress(OSError):
            self._place.remove_tree(self._name)


def _digest(doc: Document) -> bytes:
    fields = doc.fields
    return hashlib.blake2b(codec.encode_fields(fields), digest_size=16).digest() if fields is not None else b""
