"""G2: a failed sync is final (F7)."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from typing import Any

import pytest
from harness.story import BASE, A, B, at_rest, contents, errors_of, open_on
from harness.watched import QuickFs
from support.seams import RuledFileSystem

from sessiondir import SessionStore
from sessiondir.errors import DurabilityUnknown, StoreError
from sessiondir.model import Limits
from sessiondir.testing import FailingFileSystem


def _fdatasync(kind: str, args: tuple[Any, ...]) -> bool:
    return kind == "fdatasync"


def _transaction(store: SessionStore) -> None:
    with store.transaction(A) as txn:
        txn[A] = {"n": 1}


_WRITES: dict[str, Callable[[SessionStore], object]] = {
    "put": lambda store: store.put(A, {"n": 1}),
    "patch": lambda store: store.patch(A, {"n": 1}),
    "update": lambda store: store.update(A, lambda entry: {"n": 1}),
    "delete": lambda store: store.delete(A),
    "edit": lambda store: store.edit(lambda sessions: sessions.pop(A)),
    "replace": lambda store: store.replace({}),
    "transaction": _transaction,
    "post": lambda store: store.post([A, "nobody"], {"n": 1}),
}


_REFUSED: tuple[Callable[[SessionStore], object], ...] = (
    lambda store: store.put(B, {"n": 8}),
    lambda store: store.patch(B, {"n": 8}),
    lambda store: store.update(B, lambda entry: {"n": 8}),
    lambda store: store.delete(B),
    lambda store: store.transaction(B),
    lambda store: store.edit(lambda sessions: sessions.update({B: {"n": 8}})),
    lambda store: store.replace({B: {"n": 8}}),
    lambda store: store.post(B, {"n": 8}),
    lambda store: store.lease(B, "run"),
    lambda store: store.flush(),
)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("name", _WRITES)
def test_a_failed_sync_stops_the_handle_until_the_store_is_opened_again(
    store_path: str, name: str, number: int
) -> None:
    """G2: the call raises DurabilityUnknown, all further writes are refused, reads go on, a new handle works."""
    at_rest(store_path)
    fs = FailingFileSystem()
    store = open_on(fs, store_path)
    fs.arm(1, number, kinds=_fdatasync)
    with pytest.raises(DurabilityUnknown) as caught:
        _WRITES[name](store)
    assert caught.value.errno == number
    fs.disarm()
    after = contents(store)
    for write in _REFUSED:
        with pytest.raises(DurabilityUnknown):
            write(store)
    assert contents(store) == after, "a refused write changed something"
    with open_on(fs, store_path) as again:
        assert contents(again) == after
        again.put("again", {"n": 1})
        assert store.get("again") == {"n": 1}, "the old handle still reads"
    store.close()
    assert not fs.open_fds
    with open_on(QuickFs(), store_path) as reopened:
        assert contents(reopened) == after | {"again": {"n": 1}}
    assert not errors_of(store_path)


def test_a_failed_sync_is_never_tried_again(store_path: str) -> None:
    """G2: the system may report a failure once and then lie; the handle makes no second attempt."""
    at_rest(store_path)
    fs = FailingFileSystem()
    with open_on(fs, store_path) as store:
        fs.arm(1, errno.EIO, kinds=_fdatasync)
        with pytest.raises(DurabilityUnknown):
            store.put(A, {"n": 1})
        seen = fs.calls.count("fdatasync")
        with pytest.raises(DurabilityUnknown):
            store.put(A, {"n": 2})
    assert fs.calls.count("fdatasync") == seen


def test_other_handles_of_the_process_refuse_too(store_path: str) -> None:
    """G2: handles that share the journal share its fate."""
    at_rest(store_path)
    fs = FailingFileSystem()
    with open_on(fs, store_path) as first, open_on(fs, store_path) as second:
        fs.arm(1, errno.EIO, kinds=_fdatasync)
        with pytest.raises(DurabilityUnknown):
            first.put(A, {"n": 1})
        fs.disarm()
        with pytest.raises(DurabilityUnknown):
            second.put(A, {"n": 2})
        assert second.get(A) == {"n": 1}


def test_g2_who_waits_for_a_sync_hears_of_its_failure(store_path: str) -> None:
    """G2: commits that wait while a sync fails are not acknowledged by the next one, which would succeed."""
    at_rest(store_path)
    appended = threading.Event()
    failures = [OSError(errno.EIO, "failed once")]

    def fail_once(name: str, args: tuple[Any, ...]) -> None:
        if name == "fdatasync" and failures:
            appended.wait()
            raise failures.pop()

    errors: list[StoreError | None] = []
    fs = RuledFileSystem(fail_once)
    with SessionStore.open(store_path, fs=fs, checkpoint_interval=3600) as store:
        before = store.version
        writes = [lambda key=key: errors.append(_error_of(lambda: store.put(key, {"n": 1}))) for key in (A, B)]
        threads = [threading.Thread(target=write) for write in writes]
        for thread in threads:
            thread.start()
        while store.version < before + 2:
            pass  # the suite's time-out is the bound
        appended.set()
        for thread in threads:
            thread.join()
    assert [type(error) for error in errors] == [DurabilityUnknown, DurabilityUnknown]
    with open_on(QuickFs(), store_path) as again:
        assert contents(again) == BASE | {A: {"n": 1}, B: {"n": 1}}


def _error_of(call: Callable[[], object]) -> StoreError | None:
    try:
        call()
    except StoreError as exc:
        return exc
    return None


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_sync_that_fails_while_a_journal_is_replaced(store_path: str, nth: int) -> None:
    """G2: whichever sync of a journal fails, what was acknowledged is there and the next handle goes on."""
    at_rest(store_path)
    fs = FailingFileSystem()
    with open_on(fs, store_path, limits=Limits(journal_bytes=1), durability="process") as store:
        store.patch(A, {"n": 1})
        fs.arm(nth, errno.EIO, kinds=_fdatasync)
        error = _error_of(store.flush)
        failed, refused = fs.failed, False
        fs.disarm()
        refused = isinstance(_error_of(lambda: store.put("after", {"n": 1})), DurabilityUnknown)
    assert refused == bool(failed), f"{failed} failed, flush gave {error!r}, the next write was refused: {refused}"
    expected = BASE | {A: BASE[A] | {"n": 1}} | ({} if refused else {"after": {"n": 1}})
    with open_on(QuickFs(), store_path) as again:
        assert contents(again) == expected
        again.put("again", {"n": 1})
    assert not errors_of(store_path)
