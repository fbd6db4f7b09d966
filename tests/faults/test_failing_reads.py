"""G8: "cannot read" is an error, never "empty" or "missing" (F7)."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import pytest
from harness.powerloss import scratch
from harness.story import (
    LONG_KEY,
    NOBODY,
    A,
    Sessions,
    at_rest,
    contents,
    leased,
    open_on,
    running,
    with_messages,
)  # fmt: skip
from harness.watched import leaked, leave

from sessiondir import SessionStore
from sessiondir.errors import StoreError
from sessiondir.testing import ERRNOS, FailingFileSystem, read_tree


def _served_or_named(store: SessionStore) -> list[str]:
    """The sessions in a snapshot, and those of which it says that they could not be read."""
    snapshot = store.snapshot()
    return sorted({*snapshot, *snapshot.damaged})


_READS: dict[str, Callable[[SessionStore], Any]] = {
    "get": lambda store: store.get(A),
    "get hashed": lambda store: store.get(LONG_KEY),
    "contains": lambda store: A in store,
    "version": lambda store: store.version,
    "version_of": lambda store: store.version_of(A),
    "updated_at": lambda store: store.updated_at(LONG_KEY),
    "keys": lambda store: sorted(store.keys()),
    "len": len,
    "list": lambda store: [info.key for info in store.list(limit=100)],
    "snapshot": _served_or_named,
    "changes": lambda store: store.changes(since=store.version),
    "info": lambda store: store.info().sessions,
    "peek": lambda store: [one.id for one in store.peek(A)],
    "peek at nobody": lambda store: [one.id for one in store.peek(NOBODY)],
    "inboxes": lambda store: [(one.key, one.messages) for one in store.inboxes()],
    "lease_of": lambda store: (found := store.lease_of(A)) and found.owner,
    "leases": lambda store: [one.owner for one in store.leases()],
}


def _not_closing(kind: str, args: tuple[Any, ...]) -> bool:
    return kind != "close"


@pytest.mark.parametrize("beginning", [at_rest, running, with_messages, leased])
@pytest.mark.parametrize("name", _READS)
def test_a_failing_call_in_a_read_is_an_error_or_harmless(name: str, beginning: Callable[[str], Sessions]) -> None:
    """G8: a read gives the right answer or a StoreError, and the same handle gives the right answer afterwards."""
    complaints: list[str] = []
    attempts = 0
    with scratch() as folder:
        path = f"{folder}/sessions.d"
        expected = beginning(path)
        before = read_tree(path)
        with open_on(FailingFileSystem(), path) as store:
            right = _READS[name](store)
        nth = 0
        while True:
            nth += 1
            reached = False
            for forever in (False, True):
                error = ERRNOS[(nth + 3 * forever) % len(ERRNOS)]
                complaint, reached = _attempt(path, _READS[name], right, nth, error, forever)
                attempts += 1
                if complaint:
                    complaints.append(
                        f"{complaint} ({errno.errorcode[error]} {'for ever' if forever else 'once'})"
                    )
            if not reached:
                break
        assert read_tree(path) == before, "a failed read wrote something"
        with open_on(FailingFileSystem(), path, read_only=True) as store:
            assert contents(store) == expected
    assert attempts > 10
    assert not complaints, f"{len(complaints)} of {attempts}\n" + "\n".join(complaints[:6])


def _attempt(
    path: str, read: Callable[[SessionStore], Any], right: Any, nth: int, error: int, forever: bool
) -> tuple[str, bool]:
    """Fail one call of opening and reading; what is wrong, and whether the call was reached."""
    fs = FailingFileSystem()
    fs.arm(nth, error, forever=forever, kinds=_not_closing)
    store, answer = None, right
    try:
        store = open_on(fs, path)
        answer = read(store)
    except StoreError:
        pass
    except OSError as exc:
        complaint = f"{fs.failed_call}: a bare {type(exc).__name__}"
        leave(store, fs)
        return complaint, True
    call, reached = fs.failed_call, bool(fs.failed)
    fs.disarm()
    if answer != right:
        leave(store, fs)
        return f"{call}: gave {answer!r}", reached
    try:
        if store is not None:
            if (later := read(store)) != right:
                return f"{call}: afterwards the handle gives {later!r}", reached
            store.close()
        return (f"{call}: descriptors left", reached) if leaked(fs) else ("", reached)
    finally:
        leave(store, fs)
