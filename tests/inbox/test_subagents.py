"""W2, W4: children announce themselves to a parent that holds its session all the while."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import pytest
from harness.processes import PATIENCE_S, Worker
from harness.story import errors_of, open_on
from harness.watched import QuickFs

from sessiondir import AsyncSessionStore
from sessiondir.model import Durability

PARENT = "agent:main:main"
UPDATES = 20
_BOUND_S = 10.0
"""Far above what is measured (some milliseconds): a loaded machine must not fail the test, a lost message must."""


def _burst(path: str, children: int, held_s: float, durability: str, spread_s: float = 0.0) -> dict[str, float]:
    """Let so many children announce themselves, all at once or over ``spread_s``; the longest waits in seconds."""
    names = [f"agent:child:{number}" for number in range(children)]
    with contextlib.ExitStack() as stack:
        parent = stack.enter_context(Worker("parent", path, key=PARENT, durability=durability))
        assert parent.next() == {"holding": True}
        held = time.monotonic()
        workers = [
            stack.enter_context(
                Worker("child", path, name=name, parent=PARENT, updates=UPDATES, durability=durability)
            )
            for name in names
        ]
        told = dict(zip(names, _let_go(workers, spread_s), strict=True))
        seen: dict[str, float] = {}
        deadline = time.monotonic() + PATIENCE_S
        while len(seen) < children:
            assert time.monotonic() < deadline, f"only {sorted(seen)} arrived"
            said = parent.next()
            assert said["seen"] not in seen, "announced twice"
            seen[said["seen"]] = said["at"]
        with open_on(QuickFs(), path, read_only=True) as store:
            assert store.lease_of(PARENT) is not None, "the parent still holds its session"
            assert store.get(PARENT) is None
        time.sleep(max(0.0, held_s - (time.monotonic() - held)))
        end = parent.finish()[-1]
        assert end["done"]
    with open_on(QuickFs(), path) as store:
        assert store[PARENT] == {"held": True}
        assert {name: store[name] for name in names} == {name: {"n": UPDATES} for name in names}
        assert store.peek(PARENT, taken=True) == []
        assert store.leases() == []
    assert sorted(seen) == sorted(names)
    assert not errors_of(path)
    return _longest(list(told.values())) | {
        "seen": max(at - told[name]["begun"] for name, at in seen.items()),
        "seen, on a processor": max(_on_a_processor(told[name], at, end["looks"]) for name, at in seen.items()),
    }


def _let_go(workers: list[Worker], spread_s: float) -> list[dict[str, float]]:
    """Start all of them within ``spread_s`` seconds; what they told."""
    assert all(worker.next() == {"ready": True} for worker in workers)
    for worker in workers:
        worker.go()
        if spread_s:
            time.sleep(spread_s / len(workers))
    return [worker.finish()[-1] for worker in workers]


def _longest(told: list[dict[str, float]]) -> dict[str, float]:
    """Of so many announcements the longest, and the longest without the wait for a processor."""
    return {
        "update": max(one["update"] for one in told),
        "post": max(one["ended"] - one["begun"] for one in told),
        "post, on a processor": max(one["ended"] - one["begun"] - one["queued"] for one in told),
        "work of a post": max(one["worked"] for one in told),
    }


def _on_a_processor(told: dict[str, float], at: float, looks: list[tuple[float, float]]) -> float:
    """How late the parent saw a message, without its own and the child's wait for a processor.

    ``at`` is when it had it in hand; what is subtracted of its own wait is that since the child was done.
    """
    before = max(queued for when, queued in looks if when <= told["ended"])
    until = max(queued for when, queued in looks if when <= at)
    return max(0.0, at - told["ended"] - (until - before)) + told["ended"] - told["begun"] - told["queued"]


def _burst_of_appends(path: str, children: int, spread_s: float = 0.0) -> dict[str, float]:
    """What the same children wait for where each just appends synced lines to one plain file."""
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(Worker("appender", path, updates=UPDATES)) for _ in range(children)]
        told = _let_go(workers, spread_s)
    with open(path, "rb") as file:
        assert file.read().count(b"\n") == children * (UPDATES + 1)
    return _longest(told)


@pytest.mark.parametrize("durability", ["process", "power"])
@pytest.mark.parametrize("children", [1, 5, 12])
def test_no_announcement_is_lost_or_waits_for_the_parent(store_path: str, children: int, durability: str) -> None:
    """W2 in short: every announcement arrives once while the parent's session is held."""
    waits = _burst(store_path, children, 0.0, durability)
    assert max(waits.values()) < _BOUND_S, waits


