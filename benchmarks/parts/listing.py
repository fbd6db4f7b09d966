"""W9: the newest sessions of a store: the first page, cold and warm, and all pages."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.entries import SLIM, make_store, session_key
from benchmarks.parts.base import Bench, fill
from benchmarks.stores import open_store, title
from benchmarks.stores.base import Store
from benchmarks.text import microseconds, table

TITLE = "Listing: the 50 newest sessions with their time, 1 KB entries"
_PAGE = 50
_COLD, _WARM = 5, 9
_MOST_FILES = 10_000
_LONGEST_US = 1.5e6


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
    cold = []
    for _ in range(_COLD):
        begun = time.perf_counter_ns()
        store = open_store(name, here, "process")
        store.page(_PAGE)
        cold.append((time.perf_counter_ns() - begun) / 1000)
        store.close()
    with contextlib.closing(open_store(name, here, "process")) as store:
        store.page(_PAGE)
        warm = []
        for number in range(_WARM):
            store.bump(session_key(number))  # what is warm must also be right
            begun = time.perf_counter_ns()
            store.page(_PAGE)
            warm.append((time.perf_counter_ns() - begun) / 1000)
        all_us = _all_pages(store, count)
    return {"cold_us": median(cold), "warm_us": median(warm), "all_us": all_us}


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
            pages = "over 1.5 s" if one["all_us"] is None else microseconds(one["all_us"])
            lines.append([label, title(name), microseconds(one["cold_us"]), microseconds(one["warm_us"]), pages])
    note = (
        "cold: handle opened, then the first page, median of 5. warm: the page after an update, median of 9.\n"
        "SQLite has an index on the time for this; stores without one are read through. all: page after page."
    )
    return f"{table(['', 'store', 'cold', 'warm', 'all pages'], lines)}\n{note}"
