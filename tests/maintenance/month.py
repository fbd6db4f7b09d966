"""A month of a gateway with cron jobs, day by day, under retention (W14)."""

from __future__ import annotations

import os
import random
from typing import Any

from harness.seeds import seeded

from sessiondir.clock import Clock
from sessiondir.fs import FileSystem
from sessiondir.maintenance import Keeper, list_trash, plan

from .oracle import expected
from .stores import DAY, HOUR, Going, enforce, entry, fill, names, open_store, write_transcript


class NoSync(FileSystem):
    """What is compared here does not depend on the disk."""

    fsync = staticmethod(os.fstat)  # type: ignore[assignment]
    fdatasync = staticmethod(os.fstat)  # type: ignore[assignment]


def cron(number: int, age_ms: float, rng: random.Random) -> tuple[str, dict[str, Any]]:
    """A run of one of nineteen jobs."""
    run = f"{number:08x}-0000-4000-8000-000000000000"
    key = f"agent:main:cron:job-{number % 19}:run:{run}"
    return key, entry(age_ms, run, totalTokens=0, model="m", pad="x" * rng.randrange(200, 1500))


def a_month_of_cron(store_path: str, clock_of_slices: Clock | None = None) -> Keeper:
    """2,703 cron sessions and 378 more a day for thirty days: exactly the rules, running ones untouched."""
    rng = seeded("W14")
    clock = Going()
    policy = enforce(maxEntries=500, pruneAfter="30d", trashRetention="10d")
    with open_store(store_path, clock, NoSync()) as store:
        entries = dict(cron(number, rng.uniform(0, 14 * DAY), rng) for number in range(2703))
        base = {
            f"agent:main:cron:job-{n}": entry(n * HOUR, f"{n:08x}-0000-4000-8000-000000000000") for n in range(19)
        }
        running = {f"agent:main:subagent:{n}": entry(HOUR, f"r{n}", status="running") for n in range(25)}
        dms = {f"agent:main:telegram:direct:{n}": entry(3 * HOUR, f"d{n}") for n in range(8)}
        entries |= base | running | dms
        fill(store, entries)
        for key in list(entries)[:300]:
            write_transcript(os.path.dirname(store_path), f"{entries[key]['sessionId']}.jsonl", 60)
        active = list(dms)[:2]
        keeper = Keeper(store, policy, active=active)
        keeper.slices._clock = clock_of_slices or keeper.slices._clock
        removed = 0
        for day in range(31):
            now = clock.at_ms
            wanted = expected(entries, policy, now, active)
            report = keeper.round()
            assert sorted(report.removed) == sorted(wanted), f"day {day}"
            removed += len(wanted)
            entries = {key: value for key, value in entries.items() if key not in wanted}
            assert {key: value["updatedAt"] for key, value in entries.items()} == {
                key: store.updated_at(key) for key in store
            }
            assert len(entries) <= policy.max_entries
            assert running.keys() <= entries.keys()
            clock.at_ms += DAY
            for key in (*running, *dms):
                if key in entries:
                    entries[key] = entries[key] | {"updatedAt": clock.at_ms - HOUR}
                    store.put(key, entries[key])
            new = {}
            for number in range(378):
                key, value = cron(10_000 + day * 378 + number, 0, rng)
                new[key] = value | {"updatedAt": int(clock.at_ms - rng.uniform(0, DAY))}
            fill(store, new)
            entries |= new
        keeper.close()
        assert removed > 2703 + 30 * 378 - 600
        kept_days = {item.note.at_ms for item in list_trash(store).items}
        assert min(kept_days) >= clock.at_ms - 11 * DAY - DAY
        live = {value.get("sessionId") for value in entries.values()}
        for name in names(os.path.dirname(store_path), ".jsonl"):
            assert (name.partition(".jsonl")[0] in live) == name.endswith(".jsonl"), name
        return keeper


def a_month_within_bytes(store_path: str, clock_of_slices: Clock | None = None) -> Keeper:
    """With a bound on bytes the store never stays above it, and the newest sessions are left."""
    rng = seeded("W14 bytes")
    clock = Going()
    policy = enforce(maxEntries=5000, maxDiskBytes="600kb")
    with open_store(store_path, clock, NoSync()) as store:
        keeper = Keeper(store, policy)
        keeper.slices._clock = clock_of_slices or keeper.slices._clock
        number = 0
        for _ in range(12):
            new = {}
            for _ in range(150):
                number += 1
                key, value = cron(number, 0, rng)
                new[key] = value | {"updatedAt": int(clock.at_ms - 2 * HOUR - rng.uniform(0, HOUR))}
            fill(store, new)
            store.flush()
            keeper._disk = None
            keeper.round()
            store.flush()
            usage = plan(store, policy).usage
            assert usage.total <= 600 << 10
            left = sorted((store.updated_at(key) or 0) for key in store)
            gone = [value["updatedAt"] for key, value in new.items() if key not in store]
            assert not gone or max(gone) <= left[0]
            clock.at_ms += DAY
        assert len(store) > 100
        keeper.close()
        return keeper
