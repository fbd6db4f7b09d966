"""G3, G4: no update is lost, whatever the number of processes (W5, W6)."""

from __future__ import annotations

import contextlib

import pytest
from harness.processes import Worker
from harness.seeds import seeded, stress_seconds
from harness.story import errors_of, open_on
from harness.watched import QuickFs

_SMALL = 1 << 15


def test_two_processes_count_to_exactly_two_thousand(store_path: str) -> None:
    """G3: two processes with 1,000 increments each on one key make 2,000."""
    options = {"key": "one", "count": 1000}
    with (
        Worker("increments", store_path, **options) as first,
        Worker("increments", store_path, **options) as second,
    ):
        first.finish()
        second.finish()
    with open_on(QuickFs(), store_path, read_only=True) as store:
        assert store["one"] == {"n": 2000}
        assert store.version == 2000
    assert not errors_of(store_path)


@pytest.mark.parametrize("durability", ["power", "process"])
def test_eight_processes_with_transactions_in_between(store_path: str, durability: str) -> None:
    """G1, G3: eight processes on keys of their own, and transactions over two keys mixed in, give exact sums."""
    rng = seeded("eight processes")
    count, pairs = (40 if durability == "power" else 150), 3
    with contextlib.ExitStack() as stack:
        workers = [
            stack.enter_context(
                Worker("pairs", store_path, own=f"own {number}", count=count, pairs=pairs, seed=rng.random(),
                       durability=durability, journal_bytes=_SMALL)
            )
            for number in range(8)
        ]  # fmt: skip
        for worker in workers:
            assert worker.finish_running()[-1] == {"done": count}
    with open_on(QuickFs(), store_path, read_only=True) as store:
        found = store.snapshot()
        assert [found[f"own {number}"] for number in range(8)] == [{"n": count}] * 8
        for number in range(pairs):
            assert found[f"left {number}"]["n"] == found[f"right {number}"]["n"]
        assert sum(found[f"left {number}"]["n"] for number in range(pairs)) == 8 * count
        assert store.version == 16 * count
    assert not errors_of(store_path)


@pytest.mark.stress
@pytest.mark.timeout(3600)
def test_counting_for_long(store_path: str) -> None:
    """G3: as above, until SESSIONDIR_STRESS_SECONDS have passed."""
    rng = seeded("counting for long")
    with contextlib.ExitStack() as stack:
        workers = [
            stack.enter_context(
                Worker("pairs", store_path, own=f"own {number}", pairs=3, seed=rng.random(), journal_bytes=_SMALL)
            )
            for number in range(8)
        ]
        workers[0].wait(stress_seconds(60))
        done = [worker.finish()[-1]["done"] for worker in workers]
    print(f"{sum(done):,} transactions of {len(done)} processes counted")
    with open_on(QuickFs(), store_path, read_only=True) as store:
        assert [store[f"own {number}"]["n"] for number in range(8)] == done
        assert sum(store[f"left {number}"]["n"] for number in range(3)) == sum(done)
    assert not errors_of(store_path)
