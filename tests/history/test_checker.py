"""The checker proves itself: it accepts what is right and rejects every history that was forged."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.seeds import seeded

from history import workload
from history.checker import NotExplained, Operation, explain
from sessiondir import SessionStore

A1, A2, A3 = {"t": "1"}, {"t": "1", "u": "2"}, {"t": "3"}


def _op(kind: str, called: int, returned: int, version: int | None, **sessions: dict[str, object]) -> Operation:
    return Operation("p", kind, called, returned, version, sessions)


def _story() -> list[Operation]:
    """A history that is right."""
    return [
        _op("put", 0, 10, 1, a={"put": A1}),
        _op("get", 11, 12, None, a={"after": A1}),
        _op("update", 13, 20, 2, a={"before": A1, "put": A2, "after": A2}),
        _op("transaction", 21, 30, 3, a={"before": A2, "put": A3}, b={"before": None, "put": A1}),
        _op("snapshot", 31, 32, 3, a={"after": A3}, b={"after": A1}),
        _op("post", 33, 40, 4, b={"post": "m1"}),
        _op("post", 41, 50, 5, b={"post": "m2"}),
        _op("peek", 51, 52, None, b={"after": ["m1", "m2"]}),
        _op("take", 53, 60, 6, b={"limit": 1, "after": ["m1"]}),
        _op("ack", 61, 70, 7, b={}),
        _op("delete", 71, 80, 8, a={}),
        _op("patch", 81, 82, None, a={}),
        _op("patch", 83, 90, 9, b={"set": {"p": "9"}, "after": A1 | {"p": "9"}}),
        _op("take", 91, 100, 10, b={"limit": 5, "after": ["m2"]}),
        _op("take", 101, 102, None, b={"limit": 5, "after": []}),
        _op("version", 103, 104, 10),
    ]


def test_what_is_right_is_accepted() -> None:
    """A history that is right is explained; so is one in which calls overlap and return in another order."""
    assert explain(_story()) == 10
    overlapping = [
        _op("put", 0, 100, 2, a={"put": A1}),
        _op("put", 1, 99, 1, a={"put": A3}),
        _op("get", 2, 98, None, a={"after": A3}),
        _op("get", 3, 97, None, a={"after": None}),
        _op("get", 4, 96, None, a={"after": A1}),
    ]
    assert explain(overlapping) == 2
    assert explain([]) == 0


def _set(number: int, **facts: object) -> Callable[[list[Operation]], None]:
    """A forgery: other attributes of one operation."""

    def forge(history: list[Operation]) -> None:
        for name, value in facts.items():
            setattr(history[number], name, value)

    return forge


def _swap_versions(history: list[Operation]) -> None:
    history[5].version, history[6].version = history[6].version, history[5].version


FORGERIES: dict[str, Callable[[list[Operation]], None]] = {
    "lost update": _set(2, sessions={"a": {"before": None, "put": A2}}),
    "stale read": _set(1, sessions={"a": {"after": None}}),
    "read of what was never there": _set(1, sessions={"a": {"after": A3}}),
    "stale read after a delete": _set(11, kind="get", sessions={"a": {"after": A3}}),
    "read of the future": _set(7, called=34, returned=35),
    "half of a transaction": _set(4, sessions={"a": {"after": A3}}),
    "a snapshot of two versions": _set(4, sessions={"a": {"after": A2}, "b": {"after": A1}}),
    "a snapshot with a session too many": _set(
        4, sessions={"a": {"after": A3}, "b": {"after": A1}, "c": {"after": A1}}
    ),
    "an old snapshot": _set(4, version=2, sessions={"a": {"after": A2}}),
    "a version that goes back": _set(15, version=9),
    "a version that nobody made": _set(15, version=11),
    "a lost commit": lambda history: history.pop(5),  # type: ignore[dict-item, return-value]
    "the same version twice": _set(6, version=4),
    "an order against time": _swap_versions,
    "a message twice": _set(13, sessions={"b": {"limit": 5, "after": ["m1", "m2"]}}),
    "a message skipped": _set(8, sessions={"b": {"limit": 1, "after": ["m2"]}}),
    "a message that was not posted": _set(7, sessions={"b": {"after": ["m1", "m2", "m3"]}}),
    "a message kept back": _set(14, called=51, returned=52),
    "a patch of nothing": _set(12, sessions={"a": {"set": {"p": "9"}}}),
    "a delete of nothing": _set(10, sessions={"c": {}}),
    "a patch that gives back something else": _set(12, sessions={"b": {"set": {"p": "9"}, "after": A1}}),
    "a session that is said to be missing": _set(11, sessions={"b": {}}),
    "an answer before the call": _set(3, returned=20),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_history_is_rejected(name: str) -> None:
    """Each of these breaks a promise, and the checker says so."""
    history = _story()
    FORGERIES[name](history)
    with pytest.raises(NotExplained):
        explain(history)


def _forge(history: list[Operation], rng: random.Random) -> str:
    """Make one thing in a recorded history wrong, whichever; what it was."""
    writes = [one for one in history if one.version is not None and one.kind not in ("snapshot", "version")]
    what = rng.choice(["before", "get", "snapshot", "lost", "order", "take", "version"])
    if what == "before":
        one = rng.choice([one for one in writes if any("before" in facts for facts in one.sessions.values())])
        facts = rng.choice([facts for facts in one.sessions.values() if "before" in facts])
        facts["before"] = {"t": "forged"}
    elif what in ("get", "snapshot"):
        one = rng.choice([one for one in history if one.kind == what and one.sessions])
        rng.choice(list(one.sessions.values()))["after"] = {"t": "forged"}
    elif what == "lost":
        history.remove(rng.choice([one for one in writes if one.version != len(writes)]))
    elif what == "order":
        early, late = sorted(rng.sample(writes, 2), key=lambda one: one.version or 0)
        late.called, late.returned = early.called - 2, early.called - 1
    elif what == "take":
        one = rng.choice([one for one in writes if one.kind == "take"])
        next(iter(one.sessions.values()))["after"].append("forged")
    else:
        one = rng.choice([one for one in history if one.kind == "version"])
        one.version = (one.version or 0) + len(writes)
    return what


def test_forgeries_in_a_recorded_history_are_rejected(tmp_path: Path) -> None:
    """A history of a real store is accepted, and no longer once anything in it was made wrong."""
    rng = seeded("forgeries")
    with SessionStore.open(str(tmp_path / "sessions.d"), durability="process") as store:
        recorder = workload.Recorder(store, "p", rng.random())
        with pytest.MonkeyPatch.context() as patched:
            workload.record_versions(patched.setattr)
            for _ in range(400):
                recorder.step()
    assert explain(recorder.history) > 150
    for _ in range(150):
        forged = copy.deepcopy(recorder.history)
        what = _forge(forged, rng)
        with pytest.raises(NotExplained):
            explain(forged)
            pytest.fail(f"forged {what}, and nobody noticed")
