"""Part two: does an operation cost more in a larger store, and how many bytes does it write?"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

from benchmarks.contenders import CONTENDERS, Contender, Ours
from benchmarks.entries import LARGE, SMALL, make_entry

_SAMPLE = 400
_OPENINGS = 21
_LEVEL_ONLY_WHEN_ASKED_S = 3600.0


def measure_growth(place: Path, sizes: tuple[int, ...], progress: Callable[[str], None]) -> list[dict[str, Any]]:
    """Median microseconds an operation, one thread, 1 KB entries, for each number of sessions."""
    rows = []
    for count in sizes:
        entries = {f"agent:main:cron:{n:06d}": make_entry(SMALL, n) for n in range(count)}
        row: dict[str, Any] = {"sessions": count}
        for name, contender_of in CONTENDERS.items():
            progress(f"store of {count} sessions: {name}")
            here = place / "growth"
            here.mkdir()
            try:
                with contextlib.closing(contender_of(here, "process")) as filler:
                    filler.fill(entries)
                row[name] = _operations(lambda: contender_of(here, "process"), list(entries))  # noqa: B023 - used at once
            finally:
                shutil.rmtree(here)
        rows.append(row)
    return rows


def _operations(reopen: Callable[[], Contender], keys: list[str]) -> dict[str, float]:
    chosen = Random(7).choices(keys, k=_SAMPLE)
    found = {"open_and_get": round(median(_open_and_get(reopen, key) for key in chosen[:_OPENINGS]), 2)}
    contender = reopen()
    try:
        numbers = iter(range(1, 10 * _SAMPLE))
        # In this order, because the first get of a session is the one that reads its file.
        steps: dict[str, Callable[[str], object]] = {
            "first_get": contender.get,
            "get": contender.get,
            "updated_at": contender.updated_at,
            "update": contender.bump,
            "patch": lambda key: contender.patch(key, -next(numbers)),
        }
        for name, step in steps.items():
            found[name] = _median_us(step, dict.fromkeys(chosen) if name == "first_get" else chosen)
    finally:
        contender.close()
    return found


def _open_and_get(reopen: Callable[[], Contender], key: str) -> float:
    before = time.perf_counter_ns()
    contender = reopen()
    contender.get(key)
    took_ns = time.perf_counter_ns() - before
    contender.close()
    return took_ns / 1000


def _median_us(step: Callable[[str], object], keys: Any) -> float:
    times = []
    for key in keys:
        before = time.perf_counter_ns()
        step(key)
        times.append(time.perf_counter_ns() - before)
    return round(median(times) / 1000, 2)


def measure_bytes(place: Path) -> dict[str, int]:
    """Bytes that operations on a 230 KB entry add to the journal, and to the disk when levelled."""
    here = place / "bytes"
    here.mkdir()
    try:
        ours = Ours(here, "process", checkpoint_interval=_LEVEL_ONLY_WHEN_ASKED_S)
        key = "agent:main:main"
        entry = make_entry(LARGE, 1)
        ours.fill({key: entry})
        directory = here / "sessions.d"
        found = {"entry": LARGE}
        steps: dict[str, Callable[[], object]] = {
            "patch_one_field": lambda: ours.patch(key, 1),
            "update_one_field": lambda: ours.bump(key),
            "patch_unchanged": lambda: ours.patch(key, 2),
            "update_unchanged": lambda: ours.modify(key, lambda entry: entry),
            "put_unchanged": lambda: ours.store.put(key, entry | {"counter": 2}),
        }
        for name, step in steps.items():
            before = _journal_bytes(directory)
            step()
            found[name] = _journal_bytes(directory) - before
        before = _written()
        ours.store.flush()
        found["session_file_when_levelled"] = _written() - before
        ours.close()
    finally:
        shutil.rmtree(here)
    return found


def _journal_bytes(directory: Path) -> int:
    """Content of the journals; the zeros written ahead do not count."""
    return sum(len(file.read_bytes().rstrip(b"\0")) for file in directory.glob("journal-*.jsonl"))


def _written() -> int:
    """Bytes this process has passed to write calls."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["wchar"])
