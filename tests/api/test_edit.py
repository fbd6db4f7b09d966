"""The whole store as a mapping, changed as one commit."""

from __future__ import annotations

from typing import Any

import pytest
from support.factories import Opener

from sessiondir import ConflictError, InvalidEntry, InvalidKey


class Trouble(Exception):
    """What a block raises."""


@pytest.fixture
def store(open_store: Opener) -> Any:
    """A store with sessions "a" and "b"."""
    store = open_store()
    store.put("a", {"n": 1, "x": [1]})
    store.put("b", {"n": 2})
    return store


def test_g1_the_differences_are_one_commit(store: Any) -> None:
    """G1: whatever the block changed is one commit, and it holds the differences only."""
    before = store.version
    with store.edit() as sessions:
        sessions["a"]["x"].append(2)
        sessions["c"] = {"n": 3}
        del sessions["b"]
    assert store.version == before + 1
    assert dict(store.snapshot()) == {"a": {"n": 1, "x": [1, 2]}, "c": {"n": 3}}
    found = {change.key: (change.kind, change.fields) for change in store.changes(before)}
    assert found == {"a": ("patch", ("x",)), "b": ("delete", ()), "c": ("put", ("n",))}


def test_changing_nothing_is_no_commit(store: Any) -> None:
    """A block that reads everything and assigns equal entries commits nothing."""
    before = store.version
    with store.edit() as sessions:
        for key in sessions:
            sessions[key] = dict(sessions[key])
    assert store.version == before


def test_g1_an_exception_changes_nothing(store: Any) -> None:
    """G1: an exception in the block is passed on and nothing is committed."""
    with pytest.raises(Trouble), store.edit() as sessions:
        sessions["a"]["n"] = 10
        raise Trouble
    with pytest.raises(Trouble):
        store.edit(_raise)
    assert store["a"] == {"n": 1, "x": [1]}


def _raise(sessions: Any) -> None:
    sessions["a"]["n"] = 10
    raise Trouble


def test_the_mapping_shows_its_own_changes(store: Any) -> None:
    """Inside the block, iteration, count and membership follow what was changed."""
    with store.edit() as sessions:
        assert sorted(sessions) == ["a", "b"]
        assert sessions.pop("a") == {"n": 1, "x": [1]}
        sessions["c"] = {}
        assert sorted(sessions) == ["b", "c"]
        assert len(sessions) == 2
        assert ("a" in sessions, "c" in sessions, 5 in sessions) == (False, True, False)
        assert sessions.get(" ") is None
        with pytest.raises(KeyError):
            sessions["a"]
        with pytest.raises(InvalidKey):
            sessions[" "] = {}
    assert sorted(store) == ["b", "c"]


def test_sessions_that_were_not_looked_at_go_their_own_way(store: Any, open_store: Opener) -> None:
    """Sessions that others changed or created meanwhile are neither undone nor a conflict."""
    other = open_store.elsewhere()
    with store.edit() as sessions:
        other.put("b", {"n": 20})
        other.put("c", {"n": 30})
        assert sessions["a"] == {"n": 1, "x": [1]}
        sessions["d"] = {"n": 4}
    assert dict(store.snapshot()) == {"a": {"n": 1, "x": [1]}, "b": {"n": 20}, "c": {"n": 30}, "d": {"n": 4}}


@pytest.mark.parametrize("how", ["changed", "read", "deleted by the other"])
def test_g3_a_session_that_moved_is_a_conflict(store: Any, open_store: Opener, how: str) -> None:
    """G3: if a session that the block changed or read moved meanwhile, nothing is committed."""
    other = open_store.elsewhere()
    with pytest.raises(ConflictError) as caught, store.edit() as sessions:
        sessions["new"] = {"copy": sessions["a"]["n"]}
        if how == "changed":
            sessions["a"]["n"] = 5
        if how.startswith("deleted"):
            other.delete("a")
        else:
            other.patch("a", {"n": 7})
    assert caught.value.session == "a"
    assert "new" not in store
    assert store.get("a") == (None if how.startswith("deleted") else {"n": 7, "x": [1]})


def test_g3_a_session_created_twice_is_a_conflict(store: Any, open_store: Opener) -> None:
    """G3: creating a session that someone else created meanwhile is a conflict."""
    other = open_store.elsewhere()
    with pytest.raises(ConflictError) as caught, store.edit() as sessions:
        sessions["new"] = {"by": 1}
        other.put("new", {"by": 2})
    assert caught.value.session == "new"
    assert store["new"] == {"by": 2}


