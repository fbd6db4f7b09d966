"""F18: every call is interrupted at every point where it waits, and leaves the store whole and free."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from support.seams import WaitingDisk

from aio.obstacles import OBSTACLES, is_quiet
from aio.stepping import WAYS, interrupted
from sessiondir import AsyncSessionStore, SessionStore, registry
from sessiondir.fs import FileSystem

OLD: dict[str, Any] = {"a": {"n": 1}, "b": {"n": 2}}


async def _coroutine_callback(entry: dict[str, Any]) -> dict[str, Any]:
    await asyncio.sleep(0.001)
    return {**entry, "n": 5}


async def _transaction(store: Any) -> None:
    async with store.transaction("a", "b") as txn:
        txn["a"] = {"n": 5}
        await asyncio.sleep(0.001)
        txn["b"] = {"n": 6}


async def _edit(store: Any) -> None:
    async with store.edit() as sessions:
        sessions["a"]["n"] = 5
        await asyncio.sleep(0.001)
        del sessions["b"]


async def _watch(store: Any) -> None:
    watching = store.watch(since=0, timeout=0.03)
    async for _ in watching:
        pass
    await watching.aclose()


async def _watch_block(store: Any) -> None:
    async with store.watch(since=0) as watching:
        await anext(watching)


async def _iterate(store: Any) -> list[str]:
    return [key async for key in store]


CALLS: dict[str, tuple[Callable[[Any], Awaitable[Any]], dict[str, Any]]] = {
    "get": (lambda store: store.get("a"), OLD),
    "getitem": (lambda store: store["a"], OLD),
    "contains": (lambda store: store.contains("a"), OLD),
    "count": (lambda store: store.count(), OLD),
    "iterate": (_iterate, OLD),
    "keys": (lambda store: store.keys(), OLD),
    "updated_at": (lambda store: store.updated_at("a"), OLD),
    "version": (lambda store: store.version(), OLD),
    "version_of": (lambda store: store.version_of("a"), OLD),
    "list": (lambda store: store.list(), OLD),
    "snapshot": (lambda store: store.snapshot(), OLD),
    "changes": (lambda store: store.changes(2), OLD),
    "watch": (_watch, OLD),
    "watch block": (_watch_block, OLD),
    "info": (lambda store: store.info(), OLD),
    "check": (lambda store: store.check(), OLD),
    "flush": (lambda store: store.flush(), OLD),
    "put": (lambda store: store.put("a", {"n": 5}), OLD | {"a": {"n": 5}}),
    "put process": (lambda store: store.put("a", {"n": 5}, durability="process"), OLD | {"a": {"n": 5}}),
    "put large": (lambda store: store.put("a", {"x": "y" * 300_000}), OLD | {"a": {"x": "y" * 300_000}}),
    "patch": (lambda store: store.patch("a", {"m": 5}), OLD | {"a": {"n": 1, "m": 5}}),
    "update": (lambda store: store.update("a", lambda entry: {"n": 5}), OLD | {"a": {"n": 5}}),
    "update coroutine": (lambda store: store.update("a", _coroutine_callback), OLD | {"a": {"n": 5}}),
    "delete": (lambda store: store.delete("a"), {"b": {"n": 2}}),
    "transaction": (_transaction, {"a": {"n": 5}, "b": {"n": 6}}),
    "edit": (_edit, {"a": {"n": 5}}),
    "edit fn": (lambda store: store.edit(lambda sessions: sessions.pop("a")), {"b": {"n": 2}}),
    "replace": (lambda store: store.replace({"c": {"n": 3}}), {"c": {"n": 3}}),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("obstacle", OBSTACLES, ids=lambda obstacle: obstacle.__name__)
@pytest.mark.parametrize("name", CALLS)
def test_g1_interrupted_anywhere_it_is_whole_and_free(store_path: str, name: str, obstacle: Any, way: str) -> None:
    """G1: interrupted at any await, a call is done or not; what it held is free, and nothing goes on behind."""
    call, new = CALLS[name]

    async def enumerate_points() -> int:
        async with AsyncSessionStore.open(store_path, checkpoint_interval=3600, lock_timeout=20) as store:
            await store.replace(OLD)
            with SessionStore.open(store_path, fs=FileSystem(), lock_timeout=0) as other:
                other.put("z", {})  # gets it ready to write, so that it can stand in the way
                other.delete("z")
                nth = 0
                reached = True
                while reached:
                    nth += 1
                    before = (await store.snapshot()).version
                    async with obstacle(store, other):
                        store._calls = 1000  # gives the other tasks a turn first: a point of its own
                        reached = await interrupted(lambda: _as_coroutine(call(store)), nth, way)
                        delivered = other.version
                    await is_quiet(store)
                    after = await store.snapshot()
                    if way != "thrown away":
                        assert after.version == delivered, "the commit went on after the cancellation"
                    assert dict(after) in (OLD, new)
                    assert (after.version == before) == (dict(after) == OLD)
                    if not reached:
                        assert dict(after) == new
                    # Free for others: other processes, threads and tasks, at once.
                    for key in ("a", "b"):
                        other.update(key, lambda entry: {"n": -1}, create=True, timeout=0)
                        await store.update(key, lambda entry: {"n": 0}, create=True, timeout=0)
                    await store.replace(OLD)
            return nth

    points = asyncio.run(enumerate_points())
    assert points > 1, "there was no point to interrupt"


async def _as_coroutine(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


FIRST = ("put", "patch create", "update", "transaction", "edit", "replace")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("legacy", [False, True], ids=["missing", "legacy"])
@pytest.mark.parametrize("name", FIRST)
def test_g11_interrupted_anywhere_the_first_change_made_a_store_or_none(
    tmp_path: Path, name: str, legacy: bool, way: str
) -> None:
    """G1, G11: the change that creates or migrates a store leaves the old state or the new one."""
    calls: dict[str, Callable[[Any], Awaitable[Any]]] = {
        "patch create": lambda store: store.patch("a", {"n": 5}, create=True),
        "update": lambda store: store.update("a", _coroutine_callback, create=True),
        **{other: CALLS[other][0] for other in ("put", "transaction", "replace")},
        "edit": lambda store: store.edit(lambda sessions: sessions.update(a={"n": 5})),
    }
    old = OLD if legacy else {}

    async def attempt(path: str, nth: int) -> bool:
        async with AsyncSessionStore.open(path, checkpoint_interval=3600) as store:
            reached = await interrupted(lambda: _as_coroutine(calls[name](store)), nth, way)
            await is_quiet(store)
            return reached

    nth, found = 0, []
    reached = True
    while reached:
        nth += 1
        place = tmp_path / str(nth)
        place.mkdir()
        if legacy:
            (place / "sessions.json").write_text(json.dumps(OLD), encoding="utf-8")
        reached = asyncio.run(attempt(str(place / "sessions.d"), nth))
        with SessionStore.open(str(place / "sessions.d")) as store:
            found.append(dict(store.snapshot()))
            store.put("after", {})
    assert all(state in (old, found[-1]) for state in found)
    assert found[-1] != old


@pytest.mark.parametrize("way", WAYS)
def test_interrupted_while_opening_nothing_is_open(store_path: str, way: str) -> None:
    """An open that was interrupted leaves no handle behind; the store can be opened again."""
    with SessionStore.open(store_path) as store:
        store.put("a", {"n": 1})

    async def opened() -> None:
        async with AsyncSessionStore.open(store_path) as store:
            assert await store["a"] == {"n": 1}

    async def attempt(nth: int) -> bool:
        return await interrupted(opened, nth, way)

    nth = 1
    while asyncio.run(attempt(nth)):
        while way == "thrown away" and registry._cores:
            pass  # closed behind; the suite's time-out is the bound
        assert registry._cores == {}
        nth += 1
    assert nth > 2


@pytest.mark.parametrize("way", ["cancelled", "cancelled late"])
def test_interrupted_while_closing_it_is_closed(store_path: str, way: str) -> None:
    """A close that was cancelled has closed the handle and brought the files level all the same."""

    async def attempt(nth: int) -> bool:
        store = await AsyncSessionStore.open(store_path, checkpoint_interval=3600)
        await store.put("a", {"n": nth})
        reached = await interrupted(store.close, nth, way)
        assert registry._cores == {}
        return reached

    nth = 1
    while asyncio.run(attempt(nth)):
        nth += 1
    assert nth > 1


def test_g2_cancelled_again_and_again_a_commit_is_finished(store_path: str) -> None:
    """G2: a task that is cancelled at every turn of the loop, as structured concurrency does, ends its commit."""
    disk = WaitingDisk()

    async def run() -> None:
        async with AsyncSessionStore.open(store_path, fs=disk, checkpoint_interval=3600) as store:
            await store.put("a", {"n": 1})
            disk.armed = True
            task = asyncio.create_task(store.put("a", {"n": 2}))
            turns = 0
            while not task.done():
                task.cancel() if disk.syncing.is_set() else None
                turns += 1
                if disk.syncing.is_set() and turns > 2000:
                    disk.go_on.set()
                await asyncio.sleep(0)
            disk.armed = False
            assert task.cancelled()
            assert await store.get("a") == {"n": 2}

    asyncio.run(run())
    with SessionStore.open(store_path) as store:
        assert store["a"] == {"n": 2}
