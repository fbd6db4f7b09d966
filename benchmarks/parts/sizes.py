"""W1: does an operation cost more in a larger store? And: what does a hot read cost?"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from benchmarks.entries import SLIM, make_store
from benchmarks.parts.base import Bench, fill
from benchmarks.stats import latencies_us
from benchmarks.stores import open_store, title
from benchmarks.stores.base import Store
from benchmarks.text import microseconds, table

TITLE = "Cost against the number of sessions: one thread, 1 KB entries, median of an operation, process durability"
_numbers = itertools.count(10**6)
_BLOCK = 100
_BLOCKS = 4
_LONGEST_S = 1.2
_MOST_FILES = 10_000
_SLOW = ("files", "directory", "legacy")
"""Stores that are filled up to ``_MOST_FILES`` only; more takes longer than it tells."""


def measure(bench: Bench) -> dict[str, Any]:
    """For each store the figures at each size; sizes take turns within a store."""
    sizes = (100, 300) if bench.quick else (240, 10_000, 100_000)
    found = {}
    for name in bench.stores():
        mine = [n for n in sizes if n <= _MOST_FILES or name not in _SLOW]
        bench.say(f"stores of {', '.join(f'{n:,}' for n in mine)} sessions: {title(name)}")
        with bench.excused(f"{title(name)}: sizes"):
            found[name] = _measure_store(bench, name, mine, 0.1 if bench.quick else _LONGEST_S)
    return {"sizes": sizes, "stores": found}


def _measure_store(bench: Bench, name: str, sizes: Sequence[int], longest_s: float) -> dict[str, dict[str, Any]]:
    with contextlib.ExitStack() as stack:
        handles: dict[int, Store] = {}
        chosen: dict[int, list[str]] = {}
        for count in sizes:
            here = stack.enter_context(bench.directory())
            entries = make_store(SLIM, count)
            fill(name, here, entries)
            chosen[count] = Random(7).sample(list(entries), min(count, _BLOCK))
            handles[count] = stack.enter_context(contextlib.closing(open_store(name, here, "process")))
        found: dict[str, dict[str, Any]] = {}
        for operation in ("first_get", "get", "updated_at", "update", "patch"):
            times = _in_turns(handles, chosen, operation, longest_s)
            found[operation] = {str(count): latencies_us(one) for count, one in times.items()}
        return found


def _in_turns(
    handles: dict[int, Store], chosen: dict[int, list[str]], operation: str, longest_s: float
) -> dict[int, list[int]]:
    """Nanoseconds of single operations: a block on each size, then again."""
    times: dict[int, list[int]] = {count: [] for count in handles}
    for _ in range(1 if operation == "first_get" else _BLOCKS):
        for count, handle in handles.items():
            times[count] += _block(_step(handle, operation), chosen[count], longest_s / _BLOCKS)
    return times


def _step(handle: Store, operation: str) -> Callable[[str], object]:
    if operation == "patch":
        return lambda key: handle.patch(key, "counter", next(_numbers))
    steps: dict[str, Callable[[str], object]] = {
        "first_get": handle.get,
        "get": handle.get,
        "updated_at": handle.updated_at,
        "update": handle.bump,
    }
    return steps[operation]


def _block(step: Callable[[str], object], keys: Sequence[str], longest_s: float) -> list[int]:
    times = []
    end = time.monotonic() + longest_s
    for key in keys:
        before = time.perf_counter_ns()
        step(key)
        times.append(time.perf_counter_ns() - before)
        if time.monotonic() > end:
            break
    return times


def growth(found: dict[str, Any], name: str, operation: str = "update") -> float | None:
    """The largest median over the smallest, over all sizes of a store."""
    one = found["stores"].get(name)
    if one is None:
        return None
    medians: list[float] = [figures["p50_us"] for figures in one[operation].values()]
    return max(medians) / min(medians)


def render(found: dict[str, Any]) -> str:
    """A block for each operation, a column for each size."""
    sizes = [str(count) for count in found["sizes"]]
    lines = []
    for operation in next(iter(found["stores"].values()), ()):
        for number, (name, one) in enumerate(found["stores"].items()):
            cells = [microseconds(one[operation][n]["p50_us"]) if n in one[operation] else "-" for n in sizes]
            lines.append([operation.replace("_", " ") if number == 0 else "", title(name), *cells])
    return table(["", "store", *(f"{int(n):,} sessions" for n in sizes)], lines)


def hot_us(found: dict[str, Any], name: str, operation: str) -> dict[str, float]:
    """The median of an operation in a store of each size; nothing if it was not measured."""
    one = found["stores"].get(name)
    return {count: figures["p50_us"] for count, figures in one[operation].items()} if one else {}
