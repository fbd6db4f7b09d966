"""Bounds on sizes, and memory that stays within its budget (F13)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.factories import Opener

from sessiondir import EntryTooLarge, Limits


def entry_of(size: int) -> dict[str, Any]:
    """An entry of exactly ``size`` bytes as compact JSON, with one long text."""
    entry = {"list": [1, {"é": None}], "text": ""}
    entry["text"] = "x" * (size - len(json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode()))
    assert len(json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode()) == size
    return entry


def test_an_entry_may_have_exactly_the_limit(open_store: Opener) -> None:
    """An entry of the limit's size is stored and read back from its file."""
    store = open_store(limits=Limits(entry_bytes=1000))
    store.put("a", entry_of(1000))
    store.update("b", lambda entry: entry_of(1000), create=True)
    store.put("c", {"list": [1, {"é": None}]})
    store.patch("c", {"text": entry_of(1000)["text"]})
    assert [info.size for info in store.list()] == [1000, 1000, 1000]
    store.close()
    assert open_store(limits=Limits(entry_bytes=1000))["a"] == entry_of(1000)


def test_one_byte_more_is_refused(open_store: Opener) -> None:
    """An entry one byte above the limit is refused by every write, with both sizes; nothing is changed."""
    store = open_store(limits=Limits(entry_bytes=1000))
    store.put("a", entry_of(1000))
    large = entry_of(1001)
    for write in (
        lambda: store.put("a", large),
        lambda: store.put("new", large),
        lambda: store.patch("a", {"text": large["text"]}),
        lambda: store.patch("a", {"t": 1}),
        lambda: store.patch("new", large, create=True),
        lambda: store.update("a", lambda entry: large),
        lambda: store.replace({"a": large}),
        lambda: store.edit(lambda sessions: sessions["a"].update(text=large["text"])),
    ):
        with pytest.raises(EntryTooLarge) as caught:
            write()
        assert (caught.value.limit, caught.value.size > 1000) == (1000, True)
    assert dict(store.snapshot()) == {"a": entry_of(1000)}


def test_a_large_entry_may_still_shrink(open_store: Opener) -> None:
    """An entry at its limit can be made smaller, and fields can be swapped for smaller ones."""
    store = open_store(limits=Limits(entry_bytes=1000))
    store.put("a", entry_of(1000))
    store.patch("a", {"text": "y", "other": "z" * 900})
    assert store["a"]["other"] == "z" * 900


@pytest.mark.parametrize("depth", [1, 20, 100])
def test_g2_an_entry_within_the_limit_can_be_read_from_its_file(open_store: Opener, depth: int) -> None:
    """G2: what was accepted stays readable once its file is written, however much indentation adds."""
    limits = Limits(entry_bytes=200_000)
    value: Any = [0] * 99_000
    for _ in range(depth):
        value = [value]
    store = open_store(limits=limits)
    store.put("a", {"v": value})
    store.close()
    assert open_store(limits=limits)["a"] == {"v": value}


def test_integers_of_many_digits_count_as_what_they_take(open_store: Opener) -> None:
    """An entry of a few integers of thousands of digits is held to the limit, put whole or patched into being."""
    store = open_store(limits=Limits(entry_bytes=20_000))
    long = 2**13_999  # 4,215 digits
    with pytest.raises(EntryTooLarge):
        store.put("a", {f"n{number}": long for number in range(5)})
    store.put("a", {f"n{number}": long for number in range(4)})
    with pytest.raises(EntryTooLarge):
        store.patch("a", {"n4": long})
    store.patch("a", {"n4": 1})
    with pytest.raises(EntryTooLarge):
        store.update("a", lambda entry: {**entry, "n4": long})
    assert store["a"] == {f"n{number}": long for number in range(4)} | {"n4": 1}


