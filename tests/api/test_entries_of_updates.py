"""The entries that ``update`` and ``patch`` hand out share what is not looked at; nobody may notice."""

from __future__ import annotations

import copy
import json
import pickle
import threading
from typing import Any

import msgspec
import pytest
from support.factories import Opener
from support.seed import generator

from sessiondir import UNSET

Entry = dict[str, Any]
ENTRY: Entry = {
    "n": 0,
    "skills": {
        "prompt": "p" * 2000,
        "resolved": [{"name": f"skill {number}", "tags": ["a"]} for number in range(50)],
    },
    "origin": {"label": "x"},
    "large": ["y" * 100] * 3000,
}


def spoil(entry: Entry | None) -> None:
    """Change everything that an entry holds, at every depth."""
    assert entry is not None
    entry["skills"]["resolved"][0]["tags"].append("spoilt")
    entry["skills"]["resolved"].append("spoilt")
    entry["skills"]["prompt"] = "spoilt"
    entry["origin"].clear()
    entry["large"].clear()


def test_what_one_gets_is_never_what_another_gets(open_store: Opener) -> None:
    """Spoiling what a callback was given or what a call returned reaches neither the store nor later entries."""
    store = open_store(durability="process")
    store.put("a", ENTRY)

    def same(entry: Entry) -> bool:
        return entry == ENTRY and repr(entry) == repr(ENTRY)

    def look(entry: Entry) -> None:
        assert same(entry)
        spoil(entry)

    def fail(entry: Entry) -> Entry:
        look(entry)
        raise KeyError

    for _ in range(2):
        store.update("a", look)
        with pytest.raises(KeyError):
            store.update("a", fail)
        spoil(store.update("a", lambda entry: None))
        spoil(store.update("a", lambda entry: entry))
        spoil(store.update("a", lambda entry: {**entry}))
        spoil(store.update("a", copy.deepcopy))
        spoil(store.patch("a", {}))
        spoil(store.patch("a", {"n": 0}))
        spoil(store["a"])
        assert same(store["a"])


def test_a_result_keeps_nothing_of_the_store(open_store: Opener) -> None:
    """What an update returned may be changed, stored as another session, or returned by a later callback."""
    store = open_store(durability="process")
    store.put("a", ENTRY)
    first = store.update("a", lambda entry: entry | {"n": 1})
    second = store.update("a", lambda entry: entry)
    assert first is not None and second is not None and first == second == ENTRY | {"n": 1}
    store.put("b", second)
    store.update("c", lambda entry: second, create=True)
    spoil(second)
    assert store["a"] == store["b"] == store["c"] == ENTRY | {"n": 1}
    store.update("a", lambda entry: second)
    assert store["a"] == second != first
    store.update("a", lambda entry: first)
    assert store["a"] == first


def test_a_change_at_any_depth_is_committed_and_nothing_else(open_store: Opener) -> None:
    """A field that was changed inside is committed whole; fields that were only looked at are not."""
    store = open_store(durability="process")
    store.put("a", ENTRY)
    before = store.version

    def change(entry: Entry) -> Entry:
        assert entry["skills"]["resolved"][7]["name"] == "skill 7"
        entry["origin"]["label"] = "y"
        return entry

    changed = store.update("a", change)
    assert changed == store["a"] == ENTRY | {"origin": {"label": "y"}}
    assert [change.fields for change in store.changes(since=before)] == [("origin",)]
    store.update("a", lambda entry: {"skills": entry.pop("skills"), **entry})
    assert store.version == before + 1
    assert store.patch("a", {"origin": UNSET, "large": [{}]}) == store["a"]
    store.update("a", lambda entry: {"all": [entry]})
    assert store["a"] == {"all": [{"n": 0, "skills": ENTRY["skills"], "large": [{}]}]}


def test_a_result_has_what_was_stored_not_what_was_put_in(open_store: Opener) -> None:
    """An array that a callback put in stays the callback's, and a tuple comes back as a list."""
    store = open_store(durability="process")
    store.put("a", ENTRY)
    mine: list[Any] = [1]

    def assign(entry: Entry) -> Entry:
        entry["mine"], entry["pair"] = mine, (1, (2,))
        return entry

    result = store.update("a", assign)
    assert result == store["a"] == ENTRY | {"mine": [1], "pair": [1, [2]]}
    mine.append(2)
    assert result["mine"] == [1]
    result["mine"].append(3)
    assert mine == [1, 2] and store["a"]["mine"] == [1]


def test_a_returned_entry_is_read_as_any_dict_is(open_store: Opener) -> None:
    """Encoders, copies and comparisons of what ``update`` returned give what a plain dict gives."""
    store = open_store(durability="process")
    store.put("a", ENTRY)

    def count(entry: Entry) -> Entry:
        entry["n"] += 1
        return entry

    for number in range(1, 4):
        entry = store.update("a", count)
        plain = ENTRY | {"n": number}
        assert isinstance(entry, dict) and entry == plain
        assert json.dumps(entry) == json.dumps(plain)
        assert msgspec.json.encode(entry) == msgspec.json.encode(plain)
        for other in (pickle.loads(pickle.dumps(entry)), copy.deepcopy(entry), dict(entry)):
            assert type(other) is dict and repr(other) == repr(plain)
            spoil(other)
        assert store["a"] == plain


def test_g3_threads_that_change_what_they_get_disturb_nobody(open_store: Opener) -> None:
    """G3: threads update, read and spoil one session and its entries at random; each sees whole, sound entries."""
    store = open_store(durability="process")
    store.put("a", ENTRY | {"log": []})
    wrong: list[str] = []

    def check(entry: Entry) -> None:
        if any(entry[name] != ENTRY[name] for name in ("skills", "origin", "large")):
            wrong.append("somebody else's change")
        if entry["n"] != len(entry["log"]):
            wrong.append("half a change")

    def work(number: int) -> None:
        rng = generator(f"threads/{number}")

        def change(entry: Entry) -> Entry | None:
            if rng.random() < 0.5:
                check(entry)
            if rng.random() < 0.3:
                spoil(entry)
                return None
            entry["n"] += 1
            entry["log"].append([number])
            return entry if rng.random() < 0.5 else {**entry}

        for _ in range(40):
            entry = store["a"] if rng.random() < 0.3 else store.update("a", change)
            check(entry)
            spoil(entry)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    check(store["a"])
    assert wrong == []
