"""Interrupting a coroutine at the n-th point where it waits, in each of the ways that can happen."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any

from sessiondir import StoreClosed

WAYS = ("cancelled", "cancelled late", "cancelled again", "thrown away")
"""The task is cancelled while it waits; in the moment in which its wait ends; at this and every later wait,
as a cancelled scope of ``anyio`` does; or is destroyed with its loop."""


class Interrupted(Exception):
    """The coroutine was interrupted at the wanted point."""


class _Stepped(Awaitable[Any]):
    """Awaits a coroutine, interrupting it at its ``nth`` suspension (1 is the first)."""

    def __init__(self, inner: Coroutine[Any, Any, Any], nth: int, way: str) -> None:
        self._inner = inner
        self._nth = nth
        self._way = way
        self.reached = False

    def __await__(self) -> Generator[Any, Any, Any]:
        step: Callable[[], Any] = lambda: self._inner.send(None)  # noqa: E731 - replaced below
        count = 0
        while True:
            try:
                future = step()
            except StopIteration as stop:
                return stop.value
            count += 1
            if count == self._nth or (count > self._nth and self._way == "cancelled again"):
                self.reached = True
                self._interrupt(future)
            try:
                yield future
                step = lambda: self._inner.send(None)  # noqa: E731
            except BaseException as exc:
                step = lambda exc=exc: self._inner.throw(exc)  # type: ignore[misc] # noqa: E731

    def _interrupt(self, future: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        if self._way == "thrown away":
            self._inner.close()
            raise Interrupted
        if self._way != "cancelled late" or future is None:  # a bare yield ends by itself
            task.cancel()
        else:
            # Comes before the task's own wake-up, so that the wait has ended and the task does not know.
            future.add_done_callback(lambda _: task.cancel())


async def interrupted(make: Callable[[], Coroutine[Any, Any, Any]], nth: int, way: str) -> bool:
    """Run a coroutine and interrupt it at its ``nth`` suspension; whether it had so many."""
    stepped = _Stepped(make(), nth, way)

    async def run() -> Any:
        return await stepped

    task = asyncio.create_task(run())
    try:
        await task
    except (asyncio.CancelledError, Interrupted):
        assert stepped.reached
        return True
    assert not stepped.reached, "an interrupted call went on as if nothing had happened"
    return False


class Closed:
    """Closes the handle at a coroutine's ``nth`` suspension; ``way``: and cancels it after or before that."""

    def __init__(
        self,
        make: Callable[[], Coroutine[Any, Any, Any]],
        nth: int,
        close: Callable[[], Coroutine[Any, Any, None]],
        way: str,
    ) -> None:
        self._stepped = _Stepped(make(), nth, "closed")
        self._stepped._interrupt = self._interrupt  # type: ignore[method-assign]
        self._close = close
        self._way = way
        self._closing: asyncio.Task[None] | None = None

    @property
    def reached(self) -> bool:
        """Whether there were so many suspensions."""
        return self._stepped.reached

    def _interrupt(self, future: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        if self._way == "cancelled, then closed":
            task.cancel()
        self._closing = asyncio.create_task(self._close())
        if self._way == "closed, then cancelled":
            asyncio.get_running_loop().call_soon(asyncio.get_running_loop().call_soon, task.cancel)

    async def run(self) -> bool:
        """Run it to its end, and the close; whether it gave a result."""

        async def whole() -> Any:
            return await self._stepped

        outcome = (await asyncio.gather(asyncio.create_task(whole()), return_exceptions=True))[0]
        await (self._closing or asyncio.create_task(self._close()))
        assert outcome is None or not isinstance(outcome, Exception) or isinstance(outcome, StoreClosed)
        return not isinstance(outcome, BaseException)
