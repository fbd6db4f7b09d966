"""G4, G7: someone holds a session, or is stopped; the others go on or give up in time (F14)."""

from __future__ import annotations

import os
import signal
import time

import pytest
from harness.processes import PATIENCE_S, Worker
from harness.story import errors_of, open_on
from harness.watched import QuickFs

from sessiondir.errors import LockTimeout

_BOUND_S = PATIENCE_S / 2
"""Far above every timeout used here: only "for ever" is above it."""


def _begin(path: str) -> None:
    with open_on(QuickFs(), path) as store:
        store.put("a", {"n": 0})


@pytest.mark.parametrize("stopped", [False, True], ids=["busy", "stopped"])
def test_a_held_session_stops_nothing_else(store_path: str, stopped: bool) -> None:
    """G4, G7: while another process holds "a", other keys work; "a" times out and names the holder."""
    _begin(store_path)
    with Worker("hold", store_path, key="a", stopped=stopped) as worker:
        assert worker.next() == {"holding": True}
        with open_on(QuickFs(), store_path) as store:
            store.put("b", {"n": 1})
            store.update("b", lambda entry: {"n": 2})
            assert store.get("b") == {"n": 2}
            assert store.get("a") == {"n": 0}
            assert sorted(store.keys()) == ["a", "b"]
            with store.transaction("b", "c") as txn:
                txn["c"] = {"n": 3}
            store.flush()
            begun = time.monotonic()
            with pytest.raises(LockTimeout) as caught:
                store.update("a", lambda entry: {"n": 1}, create=True, timeout=0.2)
            assert time.monotonic() - begun < _BOUND_S
            assert caught.value.session == "a"
            assert caught.value.holder_pid == worker.pid
            assert str(worker.pid) in str(caught.value)
            with pytest.raises(LockTimeout), store.transaction("c", "a", timeout=0.2):
                pass
            assert store.update("c", lambda entry: {"n": 4}) == {"n": 4}, (
                "what was held by the transaction is free"
            )
            os.kill(worker.pid, signal.SIGCONT)
            worker.go()
            assert worker.finish()[-1] == {"done": True}
            assert store.update("a", lambda entry: entry | {"n": 1}) == {"held": True, "n": 1}
    assert not errors_of(store_path)


def test_a_killed_holder_frees_its_session(store_path: str) -> None:
    """G7: a session held by a process that is killed is free at once; nothing has to be removed."""
    _begin(store_path)
    with Worker("hold", store_path, key="a") as worker:
        assert worker.next() == {"holding": True}
        worker.kill()
        with open_on(QuickFs(), store_path, lock_timeout=0) as store:
            assert store.update("a", lambda entry: {"n": 1}) == {"n": 1}


def test_a_process_stopped_inside_a_commit_delays_writers_for_a_bounded_time(store_path: str) -> None:
    """G7: with the commit lock held by a stopped process, writers time out, readers go on, and nothing is lost."""
    with Worker("stop_in_commit", store_path) as worker:
        assert worker.next() == {"holding": True}
        with open_on(QuickFs(), store_path) as store:
            assert store.get("before") == {"n": 1}
            begun = time.monotonic()
            with pytest.raises(LockTimeout):
                store.update("other", lambda entry: {"n": 1}, create=True, timeout=0.1)
            assert time.monotonic() - begun < _BOUND_S
            assert store.get("before") == {"n": 1}
            os.kill(worker.pid, signal.SIGCONT)
            assert worker.finish()[-1] == {"done": True}
            store.put("other", {"n": 2})
            assert {key: entry["n"] for key, entry in store.snapshot().items()} == {
                "before": 1,
                "during": 1,
                "other": 2,
            }
    assert not errors_of(store_path)


def test_a_process_killed_inside_a_commit_leaves_no_trace(store_path: str) -> None:
    """G1, G7: killed between taking the commit lock and the append, it has changed nothing and blocks nobody."""
    with Worker("stop_in_commit", store_path) as worker:
        assert worker.next() == {"holding": True}
        worker.kill()
        with open_on(QuickFs(), store_path, lock_timeout=0) as store:
            store.put("other", {"n": 2})
            assert sorted(store.keys()) == ["before", "other"]
