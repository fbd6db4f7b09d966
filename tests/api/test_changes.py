"""What changed: reading back commits, and waiting for them."""

from __future__ import annotations

import threading
import time

import pytest
from support.factories import Opener
from support.processes import Peer
from support.seams import FixedClock

from sessiondir import UNSET, Change, ChangesUnavailable, Limits


def brief(changes: list[Change]) -> list[tuple[int, str, str, tuple[str, ...]]]:
    """Changes without the time."""
    return [(change.version, change.key, change.kind, change.fields) for change in changes]


def test_changes_tell_version_key_kind_and_fields(open_store: Opener) -> None:
    """Every change since a version is told once, oldest first, with what it touched."""
    store = open_store(clock=FixedClock(1_700_000_000_123))
    store.put("a", {"x": 1, "y": 2})
    store.patch("a", {"x": 3, "y": UNSET})
    store.delete("a")
    with store.transaction("b", "c") as txn:
        txn["b"] = {}
        txn["c"] = {"n": 1}
    assert brief(store.changes(0)) == [
        (1, "a", "put", ("x", "y")),
        (2, "a", "patch", ("x", "y")),
        (3, "a", "delete", ()),
        (4, "b", "put", ()),
        (4, "c", "put", ("n",)),
    ]
    assert {change.at_ms for change in store.changes(0)} == {1_700_000_000_123}
    assert brief(store.changes(3)) == [(4, "b", "put", ()), (4, "c", "put", ("n",))]
    assert store.changes(4) == []


def test_changes_of_others_and_of_before_are_told(open_store: Opener) -> None:
    """Commits of another process and of closed handles are told as well."""
    open_store().put("a", {})
    open_store.close_all()
    store = open_store()
    open_store.elsewhere().put("b", {})
    assert [change.key for change in store.changes(0)] == ["a", "b"]


def test_a_store_that_does_not_exist_has_no_changes(open_store: Opener) -> None:
    """Asking a missing store for changes gives none."""
    assert open_store().changes(0) == []


def test_changes_that_the_journal_no_longer_has_are_an_error(open_directory: Opener) -> None:
    """After the journal was replaced, asking too far back raises, naming what can be had; a snapshot goes on."""
    store = open_directory(limits=Limits(journal_bytes=2000))
    for number in range(30):
        store.put(f"k{number}", {"x": "y" * 100})
    store.flush()
    with pytest.raises(ChangesUnavailable) as caught:
        store.changes(3)
    assert (caught.value.since, caught.value.oldest) == (3, 30)
    since = store.snapshot().version
    store.put("later", {})
    assert [change.key for change in store.changes(since)] == ["later"]
    assert [change.key for change in store.changes(caught.value.oldest)] == ["later"]


def test_watch_begins_at_a_version(open_store: Opener) -> None:
    """Watching since a version first tells what was committed after it."""
    store = open_store()
    for key in ("a", "b", "c"):
        store.put(key, {})
    assert [change.key for change in store.watch(since=1, timeout=0)] == ["b", "c"]
    assert list(store.watch(timeout=0)) == []
    with pytest.raises(ChangesUnavailable):
        next(iter(store.watch(since=-1, timeout=0)))


def test_watch_wakes_for_a_commit_of_another_process(open_store: Opener, store_path: str) -> None:
    """A watcher is told of a commit that another process made while it waited."""
    store = open_store()
    store.put("a", {})
    with Peer(store_path) as peer:
        changes = store.watch(timeout=30)
        threading.Timer(0.1, peer.start, ('import time; store.put("b", {"at": time.time()})',)).start()
        change = next(changes)
        waited_ms = (time.time() - store["b"]["at"]) * 1000
        assert peer.heard() is None
        changes.close()
    print(f"told {waited_ms:.1f} ms after the commit began")
    assert (change.key, change.kind, change.version) == ("b", "put", 2)
    assert waited_ms < 1000


def test_watch_holds_nothing_while_the_caller_works(open_store: Opener) -> None:
    """Between two changes a watcher blocks neither writers nor other readers, and misses nothing."""
    store, other = open_store(), open_store.elsewhere(lock_timeout=0)
    other.put("k", {})
    watching = store.watch(since=0, timeout=0)
    seen = [next(watching).version]
    for number in range(5):
        other.patch("k", {"n": number})
        store.patch("k", {"m": number})
    seen += [change.version for change in watching]
    assert seen == list(range(1, 12))


def test_watch_of_a_missing_store_tells_what_comes(open_store: Opener) -> None:
    """A watcher of a store that does not exist yet is told everything once it does."""
    store = open_store()
    assert list(store.watch(timeout=0)) == []
    watching = store.watch(timeout=30)
    open_store.elsewhere().put("a", {"n": 1})
    assert next(watching).key == "a"
    watching.close()


def test_watch_ends_with_its_handle(open_store: Opener) -> None:
    """Closing the handle ends its watchers."""
    store = open_store()
    store.put("a", {})
    watching = store.watch(since=0)
    assert next(watching).key == "a"
    timer = threading.Timer(0.05, store.close)
    timer.start()
    assert list(watching) == []
    timer.join()


def test_watch_goes_over_to_the_next_journal(open_directory: Opener) -> None:
    """A watcher that keeps up follows the journal when it is replaced, without a gap."""
    store = open_directory()
    writer = open_directory.elsewhere(limits=Limits(journal_bytes=500))
    writer.put("k", {})
    watching = store.watch(since=0, timeout=0.0)
    versions = [next(watching).version]
    for number in range(20):
        writer.put("k", {"n": number, "x": "y" * 100})
        if number % 4 == 3:
            writer.flush()
        versions.append(next(watching).version)
    watching.close()
    assert versions == list(range(1, 22))


def test_a_watcher_that_sleeps_too_long_is_told_so(open_directory: Opener) -> None:
    """If the journal was replaced more than once meanwhile, the watcher gets ChangesUnavailable."""
    store = open_directory()
    writer = open_directory.elsewhere(limits=Limits(journal_bytes=500))
    writer.put("k", {})
    watching = store.watch(since=0, timeout=0)
    next(watching)
    for number in range(9):
        writer.put("k", {"n": number, "x": "y" * 600})
        writer.flush()
    with pytest.raises(ChangesUnavailable) as caught:
        next(watching)
    assert caught.value.oldest > 1
    assert store["k"]["n"] == 8
