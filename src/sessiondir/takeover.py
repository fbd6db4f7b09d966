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
that does not know the directory: what is newer in it is committed (``merging``), then it is
moved away like the first one, and all of this is reported. The flock of the new directory is held
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
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from sessiondir.clock import Clock
from sessiondir.errors import MigrationError, StoreError, storage_error, translated
from sessiondir.fs import FileSystem
from sessiondir.legacy import USUAL_NAME, LegacyFile, index_legacy
from sessiondir.legacyentries import LegacyChanged
from sessiondir.legacylock import LegacyLock
from sessiondir.merging import Merged, merge_late_file
from sessiondir.model import Limits
from sessiondir.place import Place
from sessiondir.procfs import require_local
from sessiondir.signature import legacy_signature
from sessiondir.spelling import straighten
from sessiondir.staging import Progress, Staging

Outcome = Literal[
    "migrated", "already_directory", "skipped_empty", "skipped_invalid", "missing", "rolled_back", "failed"
]
_log = logging.getLogger("sessiondir")
LOCK_TIMEOUT_S = 10.0
_TRIES = 10
_LOGGED = 20


@dataclass(frozen=True, slots=True)
class TakeOver:
    """What became of a legacy store.

    ``legacy_count`` counts the members of the file, ``migrated_count`` the sessions made of
    them; ``backup_path`` is where the file went. ``late``: it had appeared beside an active
    store, which was logged.
    """

    outcome: Outcome
    store_path: str
    legacy_count: int = 0
    migrated_count: int = 0
    backup_path: str | None = None
    warnings: tuple[str, ...] = ()
    late: bool = False


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
    any_content: bool = False,
    allow_network: bool = False,
    lock_timeout_s: float = LOCK_TIMEOUT_S,
    progress: Progress | None = None,
) -> TakeOver:
    """Make the legacy file a store directory, or finish what an interrupted run began.

    Args:
        by_hand: somebody asked for it; without this a rolled-back store is left alone.
        any_content: somebody said that it is a store, whatever is in it (see ``as_a_store``).
        allow_network: go on although locks on a network file system are not trusted.
        lock_timeout_s: seconds to wait for the legacy lock.
        progress: called with (sessions staged, sessions in all).

    Returns every outcome but ``"failed"`` and ``"rolled_back"``. Raises ``MigrationError``, ``LockTimeout``,
    ``UnsafeDirectory``, ``UnsupportedFileSystem``, ``StorageError``; one whole store is there then, and running it
    again goes on. Durable on return. Cost: O(file), one sync for each session.
    """
    with translated(legacy_path, "migrate"):
        try:
            place = Place(fs, clock, store_path, legacy_path)
        except FileNotFoundError:
            return TakeOver("missing", store_path)
        try:
            return _TakingOver(place, limits, by_hand, any_content, allow_network, lock_timeout_s, progress).run()
        finally:
            place.close()


