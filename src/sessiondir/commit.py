"""The commit protocol: check versions, append one line, let go, and only then sync.

The commit lock is the ``flock`` of the journal file itself. Steps, as in the design:

    3  take the commit lock; if the journal was finished meanwhile, go on with its successor
    4  catch up; if a version is not the one the change was computed from, nothing is written
    5  cut a torn tail, append the line in one write; on a short write cut back and raise
    6  let go, then wait for the sync, so that no commit ever waits for another's sync

A process that dies before the write of step 5 has changed nothing; during it, it leaves a
torn tail that nobody reads; after it, the commit stands.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from sessiondir import journal, quarantine
from sessiondir.changes import version_of
from sessiondir.clock import Clock
from sessiondir.directory import StoreDirectory
from sessiondir.errors import CorruptFile, EntryTooLarge, LockTimeout, StoreError, storage_error
from sessiondir.fs import LOCK_EX, LOCK_NB, LOCK_UN, FileSystem
from sessiondir.journal import JournalFile
from sessiondir.lockfile import take_flock
from sessiondir.model import Limits
from sessiondir.mutex import OwnedMutex, finally_release
from sessiondir.operations import Operation
from sessiondir.view import View

_log = logging.getLogger("sessiondir")
SHORTEST_WAIT_S = 2.0
_EXCLUSIVE = LOCK_EX | LOCK_NB


Verify = Callable[[], Sequence[Operation] | None]
"""Looks at the store under the commit lock; see ``Committer.commit``."""


class Moved(Exception):
    """A session's version is not the one that the change was computed from."""

    def __init__(self, key: str, expected: int, actual: int) -> None:
        super().__init__(key, expected, actual)
        self.key = key
        self.expected = expected
        self.actual = actual


class Committed:
    """A commit that was appended: its version, and what to sync to make it durable."""

    __slots__ = ("end", "journal", "version")

    def __init__(self, version: int, journal: JournalFile, end: int) -> None:
        self.version = version
        self.journal = journal
        self.end = end


