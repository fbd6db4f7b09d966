"""Applying and restoring when the power goes or the process is killed; calls that fail are in tests/crash."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from harness.powerloss import scratch
from harness.processes import Worker
from harness.seeds import seeded
from harness.story import errors_of
from harness.watched import QuickFs, close_quietly, drop_cores

from sessiondir import SessionStore
from sessiondir.maintenance import apply, list_trash, plan, restore
from sessiondir.testing import (
    PowerLossFileSystem,
    WatchedFileSystem,
    write_tree,
)

from .stores import DAY, enforce, entry, names, nowhere, open_store, trashed, write_transcript

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


def prepare_removed(folder: str) -> None:
    """The same, with the stale ones in the trash, and one that lives again."""
    prepare(folder)
    with open_store(f"{folder}/sessions.d", fs=QuickFs()) as store:
        apply(store, plan(store, POLICY))
        store.put("old:1", {"n": "again"})


def do_apply(store: SessionStore) -> None:
    report = apply(store, plan(store, POLICY))
    if report.error is not None:
        raise report.error


def do_restore(store: SessionStore) -> None:
    restore(store, "old:0")


def do_overwrite(store: SessionStore) -> None:
    restore(store, "old:1", overwrite=True)


@dataclass(frozen=True)
class Deed:
    """Something to be interrupted."""

    name: str
    prepare: Callable[[str], None]
    do: Callable[[SessionStore], None]


DEEDS = (
    Deed("apply", prepare, do_apply),
    Deed("restore", prepare_removed, do_restore),
    Deed("overwrite", prepare_removed, do_overwrite),
)


def judge(folder: str, deed: Deed, here: str) -> None:
    """Nothing is lost at once, and doing it again finishes it."""
    path = f"{folder}/sessions.d"
    assert errors_of(path) == [], here
    with open_store(path, fs=QuickFs()) as store:
        assert nowhere(OLD | LIVE, store) == [], here
        for key in (*OLD, *LIVE):
            kept = [
                json.loads(Path(f"{path}/trash/{i.name}").read_text())["entry"]
                for i in list_trash(store).items
                if i.key == key
            ]
            wanted = (OLD | LIVE)[key]
            assert wanted in [*kept, store.get(key)], f"{here}: {key} is {store.get(key)} and {kept}"
        if deed.prepare is prepare_removed:
            assert {"n": "again"} in [store.get("old:1"), *_entries(path, "old:1")], here
        for name in ("o0.jsonl", "o1.jsonl", "o2.jsonl", "n1.jsonl"):
            assert [one for one in names(folder, name) if os.path.getsize(f"{folder}/{one}")], f"{here}: {name}"
        if deed.name != "apply":
            finish_restore(store, deed)
        else:
            do_apply(store)
            assert sorted(store) == sorted(LIVE), here
            assert trashed(store) == sorted(OLD), here
            assert names(folder, ".jsonl") == [
                "n1.jsonl",
                *names(folder, "o0"),
                *names(folder, "o1"),
                "o2.jsonl",
            ], here
            # Killed between reserving a name and the renaming, an empty archive stays.
            assert sum(os.path.getsize(f"{folder}/{name}") > 0 for name in names(folder, ".deleted.")) == 2, here
        assert not [name for name in os.listdir(f"{path}/trash") if name.startswith(".")], here
        assert not [f for f in store.check() if "trash" in f.path], here


def _entries(path: str, key: str) -> list[Any]:
    values = [json.loads(Path(f"{path}/trash/{name}").read_text()) for name in names(f"{path}/trash", "removed-")]
    return [value["entry"] for value in values if value["sessionKey"] == key]


def finish_restore(store: SessionStore, deed: Deed) -> None:
    """Restore again, if it was not finished; then the session and its transcript are back."""
    key = "old:0" if deed.name == "restore" else "old:1"
    for item in reversed(list_trash(store).items):
        if item.key == key and item.note.rule != "replaced":
            restore(store, item.name, overwrite=deed.name == "overwrite")
    assert store[key] == OLD[key]
    folder = os.path.dirname(store.path)
    assert f"o{key[-1]}.jsonl" in names(folder, "o")
    apply(store, plan(store, enforce(pruneAfter="999d")))


@pytest.mark.parametrize("rule", ["ordered", "strict"])
@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: deed.name)
def test_a_power_cut(deed: Deed, rule: Any) -> None:
    """G2, G9: whatever a power cut leaves of unsynced bytes and names, every session is somewhere."""
    rng = seeded(f"trash {deed.name} {rule}")
    with scratch() as root:
        os.mkdir(f"{root}/disk", 0o700)
        deed.prepare(f"{root}/disk")
        fs = PowerLossFileSystem(f"{root}/disk")
        store = open_store(f"{root}/disk/sessions.d", fs=fs, durability="power")
        try:
            deed.do(store)
            store.close()
        finally:
            close_quietly(store)
            drop_cores(fs)
        count = 0
        for count, (tree, _) in enumerate(fs.images(rule, rng, most=12), 1):
            folder = f"{root}/{count}"
            write_tree(folder, tree)
            judge(folder, deed, f"{deed.name}, {rule}, image {count}")
        assert count > 50


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
