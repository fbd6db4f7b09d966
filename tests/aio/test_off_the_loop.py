"""What asks the system for something slow does not run on the loop, nor in asyncio's default executor."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from support.seams import CALLS as SYSTEM_CALLS
from support.seams import RuledFileSystem

from aio.beside import BESIDE, set_up
from aio.test_cancellation import CALLS, OLD
from sessiondir import AsyncSessionStore, SessionStore, steps
from sessiondir.transaction import StoreEdit

READING = {"pread", "fstat", "fcntl"}
"""A look at the open journal, and one try to lock a byte: microseconds, nothing to wait for."""
COMMITTING = READING | {"flock", "pwrite"}
"""With durability "process" a small commit that nothing stands in the way of is appended on the loop."""


class Watched(RuledFileSystem):
    """Notes which system calls are made by one thread."""

    def __init__(self, thread: int) -> None:
        super().__init__(self._note)
        self._thread = thread
        self.during = "opening"
        self.seen: dict[str, set[str]] = defaultdict(set)

    def _note(self, name: str, args: tuple[Any, ...]) -> None:
        if threading.get_ident() == self._thread:
            self.seen[name].add(self.during)


class NoExecutor(ThreadPoolExecutor):
    """Takes no work."""

    def submit(self, *args: Any, **options: Any) -> Any:
        raise AssertionError("asyncio's default executor was used")


@pytest.mark.parametrize("there", [True, False], ids=["there", "missing"])
@pytest.mark.parametrize("durability", ["power", "process"])
def test_g4_every_call_leaves_what_may_be_slow_to_the_workers(
    store_path: str, durability: Any, there: bool
) -> None:
    """G4: whatever is called, only calls to the system that wait for nothing are made on the loop."""
    if there:
        with SessionStore.open(store_path) as store:
            store.put("a", {"n": 0})
    disk = Watched(threading.get_ident())

    async def run() -> None:
        asyncio.get_running_loop().set_default_executor(NoExecutor())
        async with AsyncSessionStore.open(store_path, fs=disk, durability=durability) as store:
            for name, (make, _) in CALLS.items():
                disk.during = "replace"
                await store.replace(OLD)
                disk.during = name
                await _awaited(make(store))
            for name, call in BESIDE.items():
                disk.during = "setting up"
                stage = await set_up(store)
                disk.during = name
                await _awaited(call.make(stage))
            disk.during = "closing"

    asyncio.run(run())
    allowed = COMMITTING if durability == "process" else READING
    for name, calls in disk.seen.items():
        if name in ("flock", "pwrite"):
            calls -= {"put process"}
    assert {name: calls for name, calls in disk.seen.items() if calls and name not in allowed} == {}
    assert disk.seen.keys() <= set(SYSTEM_CALLS)


MANY = 300
EACH: dict[str, Callable[[AsyncSessionStore], Any]] = {
    "replace": lambda store: store.replace({f"k{number}": {"n": -number} for number in range(MANY)}),
    "remove": lambda store: store.replace({}),
    "keys": lambda store: store.keys(),
    "snapshot": lambda store: store.snapshot(),
    "list": lambda store: store.list(),
    "leases": lambda store: store.leases(),
    "inboxes": lambda store: store.inboxes(),
    "info": lambda store: store.info(),
    "check": lambda store: store.check(),
}


@pytest.mark.parametrize("name", EACH)
def test_g4_between_many_sessions_the_loop_has_its_turn(
    store_path: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """G4: what looks at every session does so in a worker, which may give way after each of them."""
    with SessionStore.open(store_path) as store:
        store.replace({f"k{number}": {"n": number} for number in range(MANY)})
    here = threading.get_ident()
    threads: list[int] = []
    monkeypatch.setattr(steps, "breathe", lambda: threads.append(threading.get_ident()))
    monkeypatch.setattr(StoreEdit, "__setitem__", _elsewhere(here, StoreEdit.__setitem__))
    monkeypatch.setattr(StoreEdit, "__delitem__", _elsewhere(here, StoreEdit.__delitem__))

    async def run() -> None:
        async with AsyncSessionStore.open(store_path, checkpoint_interval=3600) as store:
            threads.clear()
            await EACH[name](store)

    asyncio.run(run())
    assert len(threads) >= MANY
    assert here not in threads


def _elsewhere(here: int, method: Callable[..., None]) -> Callable[..., None]:
    def checked(*args: Any) -> None:
        assert threading.get_ident() != here
        method(*args)

    return checked


@pytest.mark.parametrize("beside_loop", [True, False])
@pytest.mark.parametrize("runs_loop", [True, False])
def test_a_breath_is_taken_beside_a_loop_only(
    monkeypatch: pytest.MonkeyPatch, beside_loop: bool, runs_loop: bool
) -> None:
    """Programs without a loop do not pause, nor does the thread of the loop itself."""
    offers: list[None] = []

    def in_a_thread() -> None:
        steps._mine.runs_loop = runs_loop
        steps._mine.offer = lambda: offers.append(None)  # type: ignore[method-assign]
        steps.breathe()
        steps._mine.given_s = time.monotonic() + 3600
        steps.breathe()  # not due

    monkeypatch.setattr(steps._Mine, "beside_loop", beside_loop)
    thread = threading.Thread(target=in_a_thread)
    thread.start()
    thread.join()
    assert len(offers) == (1 if beside_loop and not runs_loop else 0)


async def _awaited(awaitable: Any) -> Any:
    return await awaitable
