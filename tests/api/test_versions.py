"""Versions: of the store, of a session, and compare-and-set with them."""

from __future__ import annotations

import pytest
from support.factories import Opener

from sessiondir import ConflictError


def test_every_commit_has_the_next_number(open_store: Opener) -> None:
    """The store's version grows by one with each commit, and a change of nothing is no commit."""
    store = open_store()
    assert store.version == 0
    assert store.put("a", {"n": 1}) == 1
    assert store.put("b", {"n": 1}) == 2
    store.patch("a", {"n": 2})
    store.delete("b")
    assert store.version == 4
    store.put("a", {"n": 2})
    store.delete("b")
    assert store.version == 4


def test_a_session_has_the_version_of_its_last_change(open_store: Opener) -> None:
    """version_of is the commit that last changed the session, also for a later handle."""
    store = open_store()
    store.put("a", {"n": 1})
    store.put("b", {"n": 1})
    assert (store.version_of("a"), store.version_of("b")) == (1, 2)
    store.close()
    later = open_store()
    assert (later.version, later.version_of("a"), later.version_of("b")) == (2, 1, 2)


def test_an_equal_put_returns_the_version_that_stands(open_store: Opener) -> None:
    """Putting an equal entry commits nothing and returns the session's version."""
    store = open_store()
    store.put("a", {"n": 1, "l": [{"x": 1, "y": 2}]})
    store.put("b", {})
    assert store.put("a", {"l": [{"y": 2, "x": 1}], "n": 1}) == 1
    assert store.version == 2


def test_g3_put_with_the_right_version_is_committed(open_store: Opener) -> None:
    """G3: compare-and-set goes through when the version is the expected one."""
    store = open_store()
    first = store.put("a", {"n": 1}, if_version=0)
    second = store.put("a", {"n": 2}, if_version=first)
    assert store["a"] == {"n": 2}
    assert store.delete("a", if_version=second) is True


@pytest.mark.parametrize("stored", [True, False], ids=["there", "missing"])
@pytest.mark.parametrize("change", ["put", "delete"])
def test_g3_another_version_is_a_conflict(open_store: Opener, stored: bool, change: str) -> None:
    """G3: another version raises ConflictError with both versions, and nothing is committed."""
    store = open_store()
    store.put("z", {})
    actual = store.put("a", {"n": 1}) if stored else 0
    before = store.version
    with pytest.raises(ConflictError) as caught:
        if change == "put":
            store.put("a", {"n": 2}, if_version=7)
        else:
            store.delete("a", if_version=7)
    assert (caught.value.session, caught.value.expected, caught.value.actual) == ("a", 7, actual)
    assert store.version == before
    assert store.get("a") == ({"n": 1} if stored else None)


def test_g3_if_version_zero_means_must_not_exist(open_store: Opener) -> None:
    """G3: only one of two creators with if_version=0 succeeds."""
    store, other = open_store(), open_store.elsewhere()
    store.put("a", {"by": 1}, if_version=0)
    with pytest.raises(ConflictError) as caught:
        other.put("a", {"by": 2}, if_version=0)
    assert (caught.value.expected, caught.value.actual) == (0, 1)
    assert other["a"] == {"by": 1}


def test_a_conflict_is_found_even_if_the_entry_would_be_equal(open_store: Opener) -> None:
    """The version decides, not the value: an equal entry with a wrong version is a conflict."""
    store = open_store()
    store.put("a", {"n": 1})
    with pytest.raises(ConflictError):
        store.put("a", {"n": 1}, if_version=9)


def test_a_conflict_on_a_store_that_does_not_exist_creates_nothing(open_store: Opener) -> None:
    """Compare-and-set against a missing store is a conflict and leaves it missing."""
    store = open_store()
    with pytest.raises(ConflictError):
        store.put("a", {}, if_version=3)
    assert store.version == 0
    assert store.keys() == []


def test_versions_of_a_recreated_session_go_on(open_store: Opener) -> None:
    """A session that was deleted and created again never gets an old version back."""
    store = open_store()
    first = store.put("a", {"n": 1})
    store.delete("a")
    assert store.put("a", {"n": 1}) > first
    with pytest.raises(ConflictError):
        store.put("a", {"n": 2}, if_version=first)


def test_g6_a_commit_elsewhere_is_seen_by_the_next_read(open_store: Opener) -> None:
    """G6: reads of another process see a commit as soon as it was acknowledged, cached or not."""
    store, other = open_store(), open_store.elsewhere()
    for number in range(20):
        writer, reader = (store, other) if number % 2 else (other, store)
        version = writer.put("a", {"n": number})
        assert reader["a"] == {"n": number}
        assert reader.version_of("a") == reader.version == version
        assert len(reader) == 1