def test_a_commit_may_have_the_limit_and_no_more(open_store: Opener) -> None:
    """A commit whose line is too long is refused as a whole; the same in parts goes through."""
    store = open_store(limits=Limits(commit_bytes=5000))
    sessions = {f"k{n}": {"x": "y" * 900} for n in range(6)}
    with pytest.raises(EntryTooLarge):
        store.replace(sessions)
    assert len(store) == 0
    for key, entry in sessions.items():
        store.put(key, entry)
    assert dict(store.snapshot()) == sessions


def test_a_file_that_grew_beyond_reason_is_not_read(open_directory: Opener, store_path: str) -> None:
    """A session file far above the limit is reported as damaged before it is read into memory."""
    store = open_directory(limits=Limits(entry_bytes=1000, inbox_bytes=1000))
    store.put("a", {"n": 1})
    store.flush()
    other = open_directory.elsewhere(limits=Limits(entry_bytes=1000, inbox_bytes=1000), cache_bytes=0)
    (path,) = (Path(store_path) / "entries").iterdir()
    good = path.read_bytes()
    path.write_bytes(good + b" " * (8 << 20))
    assert [finding.level for finding in other.check()] == ["error"]
    path.write_bytes(good)
    assert other["a"] == {"n": 1}


@pytest.mark.parametrize("cache_bytes", [0, 1, 20_000, 1 << 20])
def test_cached_bytes_stay_within_the_budget(open_directory: Opener, cache_bytes: int) -> None:
    """Over many distinct keys, read and written, there and missing, the cache keeps to its budget."""
    store = open_directory(cache_bytes=cache_bytes, durability="process", checkpoint_interval=3600)
    for number in range(300):
        store.put(f"k{number}", {"n": number, "x": "y" * (number * 7 % 500)})
        assert within_budget(store, cache_bytes)
    for number in range(0, 600, 3):
        store.get(f"k{number}")
        store.patch(f"k{number // 2}", {"z": number})
        assert within_budget(store, cache_bytes)
    for number in range(300):
        store.delete(f"k{number}")
    assert within_budget(store, cache_bytes)
    assert len(store) == 0


def within_budget(store: Any, cache_bytes: int) -> bool:
    """Whether the documents kept weigh what is counted, and no more than allowed beside the last one."""
    cache = store._core.view.cache
    documents = cache.documents.values()
    assert cache.used_bytes >= sum(doc.weight for doc in documents)
    if not documents:
        assert cache.used_bytes == 0
    kept = sum(len(json.dumps(doc.entry() or {}, separators=(",", ":"))) for doc in documents)
    return len(documents) <= 1 or (cache.used_bytes <= cache_bytes and kept <= cache_bytes)


def test_bookkeeping_does_not_grow_with_keys_once_they_are_level(open_directory: Opener) -> None:
    """After a checkpoint nothing is remembered of sessions that are not in the cache."""
    store = open_directory(cache_bytes=0, durability="process", checkpoint_interval=3600)
    for number in range(200):
        store.put(f"k{number}", {"n": number})
        store.get(f"missing {number}")
    store.flush()
    view = store._core.view
    assert len(view.cache.documents) <= 1
    assert (len(view.pending), len(view.dirty), len(view.lost), len(view._touched)) == (0, 0, 0, 0)
    assert (len(store._core.keys._holders), len(store._core.keys._queues)) == (0, 0)


def test_bookkeeping_does_not_grow_while_a_session_changes_without_a_pause(open_directory: Opener) -> None:
    """A checkpoint forgets what it brought into the file, also of a session that was changed again meanwhile."""
    store = open_directory(durability="process", checkpoint_interval=3600)
    store.put("k", {"n": 0})
    view = store._core.view
    for number in range(100):
        store.patch("k", {"n": number + 1})
    level = view.load("k").latest
    store.patch("k", {"n": -1})
    with view.mutex:
        view.levelled({"k": level})  # as by a checkpoint that read the session before the last change
    assert [version for version, _, _ in view.pending["k"]] == [level + 1]
    store.flush()
    assert not view.pending
