"""W14: how long a keeper computes between two pauses, over a month of cron sessions."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator

import pytest
from maintenance.month import a_month_of_cron, a_month_within_bytes

from sessiondir.clock import Clock
from sessiondir.maintenance import Keeper


class ThreadTime(Clock):
    """The time that the thread computes; what else the machine does is not the keeper's."""

    monotonic = staticmethod(time.thread_time)  # type: ignore[assignment]

    def sleep(self, seconds: float) -> None:  # type: ignore[override]
        time.sleep(0)


@pytest.fixture
def own_garbage() -> Iterator[None]:
    """What the test runner holds is not looked at by collections that happen in a slice."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.stress
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("month", [a_month_of_cron, a_month_within_bytes])
def test_a_slice_of_maintenance(tmp_path: str, month: Callable[[str, Clock], Keeper], own_garbage: None) -> None:
    """W14: under 10 ms each."""
    keeper = month(f"{tmp_path}/sessions.d", ThreadTime())
    print(f"\nlongest slice: {keeper.slices.longest_s * 1000:.2f} ms of {keeper.slices.busy_s:.1f} s")
    assert keeper.slices.longest_s < 0.010
