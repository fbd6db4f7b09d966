"""What waits for something to happen ends when its handle is closed, also in the middle of a look."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from support.seams import RuledFileSystem

from sessiondir import AsyncSessionStore, SessionStore, registry
from sessiondir.aio import handle
from sessiondir.clock import Clock
from sessiondir.watch import ChangeReader


class ClosedAtLook(Clock):
    """A clock that closes a handle when it is to sleep for the n-th time."""

    def __init__(self, nth: int) -> None:
        self._nth = nth
        self.looks = 0
        self.store: Any = None

    def sleep(self, seconds: float) -> None:  # type: ignore[override]
        self.looks += 1
        if self.looks == self._nth:
            self.store.close()


WAITING: dict[str, Callable[[Any], Any]] = {
    "wait_inbox": lambda store: store.wait_inbox("a"),
    "watch": lambda store: list(store.watch()),
    "watch from 0": lambda store: list(store.watch(since=1)),
}


class ClosedAtCall:
    """A rule that closes a handle at the n-th call to the system from when it is armed."""

    def __init__(self, nth: int) -> None:
        self._left = nth
        self.store: Any = None
        self.closed = False

    def __call__(self, name: str, args: tuple[Any, ...]) -> None:
        if self.store is None or self.closed:
            return
        self._left -= 1
        if self._left == 0:
            self.closed = True
            self.store.close()


@pytest.mark.parametrize(
    ("name", "missing"),
    [(name, missing) for name in WAITING for missing in (False, True) if not missing or "0" not in name],
)
def test_closed_by_another_in_the_middle_of_a_look_it_ends(store_path: str, name: str, missing: bool) -> None:
    """No error comes out of waiting because the handle is closed while it looks, at whichever call."""
    if not missing:
        with SessionStore.open(store_path) as store:
            store.put("a", {})
    nth, more = 0, True
    while more:
        nth += 1
        rule = ClosedAtCall(nth)
        clock = ClosedAtLook(3)
        rule.store = clock.store = SessionStore.open(store_path, fs=RuledFileSystem(rule), clock=clock)
        try:
            assert WAITING[name](rule.store) == []
        except Exception:
            assert clock.looks == 0, "only what has not begun to wait may be refused"
        assert registry._cores == {}
        more = rule.closed
    assert nth > 2


def test_a_watch_whose_handle_is_closed_while_it_reads_ends(
    store_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a closed handle can no longer read, as the next journal, ends the iteration without an error."""
    with SessionStore.open(store_path) as store:
        store.put("a", {})
        watching = store.watch()

        def read(self: ChangeReader) -> list[Any]:
            store.close()
            raise ValueError("a closed descriptor")

        monkeypatch.setattr(ChangeReader, "read", read)
        assert list(watching) == []


@pytest.mark.parametrize("missing", [False, True], ids=["there", "missing"])
@pytest.mark.parametrize("name", ["wait_inbox", "watch"])
def test_tasks_that_wait_end_with_their_handle(
    store_path: str, monkeypatch: pytest.MonkeyPatch, name: str, missing: bool
) -> None:
    """Closed at any turn of the loop, in the middle of a look, too, the asynchronous ones end without an error."""
    monkeypatch.setattr(handle, "_CALLS_IN_A_ROW", 1)  # so that every look waits at its beginning
    if not missing:
        with SessionStore.open(store_path) as store:
            store.put("a", {})

    async def attempt(turns: int) -> None:
        store = await AsyncSessionStore.open(store_path)
        find_core = store._reading_core

        async def find_core_later() -> Any:
            for _ in range(3):
                await asyncio.sleep(0)
            return await find_core()

        monkeypatch.setattr(store, "_reading_core", find_core_later)

        async def wait() -> list[Any]:
            if name == "wait_inbox":
                return await store.wait_inbox("a")
            return [change async for change in store.watch()]

        waiting = asyncio.create_task(wait())
        for _ in range(turns):
            await asyncio.sleep(0)
        await store.close()
        assert await waiting == []

    for turns in range(1, 20):
        asyncio.run(attempt(turns))
