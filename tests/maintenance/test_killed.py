"""Applying and restoring when the process is killed; single calls and power cuts are in tests/crash (F1)."""

from __future__ import annotations

import random
import time
from pathlib import Path

from harness.processes import Worker
from harness.seeds import seeded
from harness.watched import QuickFs

from sessiondir import SessionStore
from sessiondir.maintenance import apply, list_trash, plan, restore
from sessiondir.testing import WatchedFileSystem

from .stores import DAY, enforce, entry, names, open_store, write_transcript

OLD = {f"old:{number}": entry(40 * DAY + number, f"o{number}", n=number) for number in range(3)}
LIVE = {"new:1": entry(DAY, "n1"), "new:2": entry(DAY, "o2")}
POLICY = enforce()


def prepare(folder: str) -> None:
    """Three stale sessions, two of them with a transcript of their own, and two others."""
    with open_store(f"{folder}/sessions.d", fs=QuickFs()) as store:
        for key, value in (OLD | LIVE).items():
            store.put(key, value)
    for name in ("o0.jsonl", "o1.jsonl", "o2.jsonl", "n1.jsonl"):
        write_transcript(folder, name)


def test_killed_for_real(tmp_path: Path) -> None:
    """G9: processes that remove and restore are killed with SIGKILL at random moments; nothing is ever lost."""
    rng: random.Random = seeded("maintenance kills")
    path = str(tmp_path / "sessions.d")
    entries = {
        f"k{number}": {"updatedAt": 1000 + number, "sessionId": f"i{number}", "n": number} for number in range(60)
    }
    with SessionStore.open(path, durability="process") as store:
        for key, value in entries.items():
            store.put(key, value)
    for number in range(0, 60, 3):
        write_transcript(str(tmp_path), f"i{number}.jsonl")
    rounds = 0
    for _ in range(6):
        with Worker("maintenance", path) as worker:
            worker.next()
            time.sleep(rng.uniform(0.0, 1.5))
            rounds += len(worker.kill())
        with SessionStore.open(path, durability="process") as store:
            assert [f for f in store.check() if f.level == "error"] == []
            there = {item.key: item for item in list_trash(store).items}
            for key, value in entries.items():
                assert key in there or store.get(key) == value
            for number in range(0, 60, 3):
                assert names(str(tmp_path), f"i{number}.jsonl"), number
    assert rounds > 0
    with SessionStore.open(path, durability="process") as store:
        for item in reversed(list_trash(store).items):
            restore(store, item.name, overwrite=True)
        assert {key: store.get(key) for key in entries} == entries


def test_watched_calls_leak_nothing(tmp_path: Path) -> None:
    """Planning, applying, listing, restoring and emptying close what they open."""
    prepare(str(tmp_path))
    fs = WatchedFileSystem()
    with open_store(str(tmp_path / "sessions.d"), fs=fs) as store:
        store.get("new:1")
        store.put("x", {})
        before = len(fs.open_fds)
        apply(store, plan(store, POLICY, archive_orphans=True, fix_missing=True))
        restore(store, "old:0")
        assert len(fs.open_fds) == before
    assert fs.open_fds == set()
