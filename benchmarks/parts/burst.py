"""W2: sub-agents start together, each keeps its own session up to date, and all report to one parent."""

from __future__ import annotations

import contextlib
import time
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import counting
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
_SPREAD_S = 1.0
_NOTE = """\
A sub-agent pauses 20 ms before each update, so that 0.40 s is the least. A busy parent sits 0.8 s in a callback on
its own session. "on a processor": without the time in which the sub-agent could have run and no processor was
free; what is left is work, locks and the disk. The stores with one lock file take part up to 10: of more, waiters
begin to give up after 30 s."""


def measure(bench: Bench) -> list[dict[str, Any]]:
    """A row for each store and number of sub-agents; every report has to be found at the parent."""
    counts = (3,) if bench.quick else (1, 3, 10, 20, *((50,) if bench.large else ()))
    cases = [(count, False, 0.0) for count in counts]
    if not bench.quick:
        cases.append((counts[-1], False, _SPREAD_S))
    cases.append((3 if bench.quick else 10, True, 0.0))
    rows = []
    for count, busy, spread_s in cases:
        for name in bench.stores():
            if name in ONE_LOCK and (count > _MOST_BEFORE_ONE_LOCK or (busy and bench.quick)):
                continue
            what = f"{count} sub-agents{_when(busy, spread_s)}"
            bench.say(f"{what}: {title(name)}")
            with bench.excused(f"{title(name)}: {what}"):
                found = _run(bench, name, count, busy=busy, spread_s=spread_s)
                rows.append({"store": name, "agents": count, "busy": busy, "spread_s": spread_s} | found)
    return rows


def _when(busy: bool, spread_s: float) -> str:
    over = f" over {spread_s:g} s" if spread_s else ""
    return f"{over}{', the parent is busy' if busy else ''}"


def _run(bench: Bench, name: str, count: int, *, busy: bool, spread_s: float) -> dict[str, Any]:
    """With ``busy`` the parent is inside a callback on its own session all the while."""
    pace_s = 0.002 if bench.quick else 0.02
    with bench.directory() as here:
        fill(name, here, {_PARENT: make_entry(SLIM, 0)})
        tasks = [
            work(sub_agent, name, here, "power", number=number, pace_s=pace_s, delay_s=spread_s * number / count)
            for number in range(count)
        ]
        parents = [work(busy_parent, name, here, "power", seconds=2 * pace_s * _UPDATES)] if busy else []
        found = bench.workers.run([*tasks, *parents])[:count]
        with contextlib.closing(open_store(name, here, "process")) as store:
            arrived = sorted(message["agent"] for message in store.delivered(_PARENT))
            updates = store.counters() - busy
    if arrived != list(range(count)) or updates != count * _UPDATES:
        raise AssertionError(f"{len(arrived)} of {count} reports, {updates} of {count * _UPDATES} updates arrived")
    summaries = {
        f"{what}{how}": latencies_us([one for agent in found for one in agent[what][which]])
        for what in ("reports", "updates")
        for which, how in enumerate(("", "_running"))
    }
    return summaries | {"seconds": max(one["seconds"] for one in found), "arrived": len(arrived)}


def sub_agent(
    gate: Gate, *, store: str, place: Path, durability: Durability, number: int, pace_s: float, delay_s: float
) -> dict[str, Any]:
    """One sub-agent, which begins so late; latencies in nanoseconds, with and without the wait for a processor."""
    key = f"agent:main:subagent:{number:04d}"
    handle = open_store(store, place, durability)
    entry = make_entry(SLIM, number + 1) | {"spawnedBy": _PARENT}
    updates, reports = (array("q"), array("q")), (array("q"), array("q"))
    begun = gate.start() + delay_s
    time.sleep(delay_s)
    handle.put(key, entry)
    for _ in range(_UPDATES):
        time.sleep(pace_s)
        _timed(updates, lambda: handle.bump(key))
    message = {"agent": number, "result": "done", "sessionKey": key}
    _timed(reports, lambda: handle.deliver(_PARENT, message))
    took_s = time.monotonic() - begun
    gate.finished()
    handle.close()
    return {"reports": reports, "updates": updates, "seconds": took_s}


def _timed(into: tuple[array[int], array[int]], step: Callable[[], object]) -> None:
    queued, before = counting.queued_ns(), time.perf_counter_ns()
    step()
    took = time.perf_counter_ns() - before
    into[0].append(took)
    into[1].append(max(0, took - (counting.queued_ns() - queued)))


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
            f"{row['agents']} sub-agents{_when(row['busy'], row.get('spread_s', 0.0))}",
            title(row["store"]),
            f"{row['arrived']}",
            microseconds(row["reports"]["p50_us"]),
            microseconds(row["reports"]["max_us"]),
            _worst_running(row, "reports"),
            microseconds(row["updates"]["p99_us"]),
            microseconds(row["updates"]["max_us"]),
            _worst_running(row, "updates"),
            f"{row['seconds']:.2f} s",
        ]
        for row in rows
    ]
    worst = ["worst", "on a processor"]
    header = ["", "store", "reports found", "report P50", *worst, "update P99", *worst, "all done after"]
    return f"{table(header, lines)}\n{_NOTE}"


def _worst_running(row: dict[str, Any], what: str) -> str:
    """Older results do not have it."""
    found = row.get(f"{what}_running")
    return microseconds(found["max_us"]) if found is not None else "-"
