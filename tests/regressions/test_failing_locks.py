"""G1, G3, G7: locks that the system refuses to take or to release."""

from __future__ import annotations

import errno
import itertools
import logging
from collections.abc import Callable
from fcntl import LOCK_UN
from typing import Any

import pytest
from harness.story import open_on
from harness.watched import QuickFs
from support.seams import RuledFileSystem

from sessiondir import Limits, SessionStore, StoreError, layout
from sessiondir.fs import range_request


def _transaction(store: SessionStore) -> None:
    with store.transaction("k", "other") as txn:
        txn["k"] = {"n": 2}


WRITES: dict[str, Callable[[SessionStore], object]] = {
    "put": lambda store: store.put("k", {"n": 2}),
    "patch": lambda store: store.patch("k", {"n": 2}),
    "update": lambda store: store.update("k", lambda entry: {"n": 2}),
    "delete": lambda store: store.delete("k"),
    "transaction": _transaction,
    "replace": lambda store: store.replace({"k": {"n": 2}}),
}


@pytest.mark.parametrize(
    ("name", "call"),
    # A whole-store edit holds no session, so it asks for no lock on a byte.
    [one for one in itertools.product(WRITES, ("flock", "fcntl", "pread")) if one != ("replace", "fcntl")],
)
def test_g1_what_the_system_refuses_is_a_store_error_and_changes_nothing(
    store_path: str, name: str, call: str
) -> None:
    """No bare ``OSError`` leaves a call, nothing was committed, and the handle works again afterwards."""
    fs = RuledFileSystem()
    with open_on(fs, store_path, durability="process") as store:
        store.put("k", {"n": 1})
        rule = fs.fail(call, errno.EIO)
        with pytest.raises(StoreError):
            WRITES[name](store)
        fs.mend(rule)
        assert store["k"] == {"n": 1}
        assert store.version == 1
        WRITES[name](store)
        assert store.get("k") == (None if name == "delete" else {"n": 2})
        with open_on(QuickFs(), store_path, lock_timeout=0) as other:
            other.put("k", {"n": 3})


@pytest.mark.parametrize("call", ["flush", "close"])
def test_g1_a_checkpoint_whose_lock_the_system_refuses_is_a_store_error(store_path: str, call: str) -> None:
    """The commits stand in the journal; the error tells that the files are not level."""
    fs = RuledFileSystem()
    store = open_on(fs, store_path, durability="process")
    store.put("k", {"n": 1})
    rule = fs.fail("fcntl", errno.ENOLCK)
    with pytest.raises(StoreError):
        getattr(store, call)()
    fs.mend(rule)
    if call == "flush":
        store.flush()
        store.close()
    with open_on(QuickFs(), store_path) as other:
        assert other["k"] == {"n": 1}


def test_g7_a_commit_lock_that_cannot_be_released_is_told_and_the_commit_stands(
    store_path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Threads of this process go on; other processes get the lock with the next release that succeeds."""
    caplog.set_level(logging.ERROR)
    fs = RuledFileSystem()
    with open_on(fs, store_path, durability="process") as store:
        store.put("k", {"n": 1})
        rule = fs.fail("flock", errno.EIO, lambda _fd, operation: operation == LOCK_UN)
        assert store.put("k", {"n": 2}) == 2
        assert store.put("k", {"n": 3}) == 3
        assert len(caplog.records) == 2
        assert "commit lock could not be released" in caplog.text
        fs.mend(rule)
        assert store.put("k", {"n": 4}) == 4
        with open_on(QuickFs(), store_path, lock_timeout=0) as other:
            assert other.put("k", {"n": 5}) == 5


def test_g7_a_checkpoint_lock_that_cannot_be_released_is_told_and_the_files_are_level(
    store_path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The checkpoint counts; this process can do the next one, and then others can."""
    caplog.set_level(logging.ERROR)
    unlock = range_request(layout.CHECKPOINT_LOCK_AT, unlock=True)

    def is_release(_fd: int, _command: int, request: Any) -> bool:
        return bool(request == unlock)

    fs = RuledFileSystem()
    with open_on(fs, store_path, durability="process", limits=Limits(journal_bytes=1 << 20)) as store:
        store.put("k", {"n": 1})
        rule = fs.fail("fcntl", errno.EIO, is_release)
        store.flush()
        store.put("k", {"n": 2})
        store.flush()
        assert len(caplog.records) == 2
        assert "store-wide lock could not be released" in caplog.text
        with open_on(QuickFs(), store_path, lock_timeout=0) as other:
            core = other._core
            other.put("j", {})
            assert core is not None
            assert core.checkpoint(0) is False, "it is held"
            fs.mend(rule)
            store.flush()
            assert core.checkpoint(0)
