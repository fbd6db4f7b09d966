"""W12: throughput against the number of writers, and on a disk whose syncs take long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import counting
from benchmarks.entries import SLIM, make_entry
from benchmarks.parts.base import Bench, fill, verify, work
from benchmarks.parts.contention import MANY, Cell, measure_cells, summary
from benchmarks.slowdisk import slowed
from benchmarks.stores import title
from benchmarks.stores.base import Durability
from benchmarks.tasks import hammer
from benchmarks.text import microseconds, rate, table

TITLE = "Throughput against the number of writers: 1 KB entries, each writer on 20 sessions of its own"
SLOW_SYNC_MS = 20


def measure(bench: Bench) -> dict[str, Any]:
    """One round of each number of writers; then the slow disk."""
    counts = (2,) if bench.quick else (1, 2, 4, 8, 16, *((32, 64) if bench.large else ()))
    once = replace(bench, rounds=1, seconds=min(bench.seconds, 0.5), failures=bench.failures)
    names = bench.stores("sessiondir", "sqlite", "lmdb", "files")
    levels: tuple[Durability, ...] = ("process", "power")
    chosen = [Cell(durability, SLIM.name, count) for durability in levels for count in counts]
    return {"series": measure_cells(once, chosen, names), "slow_disk": None if bench.quick else _slow(once)}


def _slow(bench: Bench) -> dict[str, Any]:
    """Power durability where every sync takes 20 ms longer, as on a busy network volume."""
    reason = counting.strace_obstacle()
    if reason:
        return {"missing": reason}
    found: dict[str, Any] = {"sync_ms": SLOW_SYNC_MS, "writers": MANY, "stores": {}}
    for name in bench.stores("sessiondir", "sqlite", "lmdb", "files"):
        bench.say(f"syncs that take {SLOW_SYNC_MS} ms: {title(name)}")
        with bench.excused(f"{title(name)}: slow syncs"), bench.directory() as here:
            found["stores"][name] = _slow_run(bench, name, here)
    return found


def _slow_run(bench: Bench, name: str, here: Path) -> dict[str, Any]:
    cell = Cell("power", SLIM.name, MANY)
    keys = [key for writer in range(MANY) for key in cell.keys(writer)[:5]]
    fill(name, here, {key: make_entry(SLIM, seed) for seed, key in enumerate(keys)})
    outcomes = bench.workers.run(
        [
            partial(
                slowed, task=work(hammer, name, here, "power", keys=cell.keys(n)[:5], seconds=1.0), ms=SLOW_SYNC_MS
            )
            for n in range(MANY)
        ]
    )
    figures = summary(outcomes, 1.0)
    figures["found"] = verify(name, here, figures["acknowledged"], "slow syncs")
    return figures


def render(found: dict[str, Any]) -> str:
    """Operations a second, a column for each number of writers."""
    parts = []
    for durability in ("process", "power"):
        rows = [row for row in found["series"] if row["durability"] == durability]
        names = [name for name in rows[0] if isinstance(rows[0][name], dict)]
        header = ["ops/s", *(f"{row['writers']} writers" for row in rows)]
        lines = [[title(name), *(_rate(row, name) for row in rows)] for name in names]
        parts.append(f"durability {durability}\n\n{table(header, lines)}")
    return "\n\n".join([*parts, _render_slow(found["slow_disk"])]).rstrip()


def _rate(row: dict[str, Any], name: str) -> str:
    return rate(row[name]["ops_per_s"]) if name in row else "failed"


def _render_slow(slow: dict[str, Any] | None) -> str:
    if slow is None:
        return ""
    if "missing" in slow:
        return f"Slow disk: NOT MEASURED, {slow['missing']}"
    lines: Sequence[list[str]] = [
        [
            title(name),
            rate(one["ops_per_s"]),
            microseconds(one["p50_us"]),
            microseconds(one["max_us"]),
            f"{one['fairness']:.2f}",
        ]
        for name, one in slow["stores"].items()
    ]
    return (
        f"Every sync takes {slow['sync_ms']} ms longer (delayed by strace), {slow['writers']} writers, power "
        "durability\n\n" + table(["", "ops/s", "P50", "worst", "fairness"], lines)
    )
