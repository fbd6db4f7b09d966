"""Storing, reading and removing single sessions."""

from __future__ import annotations

import os

import pytest
from support.factories import Opener

from sessiondir import InvalidPath, SessionNotFound, StoreNotFound

KEY = "agent:main:telegram:direct:42"
ENTRY = {"sessionId": "s1", "updatedAt": 1767225600000, "label": "Grüße, 世界", "tokens": [1, 2.5, None, True]}


def test_an_entry_reads_back_as_it_was_put(open_store: Opener) -> None:
    """What was put is what get, subscripting and a later handle return."""
    store = open_store()
    store.put(KEY, ENTRY)
    assert store.get(KEY) == store[KEY] == ENTRY
    store.close()
    assert open_store()[KEY] == ENTRY


def test_a_missing_session_is_none_and_an_error_by_subscript(open_store: Opener) -> None:
    """A missing session reads as None, and subscripting raises an error that names it."""
    store = open_store()
    assert store.get(KEY) is None
    assert store.version_of(KEY) is None
    assert store.updated_at(KEY) is None
    with pytest.raises(SessionNotFound) as caught:
        store[KEY]
    assert caught.value.session == KEY
    with pytest.raises(KeyError):
        del store[KEY]


def test_assignment_and_del_are_put_and_delete(open_store: Opener) -> None:
    """The mapping syntax does what put and delete do."""
    store = open_store()
    store[KEY] = ENTRY
    assert store[KEY] == ENTRY
    del store[KEY]
    assert store.get(KEY) is None


def test_put_replaces_the_whole_entry(open_store: Opener) -> None:
    """Fields that the new entry lacks are gone after put."""
    store = open_store()
    store.put(KEY, {"a": 1, "b": {"c": 2}})
    store.put(KEY, {"b": {"d": 3}})
    assert store[KEY] == {"b": {"d": 3}}


def test_delete_tells_whether_the_session_was_there(open_store: Opener) -> None:
    """Delete answers True once, then False, and the session is gone for later handles."""
    store = open_store()
    store.put(KEY, ENTRY)
    assert store.delete(KEY) is True
    assert store.delete(KEY) is False
    assert KEY not in store
    store.close()
    assert KEY not in open_store()


def test_a_deleted_session_can_come_back(open_store: Opener) -> None:
    """A session put again after its deletion holds the new entry alone."""
    store = open_store()
    store.put(KEY, {"old": 1})
    store.delete(KEY)
    store.put(KEY, {"new": 2})
    store.close()
    assert open_store()[KEY] == {"new": 2}


def test_contains_len_and_iteration_agree(open_store: Opener) -> None:
    """Membership, count and iteration tell of the same sessions."""
    store = open_store()
    assert len(store) == 0
    assert list(store) == []
    for number in range(5):
        store.put(f"k{number}", {"n": number})
    store.delete("k3")
    assert sorted(store) == sorted(store.keys()) == ["k0", "k1", "k2", "k4"]
    assert len(store) == 4
    assert "k0" in store
    assert "k3" not in store
    assert 5 not in store


def test_an_empty_entry_is_an_entry(open_store: Opener) -> None:
    """A session whose entry is empty exists."""
    store = open_store()
    store.put(KEY, {})
    assert store.get(KEY) == {}
    assert KEY in store
    store.close()
    assert open_store().get(KEY) == {}


def test_the_order_of_fields_is_kept(open_store: Opener) -> None:
    """An entry's fields come back in the order in which they were stored."""
    store = open_store()
    names = ["z", "a", "m", "10", "9"]
    store.put(KEY, dict.fromkeys(names, 1))
    assert list(store[KEY]) == names
    store.close()
    assert list(open_store()[KEY]) == names


@pytest.mark.parametrize("value", [1, 2.5, 0])
def test_updated_at_is_the_number_in_the_entry(open_store: Opener, value: float) -> None:
    """updated_at returns the entry's own number, whole or not."""
    store = open_store()
    store.put(KEY, {"updatedAt": value})
    assert store.updated_at(KEY) == value


@pytest.mark.parametrize("value", ["2026-01-01", True, None, [1]])
def test_updated_at_that_is_no_number_is_none(open_store: Opener, value: object) -> None:
    """Anything but a number in updatedAt counts as no time."""
    store = open_store()
    store.put(KEY, {"updatedAt": value})
    assert store.updated_at(KEY) is None


def test_opening_creates_nothing(open_store: Opener, store_path: str) -> None:
    """Opening, reading and changes that change nothing leave no trace on disk."""
    store = open_store()
    assert store.get(KEY) is None
    assert store.keys() == []
    assert store.delete(KEY) is False
    assert store.patch(KEY, {"a": 1}) is None
    assert store.update(KEY, lambda entry: {"a": 1}) is None
    assert store.update(KEY, lambda entry: None, create=True) is None
    store.replace({})
    store.flush()
    store.close()
    assert not os.path.exists(store_path)


def test_a_missing_store_can_be_refused(open_store: Opener, store_path: str) -> None:
    """With create=False a missing store is an error that names the path; an existing one opens."""
    with pytest.raises(StoreNotFound) as caught:
        open_store(create=False)
    assert caught.value.path == store_path
    open_store().put(KEY, ENTRY)
    assert open_store(create=False)[KEY] == ENTRY


def test_the_json_path_and_the_directory_name_one_store(open_store: Opener, store_path: str) -> None:
    """NAME.json and NAME.d stand for the same store."""
    open_store().put(KEY, ENTRY)
    assert open_store(store_path.removesuffix(".d") + ".json")[KEY] == ENTRY


def test_stores_side_by_side_share_nothing(open_store: Opener, store_path: str) -> None:
    """Two stores in one directory keep their sessions apart."""
    other = store_path.replace("sessions.d", "others.d")
    open_store().put(KEY, {"n": 1})
    open_store(other).put(KEY, {"n": 2})
    assert open_store()[KEY] == {"n": 1}
    assert open_store(other)[KEY] == {"n": 2}


@pytest.mark.parametrize("name", ["sessions", "sessions.txt", ".d", ".json", ""])
def test_a_path_that_names_no_store_is_refused(open_store: Opener, tmp_path: object, name: str) -> None:
    """A path that is neither NAME.json nor NAME.d is refused before anything is touched."""
    with pytest.raises(InvalidPath):
        open_store(f"{tmp_path}/{name}")


def test_missing_parents_are_created_by_the_first_write(open_store: Opener, tmp_path: object) -> None:
    """A store may lie in directories that do not exist yet."""
    path = f"{tmp_path}/agents/main/sessions.d"
    store = open_store(path)
    store.put(KEY, ENTRY)
    assert open_store(path)[KEY] == ENTRY
    assert os.stat(f"{tmp_path}/agents").st_mode & 0o777 == 0o700
