"""W5: several processes count in one session; every count must be there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.entries import SLIM, make_entry
from benchmarks.parts.base import ONE_LOCK, Bench, fill, verify, work
from benchmarks.parts.contention import summary
from benchmarks.stores import title
from benchmarks.tasks import hammer
from benchmarks.text import microseconds, table

TITLE = "A fixed number of increments of one session by several processes, process durability"
_KEY = "agent:main:main"
_LONGEST_S = 60.0
_AT_ONCE = 25


def measure(bench: Bench) -> list[dict[str, Any]]:
    """2, 4 and 8 processes with 1,000 increments each, and 25 with one; fewer for stores whose waiters sleep."""
    rows = []
    for writers, most in ((2, 50),) if bench.quick else ((2, 1_000), (4, 1_000), (8, 1_000), (_AT_ONCE, 1)):
        for name in bench.stores():
            if name in ONE_LOCK and writers == _AT_ONCE:
                continue  # of so many, waiters begin to give up
            each = most
            if name == "files":
                each = min(each, 200)  # it polls, and one process after the other finds it free by chance
            if name in ONE_LOCK:
                each = min(each, 10)
            bench.say(f"{writers} processes, {each:,} increments each: {title(name)}")
            with bench.excused(f"{title(name)}: {writers} processes on one session"):
                rows.append({"store": name, "writers": writers, "each": each} | _run(bench, name, writers, each))
    return rows


def _run(bench: Bench, name: str, writers: int, each: int) -> dict[str, Any]:
    with bench.directory() as here:
        fill(name, here, {_KEY: make_entry(SLIM, 1)})
        outcomes = bench.workers.run(
            [work(hammer, name, here, "process", keys=(_KEY,), seconds=_LONGEST_S, most=each)] * writers
        )
        found = summary(outcomes, 1.0)
        expected = writers * (each + 1)  # one each to warm up
        if found["acknowledged"] != expected:
            raise RuntimeError(f"{found['acknowledged']} of {expected} increments within {_LONGEST_S:.0f} s")
        found["found"] = verify(name, here, expected, "one session")
        slowest_s = max(sum(outcome.latencies) for outcome in outcomes) / 1e9
        return {"expected": expected, "found": found["found"], "seconds": slowest_s} | {
            key: found[key] for key in ("p50_us", "p99_us", "max_us")
        }


def render(rows: Sequence[dict[str, Any]]) -> str:
    """One line a store and number of processes."""
    lines = [
        [
            f"{row['writers']} processes x {row['each']:,}",
            title(row["store"]),
            f"{row['expected']:,}",
            f"{row['found']:,}",
            f"{row['seconds']:.2f} s",
            *(microseconds(row[name]) for name in ("p50_us", "p99_us", "max_us")),
        ]
        for row in rows
    ]
    return table(["", "store", "acknowledged", "found", "took", "P50", "P99", "worst"], lines)