async def _burst_of_tasks(path: str, children: int, held_s: float, durability: Durability) -> dict[str, float]:
    """As ``_burst``, in one asyncio program: every child is a task, and so is the parent."""
    waits = {"update": 0.0, "post": 0.0, "seen": 0.0}
    seen: set[str] = set()
    done, holding = asyncio.Event(), asyncio.Event()

    async def more(entry: dict[str, Any]) -> dict[str, Any]:
        return entry | {"n": entry.get("n", 0) + 1}

    async def hold(entry: dict[str, Any]) -> dict[str, Any]:
        holding.set()
        await done.wait()
        return entry | {"held": True}

    def note(what: str, begun: float) -> None:
        waits[what] = max(waits[what], time.monotonic() - begun)

    async def child(store: AsyncSessionStore, name: str) -> None:
        for _ in range(UPDATES):
            begun = time.monotonic()
            await store.update(name, more, create=True)
            note("update", begun)
        begun = time.monotonic()
        await store.post(PARENT, {"child": name, "at": begun}, id=name)
        note("post", begun)

    async def listen(store: AsyncSessionStore) -> None:
        while len(seen) < children:
            await store.wait_inbox(PARENT, timeout=PATIENCE_S)
            async with store.taking(PARENT) as messages:
                for message in messages:
                    note("seen", message.body["at"])
                    assert message.id not in seen, "announced twice"
                    seen.add(message.id)

    names = [f"agent:child:{number}" for number in range(children)]
    async with AsyncSessionStore.open(path, durability=durability) as store:
        async with store.lease(PARENT, "parent", ttl=5, keep=True) as lease:
            busy = asyncio.ensure_future(store.update(PARENT, hold, create=True, fence=lease))
            await holding.wait()
            held = time.monotonic()
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.gather(listen(store), *(child(store, name) for name in names))
            assert await lease.is_held()
            assert await store.get(PARENT) is None
            await asyncio.sleep(max(0.0, held_s - (time.monotonic() - held)))
            done.set()
            assert await busy == {"held": True}
        assert seen == {*names}
        assert [await store[name] for name in names] == [{"n": UPDATES}] * children
        assert await store.peek(PARENT, taken=True) == []
        assert await store.leases() == []
    return waits


@pytest.mark.parametrize("children", [1, 12, 50])
def test_no_announcement_of_a_task_is_lost_or_waits_for_the_parent(store_path: str, children: int) -> None:
    """W2 as an asyncio program."""
    waits = asyncio.run(_burst_of_tasks(store_path, children, 0.0, "power"))
    assert max(waits.values()) < _BOUND_S, waits


def _told(children: int, waits: dict[str, float]) -> str:
    return f"\n{children} children: " + ", ".join(f"{name} {wait * 1000:.1f} ms" for name, wait in waits.items())


@pytest.mark.stress
@pytest.mark.timeout(600)
@pytest.mark.parametrize("children", [1, 3, 5, 10, 15, 20, 50])
def test_tasks_of_a_parent_that_is_busy_for_half_a_minute(store_path: str, children: int) -> None:
    """W2 as an asyncio program, 30 seconds long; prints the longest waits."""
    waits = asyncio.run(_burst_of_tasks(store_path, children, 30.0, "power"))
    print(_told(children, waits))
    assert max(waits.values()) < _BOUND_S, waits


@pytest.mark.stress
@pytest.mark.timeout(600)
@pytest.mark.parametrize("children", [1, 3, 10, 20, 50])
def test_children_of_a_parent_that_is_busy_for_half_a_minute(store_path: str, children: int) -> None:
    """W2: as above, 30 seconds long; prints the longest waits, and those of the same children with a plain file.

    With many more children than processors most of a wait is the queue for a processor, whatever
    they do, so each wait is told without that, too: "on a processor" it runs, waits for the
    disk, or waits for another process, be that one in the queue. Without syncs the disk is left out.
    """
    for durability, spread_s, held_s in (("power", 0.0, 30.0), ("power", 1.0, 0.0), ("process", 0.0, 0.0)):
        when = f"over {spread_s:g} s" if spread_s else "at one moment"
        path = f"{store_path.removesuffix('.d')}-{durability}-{spread_s:g}.d"
        waits = _burst(path, children, held_s, durability, spread_s)
        print(_told(children, waits), f"({when}, {durability} durability)")
        assert max(waits.values()) < _BOUND_S, waits
        if durability == "power":
            plain = _burst_of_appends(f"{path}.plain", children, spread_s)
            print("a plain file:", _told(children, plain).strip(), f"({when})")
