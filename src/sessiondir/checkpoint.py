"""Bringing session files level with the journal, and starting a new journal.

One process at a time, under the checkpoint lock. Order matters at every step:

    1  sync the journal, so that no session file is ever ahead of a durable journal
    2  write, sync and rename the changed session files, sync the directory
    3  replace ``state.json`` (its version is now certainly in the session files)

and when the journal has grown long, between 2 and 3:

    a  write the next journal with what came in meanwhile, sync it and its name
    b  under the commit lock copy the rest, sync, append the line that names it to the old
       journal and sync that: this is the moment of change
    c  replace ``state.json``, and only then remove the old journal

A crash between b and c leaves a state file one journal behind; opening follows the chain.
A full disk stops the checkpoint, not the store.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import replace

from sessiondir import durable, journal, layout, quarantine
from sessiondir.clock import Clock
from sessiondir.commit import Committer
from sessiondir.directory import StoreDirectory
from sessiondir.document import Document
from sessiondir.entries import SessionFiles
from sessiondir.errors import CorruptFile, DurabilityUnknown, StoreError, translated
from sessiondir.follower import SLICE_BYTES
from sessiondir.journal import Header, JournalFile
from sessiondir.listkeeping import ListingKeeper
from sessiondir.lockfile import ByteLock
from sessiondir.model import Limits
from sessiondir.mutex import finally_release
from sessiondir.state import State, read_state, write_state
from sessiondir.sync import SyncGroup
from sessiondir.view import View

_log = logging.getLogger("sessiondir")
_BATCH_FILES = 64
_BATCH_BYTES = 8 << 20
_SLICES = 128
"""In about so many slices a long backlog is noted."""
COMMIT_LOCK_S = 10.0


class Checkpointer:
    """Levels the session files of one store."""

    def __init__(
        self,
        directory: StoreDirectory,
        clock: Clock,
        files: SessionFiles,
        view: View,
        committer: Committer,
        sync: SyncGroup,
        lock: ByteLock,
        limits: Limits,
        state: State,
    ) -> None:
        self._directory = directory
        self._fs = directory.fs
        self._clock = clock
        self._files = files
        self._view = view
        self._committer = committer
        self._sync = sync
        self._lock = lock
        self._limits = limits
        self._state = state
        self.listing = ListingKeeper(directory, clock, files)

    def is_busy(self) -> bool:
        """Whether a thread of this process is at it."""
        return self._lock.is_busy()

    def run(
        self,
        timeout_s: float,
        *,
        youngest_s: float = 0.0,
        rotate_bytes: int | None = None,
        at_leisure: bool = False,
    ) -> bool:
        """Bring the session files level with everything committed before the call.

        Args:
            timeout_s: how long to wait while another process checkpoints (0: do not wait).
            youngest_s: do nothing if another process did it less than so many seconds ago.
            rotate_bytes: start a new journal if this one is longer; default ``journal_bytes``.
            at_leisure: nobody waits, so a missing listing file may be made, which reads all session files.

        Returns False if nothing was done because of another process. Raises ``StorageError``;
        the store is as good as before, and the journal still holds what the files lack.
        """
        mine = object()
        longest = self._limits.journal_bytes if rotate_bytes is None else rotate_bytes

        def work() -> bool:
            return self._lock.acquire(mine, timeout_s) and self._run(youngest_s, longest, at_leisure)

        if not at_leisure:
            self.listing.waiting.add(mine)
        try:
            with translated(self._directory.path, "level"):
                return finally_release(work, lambda: self._lock.release(mine))
        finally:
            self.listing.waiting.discard(mine)

    def _run(self, youngest_s: float, rotate_bytes: int, at_leisure: bool) -> bool:
        view = self._view
        stored = self._stored_state()
        with view.mutex:
            view.catch_up()
            if stored is not None:
                view.skip_levelled(stored)
                # The clock only spreads the work among processes; a wrong one costs work, not data.
                if 0 <= self._clock.now() - stored.updated_at / 1000 < youngest_s:
                    return False
        self._settle_in_slices(at_leisure=at_leisure)
        with view.mutex:
            view.catch_up()
            view.settle()
            target, todo, end = view.version, list(view.dirty), view.end
            rotate = view.end > rotate_bytes or bool(self._journal().damage)
        self.listing.begin(stored, self._journal().inode)
        certain = self._level(todo, target)
        listing = self.listing.finish(anew=at_leisure) if certain == target else None
        self._state = replace(self._state, listing=listing)
        if rotate and certain == target:
            self._rotate(target, end)
        elif (
            stored is None
            or certain > stored.version
            or stored.inode != self._journal().inode
            or stored.listing != listing
        ):
            self._write_state(certain, self._journal(), end if certain == target else 0)
        return True

    def _settle_in_slices(self, *, at_leisure: bool) -> None:
        view, waiting = self._view, self.listing.waiting
        known, more = view.end, True
        slice_bytes = max(SLICE_BYTES, (known - view.backlog_from) // _SLICES)
        while more:
            begun = self._clock.monotonic()
            with view.mutex:
                more = view.settle_some(slice_bytes)
            # Or the other threads would wait for all of it. A thread that computes keeps the interpreter for
            # milliseconds after each system call of the others, who may hold a lock that everybody waits for.
            rest = at_leisure and not waiting
            self._clock.sleep(self._clock.monotonic() - begun if rest else 0)
            if view.backlog_from >= known:
                # What came in meanwhile goes in larger slices: on a busy machine each one waits for a
                # processor, and commits that come faster than slices would leave the checkpoint no end.
                known, slice_bytes = view.end, slice_bytes * 4

    def _journal(self) -> JournalFile:
        file = self._view.journal
        assert file is not None
        return file

    def _stored_state(self) -> State | None:
        try:
            return read_state(self._directory)
        except CorruptFile as exc:
            quarantine.set_aside(self._directory, self._clock, layout.STATE, exc.reason)
            return None

    def _write_state(self, version: int, file: JournalFile, position: int) -> None:
        header = file.header
        self._state = replace(
            self._state,
            version=max(version, header.base),
            updated_at=int(self._clock.now() * 1000),
            store_id=header.store_id,
            journal=file.name,
            position=position,
            inode=file.inode,
            keys=header.keys,
        )
        write_state(self._directory, self._state)

    # -- session files --------------------------------------------------------------------

    def _level(self, keys: list[str], target: int) -> int:
        """Write the session files of ``keys``; the version up to which all files are certain."""
        certain = target
        batch: list[Document] = []
        size = 0
        for key in keys:
            try:
                doc = self._view.load(key)
                if key in self._view.lost:
                    self._keep_lines(key, self._view.lost.pop(key))
            except CorruptFile as exc:
                self._set_session_aside(key, exc)
                continue
            except StoreError as exc:
                # It stays in the journal, which therefore may not be finished yet.
                _log.error("%s: session %r cannot be brought level: %s", self._directory.path, key, str(exc))
                certain = min(certain, self._first_pending(key) - 1)
                continue
            batch.append(doc)
            size += doc.weight
            if len(batch) >= _BATCH_FILES or size >= _BATCH_BYTES:
                self._write_batch(batch)
                batch, size = [], 0
        if batch:
            self._write_batch(batch)
        return certain

    def _first_pending(self, key: str) -> int:
        with self._view.mutex:
            places = self._view.pending.get(key)
            return min(places)[0] if places else self._view.version

    def _write_batch(self, batch: list[Document]) -> None:
        view = self._view
        with view.mutex:
            # Everything in the batch was read from this journal, before this end.
            file, end = self._journal(), view.end
        self._sync.wait(file, end)
        self.listing.before_writing()
        self._files.write(batch)
        self.listing.after_writing(batch)
        with view.mutex:
            view.levelled({doc.key: doc.latest for doc in batch})

    def _set_session_aside(self, key: str, exc: CorruptFile) -> None:
        """A damaged session file with only partial changes in the journal: keep both for people."""
        with self._view.mutex:
            places = list(self._view.pending.get(key, ()))
        found = self._files.place_in_the_way(key)
        if found is not None:
            quarantine.set_aside(self._directory, self._clock, found[1], exc.reason, found[0])
        self._keep_lines(key, places)

    def _keep_lines(self, key: str, places: list[tuple[int, int, int]]) -> None:
        file = self._journal()
        lines = b"".join(self._fs.pread(file.fd, length, offset) for _, offset, length in places)
        if lines:
            reason = f"changes of session {key!r}, whose file is missing or damaged"
            quarantine.keep_bytes(self._directory, self._clock, file.name, lines, reason)
            with self._view.mutex:
                # What was committed since is not among them and still has to be written.
                self._view.levelled({key: max(version for version, _, _ in places)})

    # -- the next journal -----------------------------------------------------------------

    def _rotate(self, base: int, base_end: int) -> None:
        """Start the next journal at ``base``, up to which the session files are level.

        ``base_end`` is where the line of ``base`` ends.
        """
        old = self._journal()
        header = Header(old.header.store_id, old.generation + 1, base, old.header.keys)
        at_ms = int(self._clock.now() * 1000)
        with self._view.mutex:
            copied_to = self._view.end
        self._keep_damaged_lines(old)
        lines = journal.read_range(self._fs, old.fd, base_end, copied_to)
        name = journal.create_journal(self._directory, header, at_ms, lines)
        new = JournalFile(self._directory, name, writable=True)
        try:
            mine = object()

            def work() -> bool:
                return self._change_journals(mine, old, new, lines, copied_to)

            if finally_release(work, lambda: self._committer.unlock(mine)):
                with self._view.mutex:
                    self._view.catch_up()
                self._write_state(base, new, new.start)
                self._remove_finished(header.generation)
        except DurabilityUnknown:
            # Others may have gone on to the new journal already: let the state file name it. If that
            # fails, too, opening follows the old journal; the failed sync is what has to be told.
            with contextlib.suppress(StoreError, OSError):
                self._write_state(base, new, new.start)
            raise
        finally:
            new.close()

    def _change_journals(
        self, mine: object, old: JournalFile, new: JournalFile, lines: bytes, copied_to: int
    ) -> bool:
        """Copy what came in meanwhile and finish ``old`` with the line that names ``new``."""
        if self._committer.lock(mine, COMMIT_LOCK_S) is not old:
            return False  # only removing files by hand gets here: whoever did it has a journal of his own
        if self._view.torn or not old.tail_checked:
            self._committer.mend_tail(old)
        end, version = self._view.end, self._view.version
        rest = journal.read_range(self._fs, old.fd, copied_to, end)
        if rest:
            durable.write_all(self._fs, new.fd, rest, new.start + len(lines))
            self._fs.fdatasync(new.fd)
        if self._inode(new.name) != new.inode:
            raise CorruptFile(
                f"{new.path} was replaced: somebody removed the lock file; nothing was changed",
                path=new.path,
                reason="replaced",
            )
        # From the next line on the old journal is finished; whoever follows it before it is
        # durable syncs it himself (see SyncGroup), so no power cut hides a commit behind it.
        at_ms = int(self._clock.now() * 1000)
        old.append(journal.encode_next(version, at_ms, new.name), end, preallocate=False)
        self._sync.finish(old)
        return True

    def _inode(self, name: str) -> str:
        status = self._fs.stat(name, dir_fd=self._directory.fd, follow_symlinks=False)
        return f"{status.st_dev}:{status.st_ino}"

    def _keep_damaged_lines(self, file: JournalFile) -> None:
        """Put into the quarantine what the next journal will not have."""
        if file.damage:
            first = self._fs.pread(file.fd, file.start, 0)
            quarantine.keep_bytes(self._directory, self._clock, file.name, first, file.damage)
        for (generation, offset), reason in self._view.damaged.items():
            if generation == file.generation:
                rest = journal.read_range(self._fs, file.fd, offset, self._view.end)
                line = rest[: rest.find(b"\n") + 1]
                quarantine.keep_bytes(self._directory, self._clock, file.name, line, reason)

    def _remove_finished(self, generation: int) -> None:
        for name in journal.journal_names(self._directory):
            if (layout.journal_generation(name) or generation) < generation:
                self._fs.unlink(name, dir_fd=self._directory.fd)
        self._files.sweep()
        for name in self._fs.listdir(self._directory.fd):
            if layout.is_temporary(name):
                self._fs.unlink(name, dir_fd=self._directory.fd)
