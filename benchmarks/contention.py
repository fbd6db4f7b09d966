"""Part one: several processes update sessions at once, beside SQLite.

Rounds are interleaved over all cells and contenders, so that a disturbance of the machine
does not hit one of them alone. After each run the counters found in the store must equal
the operations acknowledged to the callers.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.contenders import CONTENDERS
from benchmarks.entries import SIZE_NAMES, SMALL, TYPICAL, make_entry
from benchmarks.workers import Job, Outcome, Workers, WorkersFailed

SESSIONS_EACH = 20
MOST_WRITERS = 8


@dataclass(frozen=True, slots=True)
class Cell:
    """One line of the table."""

    op: str
    durability: str
    size: int
    writers: int
    shared: bool = False

    @property
    def name(self) -> str:
        who = f"{self.writers} writer{'s' if self.writers > 1 else ''}"
        return f"{self.op}, {SIZE_NAMES[self.size]}, {who}{' on one session' if self.shared else ''}"

    def keys(self, writer: int) -> tuple[str, ...]:
        """The sessions of one writer."""
        if self.shared:
            return ("agent:main:main",)
        return tuple(f"agent:main:telegram:direct:{writer}{n:04d}" for n in range(SESSIONS_EACH))


def cells() -> list[Cell]:
    """All cells, in the order of the table."""
    found = []
    for durability in ("process", "power"):
        for size in (SMALL, TYPICAL):
            found += [Cell("update", durability, size, writers) for writers in (1, MOST_WRITERS)]
        found.append(Cell("update", durability, SMALL, MOST_WRITERS, shared=True))
    for size in (SMALL, TYPICAL):
        found += [Cell("patch", "process", size, writers) for writers in (1, MOST_WRITERS)]
    return found


@dataclass(slots=True)
class Run:
    """Figures of one run. Latencies in microseconds; ``fairness`` is slowest / fastest process."""

    ops_per_s: float
    p50_us: float
    p99_us: float
    max_us: float
    fairness: float
    acknowledged: int
    found: int
    close_s: float


def measure(
    workers: Workers, place: Path, rounds: int, seconds: float, progress: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Measure all cells. Raises ``WorkersFailed`` if an acknowledged operation is missing."""
    table = cells()
    runs: dict[tuple[Cell, str], list[Run]] = {(cell, name): [] for cell in table for name in CONTENDERS}
    for number, cell, name in _schedule(table, rounds):
        progress(f"round {number} of {rounds}: {name}: {cell.name}, {cell.durability}")
        runs[cell, name].append(_run_once(workers, place, cell, name, seconds))
    return [
        asdict(cell) | {"name": cell.name} | {name: _summary(runs[cell, name]) for name in CONTENDERS}
        for cell in table
    ]


def _schedule(table: list[Cell], rounds: int) -> Iterator[tuple[int, Cell, str]]:
    for number in range(1, rounds + 1):
        for cell in table:
            for name in CONTENDERS:
                yield number, cell, name


def _run_once(workers: Workers, place: Path, cell: Cell, name: str, seconds: float) -> Run:
    here = place / "run"
    here.mkdir()
    try:
        keys = sorted({key for writer in range(cell.writers) for key in cell.keys(writer)})
        with contextlib.closing(CONTENDERS[name](here, "process")) as filler:
            filler.fill({key: make_entry(cell.size, seed) for seed, key in enumerate(keys)})
        jobs = [
            Job(name, here, cell.durability, cell.op, cell.keys(writer), seconds) for writer in range(cell.writers)
        ]
        run = _figures(workers.run(jobs), seconds)
        with contextlib.closing(CONTENDERS[name](here, "process")) as reader:
            run.found = reader.counters()
            problems = reader.problems()
    finally:
        shutil.rmtree(here)
    if run.found != run.acknowledged or problems:
        raise WorkersFailed(
            f"{name}, {cell.name}, {cell.durability}: {run.acknowledged} operations were acknowledged, "
            f"{run.found} found; {problems or 'the check finds nothing wrong'}"
        )
    return run


def _figures(outcomes: list[Outcome], seconds: float) -> Run:
    latencies = sorted(latency for outcome in outcomes for latency in outcome.latencies)
    counts = [outcome.in_window for outcome in outcomes]
    return Run(
        ops_per_s=round(sum(counts) / seconds, 1),
        p50_us=percentile(latencies, 0.5),
        p99_us=percentile(latencies, 0.99),
        max_us=latencies[-1] / 1000,
        fairness=round(min(counts) / max(counts), 4) if max(counts) else 0.0,
        acknowledged=sum(outcome.acknowledged for outcome in outcomes),
        found=0,
        close_s=round(max(outcome.close_s for outcome in outcomes), 4),
    )


def percentile(ascending: list[int], share: float) -> float:
    """The nearest-rank percentile of latencies in nanoseconds, in microseconds."""
    return ascending[min(len(ascending) - 1, int(share * len(ascending)))] / 1000


def _summary(runs: list[Run]) -> dict[str, Any]:
    """Medians over the rounds, but the worst latency of all of them."""
    return {
        "ops_per_s": median(run.ops_per_s for run in runs),
        "p50_us": median(run.p50_us for run in runs),
        "p99_us": median(run.p99_us for run in runs),
        "max_us": max(run.max_us for run in runs),
        "fairness": median(run.fairness for run in runs),
        "close_s": median(run.close_s for run in runs),
        "acknowledged": sum(run.acknowledged for run in runs),
        "found": sum(run.found for run in runs),
        "rounds": [asdict(run) for run in runs],
    }
