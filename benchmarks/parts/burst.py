"""W2: sub-agents start together, each keeps its own session up to date, and all report to one parent."""

from __future__ import annotations

import contextlib
import time
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.entries import SLIM, make_entry
from benchmarks.parts.base import ONE_LOCK, Bench, fill, work
from benchmarks.stats import latencies_us
from benchmarks.stores import open_store, title
from benchmarks.stores.base import Durability, Entry
from benchmarks.text import microseconds, table
from benchmarks.workers import Gate

TITLE = "Sub-agents: each creates a session, updates it 20 times, then reports to one parent; power durability"
_PARENT = "agent:main:main"
_UPDATES = 20
_MOST_BEFORE_ONE_LOCK = 10
_NOTE = """\
A sub-agent pauses 20 ms before each update, so that 0.40 s is the least. A busy parent sits 0.8 s in a callback on
its own session. The stores with one lock file take part up to 10: of more, waiters begin to give up after 30 s."""


def measure(bench: Bench) -> list[dict[str, Any]]:
    """A row for each store and number of sub-agents; every report has to be found at the parent."""
    rows = []
    cases = [(count, False) for count in ((3,) if bench.quick else (3, 10, 20, *((50,) if bench.large else ())))]
    for count, busy in [*cases, (3 if bench.quick else 10, True)]:
        for name in bench.stores():
            if name in ONE_LOCK and count > _MOST_BEFORE_ONE_LOCK:
                continue
            bench.say(f"{count} sub-agents{' of a busy parent' if busy else ''}: {title(name)}")
            with bench.excused(f"{title(name)}: {count} sub-agents"):
                rows.append({"store": name, "agents": count, "busy": busy} | _run(bench, name, count, busy=busy))
    return rows


def _run(bench: Bench, name: str, count: int, *, busy: bool) -> dict[str, Any]:
    """With ``busy`` the parent is inside a callback on its own session all the while."""
    pace_s = 0.002 if bench.quick else 0.02
    with bench.directory() as here:
        fill(name, here, {_PARENT: make_entry(SLIM, 0)})
        tasks = [work(sub_agent, name, here, "power", number=number, pace_s=pace_s) for number in range(count)]
        parents = [work(busy_parent, name, here, "power", seconds=2 * pace_s * _UPDATES)] if busy else []
        found = bench.workers.run([*tasks, *parents])[:count]
        with contextlib.closing(open_store(name, here, "process")) as store:
            arrived = sorted(message["agent"] for message in store.delivered(_PARENT))
            updates = store.counters() - busy
    if arrived != list(range(count)) or updates != count * _UPDATES:
        raise AssertionError(f"{len(arrived)} of {count} reports, {updates} of {count * _UPDATES} updates arrived")
    return {
        "reports": latencies_us([latency for one in found for latency in one["report"]]),
        "updates": latencies_us([latency for one in found for latency in one["updates"]]),
        "seconds": max(one["seconds"] for one in found),
        "arrived": len(arrived),
    }


def sub_agent(
    gate: Gate, *, store: str, place: Path, durability: Durability, number: int, pace_s: float
) -> dict[str, Any]:
    """One sub-agent; its latencies in nanoseconds."""
    key = f"agent:main:subagent:{number:04d}"
    clock = time.perf_counter_ns
    handle = open_store(store, place, durability)
    entry = make_entry(SLIM, number + 1) | {"spawnedBy": _PARENT}
    updates = array("q")
    begun = gate.start()
    handle.put(key, entry)
    for _ in range(_UPDATES):
        time.sleep(pace_s)
        before = clock()
        handle.bump(key)
        updates.append(clock() - before)
    before = clock()
    handle.deliver(_PARENT, {"agent": number, "result": "done", "sessionKey": key})
    report = clock() - before
    took_s = time.monotonic() - begun
    gate.finished()
    handle.close()
    return {"report": [report], "updates": updates, "seconds": took_s}


def busy_parent(gate: Gate, *, store: str, place: Path, durability: Durability, seconds: float) -> None:
    """Sit in a callback on the parent's session for twice as long as the sub-agents need."""
    handle = open_store(store, place, durability)

    def sit(entry: Entry) -> Entry:
        time.sleep(seconds)
        entry["counter"] += 1
        return entry

    gate.start()
    handle.modify(_PARENT, sit)
    gate.finished()
    handle.close()


def render(rows: Sequence[dict[str, Any]]) -> str:
    """A line for each row."""
    lines = [
        [
            f"{row['agents']} sub-agents{', the parent is busy' if row['busy'] else ''}",
            title(row["store"]),
            f"{row['arrived']}",
            microseconds(row["reports"]["p50_us"]),
            microseconds(row["reports"]["max_us"]),
            microseconds(row["updates"]["p99_us"]),
            microseconds(row["updates"]["max_us"]),
            f"{row['seconds']:.2f} s",
        ]
        for row in rows
    ]
    header = ["", "store", "reports found", "report P50", "worst", "update P99", "worst", "all done after"]
    return f"{table(header, lines)}\n{_NOTE}"
