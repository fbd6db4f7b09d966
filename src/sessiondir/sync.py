"""Making commits durable, one sync for all that wait.

Whoever holds the sync lock syncs everything appended so far and publishes how far in the
first bytes of the ``lock`` file; the waiting writers, those of other processes included,
find themselves covered. The record is a hint that can only save work: it counts for one
journal file (device, inode, generation) and one boot, and anything else is ignored.
"""

from __future__ import annotations

import contextlib
import struct
import threading
import zlib

from sessiondir import layout
from sessiondir.clock import Clock
from sessiondir.errors import DurabilityUnknown, StoreError
from sessiondir.fs import FileSystem, range_request
from sessiondir.journal import JournalFile
from sessiondir.lockfile import Backoff, LockFile
from sessiondir.mutex import finally_release
from sessiondir.procfs import boot_id
from sessiondir.view import View

_RECORD = struct.Struct("<QQI")
_PATIENCE_S = 0.05
"""A stopped process may hold the sync lock; after this long everyone syncs for himself."""


def _unknown(file: JournalFile, exc: OSError) -> DurabilityUnknown:
    return DurabilityUnknown(
        f"sync {file.path}: {exc.strerror}; the commit is visible but may not survive a power cut, "
        "this handle refuses further writes: close it and open the store again",
        path=file.path,
        errno=exc.errno,
    )


class SyncGroup:
    """Shares syncs of the journal over threads and processes."""

    def __init__(self, fs: FileSystem, clock: Clock, view: View, lock_file: LockFile) -> None:
        self._fs = fs
        self._clock = clock
        self._view = view
        self._lock_file = lock_file
        self._turn = threading.Lock()
        self._taking = False
        self._journal: JournalFile | None = None
        self._identity = b""
        self._synced = 0
        self._failure: OSError | None = None
        """A failed sync. The system reports it once, so who comes next must not ask again."""
        self._boot = boot_id().encode()
        self._request = range_request(layout.SYNC_LOCK_AT)
        self._release = range_request(layout.SYNC_LOCK_AT, unlock=True)

    def wait(self, file: JournalFile, position: int) -> None:
        """Return once the first ``position`` bytes of the journal are durable.

        Raises ``DurabilityUnknown`` when the system reports a failed sync.
        """
        if file is self._journal and position <= self._synced:
            return
        with self._turn:
            if self._failure is not None:
                raise _unknown(file, self._failure) from self._failure
            try:
                if file is not self._journal:
                    self._take_up(file)
                if position <= self._synced:
                    return
                finally_release(lambda: self._sync_or_be_covered(file, position), self._let_go)
            except OSError as exc:
                if isinstance(exc, StoreError) or exc.errno is None:
                    raise
                raise _unknown(file, exc) from exc

    def _let_go(self) -> None:
        """Release the sync lock if it was taken, or perhaps was. The turn is ours."""
        if self._taking:
            self._lock_file.release_byte(layout.SYNC_LOCK_AT, self._release)
            self._taking = False

    def is_busy(self) -> bool:
        """Whether a thread of this process is syncing."""
        return self._turn.locked()

    def forget(self) -> None:
        """Keep no journal open."""
        self._journal = None

    def _take_up(self, file: JournalFile) -> None:
        predecessor = self._view.predecessor
        if predecessor is not None and self._view.journal is file:
            # Whoever finished it may have died before its last line was durable.
            self.finish(predecessor)
            self._view.predecessor = None
        status = self._fs.fstat(file.fd)
        self._identity = b"%b %d %d" % (self._boot, status.st_dev, status.st_ino)
        self._synced = 0  # first: whoever finds the new file here must not find the old one's position
        self._journal = file

    def _sync_or_be_covered(self, file: JournalFile, position: int) -> None:
        lock = self._lock_file
        backoff: Backoff | None = None
        deadline = 0.0
        self._taking = True
        while not lock.try_byte(layout.SYNC_LOCK_AT, self._request):
            if self._published(file) >= position:
                return
            if backoff is None:
                backoff, deadline = (
                    Backoff(self._clock, 0.002, first_s=1e-3),
                    self._clock.monotonic() + _PATIENCE_S,
                )
            elif self._clock.monotonic() > deadline:
                self._sync(file, position)
                return
            backoff.wait()
        # Whoever held the lock until now may have covered us while we waited.
        if backoff is None or self._published(file) < position:
            self._sync(file, position)
            self._publish(file)

    def _sync(self, file: JournalFile, position: int) -> None:
        view = self._view
        with view.mutex:
            if view.journal is file:
                # What others appended meanwhile is covered by the same sync.
                with contextlib.suppress(OSError, StoreError):
                    view.catch_up()
                if view.journal is file:
                    position = max(position, view.end)
        self.finish(file)
        self._synced = max(self._synced, position)

    def finish(self, file: JournalFile) -> None:
        """Sync a journal; a failure is final, because the system may have dropped what it could not write."""
        try:
            self._fs.fdatasync(file.fd)
        except OSError as exc:
            if exc.errno is None:
                raise  # a time-out, say, out of a signal handler: nothing is known to have failed
            self._failure = exc
            raise _unknown(file, exc) from exc

    def _check(self, generation: int, position: int) -> int:
        return zlib.crc32(b"%b %d %d" % (self._identity, generation, position))

    def _published(self, file: JournalFile) -> int:
        data = self._fs.pread(self._lock_file.fd, _RECORD.size, layout.SYNC_RECORD_AT)
        if len(data) == _RECORD.size:
            generation, position, check = _RECORD.unpack(data)
            if generation == file.generation and check == self._check(generation, position):
                self._synced = max(self._synced, position)
        return self._synced

    def _publish(self, file: JournalFile) -> None:
        record = _RECORD.pack(file.generation, self._synced, self._check(file.generation, self._synced))
        with contextlib.suppress(OSError):  # a hint that could not be written costs others a sync
            self._fs.pwrite(self._lock_file.fd, record, layout.SYNC_RECORD_AT)