class _TakingOver:
    def __init__(
        self,
        place: Place,
        limits: Limits,
        by_hand: bool,
        any_content: bool,
        allow_network: bool,
        lock_timeout_s: float,
        progress: Progress | None,
    ) -> None:
        self._place = place
        self._fs = place.fs
        self._limits = limits
        self._by_hand = by_hand
        self._any_content = any_content
        self._allow_network = allow_network
        self._timeout_s = lock_timeout_s
        self._progress = progress
        self._merged: Merged | None = None

    def run(self) -> TakeOver:
        staging: Staging | None = None
        try:
            for _ in range(_TRIES):
                legacy = self._read()
                active = self._place.store_is_active()
                try:
                    if active or legacy.status != "usable":
                        result = self._settle(legacy, active)
                    else:
                        self._refuse_if_rolled_back()
                        staging = staging or self._begin()
                        staging.bring_level(legacy, self._progress)
                        result = self._change_hands(staging, legacy)
                except LegacyChanged:
                    result = None
                if result is not None:
                    return result
                if staging is not None and staging.promoted:
                    # It is the store now: whoever wants to write to it waits for what we hold.
                    staging.close()
                    staging = None
            reason = f"the legacy file changed {_TRIES} times during the migration"
            text = f"{self._place.legacy_path}: {reason}; stop the program that writes it and try again"
            raise MigrationError(text, path=self._place.legacy_path, reason=reason)
        finally:
            if staging is not None:
                staging.close()

    def _read(self) -> LegacyFile:
        legacy = index_legacy(self._fs, self._place.legacy_path, self._limits)
        return legacy if self._any_content else as_a_store(self._place, legacy)

    def _is_unchanged(self, legacy: LegacyFile) -> bool:
        return legacy_signature(self._fs, self._place.legacy_path) == legacy.signature

    def _refuse_if_rolled_back(self) -> None:
        if not self._by_hand and is_rolled_back(self._fs, self._place.store_path):
            raise rolled_back_error(self._place.legacy_path)

    def _begin(self) -> Staging:
        if not self._allow_network:
            require_local(
                self._place.path,
                "where a store's locks cannot be relied on between hosts; the legacy file was left as it is: keep "
                "it on a local file system, or allow the network explicitly",
            )
        with self._place.alone(self._timeout_s):
            self._place.sweep()
            return Staging(self._place, self._limits)

    # -- the moment of change -------------------------------------------------------------

    def _change_hands(self, staging: Staging, legacy: LegacyFile) -> TakeOver | None:
        """Put the staged store in place; None if things have moved and have to be looked at again."""
        with self._place.locked(self._timeout_s) as lock:
            if self._place.store_is_active():
                return None
            self._refuse_if_rolled_back()  # perhaps while this was staged
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

    def _retire(
        self, legacy: LegacyFile, lock: LegacyLock, note: str = "", *, keep: bool = True
    ) -> TakeOver | None:
        """Move the legacy file to its backup name; its content is in the directory. Locks held.

        None if it turned out to be another file meanwhile, which stays where it is.
        """
        lock.require_ours()
        if not self._is_unchanged(legacy):
            return None
        backup = self._place.retire(legacy.signature, keep=keep)
        if backup is None:
            return None
        return TakeOver(
            "migrated",
            self._place.store_path,
            legacy.legacy_count,
            len(legacy.sessions),
            f"{self._place.path}/{backup}",
            (*legacy.warnings, note) if note else legacy.warnings,
        )

    # -- nothing to stage -----------------------------------------------------------------

    def _settle(self, legacy: LegacyFile, active: bool) -> TakeOver | None:
        """The result where there is nothing to take over; None if things have moved meanwhile."""
        place = self._place
        if active and legacy.status == "usable":
            return self._finish(legacy)
        told: tuple[str, ...] = ()
        if active:
            told = straighten(place, self._limits, self._timeout_s, self._allow_network)
        elif legacy.status == "empty":
            # The first write begins a store beside such a file, which the old program goes on with.
            self._refuse_if_rolled_back()
        is_usable = legacy.status != "invalid" and is_rolled_back(self._fs, place.store_path)
        if self._by_hand and (active or is_usable):
            with place.alone(self._timeout_s):
                place.sweep()
                place.clear_stale_lock()
                place.remove_marker()
        if legacy.status == "missing":
            return TakeOver("already_directory" if active else "missing", place.store_path, warnings=told)
        outcome: Outcome = "skipped_empty" if legacy.status == "empty" else "skipped_invalid"
        reason = f"{place.legacy_path} was left as it is: {legacy.reason}"
        return TakeOver(outcome, place.store_path, legacy.legacy_count, warnings=(*told, *legacy.warnings, reason))

    def _finish(self, legacy: LegacyFile) -> TakeOver | None:
        """A directory and a legacy file: finish an interrupted run, or take in what is newer in the file."""
        place = self._place
        origin = origin_of(place, legacy)
        if origin == "foreign":
            # Before the lock: its commits are checked against versions, and may take a while.
            self._merge(legacy)
        with place.locked(self._timeout_s) as lock:
            if not place.store_is_active() or origin_of(place, legacy) != origin:
                return None
            place.sweep()
            if origin == "migration":
                result = self._retire(legacy, lock, "finished an interrupted migration")
            elif origin == "rollback":
                note = f"{place.legacy_name} was the copy of an interrupted rollback"
                result = self._retire(legacy, lock, note)
                if result is not None:
                    result = replace(result, outcome="already_directory", migrated_count=0)
            else:
                result = self._retire(legacy, lock, keep=False)
                if result is not None:
                    result = self._told(result)
            if result is not None and self._by_hand:
                place.remove_marker()
            return result

    def _merge(self, legacy: LegacyFile) -> None:
        place = self._place
        if self._merged is None:
            self._merged = Merged(place.legacy_path, place.store_name)
        merge_late_file(place, legacy, self._limits, self._timeout_s, self._allow_network, self._merged)

    def _told(self, result: TakeOver) -> TakeOver:
        """Say loudly that an old program is still at work, and what became of what it wrote."""
        merged = self._merged
        assert merged is not None
        warnings = (*result.warnings, merged.summary(), *merged.details())
        _log.warning("%s; its file is now %s", "; ".join((merged.summary(), *result.warnings)), result.backup_path)
        return replace(result, migrated_count=merged.taken, warnings=warnings, late=True)


def left_behind(legacy_path: str, warnings: tuple[str, ...]) -> str:
    """What a migration had to say, in one line for the log."""
    more = f"; and {len(warnings) - _LOGGED} more" if len(warnings) > _LOGGED else ""
    return f"{legacy_path} was migrated, and kept as a backup: {'; '.join(warnings[:_LOGGED])}{more}"


def rolled_back_error(legacy_path: str) -> MigrationError:
    """The error of migrating by itself a store that somebody rolled back."""
    reason = "the store was rolled back to the legacy file"
    text = f"{legacy_path}: {reason}, which is only read now; run: sessiondir migrate"
    return MigrationError(text, path=legacy_path, reason=reason)


def as_a_store(place: Place, legacy: LegacyFile) -> LegacyFile:
    """``legacy``; as an invalid one if nothing shows that it is a store and not some other program's file.

    It shows by its usual name, by an entry with a ``sessionId`` or an ``updatedAt``, or because we wrote
    it or made a store of it ourselves.
    """
    if legacy.status != "usable" or legacy.is_recognised or origin_of(place, legacy) in ("migration", "rollback"):
        return legacy
    reason = (
        f"it is not called {USUAL_NAME} and no entry in it has a sessionId or an updatedAt, so it may be another "
        "program's file; if it is a store, run: sessiondir migrate --any-content"
    )
    return replace(legacy, status="invalid", reason=reason)


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
