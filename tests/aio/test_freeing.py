"""Large entries that nobody uses any more are freed by a worker, in steps, and nothing in use is touched."""

from __future__ import annotations

import asyncio
import copy
import itertools
import sys
import threading
from typing import Any

import pytest

from sessiondir import AsyncSessionStore, SessionStore
from sessiondir.aio import freeing

COUNT = 3000


def entry_of(shape: str) -> dict[str, Any]:
    """An entry of some 400 KB, its messages at the top or further down."""
    messages = [{"at": number, "text": "lorem ipsum " * 8, "usage": {"in": number}} for number in range(COUNT)]
    return (
        {"n": 0, "messages": messages} if shape == "flat" else {"n": 0, "a": {"b": {"c": {"messages": messages}}}}
    )


def messages_of(entry: dict[str, Any]) -> list[Any]:
    """The messages, wherever they are."""
    found: list[Any] = entry["messages"] if "messages" in entry else entry["a"]["b"]["c"]["messages"]
    return found


class Witness:
    """Notes which thread frees it."""

    def __init__(self, threads: list[int]) -> None:
        self._threads = threads

    def __del__(self) -> None:
        self._threads.append(threading.get_ident())


@pytest.fixture(params=["flat", "deep"])
def prepared(request: pytest.FixtureRequest, store_path: str) -> str:
    """A store with one large entry."""
    with SessionStore.open(store_path) as store:
        store.put("a", entry_of(request.param))
    return store_path


async def _get(store: AsyncSessionStore, seen: list[Any]) -> None:
    seen.append(await store.get("a"))


async def _patch(store: AsyncSessionStore, seen: list[Any]) -> None:
    seen.append(await store.patch("a", {"n": 1}))


async def _update(store: AsyncSessionStore, seen: list[Any]) -> None:
    def fn(entry: dict[str, Any]) -> dict[str, Any]:
        seen.append(entry)
        return {**entry, "n": 1}

    await store.update("a", fn)


async def _rewrite(store: AsyncSessionStore, seen: list[Any]) -> None:
    def fn(entry: dict[str, Any]) -> dict[str, Any]:
        messages_of(entry).append("one more")
        return entry

    seen.append(await store.update("a", fn))


@pytest.mark.parametrize("call", [_get, _patch, _update, _rewrite])
def test_what_was_handed_out_is_freed_by_a_worker_in_steps(
    prepared: str, monkeypatch: pytest.MonkeyPatch, call: Any
) -> None:
    """The last reference to each object of a large entry is let go of off the loop, a hundred at a time."""
    threads: list[int] = []
    in_steps: list[int] = []
    free_some = freeing._free_some

    def noted(values: list[Any]) -> None:
        before = len(threads)
        free_some(values)
        in_steps.append(len(threads) - before)

    monkeypatch.setattr(freeing, "_free_some", noted)

    async def run() -> None:
        async with AsyncSessionStore.open(prepared) as store:
            seen: list[Any] = []
            await call(store, seen)
            messages = messages_of(seen[0])
            for message in messages:
                if type(message) is dict:
                    message["witness"] = Witness(threads)
            del message, messages
            seen.clear()
            while len(threads) < COUNT or store._freeing._lent:  # the suite's time-out is the bound
                await asyncio.sleep(0.001)
            while store._freeing._due_s:
                await asyncio.sleep(0.001)

    asyncio.run(run())
    assert threading.get_ident() not in threads
    assert len(threads) == sum(in_steps) == COUNT
    assert max(in_steps) <= freeing._AT_ONCE


@pytest.mark.parametrize("longest_s", [0.0, 3600.0])
def test_what_is_still_in_use_stays_as_it_is(
    prepared: str, monkeypatch: pytest.MonkeyPatch, longest_s: float
) -> None:
    """An entry, or a part of one, that the caller keeps is not touched, however long, nor by closing."""
    monkeypatch.setattr(freeing, "_LONGEST_S", longest_s)

    async def run() -> None:
        async with AsyncSessionStore.open(prepared) as store:
            whole = await store.get("a")
            part = messages_of(await store["a"])[COUNT // 2 :]
            assert whole is not None
            expected = copy.deepcopy((whole, part))
            for _ in range(5):
                await asyncio.sleep(0.015)
                await store.get("a")
            while not longest_s and store._freeing._lent:  # the suite's time-out is the bound
                await asyncio.sleep(0.001)
            assert bool(store._freeing._lent) == bool(longest_s)
        assert not store._freeing._lent
        assert (whole, part) == expected
        await asyncio.sleep(0.05)
        assert (whole, part) == expected

    asyncio.run(run())


def test_an_entry_that_changes_while_it_is_let_go_of_does_no_harm() -> None:
    """A caller may change a part that it kept, at any time; freeing goes on."""
    kept: dict[str, Any] = {str(number): number for number in range(2000)}
    ended = threading.Event()

    def change() -> None:
        number = 0
        while not ended.is_set():
            if number % 200 < 100:
                kept[f"more {number % 100}"] = number
            else:
                del kept[f"more {number % 100}"]
            number += 1

    changing = threading.Thread(target=change)
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    changing.start()
    try:
        for _ in range(300):
            freeing._free([kept])
    finally:
        ended.set()
        changing.join()
        sys.setswitchinterval(interval_s)
    assert [kept[str(number)] for number in range(2000)] == list(range(2000))


def test_a_loop_that_was_closed_leaves_the_rest_to_the_next(
    prepared: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry of a loop that has ended is freed when another loop uses the handle."""
    monkeypatch.setattr(freeing, "_LATE_S", 0.01)
    handles: list[AsyncSessionStore] = []
    kept: list[Any] = []

    async def first() -> None:
        handles.append(await AsyncSessionStore.open(prepared))
        kept.append(await handles[0].get("a"))

    async def second() -> None:
        kept.clear()
        while handles[0]._freeing._lent:  # the suite's time-out is the bound
            await handles[0].get("a")
            await asyncio.sleep(0.05)
        await handles[0].close()

    asyncio.run(first())
    assert handles[0]._freeing._lent
    asyncio.run(second())


@pytest.mark.parametrize("shape", ["chain", "ring"])
def test_what_a_caller_linked_is_let_go_of_as_fast_as_anything(
    prepared: str, monkeypatch: pytest.MonkeyPatch, shape: str
) -> None:
    """In its own copy a caller may link objects to each other, many times over or in a circle."""
    taken = 0
    free_some = freeing._free_some

    def counted(values: list[Any]) -> None:
        nonlocal taken
        taken += 1
        assert taken < COUNT, "goes round in circles"
        free_some(values)

    monkeypatch.setattr(freeing, "_free_some", counted)

    async def run() -> None:
        async with AsyncSessionStore.open(prepared) as store:
            messages = messages_of(await store["a"])
            for before, message in itertools.pairwise(messages):
                message["before"] = message["before again"] = before
                if shape == "ring":
                    before["next"] = message
            del messages, before, message
            while store._freeing._lent:  # the suite's time-out is the bound
                await asyncio.sleep(0.001)

    asyncio.run(run())
    assert 0 < taken < COUNT


def test_what_comes_after_closing_is_the_callers_alone(prepared: str) -> None:
    """An entry that reaches its task when the handle is closed already is not kept by the handle."""

    async def run() -> None:
        store = await AsyncSessionStore.open(prepared)
        entry = await store["a"]
        await store.close()
        assert store._lent(entry) is entry
        assert not store._freeing._lent

    asyncio.run(run())
