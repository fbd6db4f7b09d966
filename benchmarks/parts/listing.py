"""W9: the newest sessions of a store: the first page, cold and warm, of a prefix, and all pages."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import counting
from benchmarks.entries import SLIM, make_store, session_key
from benchmarks.parts.base import Bench, fill
from benchmarks.stores import open_store, title
from benchmarks.stores.base import Store
from benchmarks.text import microseconds, size, table

TITLE = "Listing: the 50 newest sessions with their time, 1 KB entries"
_PAGE = 50
_COLD, _WARM, _FEWEST = 5, 9, 3
_ENOUGH_S = 0.6
"""What takes longer in all is not done again: its figure is off by factors that a repetition does not change."""
_PREFIX = "agent:main:telegram:direct:1000001"
"""It has 80 sessions in a store of 180 and 100 in a larger one."""
_MOST_FILES = 10_000
_LONGEST_US = 1e6


def measure(bench: Bench) -> dict[str, Any]:
    """Figures by size and store. Cold: the handle was just opened (the page cache is warm)."""
    sizes = [180] if bench.quick else [180, 1_000, 10_000, *([65_000] if bench.large else [])]
    rows = []
    for count in sizes:
        entries = make_store(SLIM, count)
        row: dict[str, Any] = {"sessions": count, "stores": {}}
        for name in bench.stores():
            if count > _MOST_FILES and name in ("files", "directory"):
                continue
            bench.say(f"listing {count:,} sessions: {title(name)}")
            with bench.excused(f"{title(name)}: listing"), bench.directory() as here:
                fill(name, here, entries)
                row["stores"][name] = _measure(name, here, count)
        rows.append(row)
    return {"page": _PAGE, "rows": rows}


def _measure(name: str, here: Path, count: int) -> dict[str, float | None]:
    with contextlib.closing(open_store(name, here, "process")) as store:
        store.index_for_listing()
        # Once, so that what may be kept on disk for listings is there.
        assert len(store.page(_PAGE)) == _PAGE
    before = counting.bytes_read()
    _cold_us(name, here)
    read = counting.bytes_read() - before
    cold_us = _median_us(lambda _: _cold_us(name, here), _COLD)
    with contextlib.closing(open_store(name, here, "process")) as store:
        store.page(_PAGE)
        warm_us = _median_us(lambda number: _warm_us(store, number), _WARM)
        prefix_us = _median_us(lambda _: _prefix_us(store), _WARM)
        all_us = _all_pages(store, count)
    return {"cold_us": cold_us, "read": read, "warm_us": warm_us, "prefix_us": prefix_us, "all_us": all_us}


def _median_us(step: Callable[[int], float], most: int) -> float:
    times: list[float] = []
    while len(times) < most and (len(times) < _FEWEST or sum(times) < _ENOUGH_S * 1e6):
        times.append(step(len(times)))
    return median(times)


def _cold_us(name: str, here: Path) -> float:
    begun = time.perf_counter_ns()
    with contextlib.closing(open_store(name, here, "process")) as store:
        store.page(_PAGE)
        return (time.perf_counter_ns() - begun) / 1000


def _warm_us(store: Store, number: int) -> float:
    store.bump(session_key(number))  # what is warm must also be right
    begun = time.perf_counter_ns()
    store.page(_PAGE)
    return (time.perf_counter_ns() - begun) / 1000


def _prefix_us(store: Store) -> float:
    begun = time.perf_counter_ns()
    found = store.page_of(_PREFIX, _PAGE)
    took_us = (time.perf_counter_ns() - begun) / 1000
    if len(found) != _PAGE or not all(key.startswith(_PREFIX) for key, _ in found):
        raise AssertionError(f"{len(found)} sessions of {_PREFIX} were listed instead of {_PAGE}")
    return took_us


def _all_pages(store: Store, count: int) -> float | None:
    """Microseconds for page after page; None if it takes too long."""
    begun, before, found = time.perf_counter_ns(), None, 0
    while page := store.page(_PAGE, before):
        found, before = found + len(page), page[-1][1]
        took_us = (time.perf_counter_ns() - begun) / 1000
        if found >= count:
            break
        if took_us > _LONGEST_US:
            return None
    if found != count:
        raise AssertionError(f"{found} sessions were listed instead of {count}")
    return took_us


def render(found: dict[str, Any]) -> str:
    """A line for each size and store."""
    lines = []
    for row in found["rows"]:
        for number, (name, one) in enumerate(row["stores"].items()):
            label = f"{row['sessions']:,} sessions" if number == 0 else ""
            pages = "too long" if one["all_us"] is None else microseconds(one["all_us"])
            prefix, read = (one.get(what) for what in ("prefix_us", "read"))  # older results do not have them
            lines.append(
                [
                    label,
                    title(name),
                    microseconds(one["cold_us"]),
                    "-" if read is None else size(read),
                    microseconds(one["warm_us"]),
                    "-" if prefix is None else microseconds(prefix),
                    pages,
                ]
            )
    note = (
        "cold: handle opened, then the first page, median of 5. read: bytes from read calls for it; LMDB maps\n"
        "its file. warm: the page after an update, median of 9. prefix: the first page of 100 sessions whose\n"
        "keys begin alike. SQLite has an index on the time for this; stores without one are read through.\n"
        "all: page after page, given up after a second."
    )
    return f"{table(['', 'store', 'cold', 'read', 'warm', 'prefix', 'all pages'], lines)}\n{note}"
