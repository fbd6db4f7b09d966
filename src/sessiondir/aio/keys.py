"""Queueing of tasks for sessions, in one line with threads, and without blocking the loop."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable

from sessiondir.aio.workers import Workers
from sessiondir.clock import Clock
from sessiondir.layout import KeyRef
from sessiondir.locks import Claim, KeyLocks, TaskOwner


def this_task() -> TaskOwner:
    """The running task, as an owner of sessions."""
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("AsyncSessionStore is to be used in a task of a running event loop")
    return TaskOwner(weakref.ref(task), threading.get_ident())


class _Gate:
    """Where a task waits for a session to be handed over; released from any thread.

    The reference is weak. Else the queue would keep a task alive whose loop was thrown away, and
    with it whatever that task refers to: the siblings of a ``gather``, one of which may hold the session.
    """

    __slots__ = ("_future", "_thread")

    def __init__(self, future: asyncio.Future[None]) -> None:
        self._future = weakref.ref(future)
        self._thread = threading.get_ident()

    def release(self) -> None:
        future = self._future()
        if future is None:
            raise RuntimeError("the waiting task was thrown away")
        loop = future.get_loop()
        if loop.is_closed():
            raise RuntimeError("the loop of the waiting task was closed")
        if threading.get_ident() == self._thread:
            _open(future)
        else:
            loop.call_soon_threadsafe(_open, future)


def _open(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class HeldSession:
    """A session held by a task; let go once, by whichever thread comes first."""

    __slots__ = ("_locks", "_once", "ref")

    def __init__(self, locks: KeyLocks, ref: KeyRef, mine: Claim) -> None:
        self._locks = locks
        self._once = [mine]
        self.ref = ref

    def release(self) -> None:
        """Let the session go; doing it again does nothing."""
        try:
            mine = self._once.pop()  # one step: the worker that committed and its task may both get here
        except IndexError:
            return
        self._locks.release(self.ref, mine)


async def hold(
    locks: KeyLocks,
    ref: KeyRef,
    timeout_s: float,
    clock: Clock,
    workers: Workers,
    require_open: Callable[[], None],
) -> HeldSession:
    """Take a session for the running task. ``LockTimeout``, ``ReentrantUpdate`` as ``KeyLocks.acquire``.

    ``require_open`` raises ``StoreClosed`` once the handle is closed. Cancelled while it waits, it
    leaves the queue; nothing is held then.
    """
    mine = Claim(this_task(), clock.monotonic())
    try:
        if not locks.try_enter(ref, mine):
            await _queue(locks, ref, mine, timeout_s)
        require_open()
        await _take_among_processes(locks, ref, timeout_s, clock, workers, require_open)
    except BaseException as exc:
        # Also when the task is thrown away with its loop: nothing here may wait.
        locks.release(ref, mine)
        if isinstance(exc, ValueError):
            require_open()  # closed between two lines: its descriptors are gone
        raise
    return HeldSession(locks, ref, mine)


async def _queue(locks: KeyLocks, ref: KeyRef, mine: Claim, timeout_s: float) -> None:
    started = mine.since_s
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    gate = mine.gate = _Gate(future)
    if locks.enter(ref, mine):
        return
    if timeout_s > 0:
        # While the loop lives, its timer keeps a task that nobody else refers to.
        timer = loop.call_later(timeout_s, _open, future)
        try:
            await future
        finally:
            timer.cancel()
    # Opened by the timer or by a hand-over: the queue knows which.
    error = locks.give_up(ref, gate, started)
    if error is not None:
        raise error


async def _take_among_processes(
    locks: KeyLocks,
    ref: KeyRef,
    timeout_s: float,
    clock: Clock,
    workers: Workers,
    require_open: Callable[[], None],
) -> None:
    had_turn = locks.had_turn(ref)
    if timeout_s > 0:
        for pause_s in locks.giving_way(ref):
            await clock.pause(pause_s)
    if locks.try_process(ref):
        return
    started = clock.monotonic()
    # As threads do: a try is one system call, and ties up no worker.
    with locks.awaiting_turn(ref, had_turn=had_turn) as pause_after:
        while not locks.try_process(ref):
            waited_s = clock.monotonic() - started
            if waited_s >= timeout_s:
                raise await workers.read(lambda: locks.process_timeout(ref, started))
            await clock.pause(pause_after(waited_s))
            require_open()
