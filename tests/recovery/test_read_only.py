"""G5, G8: a store on a read-only medium is read fully, and nothing is tried that writes (F8)."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest
from harness.story import LONG_KEY, A, Sessions, at_rest, contents, open_on, running, torn

from sessiondir.errors import ReadOnlyStore
from sessiondir.testing import FailingFileSystem, read_tree
from sessiondir.testing.watching import alters

_BEGINNINGS = (at_rest, running, torn)


def _medium() -> FailingFileSystem:
    """A file system that refuses everything that writes."""
    fs = FailingFileSystem()
    fs.arm(1, errno.EROFS, forever=True, kinds=alters)
    return fs


@pytest.mark.parametrize("beginning", _BEGINNINGS)
def test_read_only_works_fully_and_makes_no_writing_call(
    store_path: str, beginning: Callable[[str], Sessions]
) -> None:
    """G5: with read_only=True every read works on a read-only medium, and no writing call is even tried."""
    expected = beginning(store_path)
    before = read_tree(store_path)
    fs = _medium()
    with open_on(fs, store_path, read_only=True) as store:
        assert contents(store) == expected
        assert {key: store[key] for key in store} == expected
        assert len(store) == len(expected)
        assert A in store
        assert store.updated_at(LONG_KEY) == 4000
        assert store.version >= (store.version_of(A) or 0) > 0
        assert {info.key for info in store.list(limit=100)} == set(expected)
        assert store.snapshot().version == store.version
        assert store.info().sessions == len(expected)
        assert not [finding for finding in store.check() if finding.level == "error"]
        store.changes(since=store.version)
        assert list(store.watch(timeout=0)) == []
        store.flush()
    assert fs.failed == 0, f"{fs.failed_call} was tried"
    assert not fs.altering
    assert not {"flock", "fcntl"} & set(fs.calls), "a reader took a lock"
    assert read_tree(store_path) == before


@pytest.mark.parametrize("beginning", _BEGINNINGS)
def test_reading_through_a_writing_handle_writes_nothing(
    store_path: str, beginning: Callable[[str], Sessions]
) -> None:
    """G5: a handle that may write, but only reads, makes no writing call either."""
    expected = beginning(store_path)
    fs = _medium()
    with open_on(fs, store_path) as store:
        assert contents(store) == expected
        assert store.get(A) == expected[A]
    assert fs.failed == 0, f"{fs.failed_call} was tried"


def test_writing_on_a_read_only_medium_is_a_typed_error(store_path: str) -> None:
    """G8: every write ends in ReadOnlyStore, and reads of the same handle go on."""
    expected = at_rest(store_path)
    with open_on(_medium(), store_path) as store:
        for attempt in (
            lambda: store.put(A, {"n": 1}),
            lambda: store.patch(A, {"n": 1}),
            lambda: store.update(A, lambda entry: {"n": 1}),
            lambda: store.delete(A),
            lambda: store.transaction(A),
            lambda: store.edit(lambda sessions: sessions.pop(A)),
            lambda: store.replace({}),
        ):
            with pytest.raises(ReadOnlyStore):
                attempt()
        assert contents(store) == expected


def test_a_read_only_handle_refuses_to_write(store_path: str) -> None:
    """G8: writing through a read-only handle is ReadOnlyStore and changes nothing, missing store or not."""
    with (
        open_on(FailingFileSystem(), f"{store_path[:-2]}-none.d", read_only=True) as store,
        pytest.raises(ReadOnlyStore),
    ):
        store.put(A, {"n": 1})
    at_rest(store_path)
    before = read_tree(store_path)
    with open_on(FailingFileSystem(), store_path, read_only=True) as store:
        with pytest.raises(ReadOnlyStore):
            store.put(A, {"n": 1})
        with pytest.raises(ReadOnlyStore), store.edit() as sessions:
            sessions[A] = {}
    assert read_tree(store_path) == before
