"""A thin bridge: the methods of ``SessionStore``, carried out by ``AsyncSessionStore`` on a loop.

The loop runs in a thread of its own. Each calling thread has one task there that makes all
its calls, so that a session it holds is held by the same owner in its next call. A callback
is run by the calling thread, and calls it makes in turn are made by the same task.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any, NamedTuple, Self

from sessiondir import AsyncSessionStore, SessionNotFound


class _Answer(NamedTuple):
    value: Any
    problem: BaseException | None


class _Driver:
    """The task that makes the calls of one thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.inbox: asyncio.Queue[Any] = asyncio.Queue()
        self.outbox: queue.SimpleQueue[tuple[str, Any, Any]] = queue.SimpleQueue()
        self.loop = loop
        asyncio.run_coroutine_threadsafe(self._work(threading.current_thread().name), loop)

    async def _work(self, name: str) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.set_name(name)  # so that an error names the thread that calls
        await self.pump()

    async def pump(self) -> _Answer:
        """Make calls until a callback's answer comes."""
        while not isinstance(item := await self.inbox.get(), _Answer):
            try:
                self.outbox.put(("done", await item(), None))
            except asyncio.CancelledError:
                raise
            except BaseException as exc:
                self.outbox.put(("done", None, exc))
        return item

    async def ask(self, fn: Callable[..., Any], *args: Any) -> Any:
        """Have the calling thread run a callback."""
        self.outbox.put(("callback", fn, args))
        answer = await self.pump()
        if answer.problem is not None:
            raise answer.problem
        return answer.value

    def call(self, make: Callable[[], Awaitable[Any]]) -> Any:
        """Have the task await ``make()``, and run the callbacks it asks for. In the calling thread."""
        self.loop.call_soon_threadsafe(self.inbox.put_nowait, make)
        while True:
            kind, what, detail = self.outbox.get()
            if kind == "done":
                if detail is not None:
                    raise detail
                return what
            try:
                answer = _Answer(what(*detail), None)
            except BaseException as exc:
                answer = _Answer(None, exc)
            self.loop.call_soon_threadsafe(self.inbox.put_nowait, answer)


class LoopThread:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._mine = threading.local()
        self._thread = threading.Thread(target=self._loop.run_forever, name="bridge")
        self._thread.start()

    def driver(self) -> _Driver:
        """The calling thread's task."""
        if not hasattr(self._mine, "driver"):
            self._mine.driver = _Driver(self._loop)
        found: _Driver = self._mine.driver
        return found

    def stop(self) -> None:
        """End all tasks and close the loop."""

        async def end() -> None:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class _Block(MutableMapping[str, Any]):
    """A transaction in a ``with`` block."""

    def __init__(self, loop: LoopThread, inner: Any) -> None:
        self._loop = loop
        self._inner = inner

    def __enter__(self) -> Self:
        self._loop.driver().call(self._inner.__aenter__)
        return self

    def __exit__(self, *problem: Any) -> None:
        self._loop.driver().call(lambda: self._inner.__aexit__(*problem))

    @property
    def version(self) -> int | None:
        found: int | None = self._inner.version
        return found

    def __getitem__(self, key: str) -> Any:
        return self._inner[key]

    def __setitem__(self, key: str, entry: Any) -> None:
        self._inner[key] = entry

    def __delitem__(self, key: str) -> None:
        del self._inner[key]

    def __contains__(self, key: object) -> bool:
        return key in self._inner

    def __iter__(self) -> Iterator[str]:
        return iter(self._inner)

    def __len__(self) -> int:
        return len(self._inner)


class _Watch:
    """The changes of a watch, one after the other."""

    def __init__(self, loop: LoopThread, inner: Any) -> None:
        self._loop = loop
        self._inner = inner

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        try:
            return self._loop.driver().call(self._inner.__anext__)
        except StopAsyncIteration:
            raise StopIteration from None

    def close(self) -> None:
        self._loop.driver().call(self._inner.aclose)


PLAIN = (
    "get", "updated_at", "version_of", "keys", "list", "snapshot", "changes", "info", "check", "put", "patch",
    "delete", "replace", "flush", "close", "lease_of", "leases", "post", "peek", "take", "ack", "put_back",
    "wait_inbox", "inboxes",
)  # fmt: skip
"""Methods whose arguments and results pass the bridge as they are."""


class BridgedStore:
    """``AsyncSessionStore`` for threads."""

    def __init__(self, loop: LoopThread, store: AsyncSessionStore) -> None:
        self._loop = loop
        self._store = store
        self.path = store.path

    @classmethod
    def open(cls, loop: LoopThread, path: str, **options: Any) -> BridgedStore:
        async def opened() -> AsyncSessionStore:
            return await AsyncSessionStore.open(path, **options)

        return cls(loop, loop.driver().call(opened))

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in PLAIN:
            raise AttributeError(name)
        method = getattr(self._store, name)
        return lambda *args, **options: self._call(lambda: method(*args, **options))

    def _call(self, make: Callable[[], Awaitable[Any]]) -> Any:
        return self._loop.driver().call(make)

    @property
    def version(self) -> int:
        found: int = self._call(self._store.version)
        return found

    def __getitem__(self, key: str) -> Any:
        return self._call(lambda: self._store[key])

    def __setitem__(self, key: str, entry: Mapping[str, Any]) -> None:
        self._call(lambda: self._store.put(key, entry))

    def __delitem__(self, key: str) -> None:
        if not self._call(lambda: self._store.delete(key)):
            raise SessionNotFound(f"there is no session {key!r}", session=key)

    def __contains__(self, key: object) -> bool:
        found: bool = self._call(lambda: self._store.contains(key))
        return found

    def __len__(self) -> int:
        found: int = self._call(self._store.count)
        return found

    def __iter__(self) -> Iterator[str]:
        async def keys() -> list[str]:
            return [key async for key in self._store]

        return iter(self._call(keys))

    def update(self, key: str, fn: Callable[[Any], Any], *args: Any, **options: Any) -> Any:
        driver = self._loop.driver()
        return driver.call(lambda: self._store.update(key, lambda entry: driver.ask(fn, entry), *args, **options))

    def watch(self, since: int | None = None, **options: Any) -> _Watch:
        async def begun() -> Any:
            return self._store.watch(since, **options)

        return _Watch(self._loop, self._call(begun))

    def transaction(self, *keys: str, **options: Any) -> _Block:
        return _Block(self._loop, self._store.transaction(*keys, **options))

    def edit(self, fn: Callable[[Any], Any] | None = None) -> Any:
        if fn is None:
            return self._edit_block()
        driver = self._loop.driver()

        async def edited() -> Any:
            return await self._store.edit(lambda sessions: driver.ask(fn, sessions))

        return driver.call(edited)

    @contextmanager
    def _edit_block(self) -> Iterator[Any]:
        block = self._store.edit()
        sessions = self._call(block.__aenter__)
        try:
            yield sessions
        except BaseException as exc:
            problem = (type(exc), exc, exc.__traceback__)
            self._call(lambda: block.__aexit__(*problem))
            raise
        self._call(lambda: block.__aexit__(None, None, None))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: Any) -> None:
        self.close()
