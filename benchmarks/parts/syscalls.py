"""System calls of one operation, next to the least that any store could do with."""

from __future__ import annotations

from collections import Counter
from typing import Any

from benchmarks import child, counting
from benchmarks.entries import SLIM, make_store
from benchmarks.parts.base import ONE_LOCK, Bench, fill
from benchmarks.seam import ours_through_the_seam
from benchmarks.stores import OURS, title
from benchmarks.stores.base import Durability
from benchmarks.text import table

TITLE = "System calls of one operation on a 1 KB entry, by one process, checkpoints included"
_OPERATIONS = 400
_CASES: dict[Durability, tuple[str, ...]] = {"process": ("get", "updated_at", "update"), "power": ("update",)}
LEAST = {
    ("get", "process"): ("1", "look whether anything has changed"),
    ("updated_at", "process"): ("1", "look whether anything has changed"),
    ("update", "process"): ("4", "lock, look, write, unlock"),
    ("update", "power"): ("5", "lock, look, write, unlock, sync"),
}


def measure(bench: Bench) -> list[dict[str, Any]]:
    """Calls an operation for each case and store; through the seam where strace is not there."""
    reason = counting.strace_obstacle()
    rows = []
    for durability, operations in _CASES.items():
        if bench.quick and durability == "process":
            continue
        new: dict[str, dict[str, Any]] = {operation: {} for operation in operations}
        for name in bench.stores():
            bench.say(f"system calls, {durability}: {title(name)}")
            with bench.excused(f"{title(name)}: system calls"), bench.directory() as here:
                entries = make_store(SLIM, 20)
                fill(name, here, entries)
                count = 20 if name in ONE_LOCK or bench.quick else _OPERATIONS
                if reason is None:
                    found = child.traced(
                        store=name,
                        place=here,
                        keys=list(entries),
                        durability=durability,
                        operations=list(operations),
                        count=count,
                    )
                elif name == OURS:
                    found = {
                        operation: ours_through_the_seam(here, list(entries), operation, durability, count)
                        for operation in operations
                    }
                else:
                    continue
                for operation in operations:
                    new[operation][name] = _per_operation(found[operation], count)
        rows += [
            {"operation": operation, "durability": durability, "stores": stores, "not_counted": reason}
            for operation, stores in new.items()
        ]
    return rows


def _per_operation(calls: Counter[str], count: int) -> dict[str, Any]:
    found = {name: number / count for name, number in calls.most_common() if number / count >= 0.05}
    syncs = sum(calls[name] for name in counting.SYNCS)
    return {"calls": sum(calls.values()) / count, "syncs": syncs / count, "by_name": found}


_NOTE = """\
Least possible: for plain files and locks that the kernel gives back after a crash. With memory that the processes
share, as LMDB has it, nothing has to be asked for a read or for a free lock."""


def render(rows: list[dict[str, Any]]) -> str:
    """A block for each operation, the least possible on top."""
    lines = []
    for row in rows:
        least, why = LEAST[row["operation"], row["durability"]]
        name = f"{row['operation'].replace('_', ' ')}, {row['durability']}"
        lines.append([name, "least possible", least, "1" if row["durability"] == "power" else "0", why])
        for store, one in row["stores"].items():
            calls = ", ".join(f"{call} {number:.3g}" for call, number in one["by_name"].items())
            lines.append(["", title(store), f"{one['calls']:.1f}", f"{one['syncs']:.2f}", calls])
    note = f"\nNOT COUNTED for other stores: {rows[0]['not_counted']}" if rows and rows[0]["not_counted"] else ""
    return f"{table(['', 'store', 'calls', 'syncs', ''], lines)}\n{_NOTE}{note}"
