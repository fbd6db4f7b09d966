"""What a gateway does at every message: to one session, by a whole-store save, and in one JSON file."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, MutableMapping, Sequence
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

from benchmarks.entries import SLIM, make_entry
from benchmarks.parts.base import Bench
from benchmarks.text import microseconds, table, times
from sessiondir import SessionStore, jsjson
from sessiondir.sessions import (
    find_entry,
    inbound_change,
    normal_entries,
    patch_change,
    read_updated_at,
    record_inbound,
    route_change,
    update_entry,
    update_last_route,
    update_sessions,
)

TITLE = "What a gateway does at a message, by sessiondir.sessions: one thread, 1 KB entries, process durability"
_HOT = 400
_QUICK_HOT = 50
_WHOLE = 5
_NOW_MS = 1_800_000_000_000
_MESSAGE = {
    "From": "telegram:group:-100123",
    "ChatType": "group",
    "Surface": "telegram",
    "OriginatingTo": "telegram:-100123",
}

Step = Callable[[str, int], object]
Compute = Callable[[Any, str, int], Any]


def measure(bench: Bench) -> list[dict[str, Any]]:
    """Median microseconds an operation.

    ``hot``: one session; ``whole``: the same inside ``update_sessions``; ``file``: the same by
    reading, changing and rewriting a single JSON file, as before there were directories.
    """
    rows = []
    for count in (100,) if bench.quick else (100, 1_000, *((10_000,) if bench.large else ())):
        bench.say(f"what happens at a message, {count:,} sessions")
        entries = {f"agent:main:telegram:group:{n:06d}": make_entry(SLIM, n) for n in range(count)}
        with bench.directory() as here:
            rows += _measure(here, normal_entries(entries), count, _QUICK_HOT if bench.quick else _HOT)
    return rows


def _measure(here: Path, entries: dict[str, Any], count: int, times: int) -> list[dict[str, Any]]:
    file = here / "single.json"
    file.write_bytes(jsjson.encode(entries))
    keys = Random(7).choices(list(entries), k=times)
    with SessionStore.open(str(here / "sessions.d"), durability="process") as store:
        store.replace(entries)
        store.flush()
        return [
            {
                "sessions": count,
                "operation": name,
                "hot": _median_us(lambda key, n: hot(store, key, n), keys),  # noqa: B023 - used at once
                "whole": _median_us(lambda key, n: _in_store(store, compute, key, n), keys[:_WHOLE]),  # noqa: B023
                "file": _median_us(lambda key, n: _in_file(file, compute, key, n), keys[:_WHOLE]),  # noqa: B023
            }
            for name, (hot, compute) in _OPERATIONS.items()
        ]


def _message(n: int) -> dict[str, Any]:
    return {**_MESSAGE, "GroupSubject": f"Plan {n}"}


def _route(n: int) -> dict[str, Any]:
    return {"channel": "telegram", "to": "-100123", "thread_id": n}


_OPERATIONS: dict[str, tuple[Callable[[SessionStore, str, int], object], Compute | None]] = {
    "record_inbound": (
        lambda store, key, n: record_inbound(store, key, _message(n)),
        lambda entry, key, n: inbound_change(entry, key, _message(-n), now_ms=_NOW_MS),
    ),
    "update_last_route": (
        lambda store, key, n: update_last_route(store, key, **_route(n), now_ms=_NOW_MS + n),
        lambda entry, key, n: route_change(entry, key, **_route(-n), now_ms=_NOW_MS + n),
    ),
    "update_entry": (
        lambda store, key, n: update_entry(store, key, {"counter": n}, now_ms=_NOW_MS + n),
        lambda entry, _, n: patch_change(entry, {"counter": -n}, now_ms=_NOW_MS + n),
    ),
    "read_updated_at": (lambda store, key, _: read_updated_at(store, key), None),
}


def _in_store(store: SessionStore, compute: Compute | None, key: str, n: int) -> object:
    if compute is None:
        return store.snapshot()[key].get("updatedAt")

    def edit(sessions: MutableMapping[str, Any]) -> None:
        sessions[key] = compute(sessions[key], key, n)

    return update_sessions(store, edit)


def _in_file(file: Path, compute: Compute | None, key: str, n: int) -> object:
    """Read the file and find the session among its spellings; to change it, write everything anew."""
    sessions = json.loads(file.read_bytes())
    found = find_entry(sessions, key)
    if compute is None:
        return found.entry.get("updatedAt")
    sessions[found.key] = compute(found.entry, found.key, n)
    new = file.with_suffix(".tmp")
    new.write_text(json.dumps(normal_entries(sessions), indent=2, ensure_ascii=False), encoding="utf-8")
    return new.replace(file)


def render(rows: Sequence[dict[str, Any]]) -> str:
    """The three figures of each operation, and the first against the second."""
    lines = [
        [
            row["operation"],
            f"{row['sessions']:,}",
            *(microseconds(row[name]) for name in ("hot", "whole", "file")),
            times(row["whole"] / row["hot"]),
        ]
        for row in rows
    ]
    return table(["", "sessions", "one session", "whole store", "one JSON file", "whole / one"], lines)


def _median_us(step: Step, keys: list[str]) -> float:
    for key in set(keys):
        step(key, 1)  # what is measured is the work at a message, not reading the session for the first time
    took = []
    for number, key in enumerate(keys, start=2):
        before = time.perf_counter_ns()
        step(key, number)
        took.append(time.perf_counter_ns() - before)
    return round(median(took) / 1000, 2)
