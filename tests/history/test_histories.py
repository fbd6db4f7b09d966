"""G1, G3, G5, G6: what several processes saw is explained by one order of commits (W5, W9) (F2)."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import pytest
from harness.processes import Worker
from harness.seeds import seeded, stress_seconds

from history import workload
from history.checker import Operation, explain

PROCESSES, THREADS = 3, 2


def _recorded(folder: Path, seed: float, seconds: float, durability: str) -> list[Operation]:
    """The history of one fresh store, used by several processes with several threads each."""
    folder.mkdir()
    store = str(folder / "sessions.d")
    with contextlib.ExitStack() as stack:
        workers = [
            stack.enter_context(
                Worker("history", store, name=f"p{number}", seed=f"{seed}/{number}", seconds=seconds,
                       threads=THREADS, out=str(folder / f"p{number}.jsonl"), durability=durability,
                       journal_bytes=1 << 16)
            )
            for number in range(PROCESSES)
        ]  # fmt: skip
        for worker in workers:
            assert worker.next() == {"ready": True}
        for worker in workers:
            worker.go()
        for worker in workers:
            assert worker.finish_running()[-1]["done"] > 0
    return [one for number in range(PROCESSES) for one in workload.read(str(folder / f"p{number}.jsonl"))]


@pytest.mark.parametrize("durability", ["power", "process"])
def test_a_history_is_explained(tmp_path: Path, durability: str) -> None:
    """Every session is linearizable, snapshots are at one version, and versions only grow."""
    rng = seeded(f"history {durability}")
    history = _recorded(tmp_path / "run", rng.random(), 1.2, durability)
    commits = explain(history)
    assert commits > 50
    kinds = {one.kind for one in history}
    assert kinds == {"put", "patch", "update", "delete", "transaction", "edit", "get", "snapshot", "version",
                     "post", "take", "ack", "peek"}  # fmt: skip
    assert len({one.process for one in history if one.version is not None}) == PROCESSES * THREADS


@pytest.mark.stress
@pytest.mark.timeout(7200)
def test_histories_for_long(tmp_path: Path) -> None:
    """As above, store after store, until SESSIONDIR_STRESS_SECONDS have passed."""
    rng = seeded("histories for long")
    end = time.monotonic() + stress_seconds(60)
    runs = operations = commits = 0
    while time.monotonic() < end:
        durability = ("process", "power")[runs % 2]
        history = _recorded(tmp_path / f"run {runs}", rng.random(), 5.0, durability)
        commits += explain(history)
        operations += len(history)
        runs += 1
    print(f"{runs} histories, {operations:,} operations, {commits:,} commits explained")
    assert commits > 100
