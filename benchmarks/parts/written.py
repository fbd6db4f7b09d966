"""W13: bytes that a one-field change writes, and that writing the same value again writes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import counting
from benchmarks.entries import OC240, make_store
from benchmarks.parts.base import Bench, fill
from benchmarks.stores import OURS, open_store, title
from benchmarks.stores.base import Entry, Store
from benchmarks.stores.ours import Ours
from benchmarks.text import size, table

TITLE = "Bytes given to write calls for one operation on a 233 KB entry, process durability"
_SESSIONS = 40
_CHANGES = 20
_LONGEST_S = 2.0
_ONLY_WHEN_ASKED_S = 3600.0


def measure(bench: Bench) -> dict[str, dict[str, float]]:
    """Bytes an operation, for each store. Ours is levelled only when asked, and that is a row of its own."""
    found = {}
    entries = make_store(OC240, 5 if bench.quick else _SESSIONS)
    for name in bench.stores():
        bench.say(f"bytes written: {title(name)}")
        with bench.excused(f"{title(name)}: bytes"), bench.directory() as here:
            fill(name, here, entries)
            with contextlib.closing(_open(name, here)) as store:
                found[name] = _measure(store, list(entries))
    return found


def _open(name: str, here: Path) -> Store:
    if name == OURS:
        return Ours(here, "process", checkpoint_interval=_ONLY_WHEN_ASKED_S)
    return open_store(name, here, "process")


def _measure(store: Store, keys: list[str]) -> dict[str, float]:
    numbers = iter(range(1, 10**6))
    values = {key: store.get(key) for key in keys}
    found = {
        "update one field": _per_call(store.bump, keys),
        "update one field, its length changes": _per_call(lambda key: store.modify(key, _lengthen), keys),
        "patch one field": _per_call(lambda key: store.patch(key, "counter", -next(numbers)), keys),
    }
    if isinstance(store, Ours):
        before = counting.written()
        store.store.flush()
        found["one session file when levelled"] = (counting.written() - before).calls / len(keys[:_CHANGES])
    values = {key: store.get(key) for key in keys}
    found["put the same value"] = _per_call(lambda key: store.put(key, values[key]), keys)
    found["patch the same value"] = _per_call(
        lambda key: store.patch(key, "counter", values[key]["counter"]), keys
    )
    found["update that changes nothing"] = _per_call(lambda key: store.modify(key, lambda entry: entry), keys)
    return found


def _lengthen(entry: Entry) -> Entry:
    entry["thinkingLevel"] += "+"
    return entry


def _per_call(step: Callable[[str], object], keys: list[str]) -> float:
    """Mean over some sessions; fewer where one takes long."""
    before = counting.written()
    end = time.monotonic() + _LONGEST_S
    count = 0
    for key in keys[:_CHANGES]:
        step(key)
        count += 1
        if time.monotonic() > end:
            break
    return (counting.written() - before).calls / count


def render(found: dict[str, dict[str, float]]) -> str:
    """A column for each store."""
    names = list(found)
    operations = dict.fromkeys(operation for one in found.values() for operation in one)
    lines = [
        [operation, *(size(found[name][operation]) if operation in found[name] else "-" for name in names)]
        for operation in operations
    ]
    return table(["", *(title(name) for name in names)], lines)
