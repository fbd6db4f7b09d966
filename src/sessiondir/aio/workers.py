"""The store's own threads, and how a task waits for them.

A job either only reads: whoever waits for it may be cancelled at any moment, and the
result is dropped. Or it changes something: then it is waited for to its end, and a
cancellation that came meanwhile is delivered after it. In both cases the thread finishes
what it began, whatever becomes of the task and its loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from sessiondir import steps
from sessiondir.core import closed_error
from sessiondir.errors import LockTimeout
from sessiondir.terms import wait_s

T = TypeVar("T")
_log = logging.getLogger("sessiondir")
_THREADS = 4
"""One of them may be waiting for the disk to sync; the others read, write and decode."""
_LONGEST_TURN_S = 0.005
_QUICK_S = 2e-4


class _Steadfast(asyncio.Future[Any]):
    """A future that does not let itself be cancelled: its task is cancelled when it is done."""

    def cancel(self, msg: Any | None = None) -> bool:  # noqa: ARG002 - the signature is asyncio's
        return False


class Reply:
    """Where the outcome of a job goes: a future of the loop that makes it. Called from any thread, once."""

    __slots__ = ("future", "loop", "problem", "value")

    def __init__(self, future: asyncio.Future[Any]) -> None:
        steps.run_loop_here()
        self.future = future
        self.loop = future.get_loop()
        self.value: Any = None
        self.problem: BaseException | None = None

    def answer(self, value: Any) -> None:
        """Give the result."""
        self.value = value
        deliver((self,))

    def refuse(self, problem: BaseException) -> None:
        """Give the error."""
        self.problem = problem
        deliver((self,))

    def arrive(self) -> None:
        """On the loop: wake the task, unless it waits no longer."""
        future, value, problem = self.future, self.value, self.problem
        self.value = self.problem = None
        if future.done():
            if problem is not None and isinstance(future, _Steadfast):
                _tell_nobody_waits(problem)
            return
        if problem is None:
            future.set_result(value)
        else:
            future.set_exception(problem)


def _tell_nobody_waits(problem: BaseException) -> None:
    _log.error("nobody waits any more for what failed: %s", str(problem))


def _tell_of_failure(future: asyncio.Future[Any]) -> None:
    problem = future.exception()
    if problem is not None and not isinstance(problem, LockTimeout):  # which was to be tried again
        _tell_nobody_waits(problem)


def deliver(replies: Iterable[Reply]) -> None:
    """Bring replies to their loops, with one wake-up for each loop."""
    loops: dict[asyncio.AbstractEventLoop, list[Reply]] = {}
    for reply in replies:
        loops.setdefault(reply.loop, []).append(reply)
    for loop, arriving in loops.items():
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits there any more
            one = len(arriving) == 1
            loop.call_soon_threadsafe(arriving[0].arrive if one else _Arrival(loop, arriving).wake_some)


def _expire(future: asyncio.Future[Any], waited_s: float) -> None:
    if not future.done():
        future.set_exception(TimeoutError(f"still being closed after {waited_s:g} s; it goes on by itself"))


class _Arrival:
    """Wakes tasks in groups, other callbacks between them, for each may do a millisecond's work at once.

    One sync serves many: those who get back an entry of megabytes would else all use, and free, theirs in
    one turn of the loop. A group is twice as large as the last if that took no time.
    """

    __slots__ = ("_began_s", "_loop", "_next", "_replies", "_size")

    def __init__(self, loop: asyncio.AbstractEventLoop, replies: list[Reply]) -> None:
        self._loop = loop
        self._replies = replies
        self._next = 0
        self._size = 1
        self._began_s = 0.0

    def wake_some(self) -> None:
        """Wake the next group. On the loop."""
        self._began_s = time.monotonic()
        start, self._next = self._next, self._next + self._size
        for reply in self._replies[start : self._next]:
            reply.arrive()
        if self._next < len(self._replies):
            self._loop.call_soon(self._go_on)  # behind the tasks that were woken just now

    def _go_on(self) -> None:
        if time.monotonic() - self._began_s < _QUICK_S:
            self._size *= 2
            self.wake_some()
        else:
            self._size = 1
            # A timer that is due by now needs two turns of the loop until its task runs.
            self._loop.call_soon(self._loop.call_soon, self.wake_some)


class Workers:
    """A few threads, started when first needed; may be used from several loops."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._pid = 0
        self._closed = False

    def submit(self, job: Callable[[], object]) -> None:
        """Have ``job`` run by a thread; it must not raise. ``StoreClosed`` after ``close``."""
        pool = self._pool
        if pool is None or self._pid != os.getpid():
            pool = self._start()
        try:
            pool.submit(job)
        except RuntimeError as exc:  # closed, or the interpreter is about to end
            raise closed_error() from exc

    def submit_for(self, loop: asyncio.AbstractEventLoop, job: Callable[[], None]) -> None:
        """As ``submit`` for large work: between its steps ``loop`` has its turn."""

        def work() -> None:
            _take_turns_with(loop)
            job()

        self.submit(work)

    def _start(self) -> ThreadPoolExecutor:
        with self._mutex:
            if self._closed:
                raise closed_error()
            if self._pool is None or self._pid != os.getpid():
                self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="sessiondir-aio")
                self._pid = os.getpid()
            return self._pool

    async def read(self, job: Callable[[], T], timeout_s: float | None = None) -> T:
        """The result of a job that changes nothing; ``TimeoutError`` if it takes too long."""
        limit_s = wait_s(timeout_s) if timeout_s is not None else None
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def work() -> None:
            if not future.cancelled():
                _perform(job, reply)

        reply = Reply(future)
        self.submit(work)
        if limit_s is None:
            return await future
        async with asyncio.timeout(limit_s):
            return await future

    async def finish(self, job: Callable[[], T]) -> T:
        """The result of a job that is waited for to its end; a cancellation comes after it."""
        future = _Steadfast()
        reply = Reply(future)
        self.submit(lambda: _perform(job, reply))
        result: T = await outlast(future)
        return result

    async def settle(self, job: Callable[[Reply], None]) -> Any:
        """As ``finish`` for a job that replies itself, perhaps later, from another thread."""
        future = _Steadfast()
        reply = Reply(future)

        def work() -> None:
            _take_turns_with(reply.loop)
            try:
                job(reply)
            except BaseException as exc:
                reply.refuse(exc)

        self.submit(work)
        return await outlast(future)

    async def close(self, last: Callable[[], None], timeout_s: float | None = None) -> None:
        """Wait for all jobs, run ``last``, and let the threads go. Waited for to the end.

        Or, with ``timeout_s``, until then: ``TimeoutError``, and the end comes without anybody waiting.
        """
        future = _Steadfast()
        reply = Reply(future)
        self.close_behind(lambda: _perform(last, reply))
        if timeout_s is None:
            await outlast(future)
            return
        timer = reply.loop.call_later(timeout_s, _expire, future, timeout_s)
        try:
            await outlast(future)
        finally:
            timer.cancel()

    def close_behind(self, last: Callable[[], None]) -> None:
        """As ``close``, without waiting: for a coroutine that is thrown away and must not await."""
        with self._mutex:
            self._closed = True
            pool, self._pool = self._pool, None
            pid = self._pid

        def work() -> None:
            if pool is not None and pid == os.getpid():
                pool.shutdown(wait=True)
            last()

        if sys.is_finalizing():
            return  # a thread started now never runs, and what was open is level already
        threading.Thread(target=work, name="sessiondir-aio-close").start()


def _take_turns_with(loop: asyncio.AbstractEventLoop) -> None:
    """Have this thread wait, between steps of large work, until ``loop`` had its turn."""
    came = threading.Event()

    def offer() -> None:
        came.clear()
        with contextlib.suppress(RuntimeError):  # the loop was closed
            loop.call_soon_threadsafe(came.set)
            came.wait(_LONGEST_TURN_S)

    steps.offer_with(offer)


def _perform(job: Callable[[], Any], reply: Reply) -> None:
    _take_turns_with(reply.loop)
    try:
        value = job()
    except BaseException as exc:
        reply.refuse(exc)
    else:
        reply.answer(value)


async def outlast(future: asyncio.Future[Any]) -> Any:
    """The result of a steadfast future; raises ``CancelledError`` only when it is done."""
    try:
        return await future
    except asyncio.CancelledError:
        if future.done():
            future.exception()  # the cancellation takes its place; or it would be logged as lost
        raise
    except GeneratorExit:
        # Thrown away, perhaps with its loop: nobody will ask for it.
        if future.done():
            _tell_of_failure(future)
        else:
            future.add_done_callback(_tell_of_failure)
        raise
