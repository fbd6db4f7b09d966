"""Locks that die with their owner.

Key locks queue the writers of one session: first among the threads of this process, in
order of arrival, then among processes by one byte of the ``lock`` file, held on an open
file description (or, where the platform has none, by one of 256 stripe files). They are
for orderly queueing; what makes an update safe is the version check of the commit.

No wait is a blocking system call, so every wait is bounded. Nothing here is removed or
left behind: the kernel frees a lock with its last descriptor.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType

from sessiondir import layout
from sessiondir.clock import Clock
from sessiondir.directory import StoreDirectory
from sessiondir.errors import LockTimeout, ReentrantUpdate, StoreError, UnsupportedFileSystem, storage_error
from sessiondir.fs import HAS_OFD_LOCKS, LOCK_EX, LOCK_NB, LOCK_UN, OFD_SETLK, FileSystem, range_request
from sessiondir.layout import KeyRef
from sessiondir.procfs import find_holder

_log = logging.getLogger("sessiondir")
_SPINS = 30
"""Tries of the commit lock before the first sleep: it is held for some ten microseconds."""
_STRIPES = 256
_LOOK_S = 0.01


class Backoff:
    """Waits between tries of a lock: none at first, then sleeps of ``first_s``, growing up to ``longest_s``.

    Giving up the processor without sleeping is not among them: a process that yields goes to
    the end of the run queue and may come back after many milliseconds.
    """

    __slots__ = ("_clock", "_longest_s", "_pause_s", "_spins")

    def __init__(self, clock: Clock, longest_s: float, spins: int = 0, first_s: float = 50e-6) -> None:
        self._clock = clock
        self._longest_s = longest_s
        self._pause_s = first_s
        self._spins = spins

    def wait(self) -> None:
        """Wait a little longer than the last time."""
        if self._spins > 0:
            self._spins -= 1
            return
        self._clock.sleep(self._pause_s)
        self._pause_s = min(self._longest_s, self._pause_s * 1.3)


def reentrant(key: str) -> ReentrantUpdate:
    """The error of updating a session from inside its own callback."""
    return ReentrantUpdate(
        f"session {key!r} is being updated by this very thread; "
        "use the value the callback was given, or update after it returned",
        session=key,
    )


def take_flock(
    fs: FileSystem, clock: Clock, fd: int, timeout_s: float, meanwhile: Callable[[], None] | None = None
) -> bool:
    """Take the exclusive ``flock`` of ``fd`` within ``timeout_s``; False if it stayed busy.

    ``meanwhile`` is called after each vain try: work that would else be done under the lock.
    """
    exclusive = LOCK_EX | LOCK_NB
    try:
        fs.flock(fd, exclusive)
        return True
    except BlockingIOError:
        pass
    deadline = clock.monotonic() + timeout_s
    backoff = Backoff(clock, 0.001, _SPINS)
    while True:
        if meanwhile is not None:
            meanwhile()
        backoff.wait()
        try:
            fs.flock(fd, exclusive)
            return True
        except BlockingIOError:
            if clock.monotonic() >= deadline:
                return False


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
        try:
            named = self._fs.stat(layout.LOCK, dir_fd=self._directory.fd, follow_symlinks=False)
            ours = self._fs.fstat(self.fd)
            if (named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino):
                return
        except FileNotFoundError:
            pass
        _log.warning("%s was removed or replaced; opened anew", self._directory.file_path(layout.LOCK))
        old, self.fd = self.fd, -1
        self.open()
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
    """A store-wide lock on one byte, for one thread of one process at a time."""

    def __init__(self, file: LockFile, clock: Clock, position: int) -> None:
        self._file = file
        self._clock = clock
        self._position = position
        self._request = range_request(position)
        self._release = range_request(position, unlock=True)
        self._thread = threading.Lock()

    def acquire(self, timeout_s: float) -> bool:
        """Take the lock within ``timeout_s`` seconds (0: one try); False if it stayed busy."""
        deadline = self._clock.monotonic() + timeout_s
        if not (self._thread.acquire(timeout=timeout_s) if timeout_s > 0 else self._thread.acquire(False)):
            return False
        try:
            backoff = Backoff(self._clock, 0.005)
            while True:
                if self._file.try_byte(self._position, self._request):
                    if not self._file.was_removed():
                        break
                    self._file.reopen_if_unlinked()
                elif self._clock.monotonic() >= deadline:
                    self._thread.release()
                    return False
                else:
                    backoff.wait()
        except BaseException:
            self._thread.release()
            raise
        return True

    def release(self) -> None:
        """Let the lock go."""
        try:
            self._file.release_byte(self._position, self._release)
        except OSError as exc:
            _log.error("%s: a store-wide lock could not be released: %s", self._file.path, str(exc))
        finally:
            self._thread.release()


class _Queue:
    """The threads of this process that wait for one session, in order of arrival."""

    __slots__ = ("waiters",)

    def __init__(self) -> None:
        self.waiters: deque[tuple[int, threading.Lock]] = deque()


class KeyLocks:
    """Queueing for sessions, over threads and processes."""

    def __init__(self, file: LockFile, clock: Clock) -> None:
        self._file = file
        self._clock = clock
        self._holders: dict[str, tuple[int, float]] = {}
        """Session to the thread of this process that holds it, and since when."""
        self._queues: dict[str, _Queue] = {}
        self._looked = -_LOOK_S
        self._mutex = threading.Lock()

    def acquire(self, ref: KeyRef, timeout_s: float) -> None:
        """Take the session's lock within ``timeout_s`` seconds (0: one try).

        Raises ``LockTimeout`` naming the holder if known, ``ReentrantUpdate`` if this thread
        has it already. Cost when free: one system call.
        """
        started = self._clock.monotonic()
        mine = (threading.get_ident(), started)
        # setdefault is one step under the interpreter lock: it either takes the session or tells who has it.
        if self._holders.setdefault(ref.key, mine) is not mine:
            self._wait_for_thread(ref, mine, timeout_s)
        try:
            if not self._file.try_byte(ref.position, ref.lock) or (
                started - self._looked >= _LOOK_S and self._was_removed(started)
            ):
                self._wait_for_process(ref, started, timeout_s)
        except BaseException as exc:
            self._hand_over(ref)
            if isinstance(exc, OSError) and not isinstance(exc, StoreError):
                raise storage_error(exc, self._file.path, "lock") from exc
            raise

    def _was_removed(self, now: float) -> bool:
        """Whether the lock just taken is worth nothing because its file was removed; asked every 10 ms.

        Until it is noticed two processes may run their callbacks at once, and one runs again:
        the version check of the commit loses nothing.
        """
        self._looked = now
        return self._file.was_removed()

    def release(self, ref: KeyRef) -> None:
        """Let the session go; the longest waiting thread of this process gets it next."""
        try:
            self._file.release_byte(ref.position, ref.unlock)
        except OSError as exc:
            # What was to be done is done; the session stays locked for others until we close.
            _log.error("%s: session %r could not be unlocked: %s", self._file.path, ref.key, str(exc))
        finally:
            self._hand_over(ref)

    def _hand_over(self, ref: KeyRef) -> None:
        with self._mutex:
            queue = self._queues.get(ref.key)
            if queue is None:
                del self._holders[ref.key]
                return
            thread, gate = queue.waiters.popleft()
            if not queue.waiters:
                del self._queues[ref.key]
            self._holders[ref.key] = (thread, self._clock.monotonic())
            gate.release()

    def _wait_for_thread(self, ref: KeyRef, mine: tuple[int, float], timeout_s: float) -> None:
        gate = threading.Lock()
        with self._mutex:
            holder = self._holders.setdefault(ref.key, mine)
            if holder is mine:
                return
            if holder[0] == mine[0]:
                raise reentrant(ref.key)
            gate.acquire()
            self._queues.setdefault(ref.key, _Queue()).waiters.append((mine[0], gate))
        try:
            if gate.acquire(timeout=timeout_s) if timeout_s > 0 else gate.acquire(False):
                return
        except BaseException:
            if not self._leave_queue(ref, gate):
                self._hand_over(ref)
            raise
        if self._leave_queue(ref, gate):
            thread, since = self._holders.get(ref.key, (0, self._clock.monotonic()))
            now = self._clock.monotonic()
            holder_name = f"another thread of this process ({self._thread_name(thread)})"
            raise self._timeout(ref.key, os.getpid(), holder_name, now - since, now - mine[1])

    def _leave_queue(self, ref: KeyRef, gate: threading.Lock) -> bool:
        """Stop waiting; False if the session was handed to us meanwhile."""
        with self._mutex:
            queue = self._queues.get(ref.key)
            place = next((item for item in queue.waiters if item[1] is gate), None) if queue is not None else None
            if queue is None or place is None:
                return False
            queue.waiters.remove(place)
            if not queue.waiters:
                del self._queues[ref.key]
            return True

    @staticmethod
    def _thread_name(ident: int) -> str:
        return next((t.name for t in threading.enumerate() if t.ident == ident), str(ident))

    def _wait_for_process(self, ref: KeyRef, started: float, timeout_s: float) -> None:
        self._file.reopen_if_unlinked()
        backoff = Backoff(self._clock, 0.002)
        deadline = started + timeout_s
        while True:
            if self._file.try_byte(ref.position, ref.lock):
                if not self._file.was_removed():
                    return
                self._file.reopen_if_unlinked()
            elif self._clock.monotonic() >= deadline:
                self._file.reopen_if_unlinked()
                pid = find_holder(self._file.fd, ref.position)
                holder = f"process {pid}" if pid is not None else "another process"
                raise self._timeout(ref.key, pid, holder, None, self._clock.monotonic() - started)
            else:
                backoff.wait()

    @staticmethod
    def _timeout(key: str, pid: int | None, holder: str, held_s: float | None, waited_s: float) -> LockTimeout:
        age = f" for {held_s:.1f} s" if held_s is not None else ""
        return LockTimeout(
            f"session {key!r} is being updated by {holder}{age}; waited {waited_s:.1f} s, nothing was changed: "
            "try again later or give a longer timeout",
            session=key,
            holder_pid=pid,
            holder=holder,
            held_s=held_s,
            waited_s=waited_s,
        )


class HeldKeys:
    """Several sessions held together, taken in the order of their lock positions."""

    def __init__(self, locks: KeyLocks, refs: list[KeyRef], timeout_s: float, clock: Clock) -> None:
        self._locks = locks
        self._refs = sorted(refs, key=lambda ref: (ref.position, ref.key))
        self._timeout_s = timeout_s
        self._clock = clock
        self._held: list[KeyRef] = []

    def __enter__(self) -> HeldKeys:
        deadline = self._clock.monotonic() + self._timeout_s
        try:
            for ref in self._refs:
                # One order for everybody, so that two transactions cannot hold each other up.
                self._locks.acquire(ref, max(0.0, deadline - self._clock.monotonic()))
                self._held.append(ref)
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    def _release(self) -> None:
        while self._held:
            self._locks.release(self._held.pop())
