"""A store being built beside the legacy file that it is made from. Nobody reads it until it is promoted.

It is built without any lock that others wait for; whoever builds holds the ``flock`` of the
staging directory, which dies with its owner, so that a later run knows an abandoned one.

Its first session files are written under their own names, by several threads at once where
there are many, each synced; then the names are. What changes after that is replaced, file by file.

Memory: one batch of entries (8 MiB of their text) and some 0.1 kB a session.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from dataclasses import replace

from sessiondir import journal, layout
from sessiondir.directory import StoreDirectory
from sessiondir.document import Document, missing_document
from sessiondir.entries import SessionFiles, ignores_case
from sessiondir.errors import LockTimeout, MigrationError
from sessiondir.journal import Header
from sessiondir.legacy import LegacyFile
from sessiondir.legacyentries import LegacyEntries
from sessiondir.lockfile import LockFile, take_flock
from sessiondir.model import Limits
from sessiondir.opening import new_store_id
from sessiondir.place import Place
from sessiondir.state import State, write_state
from sessiondir.together import MANY, Together

Progress = Callable[[int, int], None]
"""Called with the sessions staged so far and their number."""

_BATCH_FILES = 64
_BATCH_BYTES = 8 << 20
_MANY_FILES = 32
"""So many are written by several threads; fewer are not worth starting them."""
_SMALL_BYTES = 512 << 10
# What may still be written while the legacy lock is held, which others respect for 30 s only.
_KEPT_WARNINGS = 200
"""As many are kept in ``state.json``, for those who look later; they are of some 200 bytes."""
_LATE_FILES = 256
_LATE_BYTES = 16 << 20
_IN_THE_WAY = frozenset((errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR))


class Staging:
    """A store being built beside the legacy file; make it inside ``Place.alone``."""

    def __init__(self, place: Place, limits: Limits) -> None:
        fs = place.fs
        self._place = place
        self._fs = fs
        self._digests: dict[str, bytes] = {}
        self.promoted = False
        """Whether it is the store by now."""
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
        directory.subdirectory(layout.ENTRIES, create=True)
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
        size = sum(legacy.sessions[key].length for key in changed if key in legacy.sessions)
        return len(changed) <= _LATE_FILES and size <= _LATE_BYTES

    def _changed(self, legacy: LegacyFile) -> list[str]:
        """Keys that are staged and gone from the file, then those whose entry is another, in its order."""
        gone = [key for key in self._digests if key not in legacy.sessions]
        places = legacy.sessions.items()
        new = [(place.at, key) for key, place in places if self._digests.get(key) != place.digest]
        return gone + [key for _, key in sorted(new)]

    def bring_level(self, legacy: LegacyFile, progress: Progress | None) -> None:
        """Make the staged store hold exactly what ``legacy`` holds, durably.

        Raises ``LegacyChanged`` when the file is no longer what ``legacy`` says; call again then.
        """
        with LegacyEntries(self._fs, legacy) as entries:
            if self._digests:
                self._replace(legacy, entries, progress)
            else:
                self._create(legacy, entries, progress)
        self._files.sync_names()
        self._verify(legacy)
        write_state(self._directory, replace(self._state, migrated_from=self._origin(legacy)))

    def _create(self, legacy: LegacyFile, entries: LegacyEntries, progress: Progress | None) -> None:
        keys = self._changed(legacy)
        given: list[str] = []
        create = self._files.create
        try:
            with Together(create, MANY if len(keys) >= _MANY_FILES else 0, "sessiondir-migrate") as writing:
                for key in keys:
                    doc = entries.document(key)
                    # A large one waits for no thread, so that only one of them is in memory.
                    (writing.give if legacy.sessions[key].length <= _SMALL_BYTES else create)(doc)
                    given.append(key)
                    if progress is not None and len(given) % _BATCH_FILES == 0:
                        progress(len(given), len(keys))
        except FileExistsError as exc:
            raise self._odd("two sessions have one file") from exc
        finally:
            # If the file changed meanwhile, what is written already is compared with the new one.
            self._digests.update((key, legacy.sessions[key].digest) for key in given)
        if progress is not None and len(given) % _BATCH_FILES:
            progress(len(keys), len(keys))

    def _replace(self, legacy: LegacyFile, entries: LegacyEntries, progress: Progress | None) -> None:
        changed = self._changed(legacy)[::-1]
        done = len(legacy.sessions) - sum(key in legacy.sessions for key in changed)
        while changed:
            batch: list[Document] = []
            size = 0
            while changed and len(batch) < _BATCH_FILES and size < _BATCH_BYTES:
                key = changed.pop()
                place = legacy.sessions.get(key)
                batch.append(entries.document(key) if place else missing_document(key, 1))
                size += place.length if place else 0
            self._write(batch, legacy)
            done += sum(doc.fields is not None for doc in batch)
            if progress is not None:
                progress(done, len(legacy.sessions))

    def _write(self, batch: list[Document], legacy: LegacyFile) -> None:
        self._files.write(batch)
        for doc in batch:
            if doc.fields is None:
                del self._digests[doc.key]
            else:
                self._digests[doc.key] = legacy.sessions[doc.key].digest

    def _verify(self, legacy: LegacyFile) -> None:
        """Two sessions that ended in one file must stop the migration, not lose one of them."""
        found = sum(1 for _ in self._files.names())
        if found != len(legacy.sessions):
            raise self._odd(f"{len(legacy.sessions)} sessions gave {found} files")

    def _odd(self, reason: str) -> MigrationError:
        text = f"{self._place.legacy_path}: {reason}; nothing was changed, is the file system odd?"
        return MigrationError(text, path=self._place.legacy_path, reason=reason)

    def _origin(self, legacy: LegacyFile) -> dict[str, object]:
        warnings = legacy.warnings
        told = {"warnings": warnings[:_KEPT_WARNINGS], "warningCount": len(warnings)} if warnings else {}
        return told | {
            "path": self._place.legacy_name,
            "at": int(self._place.clock.now() * 1000),
            "entries": legacy.legacy_count,
            "sessions": len(legacy.sessions),
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
        self.promoted = True

    def close(self) -> None:
        """Close the descriptors; a store that was not promoted is removed."""
        if not self.promoted:
            self._discard()
        with contextlib.suppress(OSError):  # everything was synced, or is rubbish
            self._directory.close()

    def _discard(self) -> None:
        # The first failure is the one to report; what stays is removed by a later migration.
        with contextlib.suppress(OSError):
            self._place.remove_tree(self._name)