@pytest.mark.parametrize("change", ["create", "delete"])
def test_g3_a_phantom_is_a_conflict_when_the_store_was_iterated(
    store: Any, open_store: Opener, change: str
) -> None:
    """G3: a block that looked at which sessions there are conflicts with a new or a vanished one."""
    other = open_store.elsewhere()
    with pytest.raises(ConflictError), store.edit() as sessions:
        count = len(sessions)
        if change == "create":
            other.put("phantom", {"n": 9})
        else:
            other.delete("b")
        sessions["total"] = {"count": count}
    assert "total" not in store


def test_g3_a_phantom_counts_even_when_the_journal_was_replaced(open_store: Opener) -> None:
    """G3: a phantom is found also if the commits since then are no longer in the journal."""
    store = open_store()
    other = open_store.elsewhere()
    store.put("a", {"n": 1})
    with pytest.raises(ConflictError), store.edit() as sessions:
        sessions["total"] = {"count": len(sessions)}
        other.put("phantom", {"big": "x" * 300_000})
        other.close()  # the last handle of a process starts a new journal when this one is long
    assert "total" not in store


def test_g5_the_block_reads_one_moment(store: Any, open_store: Opener) -> None:
    """G5: what a block reads is the store as it was when the block began, whatever came since."""
    other = open_store.elsewhere()
    with store.edit() as sessions:
        other.put("a", {"n": 10})
        other.put("c", {"n": 30})
        other.delete("b")
        assert dict(sessions) == {"a": {"n": 1, "x": [1]}, "b": {"n": 2}}


def test_changes_of_other_sessions_are_no_conflict(store: Any, open_store: Opener) -> None:
    """A block conflicts only over what it looked at."""
    other = open_store.elsewhere()
    with store.edit() as sessions:
        sessions["a"]["n"] = 5
        other.put("b", {"n": 7})
    assert (store["a"]["n"], store["b"]["n"]) == (5, 7)


def test_g3_edit_of_a_function_runs_again_until_it_fits(store: Any, open_store: Opener) -> None:
    """G3: edit(fn) calls fn again with fresh sessions after a conflict, and returns its result."""
    other = open_store.elsewhere()
    seen = []

    def total(sessions: Any) -> int:
        found = sum(entry["n"] for key, entry in sessions.items() if key != "total")
        seen.append(found)
        if len(seen) == 1:
            other.put("c", {"n": 10})
        sessions["total"] = {"n": found}
        return found

    assert store.edit(total) == 13
    assert seen == [3, 13]
    assert store["total"] == {"n": 13}


def test_edit_gives_up_when_it_never_fits(store: Any, open_store: Opener) -> None:
    """A function that is overtaken each time ends with ConflictError instead of running for ever."""
    other = open_store.elsewhere(durability="process")

    def overtaken(sessions: Any) -> None:
        sessions["a"]["n"] += 1
        other.edit(lambda inner: inner["a"].update(n=inner["a"]["n"] + 100))

    with pytest.raises(ConflictError) as caught:
        store.edit(overtaken)
    assert caught.value.session == "a"


def test_an_impossible_entry_changes_nothing(store: Any) -> None:
    """An entry that is no JSON object makes the whole edit fail."""
    with pytest.raises(InvalidEntry), store.edit() as sessions:
        sessions["b"] = {"n": 20}
        sessions["a"]["n"] = {1, 2}
    assert store["b"] == {"n": 2}


def test_replace_makes_the_store_hold_exactly_the_mapping(store: Any) -> None:
    """Replace adds, changes and removes, as one commit of the differences."""
    before = store.version
    assert store.replace({"b": {"n": 2}, "c": {"n": 3}}) == before + 1
    assert dict(store.snapshot()) == {"b": {"n": 2}, "c": {"n": 3}}
    assert sorted(change.key for change in store.changes(before)) == ["a", "c"]


def test_replace_with_the_same_is_no_commit(store: Any) -> None:
    """Replacing the store by what it holds commits nothing."""
    before = store.version
    assert store.replace(dict(store.snapshot())) == before
    assert store.replace({}) == before + 1
    assert len(store) == 0


def test_replace_with_an_impossible_entry_changes_nothing(store: Any) -> None:
    """A mapping with one bad key or entry is refused as a whole."""
    with pytest.raises(InvalidEntry):
        store.replace({"a": {"n": 10}, "b": []})
    with pytest.raises(InvalidKey):
        store.replace({"a": {"n": 10}, "": {}})
    assert dict(store.snapshot()) == {"a": {"n": 1, "x": [1]}, "b": {"n": 2}}
