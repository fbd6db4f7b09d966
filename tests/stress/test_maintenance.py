"""W14: a keeper over a month of cron sessions; how long it computes between two pauses is printed.

That a step is small however many sessions there are is counted in ``tests/maintenance/test_steps.py``.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness.seeds import seeded
from maintenance.month import a_month_of_cron, a_month_within_bytes

from sessiondir import SessionStore
from sessiondir.clock import Clock
from sessiondir.maintenance import Keeper, Policy

DAY_MS = 86_400_000


class ThreadTime(Clock):
    """The time that the thread computes; what else the machine does is not the keeper's."""

    def __init__(self) -> None:
        self.pauses = 0

    monotonic = staticmethod(time.thread_time)  # type: ignore[assignment]

    def sleep(self, seconds: float) -> None:  # type: ignore[override]
        self.pauses += 1
        time.sleep(0)


@pytest.fixture
def no_collections() -> Iterator[None]:
    """What the test and its runner hold is not looked through by a collection that happens in a slice."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.stress
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("month", [a_month_of_cron, a_month_within_bytes])
def test_a_slice_of_maintenance(
    tmp_path: str, month: Callable[[str, Clock], Keeper], no_collections: None
) -> None:
    """W14: the month's rules hold, and the work is cut by pauses."""
    clock = ThreadTime()
    keeper = month(f"{tmp_path}/sessions.d", clock)
    longest_ms = keeper.slices.longest_s * 1000
    print(f"\nlongest slice: {longest_ms:.2f} ms of {keeper.slices.busy_s:.1f} s, {clock.pauses} pauses")
    assert clock.pauses > 30


@pytest.mark.stress
@pytest.mark.timeout(3600)
def test_entries_of_real_size_beside_a_conversation(tmp_path: Path, no_collections: None) -> None:
    """W14, W3: 2,703 sessions of 42 KB; while 2,204 go, the conversation goes on."""
    rng = seeded("W14 of real size")
    now_ms = int(time.time() * 1000)
    keys = [f"agent:main:cron:job-{n % 19}:run:{n:08x}" for n in range(2703)]
    with SessionStore.open(f"{tmp_path}/sessions.d", durability="process", lock_timeout=600.0) as store:
        for start in range(0, len(keys), 50):
            some = keys[start : start + 50]
            with store.transaction(*some) as txn:
                for key in some:
                    txn[key] = {"updatedAt": now_ms - rng.randrange(DAY_MS, 14 * DAY_MS), "pad": "x" * 42_000}
        store.flush()
        policy = Policy.from_config({"mode": "enforce", "maxEntries": 500})
        keeper = Keeper(store, policy)
        keeper.slices._clock = clock = ThreadTime()
        times, count = [], 0
        with keeper:
            while len(store) > 500:  # the test's time-out is the bound
                count += 1
                begun = time.perf_counter()
                store.update(
                    "chat", lambda e, n=count: {"updatedAt": int(time.time() * 1000), "n": n}, create=True
                )
                times.append(time.perf_counter() - begun)
                time.sleep(0.002)
        assert len(store) == 500
        assert store["chat"]["n"] == count
        times.sort()
        print(
            f"\n{count} updates meanwhile: median {times[count // 2] * 1e6:.0f} us, P99 "
            f"{times[count * 99 // 100] * 1000:.1f} ms, worst {times[-1] * 1000:.0f} ms; longest slice "
            f"{keeper.slices.longest_s * 1000:.1f} ms"
        )
        assert clock.pauses > 100
