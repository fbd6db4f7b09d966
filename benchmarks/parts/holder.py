"""W4: one session is held in a callback; how long do updates of other sessions wait?

Others update sessions of their own at a gentle pace, in the holder's process and in another
one; first with nobody in the way. Where a store's transaction spans everything, the callback
runs inside it: that is how a read-modify-write is safe there without retrying.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.entries import SLIM, make_entry
from benchmarks.parts.base import Bench, fill, verify, work
from benchmarks.stats import latencies_us
from benchmarks.stores import OURS, title
from benchmarks.tasks import hammer, hammer_beside_holder
from benchmarks.text import microseconds, table

TITLE = "Updates of other sessions, 1 KB, while one session is held in a callback"
_PACE_S = 0.001
_HELD = "agent:main:main"
_KEYS = {"same process": ("b", "c", "d"), "other process": ("e", "f", "g")}
_LEAD_S = 0.2
"""The others begin this much later than the holder."""


def measure(bench: Bench) -> list[dict[str, Any]]:
    """A row for each store, idle and held. Ours is held for 30 s in a full run, the others for 2."""
    rows = []
    for name in bench.stores():
        for held in (False, True):
            seconds = 0.15 if bench.quick else 30.0 if held and name == OURS else 2.0 if held else 1.5
            bench.say(f"{'one session is held' if held else 'idle'} for {seconds:g} s: {title(name)}")
            with bench.excused(f"{title(name)}: holder"):
                found = _run(bench, name, seconds, held=held)
                rows.append({"store": name, "held": held, "seconds": seconds} | found)
    return rows


def _run(bench: Bench, name: str, seconds: float, *, held: bool) -> dict[str, Any]:
    pace: dict[str, Any] = {"pace_s": _PACE_S, "delay_s": _LEAD_S, "seconds": seconds}
    with bench.directory() as here:
        everything = (_HELD, *(key for keys in _KEYS.values() for key in keys))
        fill(name, here, {key: make_entry(SLIM, seed) for seed, key in enumerate(everything)})
        more = {"hold_key": _HELD, "hold_s": seconds + _LEAD_S} if held else {}
        first = hammer_beside_holder if held else hammer
        outcomes = bench.workers.run(
            [
                work(first, name, here, "process", keys=_KEYS["same process"], **pace, **more),
                work(hammer, name, here, "process", keys=_KEYS["other process"], **pace),
            ]
        )
        acknowledged = sum(outcome.acknowledged for outcome in outcomes)
        found = verify(name, here, acknowledged, "holder")
    figures = {where: latencies_us(one.latencies) for where, one in zip(_KEYS, outcomes, strict=True)}
    return {"acknowledged": acknowledged, "found": found, "from": figures}


def render(rows: Sequence[dict[str, Any]]) -> str:
    """Two lines for each row: from the holder's process and from another one."""
    lines = []
    for row in rows:
        for where, figures in row["from"].items():
            lines.append(
                [
                    title(row["store"]),
                    f"held {row['seconds']:g} s" if row["held"] else "idle",
                    where,
                    *(microseconds(figures[name]) for name in ("p50_us", "p99_us", "max_us")),
                    f"{figures['count']:,}",
                ]
            )
    return table(["store", "", "updates from", "P50", "P99", "worst", "updates"], lines)
