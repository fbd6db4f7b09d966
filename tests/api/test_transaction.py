"""Several sessions in one commit."""

from __future__ import annotations

from typing import Any

import pytest
from support.factories import Opener

from sessiondir import ConflictError, InvalidEntry, InvalidKey, InvalidOption, LockTimeout


class Trouble(Exception):
    """What a block raises."""


@pytest.fixture
def store(open_store: Opener) -> Any:
    """A store with sessions "a" and "b"."""
    store = open_store()
    store.put("a", {"n": 1, "x": [1]})
    store.put("b", {"n": 2})
    return store


def test_g1_all_changes_are_one_commit(store: Any, open_store: Opener) -> None:
    """G1: a transaction that changes, creates and deletes is one version with all of it."""
    before = store.version
    with store.transaction("a", "b", "c") as txn:
        txn["a"] = {**txn["a"], "n": 10}
        del txn["b"]
        txn["c"] = {"n": 3}
    assert store.version == txn.version == before + 1
    other = open_store.elsewhere()
    assert dict(other.snapshot()) == {"a": {"n": 10, "x": [1]}, "c": {"n": 3}}
    assert {change.version for change in other.changes(before)} == {before + 1}


def test_g1_nothing_is_seen_before_the_block_ends(store: Any, open_store: Opener) -> None:
    """G1: assignments show inside the block and nowhere else until it is left."""
    other = open_store.elsewhere()
    with store.transaction("a", "c") as txn:
        txn["a"] = {"n": 10}
        txn["c"] = {"n": 3}
        assert txn["a"] == {"n": 10}
        assert store["a"] == other["a"] == {"n": 1, "x": [1]}
        assert "c" not in store
    assert other["a"] == {"n": 10}


def test_g1_an_exception_changes_nothing(store: Any) -> None:
    """G1: an exception in the block is passed on, nothing is committed, and the sessions are free."""
    before = store.version
    with pytest.raises(Trouble), store.transaction("a", "b") as txn:
        txn["a"] = {"n": 10}
        del txn["b"]
        raise Trouble
    assert store.version == before
    assert store["b"] == {"n": 2}
    store.put("a", {"n": 5})


def test_changing_nothing_is_no_commit(store: Any) -> None:
    """A block that only reads, or assigns equal entries, commits nothing."""
    before = store.version
    with store.transaction("a", "b", "c") as txn:
        txn["a"] = {"x": [1], "n": 1}
        assert txn.get("c") is None
    assert store.version == before
    assert txn.version is None


def test_a_session_outside_the_transaction_is_refused(store: Any) -> None:
    """Reading or changing a session that was not named is an error that names it."""
    with store.transaction("a") as txn:
        for call in (
            lambda: txn["b"],
            lambda: txn.__setitem__("b", {}),
            lambda: txn.__delitem__("b"),
            lambda: "b" in txn,
        ):
            with pytest.raises(InvalidKey) as caught:
                call()
            assert caught.value.session == "b"
    assert store["b"] == {"n": 2}


def test_reading_gives_copies(store: Any) -> None:
    """Changing what the transaction returned changes nothing; only assignment does."""
    with store.transaction("a", "b") as txn:
        txn["a"]["x"].append(2)
        mine = {"l": [1]}
        txn["b"] = mine
        txn["b"]["l"].append(2)
        assert txn["b"] == {"l": [1]}
    assert store["a"] == {"n": 1, "x": [1]}
    assert store["b"] == {"l": [1]}
    mine["l"].append(3)
    assert store["b"] == {"l": [1]}


def test_it_is_a_mapping_of_what_is_there(store: Any) -> None:
    """Iteration, count and membership tell of the sessions as the block has made them."""
    with store.transaction("a", "b", "c") as txn:
        assert sorted(txn) == ["a", "b"]
        del txn["a"]
        txn["c"] = {}
        assert sorted(txn) == ["b", "c"]
        assert len(txn) == 2
        assert ("a" in txn, "c" in txn) == (False, True)
        with pytest.raises(KeyError):
            txn["a"]
        with pytest.raises(KeyError):
            del txn["a"]


