"""W1: one session is updated in a store of 56 or 99 MB: time, bytes, memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks import child
from benchmarks.entries import OC240, OC4919, make_store, session_key
from benchmarks.parts.base import Bench, fill
from benchmarks.stats import latencies_us
from benchmarks.stores import title
from benchmarks.text import import_time, microseconds, size, table

TITLE = "One session is updated in a full store by a process that has just started, process durability"


def measure(bench: Bench) -> dict[str, Any]:
    """For each preset and store; ``bare`` is the memory of an interpreter that does nothing."""
    bare = child.run(child.bare)["peak"]
    rows = []
    for preset in (OC4919,) if bench.quick else (OC240, OC4919):
        count = 100 if bench.quick else preset.count
        entries = make_store(preset, count)
        row: dict[str, Any] = {
            "preset": preset.name,
            "sessions": count,
            "bytes": preset.size * count,
            "stores": {},
        }
        for name in bench.stores():
            bench.say(f"{preset.name}, {count:,} sessions: {title(name)}")
            with bench.excused(f"{title(name)}: {preset.name}"):
                row["stores"][name] = _measure(bench, name, entries)
        rows.append(row)
    return {"bare": bare, "rows": rows}


def _measure(bench: Bench, name: str, entries: dict[str, Any]) -> dict[str, Any]:
    with bench.directory() as here:
        fill(name, here, entries)
        key = session_key(len(entries) // 2)
        found = child.run(child.update_one, store=name, place=here, key=key, seconds=0.1 if bench.quick else 0.4)
    times = found["times_ns"]
    return {
        "import_us": found["import_us"],
        "first_us": times[0] / 1000,
        "first_read": found["first_read"],
        "written_per_op": found["written"] / len(times),
        "dirtied_per_op": found["dirtied"] / len(times),
        "peak": found["peak"],
        "updates": len(times),
    } | latencies_us(times[1:] or times)


def render(found: dict[str, Any]) -> str:
    """A table for each preset."""
    parts = []
    for row in found["rows"]:
        lines: Sequence[list[str]] = [
            [
                title(name),
                import_time(one),
                microseconds(one["first_us"]),
                size(one["first_read"]),
                microseconds(one["p50_us"]),
                microseconds(one["p99_us"]),
                size(one["written_per_op"]),
                size(one["peak"] - found["bare"]),
            ]
            for name, one in row["stores"].items()
        ]
        header = ["", "import", "open + first", "read for it", "P50", "P99", "written/update", "memory"]
        parts.append(
            f"{row['preset']}: {row['sessions']:,} sessions, {size(row['bytes'])}\n\n{table(header, lines)}"
        )
    parts.append(
        f"memory: resident at most by the process above a bare interpreter ({size(found['bare'])}).\n"
        "written/update: bytes given to write calls until the handle was closed, per update."
    )
    return "\n\n".join(parts)
