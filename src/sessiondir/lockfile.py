"""Locks on files: the ``flock`` of a descriptor, bytes of the ``lock`` file, and how they are waited for.

No wait is a blocking system call, so every wait is bounded. Nothing here is removed or
left behind: the kernel frees a lock with its last descriptor.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable

from sessiondir import layout
from sessiondir.clock import Clock
from sessiondir.directory import StoreDirectory
from sessiondir.errors import UnsupportedFileSystem, storage_error
from sessiondir.fs import (
    HAS_OFD_LOCKS,
    LOCK_EX,
    LOCK_NB,
    LOCK_UN,
    OFD_GETLK,
    OFD_SETLK,
    FileSystem,
    is_free,
    range_request,
)
from sessiondir.mutex import OwnedMutex

_log = logging.getLogger("sessiondir")
_SPINS = 30
"""Tries of the commit lock before the first sleep: it is held for some ten microseconds."""
_CROWD_SHARE = 32
_LAST_LOOKS = 128
_LONGEST_PAUSE_S = 0.01
_STRIPES = 256


class Backoff:
    """Waits between tries of a lock: none at first, then sleeps of ``first_s``, growing up to ``longest_s``.

    Giving up the processor without sleeping is not among them: a process that yields goes to
    the end of the run queue and may come back after many milliseconds.
    """

    __slots__ = ("_clock", "_pause_s", "_spins", "longest_s")

    def __init__(self, clock: Clock, longest_s: float, spins: int = 0, first_s: float = 50e-6) -> None:
        self._clock = clock
        self.longest_s = longest_s
        self._pause_s = first_s
        self._spins = spins

    def wait(self) -> bool:
        """Wait a little longer than the last time; whether that was a sleep."""
        if self._spins > 0:
            self._spins -= 1
            return False
        self._clock.sleep(self.next_s())
        return True

    def next_s(self) -> float:
        """How long to sleep next, in seconds, for a caller who sleeps in his own way."""
        pause_s = self._pause_s
        self._pause_s = min(self.longest_s, pause_s * 1.3)
        return pause_s


def take_flock(
    fs: FileSystem, clock: Clock, fd: int, timeout_s: float, meanwhile: Callable[[], None] | None = None
) -> bool:
    """Take the exclusive ``flock`` of ``fd`` within ``timeout_s``; False if it stayed busy.

    ``meanwhile`` is called after each sleep: work that would else be done under the lock. Not between
    sleeps, where it would be done in small pieces, which cost several times as much.
    """
    exclusive = LOCK_EX | LOCK_NB
    try:
        fs.flock(fd, exclusive)
        return True
    except BlockingIOError:
        pass
    started = clock.monotonic()
    backoff = Backoff(clock, 0.001, _SPINS)
    while True:
        if backoff.wait() and meanwhile is not None:
            meanwhile()
        try:
            fs.flock(fd, exclusive)
            return True
        except BlockingIOError:
            waited_s = clock.monotonic() - started
            if waited_s >= timeout_s:
                return False
            # A long wait means a crowd. A hundred processes that look every millisecond keep all processors
            # busy, and a holder that has to queue for one lets go so late that the crowd only grows.
            # Who is about to give up looks often again: newcomers do, and would get every turn before him.
            pause_s = min(waited_s / _CROWD_SHARE, (timeout_s - waited_s) / _LAST_LOOKS, _LONGEST_PAUSE_S)
            backoff.longest_s = max(0.001, pause_s)


class LockFile:
    """The ``lock`` file: byte ranges as locks, and at its start the record of what is synced."""

    def __init__(self, directory: StoreDirectory, clock: Clock) -> None:
        self._directory = directory
        self._fs = directory.fs
        self._clock = clock
        self._stripes: dict[int, int] = {}
        self._named = threading.Lock()
        self.path = directory.file_path(layout.LOCK)
        self.fd = -1
        self.open()

    def open(self) -> None:
        """Open the file, creating it if needed."""
        try:
            self.fd = self._directory.open_fd(layout.LOCK, os.O_RDWR, create=True)
        except FileNotFoundError as exc:
            raise storage_error(exc, self._directory.file_path(layout.LOCK), "create") from exc

    def was_removed(self) -> bool:
        """Whether the file has lost its name: then another process locks another file. One system call."""
        return self._fs.fstat(self.fd).st_nlink == 0

    def reopen_if_unlinked(self) -> None:
        """Notice that somebody removed the lock file: two inodes would not exclude each other."""
        with self._named:  # of two threads that notice it, one would close what the other one opened
            try:
                named = self._fs.stat(layout.LOCK, dir_fd=self._directory.fd, follow_symlinks=False)
                ours = self._fs.fstat(self.fd)
                if (named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino):
                    return
            except FileNotFoundError:
                pass
            _log.warning("%s was removed or replaced; opened anew", self._directory.file_path(layout.LOCK))
            old = self.fd
            self.open()  # if that fails the old one stays: a handle without one could tell nobody what is wrong
            self._fs.close(old)

    def try_byte(self, position: int, request: bytes) -> bool:
        """Take one byte without waiting."""
        try:
            if HAS_OFD_LOCKS:
                self._fs.fcntl(self.fd, OFD_SETLK, request)
            else:
                self._fs.flock(self._stripe(position), LOCK_EX | LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release_byte(self, position: int, request: bytes) -> None:
        """Let one byte go."""
        if self.fd < 0:
            return  # a forked child: the lock is the parent's
        if HAS_OFD_LOCKS:
            self._fs.fcntl(self.fd, OFD_SETLK, request)
        else:
            self._fs.flock(self._stripe(position), LOCK_UN)

    def share_byte(self, position: int) -> None:
        """Hold one byte together with others; not where there are no such locks."""
        if HAS_OFD_LOCKS:
            self._fs.fcntl(self.fd, OFD_SETLK, range_request(position, shared=True))

    def is_taken(self, position: int) -> bool:
        """Whether another process holds or shares the byte; False where that cannot be told."""
        return self.is_in_the_way(range_request(position))

    def is_in_the_way(self, request: bytes) -> bool:
        """As ``is_taken``, of the byte of a request for its lock."""
        return HAS_OFD_LOCKS and not is_free(self._fs.fcntl(self.fd, OFD_GETLK, request))

    def leave_byte(self, position: int) -> bool:
        """End ``share_byte``; whether nobody else shares it now. True, too, where that cannot be told."""
        if not HAS_OFD_LOCKS:
            return True
        try:
            self.release_byte(position, range_request(position, unlock=True))
            return not self.is_taken(position)
        except OSError as exc:
            if exc.errno is None:
                raise  # out of a signal handler
            return True

    def _stripe(self, position: int) -> int:
        # Store-wide locks have stripes of their own, below the key stripes.
        number = position % _STRIPES + 16 if position >= 1 << 32 else position % 16
        with self._named:
            if number not in self._stripes:
                name = f"{layout.LOCK}.{number}"
                self._stripes[number] = self._directory.open_fd(name, os.O_RDWR, create=True)
            return self._stripes[number]

    def probe(self) -> None:
        """Prove that two descriptors exclude each other here, or raise ``UnsupportedFileSystem``."""
        path = self._directory.file_path(layout.LOCK)
        second = self._directory.open_fd(layout.LOCK, os.O_RDWR)
        try:
            # A byte that no other probing process uses; process ids repeat in containers.
            position = layout.PROBE_LOCKS_FROM + int.from_bytes(os.urandom(3), "big")
            excluded = not HAS_OFD_LOCKS or self._excludes(second, position)
            if self._try_flock(self.fd):
                excluded = excluded and not self._try_flock(second)
                self._fs.flock(self.fd, LOCK_UN)
        except OSError as exc:
            raise UnsupportedFileSystem(
                f"{path}: locks do not work here ({exc.strerror}); keep the store on a local file system",
                path=path,
                reason=str(exc.strerror),
            ) from exc
        finally:
            self._fs.close(second)
        if not excluded:
            raise UnsupportedFileSystem(
                f"{path}: two descriptors got the same lock; keep the store on a local file system",
                path=path,
                reason="locks do not exclude",
            )

    def _excludes(self, second: int, position: int) -> bool:
        request = range_request(position)
        self._fs.fcntl(self.fd, OFD_SETLK, request)
        try:
            self._fs.fcntl(second, OFD_SETLK, request)
        except BlockingIOError:
            return True
        finally:
            self._fs.fcntl(self.fd, OFD_SETLK, range_request(position, unlock=True))
        return False

    def _try_flock(self, fd: int) -> bool:
        try:
            self._fs.flock(fd, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """Close all descriptors, which frees every lock held through them."""
        fds = [fd for fd in (self.fd, *self._stripes.values()) if fd >= 0]
        self.fd = -1
        self._stripes.clear()
        with contextlib.ExitStack() as closing:  # all of them, whichever fails
            for fd in fds:
                closing.callback(self._fs.close, fd)


class ByteLock:
    """A store-wide lock on one byte, for one call in one thread of one process at a time."""

    def __init__(self, file: LockFile, clock: Clock, position: int) -> None:
        self._file = file
        self._clock = clock
        self._position = position
        self._request = range_request(position)
        self._release = range_request(position, unlock=True)
        self._mutex = OwnedMutex()

    def acquire(self, mine: object, timeout_s: float) -> bool:
        """Take the lock for the call ``mine`` within ``timeout_s`` seconds (0: one try); False if it stayed busy.

        To be followed by ``release(mine)`` whatever comes of it.
        """
        deadline = self._clock.monotonic() + timeout_s
        if not self._mutex.acquire(mine, timeout_s):
            return False
        backoff = Backoff(self._clock, 0.005)
        while True:
            if self._file.try_byte(self._position, self._request):
                if not self._file.was_removed():
                    return True
                self._file.reopen_if_unlinked()
            elif self._clock.monotonic() >= deadline:
                return False
            else:
                backoff.wait()

    def is_busy(self) -> bool:
        """Whether a thread of this process has it."""
        return self._mutex.by is not None

    def release(self, mine: object) -> None:
        """Let the lock go if ``mine`` holds it; any number of times."""
        if self._mutex.by is mine:
            try:
                self._file.release_byte(self._position, self._release)
            except OSError as exc:
                if exc.errno is None:
                    raise  # out of a signal handler: the lock is not released yet
                _log.error("%s: a store-wide lock could not be released: %s", self._file.path, str(exc))
        self._mutex.release(mine)
