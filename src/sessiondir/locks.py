"""Locks that die with their owner.

Key locks queue the writers of one session: first among the threads and tasks of this process, in
order of arrival, then among processes by one byte of the ``lock`` file, held on an open
file description (or, where the platform has none, by one of 256 stripe files). They are
for orderly queueing; what makes an update safe is the version check of the commit.

No wait is a blocking system call, so every wait is bounded. Nothing here is removed or
left behind: the kernel frees a lock with its last descriptor.

Sessions are held and awaited in the name of a ``Claim``, which is given up whether the
session was got or not, twice if an exception came out of that (see ``mutex``).
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

from sessiondir.clock import Clock
from sessiondir.errors import LockTimeout, ReentrantUpdate, StoreError, storage_error
from sessiondir.layout import KeyRef
from sessiondir.lockfile import LockFile
from sessiondir.mutex import finally_release
from sessiondir.procfs import find_holder
from sessiondir.turns import TURN_S, Turns

_log = logging.getLogger("sessiondir")
_LOOK_S = 0.01


class TaskOwner(NamedTuple):
    """Who holds or awaits a session when it is an asyncio task: the task, and the thread of its loop.

    The reference is weak: a task whose loop was closed lets its session go when it is collected.
    """

    task: weakref.ref[Any]
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


class Claim:
    """One call's claim to one session: its owner, since when it waits or holds, and the gate it waits at."""

    __slots__ = ("gate", "owner", "since_s")

    def __init__(self, owner: object, since_s: float, gate: Gate | None = None) -> None:
        self.owner = owner
        self.since_s = since_s
        self.gate = gate


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
        self._holders: dict[str, Claim] = {}
        self._queues: dict[str, deque[Claim]] = {}
        """The threads and tasks of this process that wait for a session, in order of arrival."""
        self._looked = -_LOOK_S
        self._turns = Turns(file, clock)
        # Reentrant, because an abandoned transaction lets go whenever Python collects it.
        self._mutex = threading.RLock()

    def claim(self) -> Claim:
        """What ``acquire`` and ``release`` know a call of this thread by; for one session."""
        return Claim(threading.get_ident(), self._clock.monotonic())

    def acquire(self, ref: KeyRef, mine: Claim, timeout_s: float) -> None:
        """Take the session's lock within ``timeout_s`` seconds (0: one try) after ``mine`` was made.

        Raises ``LockTimeout`` naming the holder if known, ``ReentrantUpdate`` if this thread
        has it already. To be followed by ``release(ref, mine)`` whatever comes of it. Cost
        when free: one system call.
        """
        started = mine.since_s
        turn_ends = ref.turn_ends
        # setdefault is one step under the interpreter lock: it either takes the session or tells who has it.
        if self._holders.setdefault(ref.key, mine) is not mine:
            self._wait_for_thread(ref, mine, timeout_s)
        try:
            if started > turn_ends and timeout_s > 0:
                self._turns.give_way(ref, started)
            if not self._file.try_byte(ref.position, ref.lock) or (
                started - self._looked >= _LOOK_S and self._was_removed(started)
            ):
                self._wait_for_process(ref, started, timeout_s, had_turn=started < turn_ends + TURN_S)
        except OSError as exc:
            if isinstance(exc, StoreError) or exc.errno is None:
                raise
            raise storage_error(exc, self._file.path, "lock") from exc

    def _was_removed(self, now: float) -> bool:
        """Whether the lock just taken is worth nothing because its file was removed; asked every 10 ms.

        Until it is noticed two processes may run their callbacks at once, and one runs again:
        the version check of the commit loses nothing.
        """
        if self._file.was_removed():
            return True  # if it cannot be opened anew whoever comes next has to be told, too
        self._looked = now
        return False

    def release(self, ref: KeyRef, mine: Claim) -> None:
        """Give up a claim, any number of times; who has waited longest in this process gets the session."""
        key = ref.key
        if mine is not self._holders.get(key):
            if key not in self._queues:
                return
            with self._mutex:
                self._complete(key)
                self._leave_queue(key, mine)
            if self._holders.get(key) is not mine:
                return  # else it was handed to us at the last moment
        try:
            self._file.release_byte(ref.position, ref.unlock)
        except OSError as exc:
            if exc.errno is None:
                raise  # out of a signal handler: the lock is not released yet
            # What was to be done is done; the session stays locked for others until we close.
            _log.error("%s: session %r could not be unlocked: %s", self._file.path, key, str(exc))
        with self._mutex:
            if key not in self._queues:
                del self._holders[key]
            else:
                self._hand_over(key, mine)

    def _hand_over(self, key: str, mine: Claim | None) -> None:
        """Make the longest waiter the holder in place of ``mine``. Mutex held."""
        self._complete(key)
        while (holder := self._holders.get(key)) is mine and holder is not None:
            queue = self._queues.get(key)
            if not queue:
                del self._holders[key]
                return
            queue[0].since_s = self._clock.monotonic()
            self._holders[key] = mine = queue[0]
            if self._complete(key):
                return

    def _complete(self, key: str) -> bool:
        """Open the gate to a waiter who has become the holder, also if whoever made him so was interrupted.

        False if he will never come. Mutex held.
        """
        queue = self._queues.get(key)
        heir = self._holders.get(key)
        if not queue or heir is None or queue[0] is not heir:
            return True
        assert heir.gate is not None
        alive = True
        try:
            heir.gate.release()
        except RuntimeError:
            # A thread's gate is open already; a task's event loop was closed, and it will never run again.
            alive = not isinstance(heir.owner, TaskOwner)
        self._leave_queue(key, heir)
        return alive

    def _leave_queue(self, key: str, mine: Claim) -> None:
        queue = self._queues.get(key)
        if queue is None:
            return
        try:
            queue.remove(mine)
        except ValueError:
            pass
        if not queue:
            self._queues.pop(key, None)

    def _wait_for_thread(self, ref: KeyRef, mine: Claim, timeout_s: float) -> None:
        started = mine.since_s
        gate = mine.gate = threading.Lock()
        gate.acquire()
        if self._join(ref, mine) or (gate.acquire(timeout=timeout_s) if timeout_s > 0 else gate.acquire(False)):
            return
        error = self.give_up(ref, gate, started)
        if error is not None:
            raise error

    def _join(self, ref: KeyRef, mine: Claim) -> bool:
        """Take the session in this process, or else queue for it; whether it was taken."""
        with self._mutex:
            holder = self._holders.setdefault(ref.key, mine)
            if holder is mine:
                return True
            owner = mine.owner
            if holder.owner == owner:
                who = "this very thread" if isinstance(owner, int) else "this very task"
                raise reentrant(ref.key, who)
            queue = self._queues.setdefault(ref.key, deque())
            if isinstance(owner, int):
                ahead = [holder.owner, *(one.owner for one in queue)]
                if any(isinstance(one, TaskOwner) and one.thread == owner for one in ahead):
                    # That task cannot end while this thread, which runs its loop, waits for it.
                    self._leave_queue(ref.key, mine)
                    raise reentrant(
                        ref.key, "a task of this very thread, which must not block: use AsyncSessionStore"
                    )
            queue.append(mine)
            if self._holders.setdefault(ref.key, mine) is mine:  # an abandoned transaction let go just now
                self._leave_queue(ref.key, mine)
                return True
            return False

    # -- the steps of ``acquire``, for tasks ----------------------------------------------

    def try_enter(self, ref: KeyRef, mine: Claim) -> bool:
        """Take the session in this process if it is free. To be followed by ``release``, as ``acquire``."""
        return self._holders.setdefault(ref.key, mine) is mine

    def enter(self, ref: KeyRef, mine: Claim) -> bool:
        """Take the session in this process, or queue: ``mine.gate`` is released when it is ours.

        Raises ``ReentrantUpdate``. Who stops waiting calls ``give_up`` or ``release``.
        """
        return self._join(ref, mine)

    def give_up(self, ref: KeyRef, gate: Gate, started: float) -> LockTimeout | None:
        """Stop waiting since ``started``; the error to raise, or None if the session was handed over meanwhile."""
        if not self._stop_waiting(ref.key, gate):
            return None
        now = self._clock.monotonic()
        holder = self._holders.get(ref.key)
        name = f"another {self._owner_name(holder.owner if holder is not None else 0)}"
        held_s = now - holder.since_s if holder is not None else 0.0
        return self._timeout(ref.key, os.getpid(), name, held_s, now - started)

    def _stop_waiting(self, key: str, gate: Gate) -> bool:
        """Leave the queue; False if the session was handed over meanwhile."""
        with self._mutex:
            self._complete(key)
            for one in self._queues.get(key, ()):
                if one.gate is gate:
                    self._leave_queue(key, one)
                    return True
            return False

    def had_turn(self, ref: KeyRef) -> bool:
        """Whether this process had the session to itself until just now. To be asked before ``giving_way``."""
        return self._clock.monotonic() < ref.turn_ends + TURN_S

    def giving_way(self, ref: KeyRef) -> Iterator[float]:
        """How long to pause, in seconds, before ``try_process``, because another process waits for its turn."""
        now = self._clock.monotonic()
        if now > ref.turn_ends:
            yield from self._turns.giving_way(ref, now)

    @contextlib.contextmanager
    def awaiting_turn(self, ref: KeyRef, *, had_turn: bool) -> Iterator[Callable[[float], float]]:
        """A block that waits for other processes; gives how long to pause after so many seconds of waiting."""
        self._file.reopen_if_unlinked()
        try:
            self._turns.mark(ref)
            yield lambda waited_s: self._turns.pause_s(waited_s, had_turn=had_turn)
            ref.turn_ends = self._clock.monotonic() + TURN_S
        finally:
            self._turns.unmark(ref)

    def try_process(self, ref: KeyRef) -> bool:
        """Take the session among processes, in one try."""
        try:
            if not self._file.try_byte(ref.position, ref.lock):
                return False
            now = self._clock.monotonic()
            if now - self._looked < _LOOK_S or not self._was_removed(now):
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

    @staticmethod
    def _owner_name(owner: object) -> str:
        if isinstance(owner, TaskOwner):
            task = owner.task()
            return f"task of this process ({task.get_name() if task is not None else 'gone'})"
        name = next((t.name for t in threading.enumerate() if t.ident == owner), str(owner))
        return f"thread of this process ({name})"

    def _wait_for_process(self, ref: KeyRef, started: float, timeout_s: float, *, had_turn: bool) -> None:
        self._file.reopen_if_unlinked()
        finally_release(
            lambda: self._take_turns(ref, started, timeout_s, had_turn), lambda: self._turns.unmark(ref)
        )

    def _take_turns(self, ref: KeyRef, started: float, timeout_s: float, had_turn: bool) -> None:
        self._turns.mark(ref)
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
            self._clock.sleep(self._turns.pause_s(waited_s, had_turn=had_turn))

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
        self._claims: list[tuple[KeyRef, Claim]] = []

    def acquire(self) -> None:
        """Take all of them, or raise as ``KeyLocks.acquire``. ``release`` has to follow in any case."""
        deadline = self._clock.monotonic() + self._timeout_s
        for ref in self._refs:
            mine = self._locks.claim()
            self._claims.append((ref, mine))
            # One order for everybody, so that two transactions cannot hold each other up.
            self._locks.acquire(ref, mine, max(0.0, deadline - mine.since_s))

    def release(self) -> None:
        """Let go of what is held; any number of times."""
        for ref, mine in reversed(self._claims):
            self._locks.release(ref, mine)
