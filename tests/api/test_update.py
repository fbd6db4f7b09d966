"""Read-modify-write of one session."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from support.factories import Opener
from support.processes import Peer

from sessiondir import InvalidEntry, ReentrantUpdate, SessionStore


class Trouble(Exception):
    """What a callback raises."""


def test_update_commits_what_the_callback_returns(open_store: Opener) -> None:
    """The callback's result is stored and returned."""
    store = open_store()
    store.put("a", {"n": 1, "x": [1]})
    assert store.update("a", lambda entry: {**entry, "n": entry["n"] + 1}) == {"n": 2, "x": [1]}
    assert store["a"] == {"n": 2, "x": [1]}


def test_none_means_no_change(open_store: Opener) -> None:
    """A callback that returns None commits nothing, whatever it did to its copy."""
    store = open_store()
    store.put("a", {"n": 1, "x": [1]})
    before = store.version

    def spoil(entry: dict[str, Any]) -> None:
        entry["x"].append(2)
        entry.clear()

    assert store.update("a", spoil) == {"n": 1, "x": [1]}
    assert store["a"] == {"n": 1, "x": [1]}
    assert store.version == before


def test_an_equal_result_is_no_commit(open_store: Opener) -> None:
    """A callback that returns an equal entry commits nothing."""
    store = open_store()
    store.put("a", {"n": 1, "x": {"b": 1, "c": 2}})
    before = store.version
    assert store.update("a", lambda entry: {"x": {"c": 2, "b": 1}, "n": 1}) == {"n": 1, "x": {"b": 1, "c": 2}}
    assert store.version == before


def test_changing_the_copy_in_place_and_returning_it_is_a_change(open_store: Opener) -> None:
    """A callback may change what it was given and return it, at any depth."""
    store = open_store()
    store.put("a", {"x": {"y": [1]}})

    def change(entry: dict[str, Any]) -> dict[str, Any]:
        entry["x"]["y"].append(2)
        return entry

    assert store.update("a", change) == {"x": {"y": [1, 2]}}
    assert store["a"] == {"x": {"y": [1, 2]}}


def test_g1_an_exception_changes_nothing_and_frees_the_session(open_store: Opener) -> None:
    """G1: what the callback raises is passed on; nothing was changed and the session is free."""
    store = open_store()
    store.put("a", {"x": [1]})
    before = store.version

    def fail(entry: dict[str, Any]) -> dict[str, Any]:
        entry["x"].append(2)
        raise Trouble

    with pytest.raises(Trouble):
        store.update("a", fail)
    assert store["a"] == {"x": [1]}
    assert store.version == before
    assert open_store.elsewhere(lock_timeout=0).update("a", lambda entry: {"n": 1}) == {"n": 1}


@pytest.mark.parametrize("result", [[], "text", 5, {"x": {1, 2}}, {"x": float("nan")}])
def test_an_impossible_result_changes_nothing(open_store: Opener, result: Any) -> None:
    """A result that is no JSON object is refused and nothing was changed."""
    store = open_store()
    store.put("a", {"n": 1})
    with pytest.raises(InvalidEntry):
        store.update("a", lambda entry: result)
    assert store["a"] == {"n": 1}


def test_a_missing_session_is_not_created_unless_asked(open_store: Opener) -> None:
    """Without create the callback of a missing session is not called; with it, it gets {}."""
    store = open_store()
    store.put("z", {})
    calls: list[dict[str, Any]] = []

    def fill(entry: dict[str, Any]) -> dict[str, Any]:
        calls.append(dict(entry))
        return {"n": 1}

    assert store.update("a", fill) is None
    assert calls == []
    assert store.update("a", fill, create=True) == {"n": 1}
    assert calls == [{}]
    assert store["a"] == {"n": 1}


def test_an_empty_result_creates_an_empty_session(open_store: Opener) -> None:
    """With create, returning {} makes a session with an empty entry."""
    store = open_store()
    assert store.update("a", lambda entry: {}, create=True) == {}
    assert "a" in store


def test_the_callback_is_called_once_on_a_new_store(open_store: Opener) -> None:
    """The first update of a store that does not exist yet calls its callback once."""
    calls = []

    def fill(entry: dict[str, Any]) -> dict[str, Any]:
        calls.append(entry)
        return {"n": 1}

    store = open_store()
    assert store.update("a", fill, create=True) == {"n": 1}
    assert len(calls) == 1
    assert store.version == 1


