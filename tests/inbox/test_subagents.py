"""W2, W4: children announce themselves to a parent that holds its session all the while."""

from __future__ import annotations

import contextlib
import time

import pytest
from harness.processes import PATIENCE_S, Worker
from harness.story import errors_of, open_on
from harness.watched import QuickFs

PARENT = "agent:main:main"
UPDATES = 20
_BOUND_S = 10.0
"""Far above what is measured (some milliseconds): a loaded machine must not fail the test, a lost message must."""


def _burst(path: str, children: int, held_s: float, durability: str) -> dict[str, float]:
    """Let so many children announce themselves; the longest waits in seconds."""
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
        assert all(worker.next() == {"ready": True} for worker in workers)
        for worker in workers:
            worker.go()
        told = [worker.finish()[-1] for worker in workers]
        seen: dict[str, float] = {}
        deadline = time.monotonic() + PATIENCE_S
        while len(seen) < children:
            assert time.monotonic() < deadline, f"only {sorted(seen)} arrived"
            said = parent.next()
            assert said["seen"] not in seen, "announced twice"
            seen[said["seen"]] = said["late"]
        with open_on(QuickFs(), path, read_only=True) as store:
            assert store.lease_of(PARENT) is not None, "the parent still holds its session"
            assert store.get(PARENT) is None
        time.sleep(max(0.0, held_s - (time.monotonic() - held)))
        assert parent.finish()[-1] == {"done": True}
    with open_on(QuickFs(), path) as store:
        assert store[PARENT] == {"held": True}
        assert {name: store[name] for name in names} == {name: {"n": UPDATES} for name in names}
        assert store.peek(PARENT, taken=True) == []
        assert store.leases() == []
    assert sorted(seen) == sorted(names)
    assert not errors_of(path)
    return {
        "update": max(one["update"] for one in told),
        "post": max(one["post"] for one in told),
        "seen": max(seen.values()),
    }


@pytest.mark.parametrize("durability", ["process", "power"])
@pytest.mark.parametrize("children", [1, 5, 12])
def test_no_announcement_is_lost_or_waits_for_the_parent(store_path: str, children: int, durability: str) -> None:
    """W2 in short: every announcement arrives once while the parent's session is held."""
    waits = _burst(store_path, children, 0.0, durability)
    assert max(waits.values()) < _BOUND_S, waits


@pytest.mark.stress
@pytest.mark.timeout(600)
@pytest.mark.parametrize("children", [1, 3, 5, 10, 15, 20, 50])
def test_children_of_a_parent_that_is_busy_for_half_a_minute(store_path: str, children: int) -> None:
    """W2: as above, 30 seconds long; prints the longest waits in milliseconds."""
    waits = _burst(store_path, children, 30.0, "power")
    print(f"\n{children} children:", ", ".join(f"{name} {wait * 1000:.1f} ms" for name, wait in waits.items()))
    assert max(waits.values()) < _BOUND_S, waits
