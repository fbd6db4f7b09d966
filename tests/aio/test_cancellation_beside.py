"""F18: calls for leases and messages, interrupted at every point where they wait."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable
from typing import Any

import pytest

from aio.beside import BESIDE, SAME, set_up, state_of
from aio.obstacles import OBSTACLES, is_quiet
from aio.stepping import WAYS, Closed, interrupted
from sessiondir import AsyncSessionStore, SessionStore, StoreClosed
from sessiondir.aio import handle
from sessiondir.fs import FileSystem


async def _as_coroutine(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("obstacle", OBSTACLES, ids=lambda obstacle: obstacle.__name__)
@pytest.mark.parametrize("name", BESIDE)
def test_g1_g7_interrupted_anywhere_nothing_stays_taken_and_nothing_is_lost(
    store_path: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    obstacle: Any,
    way: str,
) -> None:
    """G1, G7: a message is where it was or where it should be, a lease is free unless handed over."""
    monkeypatch.setattr(handle, "_CALLS_IN_A_ROW", 1)  # so that every call waits at its beginning
    call = BESIDE[name]

    async def enumerate_points() -> int:
        async with AsyncSessionStore.open(store_path, checkpoint_interval=3600, lock_timeout=20) as store:
            await store.put("a", {"n": 1})
            with SessionStore.open(store_path, fs=FileSystem(), lock_timeout=20) as other:
                other.put("z", {})  # gets it ready to write, so that it can stand in the way
                nth, reached = 0, True
                while reached:
                    nth += 1
                    stage = await set_up(store)
                    async with obstacle(store, other):
                        reached = await interrupted(lambda on=stage: _as_coroutine(call.make(on)), nth, way)
                        delivered = other.version
                    await is_quiet(store)
                    found = await state_of(store)
                    if not reached:
                        assert found == call.after
                    elif way == "thrown away":
                        assert found in (SAME, call.after, call.abandoned)
                    elif name in ("take", "lease"):
                        assert found == SAME
                    else:
                        assert found in (SAME, call.after)
                    if way != "thrown away":
                        assert other.version == delivered, "the commit went on after the cancellation"
                        assert not store._unclaimed
                    # Free for others at once.
                    other.update("a", lambda entry: {"n": entry["n"] + 1}, timeout=0)
                    await store.update("a", lambda entry: {"n": entry["n"] + 1}, timeout=0)
            return nth

    assert asyncio.run(enumerate_points()) > 1, "there was no point to interrupt"
    gc.collect()
    assert not caplog.records


@pytest.mark.parametrize("way", ["closed", "closed, then cancelled", "cancelled, then closed"])
@pytest.mark.parametrize("name", ["take", "lease"])
def test_g7_closed_in_the_middle_nothing_stays_taken(
    store_path: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str, way: str
) -> None:
    """G7: a handle closed while a call takes something, cancelled or not, gives back what it cannot hand over."""
    monkeypatch.setattr(handle, "_CALLS_IN_A_ROW", 1)  # so that every call waits at its beginning

    async def attempt(nth: int) -> bool:
        async with AsyncSessionStore.open(store_path, checkpoint_interval=3600) as store:
            stage = await set_up(store)
            stepped = Closed(lambda: _as_coroutine(BESIDE[name].make(stage)), nth, store.close, way)
            handed_over = await stepped.run()
            with SessionStore.open(store_path, read_only=True, fs=FileSystem()) as other:
                waiting = [message.body for message in other.peek("a")]
                lease = other.lease_of("c")
            if handed_over:
                assert waiting == [] if name == "take" else lease is not None
            else:
                assert waiting == ["waits"]
                assert lease is None
            return stepped.reached

    nth = 1
    while asyncio.run(attempt(nth)):
        nth += 1
    assert nth > 2
    assert not caplog.records


def test_what_cannot_be_given_back_by_closing_is_told(store_path: str, caplog: pytest.LogCaptureFixture) -> None:
    """A close that cannot give back what a call had just taken says so, and closes all the same."""

    async def run() -> None:
        store = await AsyncSessionStore.open(store_path)
        await store.put("a", {})

        def refuse() -> None:
            raise StoreClosed("not now")

        store._unclaimed["mark"] = refuse
        await store.close()
        assert not store._unclaimed

    asyncio.run(run())
    assert "stay taken until their term is over" in caplog.text