def test_deleting_and_assigning_again_replaces(store: Any) -> None:
    """The last thing said about a session counts."""
    with store.transaction("a", "b") as txn:
        del txn["a"]
        txn["a"] = {"fresh": True}
        txn["b"] = {"n": 9}
        del txn["b"]
    assert store["a"] == {"fresh": True}
    assert "b" not in store


@pytest.mark.parametrize("entry", [[1], None, {"x": float("nan")}, {"x": b"1"}])
def test_an_impossible_entry_changes_nothing(store: Any, entry: Any) -> None:
    """An entry that is no JSON object is refused, and the whole transaction is not committed."""
    with pytest.raises(InvalidEntry), store.transaction("a", "b") as txn:
        txn["b"] = {"n": 99}
        txn["a"] = entry
        txn["a"]
    assert store["b"] == {"n": 2}


def test_a_transaction_needs_keys(store: Any) -> None:
    """A transaction over nothing is refused, and so is a key that no session can have."""
    with pytest.raises(InvalidOption):
        store.transaction()
    with pytest.raises(InvalidKey):
        store.transaction("a", " ")


def test_the_block_can_be_entered_once(store: Any) -> None:
    """A transaction that was left is used up: entering it again is refused and holds nothing."""
    txn = store.transaction("a")
    with txn:
        txn["a"] = {"n": 5}
    with pytest.raises(RuntimeError):
        txn["a"]
    with pytest.raises(RuntimeError), txn:
        pass
    store.put("a", {"n": 6})


def test_two_spellings_are_one_session(open_store: Opener) -> None:
    """Under the lowercase rule all spellings of a key name one session of the transaction."""
    store = open_store(keys="lowercase")
    with store.transaction("Main", "MAIN ") as txn:
        txn["Main"] = {"n": 1}
        assert txn["MAIN "] == txn["main"] == {"n": 1}
        assert len(txn) == 1
    assert store.keys() == ["main"]


def test_g3_its_sessions_wait_and_others_do_not(store: Any, open_store: Opener) -> None:
    """G3, G4: while a block runs its sessions are held against other processes, and no others are."""
    other = open_store.elsewhere(lock_timeout=0)
    with store.transaction("a", "b") as txn:
        for key in ("a", "b"):
            with pytest.raises(LockTimeout):
                other.put(key, {"n": 0})
        other.put("c", {"n": 3})
        txn["a"] = {"n": 10}
    other.put("a", {"n": 11})
    assert store["a"] == {"n": 11}


def test_g3_a_whole_store_edit_meanwhile_is_a_conflict(store: Any, open_store: Opener) -> None:
    """G3: if a session moved although it was held, leaving the block raises and commits nothing."""
    other = open_store.elsewhere()
    with pytest.raises(ConflictError) as caught, store.transaction("a", "b") as txn:
        txn["b"] = {"n": 20}
        txn["a"] = {"n": txn["a"]["n"] + 1}
        other.edit(lambda sessions: sessions["a"].update(n=7))
    assert caught.value.session == "a"
    assert store["a"] == {"n": 7, "x": [1]}
    assert store["b"] == {"n": 2}


def test_g3_a_session_that_was_only_read_counts_too(store: Any, open_store: Opener) -> None:
    """G3: a commit also rests on the sessions of the transaction that it only read."""
    other = open_store.elsewhere()
    with pytest.raises(ConflictError), store.transaction("a", "b") as txn:
        txn["b"] = {"n": txn["a"]["n"]}
        other.edit(lambda sessions: sessions["a"].update(n=7))
    assert store["b"] == {"n": 2}


def test_closing_the_store_inside_the_block_commits_nothing(store: Any, open_store: Opener) -> None:
    """A transaction whose handle was closed meanwhile cannot commit, and says that it is closed."""
    with pytest.raises(ValueError, match="closed"), store.transaction("a") as txn:
        txn["a"] = {"n": 10}
        store.close()
    assert open_store()["a"] == {"n": 1, "x": [1]}
