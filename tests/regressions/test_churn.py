"""G4: what a process keeps does not grow with the number of sessions that passed through it.

Commits to ever new sessions came faster than checkpoints wrote files: after a checkpoint
that took long the next one was put off for ten times as long, and what was noted of the
sessions in between grew by some hundred bytes each, without bound.
"""

from __future__ import annotations

import gc
import threading
import time
import types
from typing import Any

import pytest
from support.factories import Opener

from sessiondir import SessionStore, core, pacing
from sessiondir.clock import Clock

_NEVER_S = 3600.0
_MANY = 200


class SleepRecorder(Clock):
    """Records how long each thread was to sleep."""

    def __init__(self) -> None:
        self.slept: list[tuple[int, float]] = []

    def sleep(self, seconds: float) -> None:  # type: ignore[override]
        self.slept.append((threading.get_ident(), seconds))

    def mine(self) -> list[float]:
        """What this thread slept, and forget it."""
        found = [seconds for ident, seconds in self.slept if ident == threading.get_ident()]
        self.slept.clear()
        return found


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that is kept up to some number is kept for a few sessions only."""
    monkeypatch.setattr(pacing, "MANY_SESSIONS", _MANY)
    monkeypatch.setattr(core, "_REFS", 100)


def retained(store: SessionStore) -> int:
    """How many objects a handle and its core keep alive, code left out."""
    code = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, threading.Thread)
    seen: dict[int, Any] = {}
    todo: list[Any] = [store, store._core]
    while todo:
        for found in gc.get_referents(todo.pop()):
            if id(found) not in seen and not isinstance(found, code):
                seen[id(found)] = found
                todo.append(found)
    return len(seen)


def pass_through(store: SessionStore, first: int, last: int) -> int:
    """Put, patch and delete these sessions, ten of them there at a time; how many lagged at most."""
    core = store._writing()
    view, most = core.view, 0
    for number in range(first, last):
        store.put(f"agent:main:cron:{number}", {"n": 0})
        store.patch(f"agent:main:cron:{number}", {"n": number})
        if number >= 10:
            assert store.delete(f"agent:main:cron:{number - 10}")
        most = max(most, len(view.dirty), len(view.pending))
    return most


def test_g4_what_is_kept_does_not_grow_with_the_sessions_that_passed_through(open_directory: Opener) -> None:
    """G4: after ten times as many sessions a process keeps no more objects, and on the way a bounded number."""
    store = open_directory(durability="process", checkpoint_interval=0.05, cache_bytes=1 << 15)
    pass_through(store, 0, 400)
    store.flush()
    before = retained(store)
    most = pass_through(store, 400, 4_400)
    store.flush()
    after = retained(store)
    assert most < 2_000, "nothing held the writer back"
    assert after < before + 500, f"{before} objects were kept after 400 sessions, {after} after 4,400"
    assert len(store) == 10


def test_a_checkpoint_comes_early_when_much_lags(open_directory: Opener) -> None:
    """Design 7: however long the interval between checkpoints, many sessions are not left to lag."""
    store = open_directory(durability="process", checkpoint_interval=_NEVER_S)
    with store.edit() as sessions:
        sessions.update({f"s{number}": {"n": number} for number in range(_MANY + 1)})
    deadline = time.monotonic() + 60
    while store._core.view.dirty:
        assert time.monotonic() < deadline, "no checkpoint came"
        time.sleep(0.01)


def test_a_commit_waits_the_longer_the_more_lags(open_directory: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    """G4: the pause grows with what lags, is bounded, and is none at all while the files keep up."""
    monkeypatch.setattr(pacing, "_LOOK_S", _NEVER_S)  # no early checkpoint
    clock = SleepRecorder()
    store = open_directory(durability="process", checkpoint_interval=_NEVER_S, clock=clock)

    def put(first: int, last: int) -> list[float]:
        for number in range(first, last):
            store.put(f"s{number}", {"n": number})
        return clock.mine()

    assert put(0, _MANY) == []
    pauses = put(_MANY, 4 * _MANY)
    assert pauses == sorted(pauses)
    assert pauses[-1] == pytest.approx(0.003)
    monkeypatch.setattr(pacing, "MANY_SESSIONS", 1)
    assert put(-1, 0) == [pacing._LONGEST_PAUSE_S]
    store.flush()
    clock.mine()
    assert put(-2, -1) == []
