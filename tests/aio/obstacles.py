"""What may stand in a call's way, and waiting until all is quiet again."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from sessiondir import AsyncSessionStore, SessionStore


@asynccontextmanager
async def nothing_in_the_way(store: Any, other: SessionStore) -> AsyncIterator[None]:
    """The call finds everything free."""
    yield


@asynccontextmanager
async def a_task_in_the_way(store: Any, other: SessionStore) -> AsyncIterator[None]:
    """Another task holds the session for a while, and a second one queues for it."""
    entered = asyncio.Event()

    async def sit(entry: dict[str, Any]) -> None:
        entered.set()
        await asyncio.sleep(0.004)

    holding = asyncio.create_task(store.update("a", sit))
    await entered.wait()
    queueing = asyncio.create_task(store.update("a", lambda entry: None))
    await asyncio.sleep(0)
    yield
    await asyncio.gather(holding, queueing)


@asynccontextmanager
async def _thread_in_the_way(hold: Callable[[threading.Event], None]) -> AsyncIterator[None]:
    entered = threading.Event()
    thread = threading.Thread(target=hold, args=(entered,))
    thread.start()
    await asyncio.to_thread(entered.wait)
    yield
    await asyncio.to_thread(thread.join)


@asynccontextmanager
async def a_process_in_the_way(store: Any, other: SessionStore) -> AsyncIterator[None]:
    """Another process holds the session for a while."""

    def hold(entered: threading.Event) -> None:
        with other.transaction("a"):
            entered.set()
            time.sleep(0.004)

    async with _thread_in_the_way(hold):
        yield


@asynccontextmanager
async def a_commit_in_the_way(store: Any, other: SessionStore) -> AsyncIterator[None]:
    """Another process is in the middle of a commit, longer than a worker waits."""

    def hold(entered: threading.Event) -> None:
        core = other._core
        assert core is not None
        mine = object()
        core.committer.lock(mine, 10)
        entered.set()
        time.sleep(0.012)
        core.committer.unlock(mine)

    async with _thread_in_the_way(hold):
        yield


OBSTACLES = (nothing_in_the_way, a_task_in_the_way, a_process_in_the_way, a_commit_in_the_way)


def _is_working(pool: ThreadPoolExecutor | None) -> bool:
    """Whether a thread has something to do, be it for a task that was thrown away."""
    return pool is not None and pool._idle_semaphore._value < len(pool._threads)  # type: ignore[attr-defined]


async def is_quiet(store: AsyncSessionStore) -> None:
    """Return when no session, lock or worker is in use any more; the suite's time-out is the bound."""
    while _is_working(store._workers._pool):
        await asyncio.sleep(0.001)
    core = store._store._core
    if core is None:
        return
    syncing = store._committer._syncing
    while core.is_ready() and (
        core.keys._holders
        or core.keys._queues
        or core.committer.mutex.by is not None
        or any(one.running for one in syncing._queues.values())
    ):
        await asyncio.sleep(0.001)
