"""Part three: one process sits in a callback on one session; how long do others wait?

Others update sessions of their own, at a gentle pace, in the same and in another process;
once with nobody in the way, once with the holder. For SQLite the callback runs where its
transaction is, which is how a read-modify-write is safe there without retrying.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.contenders import CONTENDERS
from benchmarks.contention import percentile
from benchmarks.entries import SMALL, make_entry
from benchmarks.workers import Job, Workers, WorkersFailed

_PACE_S = 0.001
_HELD = "a"


def measure(
    workers: Workers, place: Path, seconds: float, progress: Callable[[str], None]
) -> list[dict[str, Any]]:
    """One row for each contender, with and without the holder."""
    rows = []
    for name in CONTENDERS:
        for held in (False, True):
            progress(f"{name}: {'one session is held' if held else 'idle'} for {seconds:g} s")
            row = {"contender": name, "held": held, "seconds": seconds}
            rows.append(row | _run(workers, place, name, held, seconds))
    return rows


def _run(workers: Workers, place: Path, name: str, held: bool, seconds: float) -> dict[str, Any]:
    here = place / "holder"
    here.mkdir()
    try:
        keys = {"same": ("b", "c", "d"), "other": ("e", "f", "g")}
        everything = (_HELD, *keys["same"], *keys["other"])
        with contextlib.closing(CONTENDERS[name](here, "process")) as filler:
            filler.fill({key: make_entry(SMALL, seed) for seed, key in enumerate(everything)})
        jobs = [
            Job(name, here, "process", "update", keys["same"], seconds, _PACE_S, _HELD if held else None),
            Job(name, here, "process", "update", keys["other"], seconds, _PACE_S),
        ]
        outcomes = workers.run(jobs)
        with contextlib.closing(CONTENDERS[name](here, "process")) as reader:
            found = reader.counters()
    finally:
        shutil.rmtree(here)
    acknowledged = sum(outcome.acknowledged for outcome in outcomes)
    if found != acknowledged:
        raise WorkersFailed(f"{name}: {acknowledged} operations were acknowledged, {found} found")
    figures: dict[str, Any] = {"acknowledged": acknowledged, "found": found}
    for where, outcome in zip(keys, outcomes, strict=True):
        latencies = sorted(outcome.latencies)
        figures[f"{where}_process"] = {
            "ops": len(latencies),
            "p50_us": percentile(latencies, 0.5),
            "p99_us": percentile(latencies, 0.99),
            "max_us": latencies[-1] / 1000,
        }
    return figures
