"""A handle closed in the middle of a call: the call is done and says so, or is refused and changed nothing."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from aio.beside import BESIDE, SAME, State, set_up
from aio.obstacles import is_quiet
from aio.stepping import Closed
from aio.test_cancellation import CALLS, OLD
from sessiondir import AsyncSessionStore, SessionStore
from sessiondir.aio import handle
from sessiondir.fs import FileSystem

MANY = [{"at": number, "text": "lorem ipsum " * 8} for number in range(3000)]
"""Some 350 KB: what a worker parses."""


@pytest.fixture(autouse=True)
def _every_call_waits_at_its_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handle, "_CALLS_IN_A_ROW", 1)


async def _as_coroutine(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


async def _closed_in(store: AsyncSessionStore, nth: int, make: Callable[[], Awaitable[Any]]) -> tuple[bool, bool]:
    """Close ``store`` at the n-th point where a call waits; whether there was one, and whether it was done."""
    stepped = Closed(lambda: _as_coroutine(make()), nth, store.close, "closed")
    done = await stepped.run()
    return stepped.reached, done


@pytest.mark.parametrize("name", [*CALLS, "patch of a large one", "get of a large one"])
def test_g1_g2_closed_anywhere_a_call_is_done_or_refused(store_path: str, name: str) -> None:
    """G1, G2: whoever gets StoreClosed may repeat the call elsewhere; who gets a result finds it stored."""
    old: dict[str, Any] = OLD
    if name in CALLS:
        call, new = CALLS[name]
    else:
        new = old = {"a": {"n": 1, "messages": MANY}}
        call = CALLS["get"][0]
    if name == "patch of a large one":
        call, new = (lambda store: store.patch("a", {"n": 2})), {"a": {"n": 2, "messages": MANY}}

    async def attempt(nth: int) -> bool:
        async with AsyncSessionStore.open(store_path, checkpoint_interval=3600) as store:
            await store.replace(old)
            reached, done = await _closed_in(store, nth, lambda: call(store))
            assert not store._freeing._lent
        with SessionStore.open(store_path, read_only=True) as after:
            assert dict(after.snapshot()) == (new if done else old)
        return reached

    nth = 1
    while asyncio.run(attempt(nth)):
        nth += 1
    assert nth > 1


FIRST: dict[str, Callable[[Any], Awaitable[Any]]] = {
    "post": lambda store: store.post("a", "hello"),
    "post process": lambda store: store.post("a", "hello", durability="process"),
    "lease": lambda store: store.lease("a", "me"),
    "put": lambda store: store.put("a", {"n": 1}),
    "patch": lambda store: store.patch("a", {"n": 1}, create=True),
    "update": lambda store: store.update("a", lambda entry: {"n": 1}, create=True),
    "edit": lambda store: store.edit(lambda sessions: sessions.update(a={"n": 1})),
    "replace": lambda store: store.replace({"a": {"n": 1}}),
}


@pytest.mark.parametrize("name", FIRST)
def test_g1_g2_closed_anywhere_the_first_change_is_done_or_refused(tmp_path: Path, name: str) -> None:
    """G1, G2: so it is with the change that makes the store."""

    async def attempt(path: str, nth: int) -> tuple[bool, bool]:
        async with AsyncSessionStore.open(path, checkpoint_interval=3600) as store:
            return await _closed_in(store, nth, lambda: FIRST[name](store))

    nth, reached = 0, True
    while reached:
        nth += 1
        path = str(tmp_path / f"{nth}.d")
        reached, done = asyncio.run(attempt(path, nth))
        with SessionStore.open(path) as after:
            there = [message.body for message in after.peek("a")], after.get("a"), after.lease_of("a") is not None
        nothing = ([], None, False)
        if not done:
            assert there == nothing
        elif name.startswith("post"):
            assert there == (["hello"], None, False)
        elif name == "lease":
            assert there == ([], None, True)
        else:
            assert there == ([], {"n": 1}, False)
    assert nth > 1


@pytest.mark.parametrize("name", ["post", "peek", "take ack", "ack", "put_back", "inboxes", "renew", "release"])
def test_g1_g2_closed_anywhere_what_stands_beside_is_changed_or_not(store_path: str, name: str) -> None:
    """G1, G2: so it is with messages and leases."""

    async def attempt(nth: int) -> bool:
        async with AsyncSessionStore.open(store_path, checkpoint_interval=3600) as store:
            stage = await set_up(store)
            reached, done = await _closed_in(store, nth, lambda: BESIDE[name].make(stage))
        with SessionStore.open(store_path, read_only=True, fs=FileSystem()) as after:
            waiting = [message.body for message in after.peek("a")]
            found = State(
                waiting,
                [message.body for message in after.peek("a", taken=True) if message.body not in waiting],
                {one.key: one.owner for one in after.leases()},
            )
        assert found == (BESIDE[name].after if done else SAME)
        return reached

    nth = 1
    while asyncio.run(attempt(nth)):
        nth += 1
    assert nth > 1


def _block(store: AsyncSessionStore, name: str) -> Any:
    return store.taking("a") if name == "taking" else store.lease("a", "me", keep=name == "kept lease")


BLOCKS = ("lease", "kept lease", "taking")


@pytest.mark.parametrize("name", BLOCKS)
def test_g7_a_generator_closed_in_a_block_leaves_nothing_taken(store_path: str, name: str) -> None:
    """G7: a block inside of an asynchronous generator that is closed half consumed lets go, as any block."""

    async def in_block(store: AsyncSessionStore) -> AsyncIterator[int]:
        async with _block(store, name):
            yield 1

    async def run() -> None:
        async with AsyncSessionStore.open(store_path) as store:
            await store.post("a", "hello")
            consumed = in_block(store)
            assert await anext(consumed) == 1
            assert await store.peek("a") == [] or await store.lease_of("a") is not None
            await consumed.aclose()  # type: ignore[attr-defined]
            await asyncio.sleep(0)
            await is_quiet(store)
            assert await store.lease_of("a") is None
            assert [message.body for message in await store.peek("a")] == ["hello"]
            assert not store._unclaimed

    asyncio.run(run())


@pytest.mark.parametrize("name", BLOCKS)
def test_g7_closing_lets_go_of_what_a_lost_loop_held(store_path: str, name: str) -> None:
    """G7: a block whose task was thrown away with its loop is let go of when the handle is closed."""
    loop = asyncio.new_event_loop()

    async def sit(store: AsyncSessionStore, entered: asyncio.Event) -> None:
        async with _block(store, name):
            entered.set()
            await asyncio.sleep(600)

    async def begin() -> tuple[AsyncSessionStore, asyncio.Task[None]]:
        store = await AsyncSessionStore.open(store_path)
        await store.post("a", "hello")
        entered = asyncio.Event()
        task = asyncio.create_task(sit(store, entered))
        await entered.wait()
        return store, task

    store, task = loop.run_until_complete(begin())
    loop.close()
    task._log_destroy_pending = False  # type: ignore[attr-defined] # or asyncio complains
    del task
    gc.collect()
    asyncio.run(store.close())
    with SessionStore.open(store_path) as after:
        assert after.lease_of("a") is None
        assert [message.body for message in after.peek("a")] == ["hello"]
