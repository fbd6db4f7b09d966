"""W19: readers in a tight loop and others that poll the listing, while one process writes."""

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.entries import SLIM, make_entry, session_key
from benchmarks.parts.base import Bench, fill, verify, work
from benchmarks.stats import latencies_us
from benchmarks.stores import open_store, title
from benchmarks.stores.base import Durability, Entry
from benchmarks.text import microseconds, rate, table
from benchmarks.workers import Gate

TITLE = "Reader storm: 4 threads read in a loop and 5 poll the listing, in one process, while another writes"
_SESSIONS = 180
_WRITES = 300
_READERS, _POLLERS = 4, 5
_POLL_S = 0.5
_KEYS = [session_key(number) for number in range(_SESSIONS)]


def measure(bench: Bench) -> list[dict[str, Any]]:
    """Writer latencies alone and in the storm, reads a second, and torn reads, for each store."""
    rows = []
    seconds = 0.1 if bench.quick else 1.0
    entries = {key: _marked(make_entry(SLIM, seed), 0) for seed, key in enumerate(_KEYS)}
    for name in bench.stores():
        bench.say(f"reader storm: {title(name)}")
        with bench.excused(f"{title(name)}: readers"):
            row: dict[str, Any] = {"store": name}
            for storm in (False, True):
                with bench.directory() as here:
                    fill(name, here, entries)
                    tasks = [work(write, name, here, "process", seconds=seconds)]
                    if storm:
                        tasks.append(work(read, name, here, "process", seconds=seconds))
                    writer, *reader = bench.workers.run(tasks)
                    verify(name, here, len(writer), "reader storm")
                row["storm" if storm else "alone"] = latencies_us(writer)
                for one in reader:
                    row |= one
            rows.append(row)
    return rows


def _marked(entry: Entry, number: int) -> Entry:
    """The number in two fields, far apart: a torn read would show two numbers."""
    return {"first": number} | entry | {"counter": number, "last": number}


def _next(entry: Entry) -> Entry:
    number = entry["counter"] + 1
    entry["first"] = entry["counter"] = entry["last"] = number
    return entry


def write(gate: Gate, *, store: str, place: Path, durability: Durability, seconds: float) -> array[int]:
    """300 writes spread over the time, or as many as fit in it; their latencies in nanoseconds."""
    handle = open_store(store, place, durability)
    handle.get(_KEYS[0])
    begun = gate.start()
    latencies = array("q")
    for number in range(_WRITES):
        due = begun + seconds * number / _WRITES
        time.sleep(max(0.0, due - time.monotonic()))
        before = time.perf_counter_ns()
        handle.modify(_KEYS[number % _SESSIONS], _next)
        latencies.append(time.perf_counter_ns() - before)
        if time.monotonic() > begun + 2 * seconds:
            break
    gate.finished()
    handle.close()
    return latencies


def read(gate: Gate, *, store: str, place: Path, durability: Durability, seconds: float) -> dict[str, Any]:
    """Readers and pollers, each a thread with a handle of its own."""
    end = gate.start() + seconds
    reads, torn, backwards, pages = [0] * _READERS, [0], [0], [0] * _POLLERS
    errors: list[str] = []

    def storm(number: int) -> None:
        handle = open_store(store, place, durability)
        seen: dict[str, int] = {}
        while time.monotonic() < end:
            key = _KEYS[reads[number] % _SESSIONS]
            entry = handle.get(key)
            torn[0] += len({entry["first"], entry["counter"], entry["last"]}) > 1
            backwards[0] += entry["counter"] < seen.get(key, 0)
            seen[key] = entry["counter"]
            reads[number] += 1
        handle.close()

    def poll(number: int) -> None:
        handle = open_store(store, place, durability)
        while time.monotonic() < end:
            handle.page(50)
            pages[number] += 1
            time.sleep(_POLL_S)
        handle.close()

    def guarded(what: Any, number: int) -> None:
        try:
            what(number)
        except Exception as exc:
            errors.append(f"{type(exc).__name__}: {exc}")

    threads = [threading.Thread(target=guarded, args=(storm, number)) for number in range(_READERS)]
    threads += [threading.Thread(target=guarded, args=(poll, number)) for number in range(_POLLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gate.finished()
    return {
        "reads_per_s": sum(reads) / seconds,
        "pages": sum(pages),
        "torn": torn[0],
        "backwards": backwards[0],
        "errors": errors,
    }


def render(rows: Sequence[dict[str, Any]]) -> str:
    """A line for each store."""
    lines = [
        [
            title(row["store"]),
            *(microseconds(row[when]["p99_us"]) for when in ("alone", "storm")),
            microseconds(row["storm"]["max_us"]),
            rate(row["reads_per_s"]),
            f"{row['torn']}",
            f"{row['backwards']}",
            f"{len(row['errors'])}",
        ]
        for row in rows
    ]
    header = ["", "P99 alone", "P99 in the storm", "worst", "reads/s", "torn", "went back", "errors"]
    return table(header, lines)
