"""W4: one session is held in a callback; how long do updates of other sessions wait?

Others update sessions of their own at a gentle pace, in the holder's process and in another
one. Windows in which the session is held and windows in which it is not take turns, because
such a percentile moves from second to second by more than a holder could. Where a store's
transaction spans everything, the callback runs inside it: that is how a read-modify-write
is safe there without retrying.
"""

from __future__ import annotations

import itertools
import threading
import time
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.entries import SLIM, make_entry
from benchmarks.parts.base import Bench, fill, verify, work
from benchmarks.stats import latencies_us
from benchmarks.stores import OURS, open_store, title
from benchmarks.stores.base import Durability, Entry, Store
from benchmarks.text import microseconds, table
from benchmarks.workers import Gate

TITLE = "Updates of other sessions, 1 KB, while one session is held in a callback"
_PACE_S = 0.001
_LEAD_S = 0.02
"""Nothing is begun so shortly before and behind a change, so that it is clear what it met."""
_HELD = "agent:main:main"
_KEYS = {"same process": ("b", "c", "d"), "other process": ("e", "f", "g")}
_NOTE = """\
P99: the median of the windows; behind it the least and the greatest of them. Windows that are held and windows
that are not take turns; within a long hold there is a window a second."""


@dataclass(frozen=True, slots=True)
class Period:
    """Seconds during which the session is held, or is not."""

    held: bool
    seconds: float


def periods(name: str, *, quick: bool) -> list[Period]:
    """What happens one after the other: ours is held for 30 s at once in a full run, others for less than one."""
    if quick:
        return [Period(held, 0.15) for held in (False, True)]
    if name != OURS:
        return [Period(held, 0.7) for held in (False, True)]
    turns = [Period(held, 1.0) for held in (False, True)] * 3
    return [*turns, Period(True, 30.0), *turns[::-1]]


def measure(bench: Bench) -> list[dict[str, Any]]:
    """A row for each store, idle and held; ``seconds`` is the longest hold."""
    rows = []
    for name in bench.stores():
        plan = periods(name, quick=bench.quick)
        longest_s = max(period.seconds for period in plan if period.held)
        bench.say(f"one session is held for up to {longest_s:g} s: {title(name)}")
        with bench.excused(f"{title(name)}: holder"):
            found = _run(bench, name, plan)
            for held in (False, True):
                seconds = max(period.seconds for period in plan if period.held is held)
                rows.append({"store": name, "held": held, "seconds": seconds, "from": found[held]})
    return rows


def _run(bench: Bench, name: str, plan: Sequence[Period]) -> dict[bool, dict[str, Any]]:
    with bench.directory() as here:
        everything = (_HELD, *(key for keys in _KEYS.values() for key in keys))
        fill(name, here, {key: make_entry(SLIM, seed) for seed, key in enumerate(everything)})
        windows = bench.workers.run(
            [
                work(update_others, name, here, "process", keys=keys, plan=plan, holds=number == 0)
                for number, keys in enumerate(_KEYS.values())
            ]
        )
        updates = sum(len(latencies) for one in windows for _, latencies in one)
        verify(name, here, updates + sum(period.held for period in plan), "holder")
    return {
        held: {where: _figures(one, held) for where, one in zip(_KEYS, windows, strict=True)}
        for held in (False, True)
    }


def _figures(windows: Sequence[tuple[bool, array[int]]], held: bool) -> dict[str, Any]:
    chosen = [latencies for was_held, latencies in windows if was_held is held]
    each = [latencies_us(latencies)["p99_us"] for latencies in chosen]
    together = latencies_us([one for latencies in chosen for one in latencies])
    return together | {"p99_us": median(each), "windows_p99_us": each}


def update_others(
    gate: Gate,
    *,
    store: str,
    place: Path,
    durability: Durability,
    keys: Sequence[str],
    plan: Sequence[Period],
    holds: bool,
) -> list[tuple[bool, array[int]]]:
    """Update ``keys`` in turn, and with ``holds`` hold the session as planned from a thread beside it.

    For each window whether the session was held in it, and the latencies of what began in it, in nanoseconds.
    """
    handle = open_store(store, place, durability)
    holder = open_store(store, place, durability)
    for key in keys:
        handle.get(key)
    begun = gate.start()
    holding = threading.Thread(target=partial(_hold, holder, begun, plan), daemon=True)
    if holds:
        holding.start()
    found = []
    at, keys_in_turn = begun, itertools.cycle(keys)
    for held, end in _windows(plan):
        time.sleep(max(0.0, at + _LEAD_S - time.monotonic()))
        at = begun + end
        found.append((held, _bump_until(handle, keys_in_turn, at - _LEAD_S)))
    if holds:
        holding.join()
    gate.finished()
    holder.close()
    handle.close()
    return found


def _bump_until(handle: Store, keys: Iterator[str], end: float) -> array[int]:
    """Updates at a gentle pace, one at least; their latencies in nanoseconds."""
    latencies = array("q")
    while not latencies or time.monotonic() < end:
        before = time.perf_counter_ns()
        handle.bump(next(keys))
        latencies.append(time.perf_counter_ns() - before)
        time.sleep(_PACE_S)
    return latencies


def _windows(plan: Sequence[Period]) -> list[tuple[bool, float]]:
    """Windows of a second, or as long as the period: whether held, and when each ends, from the start on."""
    found, at = [], 0.0
    for period in plan:
        count = max(1, round(period.seconds))
        found += [(period.held, at + period.seconds * number / count) for number in range(1, count + 1)]
        at += period.seconds
    return found


def _hold(handle: Store, begun: float, plan: Sequence[Period]) -> None:
    end = begun
    for period in plan:
        begin, end = end, end + period.seconds
        if period.held:
            time.sleep(max(0.0, begin - time.monotonic()))
            handle.modify(_HELD, partial(_sit, end))


def _sit(end: float, entry: Entry) -> Entry:
    time.sleep(max(0.0, end - time.monotonic()))
    entry["counter"] += 1
    return entry


def is_unchanged(idle: dict[str, Any], held: dict[str, Any]) -> bool:
    """Whether the middle one of the held windows is no worse than idle ones were themselves."""
    return bool(median(held["windows_p99_us"]) <= bad_window_us(idle))


def bad_window_us(figures: dict[str, Any]) -> float:
    """The worst P99 of a window but one: a single disturbance must not excuse everything."""
    ascending: list[float] = sorted(figures["windows_p99_us"])
    return ascending[-2:][0]


def render(rows: Sequence[dict[str, Any]]) -> str:
    """Two lines for each row: from the holder's process and from another one."""
    lines = []
    for row in rows:
        for where, figures in row["from"].items():
            each = figures.get("windows_p99_us", [figures["p99_us"]])
            lines.append(
                [
                    title(row["store"]),
                    f"held up to {row['seconds']:g} s" if row["held"] else "idle",
                    where,
                    microseconds(figures["p50_us"]),
                    microseconds(figures["p99_us"]),
                    f"{microseconds(min(each))} - {microseconds(max(each))}",
                    microseconds(figures["max_us"]),
                    f"{figures['count']:,}",
                ]
            )
    header = ["store", "", "updates from", "P50", "P99", "in single windows", "worst", "updates"]
    return f"{table(header, lines)}\n{_NOTE}"
