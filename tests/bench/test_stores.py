"""The competitors do what they claim: nothing is lost, and what is stored can be read."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path

import pytest

from benchmarks import stores
from benchmarks.entries import OC4919, SLIM, make_entry, make_store
from benchmarks.parts.base import ONE_LOCK, Bench, fill, verify, work
from benchmarks.stores.lockfile import LockFile
from benchmarks.tasks import hammer
from sessiondir import UNSET

pytestmark = pytest.mark.any_modes("competitors make files with modes of their own")
NAMES = [
    pytest.param(name, marks=pytest.mark.skipif(name in stores.missing(), reason=stores.missing().get(name, "")))
    for name in stores.NAMES
]


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A competitor that cannot be imported is reported with the reason, and the others are measured."""
    monkeypatch.setitem(stores._WHERE, "lmdb", ("no_such_module", "Lmdb"))
    stores.store_class.cache_clear()
    stores.missing.cache_clear()
    try:
        assert "no_such_module" in stores.missing()["lmdb"]
        assert "lmdb" not in stores.available()
        assert "sqlite" in stores.available()
        assert stores.title("lmdb") == "lmdb"
    finally:
        monkeypatch.undo()
        stores.store_class.cache_clear()
        stores.missing.cache_clear()


def test_the_stores_without_dependencies_are_there() -> None:
    """Four stores need nothing that the package does not need."""
    assert {"sessiondir", "sqlite", "directory", "legacy"} <= set(stores.available())


@pytest.mark.parametrize("durability", ["process", "power"])
@pytest.mark.parametrize("name", NAMES)
def test_operations(name: str, durability: str, tmp_path: Path) -> None:
    """Every operation of every store does what its name says, and another handle sees it."""
    entries = make_store(SLIM, 5)
    first, second, *_ = entries
    fill(name, tmp_path, entries)
    with contextlib.closing(stores.open_store(name, tmp_path, durability)) as store:  # type: ignore[arg-type]
        assert dict(store.items()) == entries
        store.bump(first)
        store.bump(first)
        store.patch(second, "model", "m-2")
        store.patch(second, "counter", 5)
        store.patch(second, "label", UNSET)
        store.put("agent:main:new", entries[first] | {"counter": 40, "updatedAt": 1})
        store.deliver(second, {"n": 1})
        store.deliver(second, {"n": 2})
        store.delete("agent:main:new")
        assert store.updated_at(first) == entries[first]["updatedAt"]
    with contextlib.closing(stores.open_store(name, tmp_path, "process")) as store:
        assert store.get(first) == entries[first] | {"counter": 2}
        assert store.get(second)["model"] == "m-2"
        assert "label" not in store.get(second)
        assert [message["n"] for message in store.delivered(second)] == [1, 2]
        assert store.counters() == 2 + 5
        assert store.problems() == []
        assert len(list(store.items())) == 5


@pytest.mark.parametrize("name", NAMES)
def test_pages(name: str, tmp_path: Path) -> None:
    """Pages hold every session once, the newest first."""
    entries = make_store(SLIM, 12)
    fill(name, tmp_path, entries)
    with contextlib.closing(stores.open_store(name, tmp_path, "process")) as store:
        store.index_for_listing()
        pages, before = [], None
        while len(pages) < 3:
            pages.append(store.page(5, before))
            before = pages[-1][-1][1]
        first = next(iter(entries))[:-1]  # ten sessions differ in their last digit
        of_prefix = store.page_of(first, 4)
    expected = sorted(((key, entry["updatedAt"]) for key, entry in entries.items()), key=lambda one: -one[1])
    assert [one for page in pages for one in page] == expected
    assert of_prefix == [one for one in expected if one[0].startswith(first)][:4]


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_lose_nothing(name: str, bench: Bench) -> None:
    """Two processes that count in the same sessions at once lose no count (W5)."""
    keys = tuple(make_store(SLIM, 2))
    with bench.directory() as here:
        fill(name, here, make_store(SLIM, 2))
        each = 10 if name in ONE_LOCK else 150
        outcomes = bench.workers.run(
            [work(hammer, name, here, "process", keys=keys, seconds=60, most=each) for _ in range(2)]
        )
        assert [outcome.acknowledged for outcome in outcomes] == [each + 2, each + 2]
        assert verify(name, here, 2 * (each + 2), "test") == 2 * (each + 2)


def test_entries_have_their_size_and_repeat_their_snapshots() -> None:
    """An entry has exactly the bytes it should, and most of them are another session's, too."""
    entries = [make_entry(OC4919, seed) for seed in range(36)]
    assert {len(json.dumps(one, separators=(",", ":"), ensure_ascii=False).encode()) for one in entries} == {
        OC4919.size
    }
    prompts = [json.dumps(one["skillsSnapshot"]) for one in entries]
    assert len(set(prompts)) == 18
    shared = len(prompts[0]) + len(json.dumps(entries[0]["systemPromptReport"]))
    assert shared > 0.8 * OC4919.size


def test_a_dead_owner_does_not_keep_the_legacy_lock(tmp_path: Path) -> None:
    """The legacy lock is taken from a process that is no more, and from nobody else so soon."""
    path = tmp_path / "sessions.json.lock"
    path.write_text(json.dumps({"pid": 2**22 + 1, "createdAt": "2026-01-01T00:00:00.000Z", "starttime": 1}))
    begun = time.monotonic()
    with LockFile(path, 5.0):
        assert json.loads(path.read_text())["pid"] == os.getpid()
        with pytest.raises(TimeoutError), LockFile(tmp_path / "sessions.json.lock", 0.2):
            pass
    assert time.monotonic() - begun < 4
    assert not path.exists()
    with LockFile(path, 1.0):  # it can be taken again
        pass


def test_a_living_owner_keeps_the_legacy_lock(tmp_path: Path) -> None:
    """A fresh lock of a living process is waited for, in vain."""
    path = tmp_path / "sessions.json.lock"
    with open("/proc/self/stat", "rb") as file:
        start = int(file.read().rpartition(b")")[2].split()[19])
    path.write_text(json.dumps({"pid": os.getpid(), "createdAt": "x", "starttime": start}))
    with pytest.raises(TimeoutError), LockFile(path, 0.3):
        pass
    assert path.exists()
