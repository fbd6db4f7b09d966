"""Loops that are not asyncio's own, and anyio's way to cancel."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
import uvloop
from support.seams import WaitingDisk

from aio.beside import BESIDE, set_up, state_of
from aio.obstacles import is_quiet
from aio.stepping import WAYS, interrupted
from aio.test_cancellation import CALLS, OLD
from sessiondir import AsyncSessionStore, SessionStore

# libuv makes a pipe with its first loop and keeps it; it is not to count as a test's leak.
uvloop.run(asyncio.sleep(0))


async def _as_coroutine(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


@pytest.mark.parametrize("way", WAYS)
def test_f18_interrupted_anywhere_under_uvloop(store_path: str, way: str) -> None:
    """F18: on uvloop, too, every call is done or not and leaves nothing held, wherever it is interrupted."""

    async def run() -> None:
        async with AsyncSessionStore.open(store_path, checkpoint_interval=3600, lock_timeout=20) as store:
            assert type(asyncio.get_running_loop()).__module__ == "uvloop"
            for make, new in CALLS.values():
                nth, reached = 0, True
                while reached:
                    nth += 1
                    await store.replace(OLD)
                    reached = await interrupted(lambda make=make: _as_coroutine(make(store)), nth, way)
                    await is_quiet(store)
                    assert dict(await store.snapshot()) in ((OLD, new) if reached else (new,))
                    for key in ("a", "b"):
                        await store.update(key, lambda entry: {"n": 0}, create=True, timeout=0)
            for call in BESIDE.values():
                nth, reached = 0, True
                while reached:
                    nth += 1
                    stage = await set_up(store)
                    reached = await interrupted(lambda on=stage, call=call: _as_coroutine(call.make(on)), nth, way)
                    await is_quiet(store)
                    if not reached:
                        assert await state_of(store) == call.after

    uvloop.run(run())


def test_g3_tasks_on_uvloop_and_on_asyncio_lose_no_update(store_path: str) -> None:
    """G3: a loop of each kind, each in a thread of its own, on one handle: everything is counted."""

    async def opened() -> AsyncSessionStore:
        return await AsyncSessionStore.open(store_path, durability="process", lock_timeout=100)

    store = asyncio.run(opened())

    async def count(entry: dict[str, Any]) -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"n": entry.get("n", 0) + 1}

    async def many() -> None:
        await asyncio.gather(*(store.update("a", count, create=True) for _ in range(100)))

    runs: list[Callable[[Any], Any]] = [asyncio.run, uvloop.run, uvloop.run]
    threads = [threading.Thread(target=lambda run=run: run(many())) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    async def end() -> None:
        assert await store["a"] == {"n": 300}
        await store.close()

    uvloop.run(end())


@pytest.mark.parametrize("options", [{}, {"use_uvloop": True}], ids=["asyncio", "uvloop"])
def test_g2_a_cancelled_scope_of_anyio_leaves_commits_whole_and_sessions_free(
    store_path: str, options: dict[str, Any]
) -> None:
    """G2: a scope that cancels its tasks again and again ends when their commits are finished; nothing is half."""
    disk = WaitingDisk()

    async def run() -> None:
        async with AsyncSessionStore.open(store_path, fs=disk, checkpoint_interval=3600) as store:
            await store.replace({"a": {"n": 1}, "b": {"n": 1}, "c": {"n": 1}})
            disk.armed = True

            async def sit(entry: dict[str, Any]) -> dict[str, Any]:
                await anyio.sleep(3600)
                return {"n": 3}

            async with anyio.create_task_group() as group:
                group.start_soon(store.put, "a", {"n": 2})
                group.start_soon(store.update, "b", sit)
                group.start_soon(store.update, "b", sit)
                while not disk.syncing.is_set():
                    await anyio.sleep(0.001)
                group.cancel_scope.cancel()
                asyncio.get_running_loop().call_later(0.02, disk.go_on.set)
            disk.armed = False
            with anyio.move_on_after(0.01) as scope:
                await store.update("c", sit)
            assert scope.cancelled_caught
            for key, n in (("a", 2), ("b", 1), ("c", 1)):
                assert await store.update(key, lambda entry: None, timeout=0) == {"n": n}

    anyio.run(run, backend="asyncio", backend_options=options)
    with SessionStore.open(store_path) as store:
        assert dict(store.snapshot()) == {"a": {"n": 2}, "b": {"n": 1}, "c": {"n": 1}}
