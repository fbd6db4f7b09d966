"""W22: very many distinct keys go through one process; its memory must not grow with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks import child
from benchmarks.parts.base import Bench
from benchmarks.stores import OURS, title
from benchmarks.text import rate, size, table

TITLE = "Churn: distinct keys are put, updated and deleted by one process, 1 KB entries, process durability"
_ALIVE = 50
_NOTE = (
    "sessiondir with cache_bytes=1 MiB. It remembers the sessions whose files lag, some thousand of them, and\n"
    "holds commits back when they become more; until that many have come together its memory grows."
)


def measure(bench: Bench) -> list[dict[str, Any]]:
    """Resident memory along the way. 1,000,000 keys with ``large``."""
    keys = 400 if bench.quick else 1_000_000 if bench.large else 60_000
    rows = []
    for name in bench.stores("sessiondir", "sqlite", "lmdb", "diskcache", "files"):
        bench.say(f"churn of {keys:,} keys: {title(name)}")
        with bench.excused(f"{title(name)}: churn"), bench.directory() as here:
            # A store that creates and removes files gets fewer keys for the same time.
            seconds = 600.0 if bench.large else 4.0 if name == OURS else 1.5
            found = child.run(child.churn, store=name, place=here, keys=keys, seconds=seconds, alive=_ALIVE)
            rows.append({"store": name} | found)
    return rows


def growth_per_key(row: dict[str, Any]) -> float:
    """Bytes of resident memory that a key leaves behind, over the second half of the run."""
    half = row["memory"][len(row["memory"]) // 2 :]
    (first, before), (last, after) = half[0], half[-1]
    return float((after - before) / max(1, last - first))


def render(rows: Sequence[dict[str, Any]]) -> str:
    """A line for each store."""
    lines = [
        [
            title(row["store"]),
            f"{row['keys']:,}",
            rate(row["keys"] / row["seconds"]),
            size(row["memory"][0][1]),
            size(row["memory"][len(row["memory"]) // 2][1]),
            size(row["memory"][-1][1]),
            f"{growth_per_key(row):,.1f} B",
        ]
        for row in rows
    ]
    header = ["", "keys", "keys/s", "memory at first", "half-way", "at the end", "growth a key"]
    return f"{table(header, lines)}\n{_NOTE}"
