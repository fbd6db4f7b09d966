"""What the workers of several parts do: update sessions as fast as they can, or at a pace."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks import counting
from benchmarks.stores import open_store
from benchmarks.stores.base import Durability, Entry, Store
from benchmarks.workers import Gate

Operation = Literal["update", "resize", "patch", "put", "get"]
"""``update`` changes a number, mostly to one of as many digits; ``resize`` also a text near the
entry's begin to one of another length, so that every byte behind it moves."""

_LEVELS = ("off", "low", "medium", "high")


@dataclass(slots=True)
class Outcome:
    """What one worker did.

    ``in_window``: operations finished before the window ended; ``latencies``: nanoseconds of
    all, an operation that ended later included, or a writer that starved would not be seen;
    ``running``: of a paced run the same without the wait for a processor;
    ``acknowledged``: updates that the store has to hold, those before the window too.
    Bytes are those of the process until its handle was closed.
    """

    in_window: int
    latencies: array[int]
    running: array[int]
    acknowledged: int
    close_s: float = 0.0
    bytes_written: int = 0
    bytes_dirtied: int = 0


def hammer(
    gate: Gate,
    *,
    store: str,
    place: Path,
    durability: Durability,
    keys: Sequence[str],
    seconds: float,
    operation: Operation = "update",
    pace_s: float = 0.0,
    most: int | None = None,
) -> Outcome:
    """Operations on ``keys`` in turn, from the common start on.

    ``seconds`` long, or ``most`` operations if that is reached earlier; ``pace_s`` is a pause
    after each.
    """
    handle = open_store(store, place, durability)
    for key in keys:  # so that no first access is measured in a run this short
        handle.bump(key)
    step = _step(handle, operation, keys)
    before = counting.written()
    begun = gate.start()
    outcome = _loop(step, keys, begun + seconds, pace_s, most)
    gate.finished()
    outcome.acknowledged = len(keys) + (outcome.acknowledged if operation != "get" else 0)
    close(handle, outcome)
    bytes_ = counting.written() - before
    outcome.bytes_written, outcome.bytes_dirtied = bytes_.calls, bytes_.dirtied
    return outcome


def close(handle: Store, outcome: Outcome) -> None:
    """Close the handle and note how long that took."""
    before = time.monotonic()
    handle.close()
    outcome.close_s = time.monotonic() - before


def _step(handle: Store, operation: Operation, keys: Sequence[str]) -> Callable[[str], object]:
    if operation == "update":
        return handle.bump
    if operation == "get":
        return handle.get
    if operation == "resize":
        return lambda key: handle.modify(key, _resize)
    entries = {key: handle.get(key) for key in keys}

    def patch(key: str) -> None:
        entry = entries[key]
        entry["counter"] += 1
        handle.patch(key, "counter", entry["counter"])

    def put(key: str) -> None:
        entry = entries[key]
        entry["counter"] += 1
        handle.put(key, entry)

    return patch if operation == "patch" else put


def _resize(entry: Entry) -> Entry:
    entry["counter"] += 1
    entry["thinkingLevel"] = _LEVELS[entry["counter"] % len(_LEVELS)]
    return entry


def _loop(
    step: Callable[[str], object], keys: Sequence[str], end: float, pace_s: float, most: int | None
) -> Outcome:
    clock, monotonic, pause = time.perf_counter_ns, time.monotonic, time.sleep
    latencies, running = array("q"), array("q")
    count = len(keys)
    in_window = number = queued = 0
    while number != most:
        key = keys[number % count]
        if pace_s:  # it costs microseconds to ask, which a paced run has
            queued = counting.queued_ns()
        before = clock()
        step(key)
        took = clock() - before
        latencies.append(took)
        if pace_s:
            running.append(max(0, took - (counting.queued_ns() - queued)))
        number += 1
        if monotonic() >= end:
            break
        in_window += 1
        if pace_s:
            pause(pace_s)
    return Outcome(in_window, latencies, running, number)
