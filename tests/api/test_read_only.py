"""A read-only handle writes nothing at all (F8)."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any

import pytest
from support.factories import Opener
from support.files import copy_store, listing, make_layout1
from support.seams import Recorder, RuledFileSystem

from sessiondir import ReadOnlyStore, StoreNotFound

WRITES: dict[str, Callable[[Any], Any]] = {
    "put": lambda store: store.put("a", {"n": 9}),
    "patch": lambda store: store.patch("a", {"n": 9}),
    "update": lambda store: store.update("a", lambda entry: {"n": 9}),
    "create": lambda store: store.update("new", lambda entry: {"n": 9}, create=True),
    "delete": lambda store: store.delete("a"),
    "transaction": lambda store: store.transaction("a").__enter__(),
    "edit": lambda store: store.edit().__enter__(),
    "replace": lambda store: store.replace({}),
}


def read_everything(store: Any) -> dict[str, Any]:
    """Use every reading method."""
    list(store.watch(since=store.version, timeout=0))
    store.list(limit=2)
    store.keys()
    store.info()
    store.check()
    store.changes(store.version)
    store.flush()
    return dict(store.snapshot())


def test_reading_leaves_every_byte_and_time_alone(open_directory: Opener, store_path: str) -> None:
    """Opening read-only, reading everything and closing changes no file, name, mode or time."""
    writer = open_directory()
    writer.replace({f"k{n}": {"n": n} for n in range(5)})
    writer.flush()
    writer.patch("k1", {"late": True})  # in the journal only
    copied = copy_store(store_path, store_path.replace("sessions.d", "copy.d"))
    with open(f"{copied}/{next(n for n in os.listdir(copied) if n.startswith('journal-'))}", "r+b") as journal:
        content = journal.read().rstrip(b"\0")
        journal.seek(len(content))
        journal.write(b'{"v":3,"torn')
    before = listing(copied)
    reader = open_directory(copied, read_only=True)
    assert read_everything(reader) == dict(writer.snapshot())
    assert reader["k1"] == {"n": 1, "late": True}
    reader.close()
    assert listing(copied) == before
    open_directory(copied).put("k9", {})  # mends the torn line, so that the store is in order again


@pytest.mark.parametrize("name", WRITES)
def test_writing_is_refused(open_store: Opener, name: str) -> None:
    """Every change through a read-only handle raises ReadOnlyStore and changes nothing."""
    store = open_store()
    store.put("a", {"n": 1})
    reader = open_store(read_only=True)
    with pytest.raises(ReadOnlyStore):
        WRITES[name](reader)
    assert dict(store.snapshot()) == {"a": {"n": 1}}
    assert store.version == 1


def test_a_missing_store_stays_missing(open_directory: Opener, store_path: str) -> None:
    """A read-only handle on a missing store is empty, creates nothing, and may be refused."""
    store = open_directory(read_only=True)
    assert store.snapshot().version == 0
    assert list(store) == []
    with pytest.raises(ReadOnlyStore):
        store.put("a", {})
    with pytest.raises(StoreNotFound):
        open_directory(read_only=True, create=False)
    assert not os.path.exists(store_path)


def test_it_asks_the_system_for_nothing_that_writes_or_locks(open_directory: Opener) -> None:
    """A read-only handle makes no call that could change anything or take a lock, so any medium will do."""
    open_directory().replace({"a": {}, "k" * 200: {}})
    open_directory.close_all()
    recorder = Recorder()

    def opened_for_writing(name: str, args: tuple[Any, ...]) -> None:
        if name == "open" and args[1] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    store = open_directory(read_only=True, fs=RuledFileSystem(recorder, opened_for_writing))
    assert sorted(read_everything(store)) == ["a", "k" * 200]
    store.close()
    assert set(recorder.calls) <= {"open", "close", "fstat", "stat", "pread", "listdir"}


def test_a_reader_follows_a_writer(open_store: Opener) -> None:
    """G5, G6: a read-only handle of another process sees each commit, through rotations as well."""
    writer = open_store()
    writer.put("a", {"n": 0})
    reader = open_store.elsewhere(read_only=True)
    for number in range(10):
        writer.put("a", {"n": number, "x": "y" * 100_000})
        assert reader["a"]["n"] == number
        if number % 5 == 4:
            writer.close()
            writer = open_store()


def test_a_layout_1_store_is_read_as_it_is(open_directory: Opener, store_path: str) -> None:
    """A store that another program wrote can be read without being touched."""
    make_layout1(store_path, {"a": {"n": 1}, "b": {"n": 2}}, version=7)
    before = listing(store_path)
    store = open_directory(read_only=True)
    assert read_everything(store) == {"a": {"n": 1}, "b": {"n": 2}}
    assert (store.version, store.version_of("a")) == (7, 7)
    store.close()
    assert listing(store_path) == before


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_a_medium_that_refuses_writes_says_so(open_directory: Opener, number: int) -> None:
    """If the system refuses to write, the change raises ReadOnlyStore and reading goes on."""
    open_directory().put("a", {"n": 1})
    open_directory.close_all()
    fs = RuledFileSystem()
    fs.fail("open", number, lambda name, flags, *rest: bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)))
    store = open_directory(fs=fs)
    with pytest.raises(ReadOnlyStore) as caught:
        store.put("a", {"n": 2})
    assert caught.value.errno == number
    assert store["a"] == {"n": 1}
