"""From a legacy ``sessions.json`` to a store directory, and back.

    inspect(path)    says what ``migrate`` would find; changes nothing
    migrate(path)    takes the legacy file over; the original is kept as ``.bak.<ms>``
    rollback(path)   writes the legacy file again; the directory is kept as ``.d.bak.<ms>``

``path`` may name either side (``.../NAME.json`` or ``.../NAME.d``). Each call may be killed
at any moment and run again: there is one whole store at all times, and which one counts is
never in doubt (see ``takeover``).

Not done here: starting by itself. A handle migrates on its first real change, unless the
store was rolled back.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from sessiondir import journal, layout
from sessiondir.clock import SYSTEM_CLOCK, Clock
from sessiondir.core import Core
from sessiondir.deciding import documents_beside
from sessiondir.errors import CorruptFile, StoreError, translated
from sessiondir.fs import SYSTEM_FS, FileSystem
from sessiondir.handback import in_javascript_order, legacy_text, roll_back, tidy_up, what_is_in_the_way
from sessiondir.journal import JournalFile
from sessiondir.legacy import Alias, legacy_signature, read_legacy
from sessiondir.model import Document, Limits
from sessiondir.place import Place
from sessiondir.registry import open_core, release_core
from sessiondir.snapshot import all_keys
from sessiondir.takeover import LOCK_TIMEOUT_S, Outcome, Progress, is_rolled_back, take_over

__all__ = (
    "Inspection",
    "MigrationResult",
    "RollbackResult",
    "inspect",
    "migrate",
    "migrate_all",
    "rollback",
)

_log = logging.getLogger("sessiondir")
Status = Literal["already_directory", "ready_to_migrate", "empty_legacy", "invalid_legacy", "missing"]


@dataclass(frozen=True, slots=True)
class MigrationResult:
    """What became of one store.

    ``outcome`` is ``migrated``, ``already_directory``, ``skipped_empty``, ``skipped_invalid``,
    ``missing`` or ``failed``; ``error`` is the exception behind the last. ``legacy_count``
    counts the members of the legacy file, ``migrated_count`` the sessions made of them.
    """

    path: str
    store_path: str
    outcome: Outcome
    legacy_count: int = 0
    migrated_count: int = 0
    backup_path: str | None = None
    warnings: tuple[str, ...] = ()
    error: StoreError | None = None


def migrate(
    path: str | os.PathLike[str],
    *,
    limits: Limits | None = None,
    lock_timeout: float = LOCK_TIMEOUT_S,
    allow_network: bool = False,
    progress: Progress | None = None,
    fs: FileSystem = SYSTEM_FS,
    clock: Clock = SYSTEM_CLOCK,
) -> MigrationResult:
    """Make a legacy file a store directory, also one that was rolled back before.

    Args:
        path: ``.../NAME.json`` or ``.../NAME.d``.
        limits: ``legacy_bytes``, ``entry_bytes`` and ``sessions`` apply.
        lock_timeout: seconds to wait for a running legacy program; 0 tries once.
        allow_network: migrate on a network file system although its locks are not trusted.
        progress: called with (sessions written, sessions in all).

    Raises ``InvalidPath`` only: what goes wrong with the store is outcome ``failed``, and
    then the legacy file stands, or the next call finishes the work. Durable on return.
    Cost: O(file), one file sync for each session. Not for two paths at once in one process's
    memory: about three times the size of the file is held.
    """
    store_path, legacy_path = layout.store_path(path)
    try:
        result = take_over(
            fs,
            clock,
            legacy_path,
            store_path,
            limits or Limits(),
            by_hand=True,
            allow_network=allow_network,
            lock_timeout_s=lock_timeout,
            progress=progress,
        )
    except StoreError as exc:
        return MigrationResult(legacy_path, store_path, "failed", warnings=(str(exc),), error=exc)
    return MigrationResult(
        legacy_path,
        store_path,
        result.outcome,
        result.legacy_count,
        result.migrated_count,
        result.backup_path,
        result.warnings,
    )


def migrate_all(
    paths: Iterable[str | os.PathLike[str]],
    *,
    limits: Limits | None = None,
    lock_timeout: float = LOCK_TIMEOUT_S,
    allow_network: bool = False,
    fs: FileSystem = SYSTEM_FS,
    clock: Clock = SYSTEM_CLOCK,
) -> list[MigrationResult]:
    """Migrate several stores one after another; one that fails does not stop the rest.

    The same store named twice is migrated once. Arguments and errors as ``migrate``.
    """
    stores = dict.fromkeys(layout.store_path(path)[1] for path in paths)
    return [
        migrate(path, limits=limits, lock_timeout=lock_timeout, allow_network=allow_network, fs=fs, clock=clock)
        for path in stores
    ]


# -- inspecting -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Inspection:
    """What there is to migrate.

    ``legacy_count`` counts the members of the legacy file, ``session_count`` the sessions it
    would give, ``directory_count`` those in an existing directory. ``aliases`` are spellings
    of one key that merge, and which of them wins.
    """

    path: str
    store_path: str
    status: Status
    legacy_count: int = 0
    session_count: int = 0
    directory_count: int = 0
    aliases: tuple[Alias, ...] = ()
    rolled_back: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def preview(self) -> str:
        """One line for people."""
        if self.status == "ready_to_migrate":
            return f"{self.legacy_count} legacy entries would become {self.session_count} sessions"
        return {
            "already_directory": f"a directory with {self.directory_count} sessions is in use",
            "empty_legacy": "the legacy file holds no session",
            "invalid_legacy": "the legacy file cannot be used",
            "missing": "there is no store",
        }[self.status]


def inspect(
    path: str | os.PathLike[str],
    *,
    limits: Limits | None = None,
    fs: FileSystem = SYSTEM_FS,
    clock: Clock = SYSTEM_CLOCK,
) -> Inspection:
    """Say what ``migrate`` would find; takes no lock and changes nothing. O(file).

    Raises ``InvalidPath``, ``UnreadableFile``, ``UnsafeDirectory``, ``FormatTooNew``.
    """
    store_path, legacy_path = layout.store_path(path)
    limits = limits or Limits()
    legacy = read_legacy(fs, legacy_path, limits)
    active = _is_active(fs, clock, store_path, legacy_path)
    warnings = list(legacy.warnings)
    status: Status = "missing"
    if legacy.status == "invalid":
        status = "invalid_legacy"
        warnings.append(legacy.reason)
    elif active:
        status = "already_directory"
        if legacy.status == "usable":
            warnings.append(f"{legacy_path} exists beside the directory and does not count")
    elif legacy.status == "usable":
        status = "ready_to_migrate"
    elif legacy.status == "empty":
        status = "empty_legacy"
    return Inspection(
        legacy_path,
        store_path,
        status,
        legacy.legacy_count,
        len(legacy.documents),
        _count_sessions(fs, clock, store_path, limits) if active else 0,
        legacy.aliases,
        not active and is_rolled_back(fs, store_path),
        tuple(warnings),
    )


def _is_active(fs: FileSystem, clock: Clock, store_path: str, legacy_path: str) -> bool:
    with translated(store_path, "read"):
        try:
            place = Place(fs, clock, store_path, legacy_path)
        except FileNotFoundError:
            return False
        try:
            return place.store_is_active()
        finally:
            place.close()


def _count_sessions(fs: FileSystem, clock: Clock, store_path: str, limits: Limits) -> int:
    with translated(store_path, "read"), _core(fs, clock, store_path, limits, allow_network=True) as core:
        return len(all_keys(core))


@contextlib.contextmanager
def _core(fs: FileSystem, clock: Clock, store_path: str, limits: Limits, *, allow_network: bool) -> Iterator[Core]:
    core = open_core(fs, clock, store_path, limits, None, allow_network=allow_network)
    try:
        yield core
    except BaseException:
        # The first failure is the one to report; every commit is in the journal.
        with contextlib.suppress(StoreError, OSError):
            release_core(core)
        raise
    try:
        release_core(core)
    except (StoreError, OSError) as exc:
        if not core.view.finished:
            raise
        _log.info("%s was handed back; its last checkpoint did not run: %s", store_path, str(exc))


# -- rolling back -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RollbackResult:
    """What became of one store.

    ``outcome``: ``rolled_back``; ``would_roll_back`` (dry run); ``already_legacy`` (there is no
    directory); ``missing``. ``size`` is the legacy file's in bytes, ``backup_path`` the
    directory's new name, ``previous_path`` where a legacy file went that had to make way.
    """

    path: str
    store_path: str
    outcome: Literal["rolled_back", "would_roll_back", "already_legacy", "missing"]
    session_count: int = 0
    size: int = 0
    backup_path: str | None = None
    previous_path: str | None = None
    warnings: tuple[str, ...] = ()


def rollback(
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    dry_run: bool = False,
    limits: Limits | None = None,
    lock_timeout: float = LOCK_TIMEOUT_S,
    allow_network: bool = False,
    fs: FileSystem = SYSTEM_FS,
    clock: Clock = SYSTEM_CLOCK,
) -> RollbackResult:
    """Write the legacy file that the old program reads, and move the directory away.

    Args:
        path: ``.../NAME.json`` or ``.../NAME.d``.
        overwrite: move a foreign legacy file to ``.bak.<ms>`` instead of refusing.
        dry_run: say what would happen; changes nothing.
        lock_timeout: seconds to wait for each lock; 0 tries once.

    Raises ``MigrationError`` (something is in the way), ``LockTimeout``, ``UnreadableFile`` if
    a session cannot be read, other ``StorageError``; the directory still counts then. A
    session whose file is *damaged* is left out and named in the warnings: its bytes stay in
    the directory's backup. Durable on return.

    Concurrency: commits wait meanwhile. A process that still has the store open afterwards
    reads what was there and gets ``CorruptFile`` when it writes.

    Numbers are written as the old program would: integers above 2**53 lose their last digits.
    """
    store_path, legacy_path = layout.store_path(path)
    limits = limits or Limits()
    if not _is_active(fs, clock, store_path, legacy_path):
        exists = legacy_signature(fs, legacy_path) is not None
        if exists and not dry_run and is_rolled_back(fs, store_path):
            tidy_up(fs, clock, store_path, legacy_path, lock_timeout)
        return RollbackResult(legacy_path, store_path, "already_legacy" if exists else "missing")
    with (
        translated(store_path, "roll back"),
        _core(fs, clock, store_path, limits, allow_network=allow_network or dry_run) as core,
    ):
        if dry_run:
            what_is_in_the_way(fs, clock, store_path, legacy_path, limits, overwrite=overwrite)
            documents, warnings = _everything(core)
            size = len(legacy_text(documents))
            warnings += _about_size(size, limits)
            return RollbackResult(
                legacy_path, store_path, "would_roll_back", len(documents), size, warnings=tuple(warnings)
            )
        core.begin_writing()
        # A short journal: closing this handle must not want to begin another one after the seal.
        core.checkpoint(lock_timeout, rotate_bytes=0)
        mine = object()
        try:
            file = core.committer.lock(mine, lock_timeout)
            documents, warnings = _everything(core)
            _level(core)
            handed = roll_back(
                fs,
                clock,
                store_path,
                legacy_path,
                documents,
                seal=functools.partial(_seal, core, file),
                version=core.view.version,
                limits=limits,
                overwrite=overwrite,
                lock_timeout_s=lock_timeout,
            )
        finally:
            core.committer.unlock(mine)
        warnings += _about_size(handed.size, limits)
        return RollbackResult(
            legacy_path,
            store_path,
            "rolled_back",
            len(documents),
            handed.size,
            handed.backup_path,
            handed.previous_path,
            tuple(warnings),
        )


def _everything(core: Core) -> tuple[list[Document], list[str]]:
    """Every session, in the order of the file, and what a legacy file cannot hold.

    Raises ``UnreadableFile``: a session that cannot be read *now* must not be left out.
    """
    warnings: list[str] = []
    keys = dict.fromkeys(all_keys(core))
    for name in core.files.names():
        if layout.is_hashed_name(name):  # only the file tells the key
            try:
                keys.setdefault(core.files.read_name(name).key)
            except CorruptFile as exc:
                warnings.append(f"{name} was left out: {exc.reason}; it stays in the backup")
            except FileNotFoundError:
                continue  # deleted since it was listed
    documents = []
    for key in keys:
        try:
            doc = core.view.load(key)
        except CorruptFile as exc:
            warnings.append(f"session {key!r} was left out: {exc.reason}; its file stays in the backup")
            continue
        if doc.fields is not None:
            documents.append(doc)
    documents = in_javascript_order(documents)
    return documents, warnings + _what_does_not_fit(documents) + _undelivered(core)


def _undelivered(core: Core) -> list[str]:
    count = sum(len(doc.aside.messages) for doc in documents_beside(core) if doc.aside is not None)
    return [f"undelivered messages: {count}; they stay in the backup alone"] if count else []


def _what_does_not_fit(documents: list[Document]) -> list[str]:
    warnings = []
    extra = sum(1 for doc in documents if doc.extra)
    if extra:
        warnings.append(f"{extra} session files hold more than an entry; that stays in the backup alone")
    spellings: dict[str, str] = {}
    for doc in documents:
        other = spellings.setdefault(layout.normalise_key(doc.key, "lowercase"), doc.key)
        if other != doc.key:
            warnings.append(f"{other!r} and {doc.key!r} are one session to the legacy program: the newer wins")
    return warnings


def _about_size(size: int, limits: Limits) -> list[str]:
    if size <= limits.legacy_bytes:
        return []
    return [f"the file has {size} bytes; migrating it again needs a higher limit than {limits.legacy_bytes}"]


def _level(core: Core) -> None:
    """Write the session files that still lag behind, so that the backup is plain files. Commit lock held."""
    with core.view.mutex:
        keys = list(core.view.dirty)
    lagging = []
    for key in keys:
        with contextlib.suppress(CorruptFile):  # said already, and kept as it is
            lagging.append(core.view.load(key))
    core.files.write(lagging)


def _seal(core: Core, file: JournalFile) -> None:
    """Finish the journal with a successor that nobody can create. Commit lock held; durable on return.

    Whoever has the store open finds no such journal and refuses to commit. It is not the next
    generation but the one after: a checkpoint that was about to begin may still create the next.
    """
    view = core.view
    if view.torn or not file.tail_checked:
        core.committer.mend_tail(file)
    names = journal.journal_names(core.directory)
    generation = max((layout.journal_generation(name) or 0 for name in names), default=file.generation) + 2
    at_ms = int(core.clock.now() * 1000)
    line = journal.encode_next(view.version, at_ms, layout.journal_name(generation))
    file.append(line, view.end, preallocate=False)
    core.fs.fdatasync(file.fd)
    with view.mutex:
        view.catch_up()
