"""W3: scheduled jobs create sessions all at once while somebody chats."""

from __future__ import annotations

import time
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.entries import SLIM, make_entry
from benchmarks.parts.base import Bench, fill, verify, work
from benchmarks.stats import latencies_us
from benchmarks.stores import open_store, title
from benchmarks.stores.base import Durability
from benchmarks.tasks import hammer
from benchmarks.text import microseconds, table, times
from benchmarks.workers import Gate

TITLE = "19 scheduled jobs create and update sessions while a chat updates its own every 5 ms, power durability"
_CHAT = "agent:main:main"
_JOBS = 19
_PACE_S = 0.005
_JOB_PACE_S = 0.02
_NOTE = '"on a processor": without the time in which the chat could have run and no processor was free.'


def measure(bench: Bench) -> list[dict[str, Any]]:
    """The chat's latencies alone and beside the jobs, for each store."""
    seconds, jobs = (0.15, 3) if bench.quick else (1.2, _JOBS)
    rows = []
    for name in bench.stores():
        bench.say(f"{jobs} jobs and a chat: {title(name)}")
        with bench.excused(f"{title(name)}: jobs and a chat"):
            alone, beside = (_run(bench, name, seconds, count) for count in (0, jobs))
            rows.append({"store": name, "jobs": jobs, "alone": alone, "beside": beside})
    return rows


def _run(bench: Bench, name: str, seconds: float, jobs: int) -> dict[str, float]:
    with bench.directory() as here:
        fill(name, here, {_CHAT: make_entry(SLIM, 0)})
        chat = work(hammer, name, here, "power", keys=(_CHAT,), seconds=seconds, pace_s=_PACE_S)
        tasks = [work(job, name, here, "power", number=number, seconds=seconds) for number in range(jobs)]
        outcome, *updates = bench.workers.run([chat, *tasks])
        verify(name, here, outcome.acknowledged + sum(len(one) for one in updates), "jobs and a chat")
    found = latencies_us(outcome.latencies) | {"running_p99_us": latencies_us(outcome.running)["p99_us"]}
    everybody = [latency for one in updates for latency in one]
    return found | ({"job_max_us": max(everybody) / 1000, "job_updates": len(everybody)} if everybody else {})


def job(gate: Gate, *, store: str, place: Path, durability: Durability, number: int, seconds: float) -> array[int]:
    """Create a session and update it, again and again; latencies of the updates in nanoseconds."""
    handle = open_store(store, place, durability)
    entry = make_entry(SLIM, number + 1)
    latencies = array("q")
    end = gate.start() + seconds
    run = 0
    while time.monotonic() < end:
        key = f"agent:main:cron:{number}:run:{run}"
        handle.put(key, entry)
        for _ in range(3):
            before = time.perf_counter_ns()
            handle.bump(key)
            latencies.append(time.perf_counter_ns() - before)
            time.sleep(_JOB_PACE_S)
        run += 1
    gate.finished()
    handle.close()
    return latencies


def render(rows: Sequence[dict[str, Any]]) -> str:
    """A line for each store."""
    lines = [
        [
            title(row["store"]),
            microseconds(row["alone"]["p50_us"]),
            microseconds(row["beside"]["p50_us"]),
            microseconds(row["alone"]["p99_us"]),
            microseconds(row["beside"]["p99_us"]),
            times(row["beside"]["p99_us"] / row["alone"]["p99_us"]),
            *(_running(row[when]) for when in ("alone", "beside")),
            microseconds(row["beside"]["max_us"]),
            microseconds(row["beside"]["job_max_us"]),
            f"{row['beside']['job_updates']:,}",
        ]
        for row in rows
    ]
    header = ["the chat", "P50 alone", "beside", "P99 alone", "beside", "factor"]
    header += ["P99 on a processor alone", "beside", "worst", "worst of the jobs", "job updates"]
    return f"{table(header, lines)}\n{_NOTE}"


def _running(found: dict[str, float]) -> str:
    """Older results do not have it."""
    return microseconds(found["running_p99_us"]) if "running_p99_us" in found else "-"
