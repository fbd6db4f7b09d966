"""Waiting for a session that someone else is updating (F14)."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest
from support.factories import Opener
from support.processes import Peer
from support.seams import LeapingClock

from sessiondir import LockTimeout

HOLD = """
    def hold(entry):
        tell("held")
        hear()
        return {"n": "theirs"}
    store.update("a", hold, create=True)
"""


def test_g7_the_error_names_session_holder_and_wait(open_directory: Opener, store_path: str) -> None:
    """A session held by another process times out naming the session, that process and the wait."""
    store = open_directory(lock_timeout=0.05)
    store.put("a", {"n": 1})
    with Peer(store_path) as peer:
        peer.start(HOLD)
        assert peer.heard() == "held"
        with pytest.raises(LockTimeout) as caught:
            store.put("a", {"n": 2})
        peer.answer()
        assert peer.heard() is None
    error = caught.value
    assert (error.session, error.holder_pid) == ("a", peer.pid)
    assert error.waited_s >= 0.05
    for text in ("'a'", str(peer.pid)):
        assert text in str(error)
    assert store["a"] == {"n": "theirs"}


def test_g7_a_lock_dies_with_its_owner(open_directory: Opener, store_path: str) -> None:
    """G7: killing the process that holds a session frees it at once, and its update never happened."""
    store = open_directory(lock_timeout=30)
    store.put("a", {"n": 1})
    with Peer(store_path) as peer:
        peer.start(HOLD)
        assert peer.heard() == "held"
        waiting = threading.Thread(target=store.patch, args=("a", {"m": 2}))
        waiting.start()
        peer.kill()
        waiting.join()
    assert store["a"] == {"n": 1, "m": 2}


def test_a_thread_of_this_process_is_named_too(open_store: Opener) -> None:
    """A session held by another thread times out with this process as the holder, and for how long."""
    store = open_store()
    store.put("a", {"n": 1})
    held, done = threading.Event(), threading.Event()

    def hold(entry: dict[str, Any]) -> None:
        held.set()
        done.wait()

    thread = threading.Thread(target=store.update, args=("a", hold), name="the slow one")
    thread.start()
    held.wait()
    with pytest.raises(LockTimeout) as caught:
        store.update("a", lambda entry: {}, timeout=0.02)
    done.set()
    thread.join()
    assert (caught.value.session, caught.value.holder_pid) == ("a", os.getpid())
    assert caught.value.held_s is not None
    assert "the slow one" in str(caught.value)
    assert store["a"] == {"n": 1}


@pytest.mark.parametrize("timeout", [0, 0.02])
def test_a_timeout_counts_for_one_call(open_store: Opener, timeout: float) -> None:
    """The timeout given to a call takes the place of the handle's; zero means one try."""
    store, other = open_store(), open_store.elsewhere(lock_timeout=3600)
    store.put("a", {"n": 1})
    with store.transaction("a"):
        with pytest.raises(LockTimeout):
            other.update("a", lambda entry: {"n": 2}, timeout=timeout)
        with pytest.raises(LockTimeout):
            other.transaction("a", "b", timeout=timeout).__enter__()
        assert other.update("b", lambda entry: {"n": 2}, create=True, timeout=0) == {"n": 2}
    assert other.update("a", lambda entry: {"n": 3}, timeout=0) == {"n": 3}


def test_the_whole_timeout_is_waited_and_no_more(open_store: Opener) -> None:
    """A long timeout is really waited, by the store's clock, before the error comes."""
    store, clock = open_store(), LeapingClock()
    other = open_store.elsewhere(lock_timeout=600, clock=clock)
    store.put("a", {"n": 1})
    with store.transaction("a"), pytest.raises(LockTimeout) as caught:
        other.put("a", {"n": 2})
    assert 600 <= clock.slept_s < 601
    assert 600 <= caught.value.waited_s < 601


def test_reading_never_waits(open_store: Opener) -> None:
    """G5: a session that is being updated reads as it was, without waiting."""
    store, other = open_store(), open_store.elsewhere(lock_timeout=0)
    store.put("a", {"n": 1})
    with store.transaction("a") as txn:
        txn["a"] = {"n": 2}
        assert other["a"] == store["a"] == {"n": 1}
        assert dict(other.snapshot()) == {"a": {"n": 1}}
        assert [info.key for info in other.list()] == ["a"]


def test_a_transaction_that_times_out_holds_nothing(open_store: Opener) -> None:
    """If one of several sessions stays busy, those already taken are let go."""
    store, other = open_store(), open_store.elsewhere(lock_timeout=0)
    with store.transaction("b"):
        with pytest.raises(LockTimeout):
            other.transaction("a", "b", "c").__enter__()
        for key in ("a", "c"):
            store.put(key, {"free": True})


def test_transactions_in_any_order_do_not_block_each_other(open_store: Opener) -> None:
    """Transactions that name the same sessions in different orders all get through."""
    handles = [open_store(durability="process"), open_store.elsewhere(durability="process")]
    keys = ["a", "b", "c", "d"]

    def move(handle: Any, order: list[str]) -> None:
        for _ in range(25):
            with handle.transaction(*order) as txn:
                for key in order:
                    txn[key] = {"n": txn.get(key, {"n": 0})["n"] + 1}

    orders = [keys, keys[::-1], [*keys[2:], *keys[:2]], ["b", "a"]]
    threads = [threading.Thread(target=move, args=(handle, order)) for handle in handles for order in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = {key: entry["n"] for key, entry in handles[0].snapshot().items()}
    assert found == {"a": 200, "b": 200, "c": 150, "d": 150}
