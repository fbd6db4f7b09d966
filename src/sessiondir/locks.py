"""Locks that die with their owner.

Key locks queue the writers of one session: first among the threads and tasks of this process, in
order of arrival, then among processes by one byte of the ``lock`` file, held on an open
file description (or, where the platform has none, by one of 256 stripe files). They are
for orderly queueing; what makes an update safe is the version check of the commit.

No wait is a blocking system call, so every wait is bounded. Nothing here is removed or
left behind: the kernel frees a lock with its last descriptor.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple, Protocol

from sessiondir.clock import Clock
from sessiondir.errors import LockTimeout, ReentrantUpdate, StoreError, storage_error
from sessiondir.layout import KeyRef
from sessiondir.lockfile import LockFile
from sessiondir.procfs import find_holder
from sessiondir.turns import TURN_S, Turns

_log = logging.getLogger("sessiondir")
_LOOK_S = 0.01


class TaskOwner(NamedTuple):
    """Who holds or awaits a session when it is an asyncio task: the task, and the thread of its loop."""

    task: Any
    thread: int


class Gate(Protocol):
    """What a waiter waits at: released when the session is his."""

    def release(self) -> None:
        """Let him through. ``RuntimeError`` if nobody is there any more, because his loop was closed."""


def reentrant(key: str, holder: str = "this very thread") -> ReentrantUpdate:
    """The error of updating a session from inside its own callback."""
    return ReentrantUpdate(
        f"session {key!r} is being updated by {holder}; "
        "use the value the callback was given, or update after it returned",
        session=key,
    )


class _Queue:
    """The threads and tasks of this process that wait for one session, in order of arrival."""

    __slots__ = ("waiters",)

    def __init__(self) -> None:
        self.waiters: deque[tuple[object, Gate]] = deque()


class KeyLocks:
    """Queueing for sessions, over threads, asyncio tasks and processes.

    An owner is a thread (its ``get_ident``) or a ``TaskOwner``. Threads call ``acquire``;
    for tasks the same steps are here one by one, and none of them waits. ``meanwhile`` is
    called with the key after each vain try: work that would else be done under the lock.
    """

    def __init__(self, file: LockFile, clock: Clock, meanwhile: Callable[[str], None] = lambda _key: None) -> None:
        self._file = file
        self._clock = clock
        self._meanwhile = meanwhile
        self._holders: dict[str, tuple[object, float]] = {}
        """Session to the owner in this process that holds it, and since when."""
        self._queues: dict[str, _Queue] = {}
        self._looked = -_LOOK_S
        self._turns = Turns(file, clock)
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
            if started > ref.turn_ends and timeout_s > 0:
                self._turns.give_way(ref, started)
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
        """Let the session go; who has waited longest in this process gets it next."""
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
            while queue is not None and queue.waiters:
                owner, gate = queue.waiters.popleft()
                if not queue.waiters:
                    del self._queues[ref.key]
                self._holders[ref.key] = (owner, self._clock.monotonic())
                try:
                    gate.release()
                    return
                except RuntimeError:
                    continue  # a task whose event loop was closed: it will never run again
            del self._holders[ref.key]

    def _wait_for_thread(self, ref: KeyRef, mine: tuple[int, float], timeout_s: float) -> None:
        gate = threading.Lock()
        gate.acquire()
        if self._join(ref, mine, gate):
            return
        try:
            if gate.acquire(timeout=timeout_s) if timeout_s > 0 else gate.acquire(False):
                return
        except BaseException:
            self.abandon(ref, gate)
            raise
        error = self.give_up(ref, gate, mine[1])
        if error is not None:
            raise error

    def _join(self, ref: KeyRef, mine: tuple[object, float], gate: Gate) -> bool:
        """Take the session in this process, or else queue for it; whether it was taken."""
        with self._mutex:
            holder = self._holders.setdefault(ref.key, mine)
            if holder is mine:
                return True
            owner = mine[0]
            if holder[0] == owner:
                who = "this very thread" if isinstance(owner, int) else "this very task"
                raise reentrant(ref.key, who)
            queue = self._queues.get(ref.key)
            if isinstance(owner, int):
                ahead = [holder[0], *(one for one, _ in queue.waiters)] if queue is not None else [holder[0]]
                if any(isinstance(one, TaskOwner) and one.thread == owner for one in ahead):
                    # That task cannot end while this thread, which runs its loop, waits for it.
                    raise reentrant(
                        ref.key, "a task of this very thread, which must not block: use AsyncSessionStore"
                    )
            if queue is None:
                queue = self._queues[ref.key] = _Queue()
            queue.waiters.append((owner, gate))
            return False

    # -- the steps of ``acquire``, for tasks ----------------------------------------------

    def try_enter(self, ref: KeyRef, owner: TaskOwner) -> bool:
        """Take the session in this process if it is free, before ``try_process``."""
        mine = (owner, self._clock.monotonic())
        return self._holders.setdefault(ref.key, mine) is mine

    def enter(self, ref: KeyRef, owner: TaskOwner, gate: Gate) -> bool:
        """Take the session in this process, or queue: ``gate`` is released when it is ``owner``'s.

        Raises ``ReentrantUpdate``. Who stops waiting calls ``abandon`` or ``give_up``.
        """
        return self._join(ref, (owner, self._clock.monotonic()), gate)

    def abandon(self, ref: KeyRef, gate: Gate) -> None:
        """Stop waiting for the session; if it was handed over meanwhile, pass it on."""
        if not self._leave_queue(ref, gate):
            self._hand_over(ref)

    def leave(self, ref: KeyRef) -> None:
        """Let go of the session in this process, without having taken it among processes."""
        self._hand_over(ref)

    def give_up(self, ref: KeyRef, gate: Gate, started: float) -> LockTimeout | None:
        """Stop waiting since ``started``; the error to raise, or None if the session was handed over meanwhile."""
        if not self._leave_queue(ref, gate):
            return None
        now = self._clock.monotonic()
        owner, since = self._holders.get(ref.key, (0, now))
        holder = f"another {self._owner_name(owner)}"
        return self._timeout(ref.key, os.getpid(), holder, now - since, now - started)

    def try_process(self, ref: KeyRef) -> bool:
        """Take the session among processes, in one try."""
        try:
            if not self._file.try_byte(ref.position, ref.lock):
                return False
            now = self._clock.monotonic()
            if now - self._looked < _LOOK_S:
                return True
            self._looked = now
            if not self._file.was_removed():
                return True
            self._file.reopen_if_unlinked()
            return False
        except OSError as exc:
            if isinstance(exc, StoreError):
                raise
            raise storage_error(exc, self._file.path, "lock") from exc

    def process_timeout(self, ref: KeyRef, started: float) -> LockTimeout:
        """The error of having waited for another process since ``started``; asks the system who holds it."""
        self._file.reopen_if_unlinked()
        pid = find_holder(self._file.fd, ref.position)
        holder = f"process {pid}" if pid is not None else "another process"
        return self._timeout(ref.key, pid, holder, None, self._clock.monotonic() - started)

    def _leave_queue(self, ref: KeyRef, gate: Gate) -> bool:
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
    def _owner_name(owner: object) -> str:
        if isinstance(owner, TaskOwner):
            return f"task of this process ({owner.task.get_name()})"
        name = next((t.name for t in threading.enumerate() if t.ident == owner), str(owner))
        return f"thread of this process ({name})"

    def _wait_for_process(self, ref: KeyRef, started: float, timeout_s: float) -> None:
        self._file.reopen_if_unlinked()
        self._turns.mark(ref)
        try:
            while True:
                if self._file.try_byte(ref.position, ref.lock):
                    if not self._file.was_removed():
                        ref.turn_ends = self._clock.monotonic() + TURN_S
                        return
                    self._file.reopen_if_unlinked()
                    continue
                waited_s = self._clock.monotonic() - started
                if waited_s >= timeout_s:
                    raise self.process_timeout(ref, started)
                self._meanwhile(ref.key)
                self._clock.sleep(self._turns.pause_s(waited_s))
        finally:
            self._turns.unmark(ref)

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