class Committer:
    """Appends commits to the current journal of one store."""

    def __init__(
        self, fs: FileSystem, clock: Clock, directory: StoreDirectory, view: View, limits: Limits
    ) -> None:
        self._fs = fs
        self._clock = clock
        self._directory = directory
        self._view = view
        self._limits = limits
        self.mutex = OwnedMutex()
        self._locked: JournalFile | None = None
        """The journal whose lock the holder of the mutex has, or is about to take."""

    def lock(
        self, mine: object, timeout_s: float, shortest_s: float = SHORTEST_WAIT_S, keys: Iterable[str] = ()
    ) -> JournalFile:
        """Take the commit lock on the current journal for the call ``mine``, and catch up.

        ``keys`` are the sessions that the commit is about: while it waits, they are kept up to date.
        Raises ``LockTimeout`` if it stays busy. To be followed by ``unlock(mine)`` whatever
        comes of it. Nobody holds it for more than milliseconds unless stopped, so even a
        caller who does not want to wait for a session waits up to ``shortest_s`` here.
        """
        mutex = self.mutex
        if mutex.by is None and mutex.lock.acquire(False):  # as below, without a call
            mutex.by = mine
        elif not mutex.acquire(mine, max(timeout_s, shortest_s)):
            raise self.lock_timeout(max(timeout_s, shortest_s))
        view = self._view
        while True:
            self._locked = file = view.journal
            assert file is not None
            try:
                self._fs.flock(file.fd, _EXCLUSIVE)
            except BlockingIOError:
                self._wait(file, max(timeout_s, shortest_s), keys)
            with view.mutex:
                view.catch_up()
                if view.journal is file and not view.finished:
                    return file
            self._fs.flock(file.fd, LOCK_UN)
            if view.finished:
                raise CorruptFile(
                    f"{file.path} is finished and its successor is not there: the store was rolled back or "
                    "files were removed; close this handle and open the store again",
                    path=file.path,
                    reason="finished journal without successor",
                )

    def _wait(self, file: JournalFile, timeout_s: float, keys: Iterable[str]) -> None:
        if not take_flock(self._fs, self._clock, file.fd, timeout_s, lambda: self._view.freshen(keys)):
            raise self.lock_timeout(timeout_s)

    def unlock(self, mine: object) -> None:
        """Let go of the commit lock if ``mine`` holds it; any number of times."""
        mutex = self.mutex
        if mutex.by is mine:
            file = self._locked
            try:
                if file is not None and file.fd >= 0:
                    self._fs.flock(file.fd, LOCK_UN)
            except OSError as exc:
                if exc.errno is None:
                    raise  # out of a signal handler: the lock is not released yet
                # The commit, if there was one, stands; other processes wait until we close.
                _log.error("%s: the commit lock could not be released: %s", self._directory.path, str(exc))
            self._locked = None
            mutex.by = None
            mutex.lock.release()
        else:
            mutex.release(mine)  # perhaps interrupted between these two

    def commit(
        self,
        operations: Sequence[Operation],
        expected: Mapping[str, int | None],
        timeout_s: float,
        *,
        preallocate: bool,
        verify: Verify | None = None,
        shortest_s: float = SHORTEST_WAIT_S,
    ) -> Committed:
        """Append one commit.

        Args:
            operations: at most one for each session.
            expected: session key to the entry version that the change was computed from;
                None: any, the operation commutes with changes of the entry.
            timeout_s: how long to wait for the commit lock.
            preallocate: write the journal ahead with zeros.
            verify: called under the commit lock before the append; may raise ``Moved``, or return
                what to commit in place of ``operations``.
            shortest_s: as ``lock`` takes it.

        Raises ``Moved``, ``LockTimeout``, ``DiskFull`` and the like; then nothing was committed.
        """
        text = journal.encode_operations(operations)  # before the lock: under it, everybody waits
        mine = object()
        try:
            try:
                file = self.lock(mine, timeout_s, shortest_s, expected)
                if verify is not None:
                    decided = verify()
                    if decided is not None:
                        operations, text = decided, journal.encode_operations(decided)
                start = self._view.end
                committed = self._append(file, start, text, expected, preallocate)
            finally:
                self.unlock(mine)
        except BaseException as exc:
            self.unlock(mine)  # the first time may have been interrupted
            if isinstance(exc, StoreError) or not isinstance(exc, OSError) or exc.errno is None:
                raise
            raise storage_error(exc, self._directory.path, "write") from exc
        self._take_over(operations, committed, start)
        return committed

    def _take_over(self, operations: Sequence[Operation], committed: Committed, start: int) -> None:
        view = self._view
        with view.mutex:
            # If a reader of this process came first, the commit is noted like those of other processes.
            if view.journal is committed.journal and view.end == start:
                view.applied(committed.version, operations, (committed.version, start, committed.end - start))
        for tell in view.on_commit:
            tell(operations)

    def commit_at_once(self, operations: Sequence[Operation], expected: Mapping[str, int]) -> Committed | None:
        """As ``commit`` if nothing stands in the way at this moment; else None, and nothing was done.

        For a caller who must not wait: no lock is waited for and no session file read.
        """
        text = journal.encode_operations(operations)
        view = self._view
        file = view.journal
        if file is None or view.finished or not file.tail_checked:
            return None
        mine = object()
        try:
            try:
                if not self._lock_at_once(mine, file) or not self._is_at_hand(file, expected):
                    return None
                start = view.end
                committed = self._append(file, start, text, expected, False)
            finally:
                self.unlock(mine)
        except BaseException as exc:
            self.unlock(mine)  # the first time may have been interrupted
            if isinstance(exc, StoreError) or not isinstance(exc, OSError) or exc.errno is None:
                raise
            raise storage_error(exc, self._directory.path, "write") from exc
        self._take_over(operations, committed, start)
        return committed

    def _lock_at_once(self, mine: object, file: JournalFile) -> bool:
        if not self.mutex.acquire(mine, 0):
            return False
        self._locked = file
        try:
            self._fs.flock(file.fd, _EXCLUSIVE)
        except OSError as exc:
            if exc.errno is None:
                raise  # out of a signal handler
            return False  # busy, or an error that the thorough way tells of
        return True

    def _is_at_hand(self, file: JournalFile, expected: Mapping[str, int]) -> bool:
        """Catch up if that is quick; whether ``file`` can be appended to without reading a session file."""
        view = self._view
        if view.mutex.locked():
            return False
        with view.mutex:  # not acquire(False): a signal handler may raise between that and a try
            ready = view.catch_up_if_little() and view.journal is file and not view.torn
            return ready and all(key in view.cache.documents for key in expected)

    def _append(
        self,
        file: JournalFile,
        start: int,
        text: bytes,
        expected: Mapping[str, int | None],
        preallocate: bool,
    ) -> Committed:
        """Write the line of a commit at ``start``."""
        view = self._view
        version = view.version
        with view.mutex:
            for key, wanted in expected.items():
                doc = view.load_locked(key)
                # In a copy of a live store a session file may be ahead of the journal.
                version = max(version, doc.version if doc.aside is None else doc.latest)
                actual = version_of(doc)
                if wanted is not None and actual != wanted:
                    raise Moved(key, wanted, actual)
        if view.torn or not file.tail_checked:
            self.mend_tail(file)
        version += 1
        line = journal.encode_commit(version, int(self._clock.now() * 1000), text)
        if len(line) > self._limits.commit_bytes:
            raise EntryTooLarge(
                f"the commit has {len(line)} bytes, the limit is {self._limits.commit_bytes}; commit in parts",
                where="",
                reason="commit too large",
                size=len(line),
                limit=self._limits.commit_bytes,
            )
        file.append(line, start, preallocate=preallocate)
        return Committed(version, file, start + len(line))

    def mend_tail(self, file: JournalFile) -> None:
        """Cut what a dead writer or a power cut left behind the content. Commit lock held."""
        end = self._view.end
        tail = file.check_tail(end)
        if not tail:
            return
        if b"\n" in tail:
            # Whole lines behind a gap: commits that were never durable. Kept for people, not used.
            quarantine.keep_bytes(
                self._directory,
                self._clock,
                f"{file.name}-at-{end}",
                tail,
                "lines behind the end of the journal",
            )
        else:
            _log.info("%s: cut a torn tail of %d bytes", file.path, len(tail))
        file.cut(end)
        self._view.torn = False

    def trim(self) -> None:
        """Give back the zeros written ahead, so that a store at rest is plain text."""
        mine = object()
        finally_release(lambda: self._trim(mine), lambda: self.unlock(mine))

    def _trim(self, mine: object) -> None:
        try:
            file = self.lock(mine, 0)
        except StoreError as exc:
            _log.info("%s: journal not trimmed: %s", self._directory.path, str(exc))
            return
        try:
            self.mend_tail(file)
            if file.size > self._view.end:
                file.cut(self._view.end)
        except OSError as exc:
            _log.info("%s: not trimmed: %s", file.path, str(exc))  # cosmetic, and the store is closing

    def lock_timeout(self, waited_s: float) -> LockTimeout:
        """The error of having waited for the commit lock so long."""
        return LockTimeout(
            f"{self._directory.path}: another process held the commit lock for {waited_s:.1f} s "
            "(is one stopped?); nothing was changed",
            session=None,
            holder_pid=None,
            holder="another process",
            held_s=None,
            waited_s=waited_s,
        )
