"""W10: opening a store and reading one session, after a clean close and after ``kill -9``."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import child
from benchmarks.entries import SLIM, make_store
from benchmarks.parts.base import ONE_LOCK, Bench, fill, verify
from benchmarks.stores import open_store, title
from benchmarks.text import microseconds, table

TITLE = "Opening: until one session is read, and until one is updated, 1 KB entries (page cache warm)"
_OPENINGS = 9
_QUICK_OPENINGS = 3
_UPDATES = 2_000
_MOST_FILES = 10_000


def measure(bench: Bench) -> list[dict[str, Any]]:
    """Figures by size and store; the last column after a writer was killed behind 2,000 updates."""
    rows = []
    for count in (50,) if bench.quick else (180, 10_000, *((100_000,) if bench.large else ())):
        entries = make_store(SLIM, count)
        row: dict[str, Any] = {"sessions": count, "stores": {}}
        for name in bench.stores():
            if count > _MOST_FILES and name in ("files", "directory"):
                continue
            bench.say(f"opening {count:,} sessions: {title(name)}")
            with bench.excused(f"{title(name)}: opening"), bench.directory() as here:
                fill(name, here, entries)
                row["stores"][name] = _measure(bench, name, here, list(entries))
        rows.append(row)
    return rows


def _measure(bench: Bench, name: str, here: Path, keys: list[str]) -> dict[str, float]:
    updated = keys[: _QUICK_OPENINGS if bench.quick else _OPENINGS]
    found = {"get_us": median(_open_and(name, here, key, "get") for key in updated)}
    found["update_us"] = median(_open_and(name, here, key, "bump") for key in updated)
    count = 20 if name in ONE_LOCK else 50 if bench.quick else _UPDATES
    child.run(child.update_and_die, store=name, place=here, keys=keys[:20], count=count)
    found["killed_us"] = _open_and(name, here, keys[0], "get")
    found["updates_before_kill"] = count
    verify(name, here, count + len(updated), "after kill -9")
    return found


def _open_and(name: str, here: Path, key: str, operation: str) -> float:
    """Microseconds to open and do one thing; the closing is not in it."""
    begun = time.perf_counter_ns()
    store = open_store(name, here, "process")
    with contextlib.closing(store):
        store.get(key) if operation == "get" else store.bump(key)
        return (time.perf_counter_ns() - begun) / 1000


def render(rows: list[dict[str, Any]]) -> str:
    """A line for each size and store."""
    lines = []
    for row in rows:
        for number, (name, one) in enumerate(row["stores"].items()):
            lines.append(
                [
                    f"{row['sessions']:,} sessions" if number == 0 else "",
                    title(name),
                    *(microseconds(one[key]) for key in ("get_us", "update_us", "killed_us")),
                    f"{one['updates_before_kill']:,}",
                ]
            )
    header = ["", "store", "open + read", "open + update", "open + read after kill -9", "updates before it"]
    return table(header, lines) + "\nAfter each kill all acknowledged updates were found."