def test_the_returned_entry_is_what_get_returns(open_store: Opener) -> None:
    """Update returns the entry as it is stored, so tuples come back as lists here too."""
    store = open_store()
    store.put("a", {})
    assert store.update("a", lambda entry: {"t": (1, (2, 3))}) == store["a"] == {"t": [1, [2, 3]]}


def test_the_returned_entry_is_the_callers_own(open_store: Opener) -> None:
    """Changing what update returned, or what the callback returned, never reaches the store."""
    store = open_store()
    store.put("a", {})
    mine: dict[str, Any] = {"x": [1]}
    returned = store.update("a", lambda entry: mine)
    mine["x"].append(2)
    returned["x"].append(3)
    assert store["a"] == {"x": [1]}


def _counts(store: SessionStore, times: int) -> None:
    for _ in range(times):
        store.update("a", lambda entry: {"n": entry.get("n", 0) + 1}, create=True)


def test_g3_threads_and_handles_lose_no_update(open_store: Opener) -> None:
    """G3: increments by threads of several handles, alike and apart, are all counted."""
    handles = [open_store(durability="process"), open_store(durability="process")]
    handles += [open_store.elsewhere(durability="process") for _ in range(2)]
    threads = [threading.Thread(target=_counts, args=(handle, 25)) for handle in handles for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert handles[0]["a"] == handles[2]["a"] == {"n": 200}


def test_g3_processes_lose_no_update(open_directory: Opener, store_path: str) -> None:
    """G3: increments by two processes at once are all counted."""
    code = """
        for _ in range(100):
            store.update("a", lambda entry: {"n": entry.get("n", 0) + 1}, create=True)
    """
    with Peer(store_path, durability="process") as one, Peer(store_path, durability="process") as two:
        one.start(code)
        two.start(code)
        assert (one.heard(), two.heard()) == (None, None)
    assert open_directory()["a"] == {"n": 200}


def test_g3_an_update_is_computed_again_when_the_session_moved(open_store: Opener) -> None:
    """G3: an update overtaken by a whole-store edit calls its callback again with the new entry."""
    store, other = open_store(), open_store.elsewhere()
    store.put("a", {"n": 1})
    seen = []

    def overtaken(entry: dict[str, Any]) -> dict[str, Any]:
        seen.append(entry["n"])
        if len(seen) == 1:
            other.edit(lambda sessions: sessions["a"].update(n=10))
        return {"n": entry["n"] + 1}

    assert store.update("a", overtaken) == {"n": 11}
    assert seen == [1, 10]


def test_g4_a_callback_holds_its_own_session_only(open_store: Opener) -> None:
    """G4: while a callback runs, other sessions can be read and changed, by anyone."""
    store, other = open_store(), open_store.elsewhere(lock_timeout=0)
    store.put("a", {"n": 1})

    def busy(entry: dict[str, Any]) -> dict[str, Any]:
        assert other["a"] == {"n": 1}
        other.put("b", {"n": 2})
        store.put("c", {"n": 3})
        assert store["b"] == {"n": 2}
        return {"n": 4}

    store.update("a", busy)
    assert dict(store.snapshot()) == {"a": {"n": 4}, "b": {"n": 2}, "c": {"n": 3}}


def test_update_can_nest_over_different_sessions(open_store: Opener) -> None:
    """A callback may update another session, and even a third one inside."""
    store = open_store()

    def outer(entry: dict[str, Any]) -> dict[str, Any]:
        store.update("b", lambda inner: {"c": store.update("c", lambda last: {"n": 1}, create=True)}, create=True)
        return {"done": True}

    store.put("a", {})
    store.update("a", outer)
    assert dict(store.snapshot()) == {"a": {"done": True}, "b": {"c": {"n": 1}}, "c": {"n": 1}}


def test_reentrancy_is_told_to_threads_apart(open_store: Opener) -> None:
    """Another thread that updates the same session waits; only the own thread is re-entrant."""
    store = open_store()
    store.put("a", {"n": 0})
    thread = threading.Thread(target=store.update, args=("a", lambda entry: {"n": entry["n"] + 1}))

    def outer(entry: dict[str, Any]) -> dict[str, Any]:
        thread.start()
        return {"n": 10}

    store.update("a", outer)
    thread.join()
    assert store["a"] == {"n": 11}
    with pytest.raises(ReentrantUpdate):
        store.update("a", lambda entry: store.update("a", lambda again: {"n": 0}))
    assert store["a"] == {"n": 11}
