"""W7, W11, W17: transcripts: appending to a long one, many appenders at once, the tail of a huge one."""

from __future__ import annotations

import contextlib
import time
from array import array
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import child, counting, logs
from benchmarks.parts.base import Bench
from benchmarks.stats import latencies_us
from benchmarks.text import microseconds, size, table
from benchmarks.workers import Gate

TITLE = "Transcripts: messages of about 900 bytes, durable against power loss when the call returns"
_TURN = 15
_TAIL = 50
_BATCH = 1_000
_MOST_MEGABYTES = 10


def measure(bench: Bench) -> dict[str, Any]:
    """Appending by length, contention, tails; ``missing`` names what could not be measured."""
    for name, why in logs.missing().items():
        bench.say(f"MISSING: transcripts of {name} cannot be measured: {why}")
    return {
        "missing": logs.missing(),
        "growth": _growth(bench),
        "contended": _contended(bench),
        "tail": _tails(bench),
    }


def _filled(name: str, here: Path, count: int) -> None:
    records = [logs.make_record(number) for number in range(min(count, _BATCH))]
    with contextlib.closing(logs.LOGS[name](here)) as log:
        log.fill(records, max(1, count // _BATCH))


def _growth(bench: Bench) -> list[dict[str, Any]]:
    """Milliseconds and bytes of a turn of 15 appends behind so many messages."""
    rows = []
    for count in (100,) if bench.quick else (5_000, 10_000, 20_000, 40_000):
        row: dict[str, Any] = {"messages": count, "logs": {}}
        for name in logs.available():
            bench.say(f"a turn behind {count:,} messages: {logs.LOGS[name].title}")
            with bench.excused(f"{name}: appending"), bench.directory() as here:
                _filled(name, here, count)
                row["logs"][name] = _turns(name, here, 1 if name == "rewritten" or bench.quick else 5)
        rows.append(row)
    return rows


def _turns(name: str, here: Path, turns: int) -> dict[str, float]:
    with contextlib.closing(logs.LOGS[name](here)) as log:
        log.append([logs.make_record(0)])
        times = []
        before = counting.written()
        for _ in range(turns):
            begun = time.perf_counter_ns()
            for number in range(_TURN):
                log.append([logs.make_record(number)])
            times.append((time.perf_counter_ns() - begun) / 1000)
        return {"turn_us": median(times), "written": (counting.written() - before).calls / turns}


def _contended(bench: Bench) -> dict[str, Any]:
    """Processes that append to one transcript of 5,000 messages at once."""
    processes, each, behind = (2, 3, 100) if bench.quick else (20, 15, 5_000)
    found: dict[str, Any] = {"processes": processes, "each": each, "messages": behind, "logs": {}}
    # With ``quick`` without the one whose import takes each process seconds.
    for name in logs.available("sessiondir", *(() if bench.quick else ("sqlite_session",)), "jsonl"):
        bench.say(f"{processes} processes append to one transcript: {logs.LOGS[name].title}")
        with bench.excused(f"{name}: contended transcript"), bench.directory() as here:
            _filled(name, here, behind)
            latencies = bench.workers.run(
                [partial(append_some, name=name, place=here, number=n, count=each) for n in range(processes)]
            )
            with contextlib.closing(logs.LOGS[name](here)) as log:
                there = log.count() - behind
            if there != processes * each:
                raise AssertionError(f"{processes * each} appends were acknowledged, {there} found")
            found["logs"][name] = latencies_us([one for some in latencies for one in some]) | {"found": there}
    return found


def append_some(gate: Gate, *, name: str, place: Path, number: int, count: int) -> array[int]:
    """Append messages one by one; latencies in nanoseconds."""
    log = logs.LOGS[name](place)
    log.tail(1)
    latencies = array("q")
    gate.start()
    for one in range(count):
        before = time.perf_counter_ns()
        log.append([logs.make_record(number * count + one)])
        latencies.append(time.perf_counter_ns() - before)
    gate.finished()
    log.close()
    return latencies


def _tails(bench: Bench) -> list[dict[str, Any]]:
    """The last 50 records, read by a process that has just started."""
    bare = child.run(child.bare)["peak"]
    rows = []
    for megabytes in (2,) if bench.quick else (10, 100, *((1_000,) if bench.large else ())):
        row: dict[str, Any] = {"megabytes": megabytes, "bare": bare, "logs": {}}
        for name in logs.available("sessiondir", "sqlite_session", "jsonl"):
            if name == "sqlite_session" and (megabytes > _MOST_MEGABYTES or bench.quick) and not bench.large:
                continue  # to fill it, or with ``quick`` to import it, takes longer than it tells
            bench.say(f"tail of {megabytes} MB: {logs.LOGS[name].title}")
            with bench.excused(f"{name}: tail"), bench.directory() as here:
                _filled(name, here, megabytes * 1_100)
                row["logs"][name] = child.run(child.tail, name=name, place=here, count=_TAIL)
        rows.append(row)
    return rows


def render(found: dict[str, Any]) -> str:
    """Three tables, and loudly what is missing."""
    parts = [f"MISSING: {name} was not measured: {why}" for name, why in found["missing"].items()]
    lines = [
        [
            f"{row['messages']:,} messages" if number == 0 else "",
            logs.LOGS[name].title,
            microseconds(one["turn_us"]),
            size(one["written"]),
        ]
        for row in found["growth"]
        for number, (name, one) in enumerate(row["logs"].items())
    ]
    parts.append(table(["a turn of 15 appends behind", "", "takes", "writes"], lines))
    contended = found["contended"]
    lines = [
        [
            logs.LOGS[name].title,
            *(microseconds(one[key]) for key in ("p50_us", "p99_us", "max_us")),
            f"{one['found']:,}",
        ]
        for name, one in contended["logs"].items()
    ]
    title = f"{contended['processes']} processes append {contended['each']} each to one transcript"
    parts.append(table([title, "P50", "P99", "worst", "found"], lines))
    lines = [
        [
            f"{row['megabytes']:,} MB" if number == 0 else "",
            logs.LOGS[name].title,
            microseconds(one["first_us"]),
            size(one["read"]),
            size(one["peak"] - row["bare"]),
        ]
        for row in found["tail"]
        for number, (name, one) in enumerate(row["logs"].items())
    ]
    parts.append(table(["last 50 records of", "", "opened and read in", "bytes read", "memory"], lines))
    about = [f"{logs.LOGS[name].title}: {logs.LOGS[name].about}" for name in logs.LOGS]
    return "\n\n".join([*parts, "\n".join(about)])
