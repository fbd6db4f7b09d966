"""Going back to the legacy file: what ``migration.rollback`` does before and after ``handback``.

Commits wait from the first session written to the last step; the sessions go through
memory one at a time.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from sessiondir import codec, journal, jsnumbers, layout
from sessiondir.clock import SYSTEM_CLOCK, Clock
from sessiondir.core import Core
from sessiondir.deciding import documents_beside
from sessiondir.document import Document
from sessiondir.errors import CorruptFile, StorageError, translated
from sessiondir.fs import SYSTEM_FS, FileSystem
from sessiondir.handback import in_javascript_order, legacy_text, roll_back, tidy_up, what_is_in_the_way
from sessiondir.inspection import is_active
from sessiondir.journal import JournalFile
from sessiondir.legacyparse import lost_numbers
from sessiondir.model import Limits
from sessiondir.registry import borrowed_core
from sessiondir.signature import legacy_signature
from sessiondir.snapshot import all_keys
from sessiondir.takeover import LOCK_TIMEOUT_S, is_rolled_back


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
        lock_timeout: seconds to wait for each lock; 0 tries once. A process that is just setting the
            store up is waited for 10 s all the same.

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
    if not is_active(fs, clock, store_path, legacy_path):
        exists = legacy_signature(fs, legacy_path) is not None
        if exists and not dry_run and is_rolled_back(fs, store_path):
            tidy_up(fs, clock, store_path, legacy_path, lock_timeout)
        return RollbackResult(legacy_path, store_path, "already_legacy" if exists else "missing")
    try:
        return _roll_back(
            fs, clock, store_path, legacy_path, limits, overwrite, dry_run, lock_timeout, allow_network
        )
    except (CorruptFile, StorageError) as exc:
        # What fails once the store has moved is told, unless it is that the store was not there any more.
        is_gone = isinstance(exc, CorruptFile) or exc.errno in (None, errno.ENOENT)
        if not is_gone or is_active(fs, clock, store_path, legacy_path):
            raise
        return RollbackResult(legacy_path, store_path, "already_legacy")  # somebody else was quicker


def _roll_back(
    fs: FileSystem,
    clock: Clock,
    store_path: str,
    legacy_path: str,
    limits: Limits,
    overwrite: bool,
    dry_run: bool,
    lock_timeout: float,
    allow_network: bool,
) -> RollbackResult:
    with (
        translated(store_path, "roll back"),
        borrowed_core(fs, clock, store_path, limits, allow_network=allow_network or dry_run) as core,
    ):
        sessions = _Sessions(core)
        if dry_run:
            what_is_in_the_way(fs, clock, store_path, legacy_path, overwrite=overwrite)
            size = sum(map(len, legacy_text(sessions)))
            warnings = (*sessions.warnings(), *_about_size(size, limits))
            return RollbackResult(
                legacy_path, store_path, "would_roll_back", sessions.count, size, warnings=warnings
            )
        core.begin_writing()
        # A short journal: closing this handle must not want to begin another one after the seal.
        core.checkpoint(lock_timeout, rotate_bytes=0)
        mine = object()
        try:
            file = core.committer.lock(mine, lock_timeout)
            _level(core)
            handed = roll_back(
                fs,
                clock,
                store_path,
                legacy_path,
                sessions,
                seal=functools.partial(_seal, core, file),
                version=core.view.version,
                overwrite=overwrite,
                lock_timeout_s=lock_timeout,
            )
        finally:
            core.committer.unlock(mine)
        return RollbackResult(
            legacy_path,
            store_path,
            "rolled_back",
            sessions.count,
            handed.size,
            handed.backup_path,
            handed.previous_path,
            (*sessions.warnings(), *_about_size(handed.size, limits)),
        )


class _Sessions:
    """Every session in the order of the file, one at a time, and what a legacy file cannot hold.

    Raises ``UnreadableFile``: a session that cannot be read *now* must not be left out.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._left_out: list[str] = []
        self._one_to_legacy: list[str] = []
        self._more_than_entry = 0
        self._lost_numbers: list[str] = []
        self.count = 0

    def __iter__(self) -> Iterator[Document]:
        self.count = self._more_than_entry = 0
        self._left_out, self._one_to_legacy, self._lost_numbers = [], [], []
        spellings: dict[str, str] = {}
        for key in in_javascript_order(self._keys()):
            try:
                doc = self._core.view.peek(key)
            except CorruptFile as exc:
                self._left_out.append(f"session {key!r} was left out: {exc.reason}; its file stays in the backup")
                continue
            if doc.fields is None:
                continue
            self.count += 1
            self._more_than_entry += bool(doc.extra)
            self._lost_numbers += lost_numbers(key, _infinite_in(doc.fields))
            other = spellings.setdefault(layout.normalise_key(key, "lowercase"), key)
            if other != key:
                self._one_to_legacy.append(
                    f"{other!r} and {key!r} are one session to the legacy program: the newer wins"
                )
            yield doc

    def _keys(self) -> list[str]:
        files = self._core.files
        keys = dict.fromkeys(all_keys(self._core))
        for name in files.names():
            if layout.is_hashed_name(name):  # only the file tells the key
                try:
                    keys.setdefault(files.read_name(name).key)
                except CorruptFile as exc:
                    self._left_out.append(f"{name} was left out: {exc.reason}; it stays in the backup")
                except FileNotFoundError:
                    continue  # deleted since it was listed
        return list(keys)

    def warnings(self) -> tuple[str, ...]:
        """What the last pass over the sessions found."""
        found = [*self._left_out]
        if self._more_than_entry:
            count = self._more_than_entry
            found.append(f"{count} session files hold more than an entry; that stays in the backup alone")
        return (*found, *self._lost_numbers, *self._one_to_legacy, *self._undelivered())

    def _undelivered(self) -> list[str]:
        count = sum(len(doc.aside.messages) for doc in documents_beside(self._core) if doc.aside is not None)
        return [f"undelivered messages: {count}; they stay in the backup alone"] if count else []


def _infinite_in(fields: codec.Fields) -> list[str]:
    """The places of numbers that the legacy program's file cannot hold."""
    found = []
    for name, value in fields.items():
        if type(value) is bytes:
            inner = codec.decode(value) if jsnumbers.may_be_infinite(value) else None
            found += jsnumbers.infinite({name: inner})
        elif type(value) is int:
            found += jsnumbers.infinite({name: value})
    return found


def _about_size(size: int, limits: Limits) -> list[str]:
    if size <= limits.legacy_bytes:
        return []
    needed = f"a higher limit than {limits.legacy_bytes} (--max-bytes, or Limits.legacy_bytes)"
    return [f"the file has {size} bytes; migrating it again needs {needed}"]


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
