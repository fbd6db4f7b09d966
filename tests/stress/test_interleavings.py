"""G1, G3, G5, G6: another process comes in at every single call of an operation."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from harness.interleaving import HurriedClock, InterruptedFs
from harness.journals import quarantined
from harness.powerloss import scratch
from harness.seeds import seeded
from harness.story import NEVER, A, B, Sessions, Step, contents, judge, open_on, running
from harness.watched import QuickFs, leave

from sessiondir import SessionStore
from sessiondir.errors import ConflictError, LockTimeout, StoreError
from sessiondir.model import Limits
from sessiondir.testing import read_tree, write_tree

_ROTATING = Limits(journal_bytes=1)


_LONG = bool(os.environ.get("SESSIONDIR_STRESS_SECONDS"))
_STRIDE, _READ_STRIDE = (1, 1) if _LONG else (6, 3)
"""A short run takes every so-manyth call, beginning anywhere; a long one takes all."""


def _first(stride: int) -> int:
    return -seeded("interleavings").randrange(stride)


def _set(key: str, **fields: Any) -> Callable[[Sessions], Sessions]:
    """Set fields of a session that is there."""
    return lambda d: d | {key: d[key] | fields} if key in d else d


def _put(key: str, **fields: Any) -> Callable[[Sessions], Sessions]:
    return lambda d: d | {key: fields}


def _drop(*keys: str) -> Callable[[Sessions], Sessions]:
    return lambda d: {key: entry for key, entry in d.items() if key not in keys}


def _recreate(store: SessionStore) -> None:
    store.delete(A)
    store.put(A, {"n": 100})
    store.flush()


def _delete(store: SessionStore) -> None:
    store.delete(A)
    store.flush()


def _patch_and_flush(store: SessionStore) -> None:
    store.patch(A, {"other": 1})
    store.flush()


def _two_journals(store: SessionStore) -> None:
    store.patch(A, {"other": 1})
    store.flush()
    store.put("two", {"n": 2})
    store.flush()


def _both(store: SessionStore) -> None:
    with store.transaction(A, B) as txn:
        for key in (A, B):
            if key in txn:
                txn[key] = txn[key] | {"pair": 1}


OTHERS = (
    Step("patch", lambda s: s.patch(A, {"other": 1}), _set(A, other=1)),
    Step("patch and flush", _patch_and_flush, _set(A, other=1)),
    Step("delete and flush", _delete, _drop(A)),
    Step("recreate", _recreate, _put(A, n=100)),
    Step("two journals", _two_journals, lambda d: _put("two", n=2)(_set(A, other=1)(d))),
)

READS: dict[str, Callable[[SessionStore], Any]] = {
    "get": lambda s: s.get(A),
    "snapshot": contents,
    "items": lambda s: {key: entry for key in s.keys() if (entry := s.get(key)) is not None},  # noqa: SIM118
    "list": lambda s: {info.key for info in s.list(limit=100)},
}
VIEWS: dict[str, Callable[[Sessions], Any]] = {
    "get": lambda d: d.get(A),
    "snapshot": lambda d: d,
    "items": lambda d: d,
    "list": set,
}

WRITES = (
    Step("update", lambda s: s.update(A, lambda e: e | {"mine": 1}), _set(A, mine=1)),
    Step("put", lambda s: s.put(A, {"mine": 2}), _put(A, mine=2)),
    Step("delete", lambda s: s.delete(A), _drop(A)),
    Step("transaction", _both, lambda d: _set(B, pair=1)(_set(A, pair=1)(d))),
    Step("edit", lambda s: s.edit(lambda m: m.update({B: {"n": len(m)}})), lambda d: d | {B: {"n": len(d)}}),
    Step("flush", lambda s: s.flush()),
)


@dataclass
class _Outcome:
    done: bool
    result: Any = None
    error: StoreError | None = None


class _Pair:
    """One operation of the first process, interrupted at one call by a whole one of the second."""

    def __init__(self, folder: str, warm: bool) -> None:
        self._folder = folder
        self._warm = warm
        write_tree(f"{folder}/begin", {})
        self.start = running(f"{folder}/begin/sessions.d")
        self._begin = read_tree(f"{folder}/begin")
        self._runs = 0
        self.path = ""

    def run(self, at: int, mine: Callable[[SessionStore], Any], other: Step) -> tuple[bool, bool, _Outcome]:
        """Whether call ``at`` was reached, whether the other one got through, and what mine gave."""
        self._runs += 1
        root = f"{self._folder}/{self._runs}"
        write_tree(root, self._begin)
        self.path = f"{root}/sessions.d"
        fs, other_fs = InterruptedFs(), QuickFs()
        store = open_on(fs, self.path, clock=HurriedClock(), limits=_ROTATING, checkpoint_interval=NEVER)
        second = open_on(other_fs, self.path, clock=HurriedClock(), limits=_ROTATING, checkpoint_interval=NEVER)
        second.patch("nobody", {"n": 1})
        if self._warm:
            store.get(A)
            store.patch("nobody", {"n": 1})
        through = [False]

        def interrupt() -> None:
            try:
                other.run(second)
            except LockTimeout:
                return  # we hold what it needs
            through[0] = True

        fs.interrupt(at, interrupt)
        try:
            outcome = _Outcome(True, mine(store))
        except (ConflictError, LockTimeout) as exc:
            outcome = _Outcome(False, error=exc)
        fs.let_be()
        reached = bool(fs.reached)
        try:
            second.close()
            store.close()
        finally:
            leave(second, other_fs)
            leave(store, fs)
        return reached, through[0], outcome


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
@pytest.mark.parametrize("other", OTHERS, ids=lambda step: step.name.replace(" ", "-"))
@pytest.mark.parametrize("name", READS)
def test_a_read_shows_the_store_before_or_after(name: str, other: Step, warm: bool) -> None:
    """G5, G6: whatever is committed during a read, it shows one state or the other, and nothing is set aside."""
    with scratch() as folder:
        pair = _Pair(folder, warm)
        after = other.effect(pair.start)
        at, met = _first(_READ_STRIDE), 0
        while True:
            at += _READ_STRIDE
            reached, through, outcome = pair.run(at, READS[name], other)
            if not reached and at > 0:
                break
            assert through, f"call {at}: a reader kept a writer out"
            met += 1
            allowed = [VIEWS[name](pair.start), VIEWS[name](after)]
            if name == "items":
                assert set(outcome.result) in [set(state) for state in allowed]
                allowed = [outcome.result] if all(
                    entry in (pair.start.get(key), after.get(key)) for key, entry in outcome.result.items()
                ) else []  # fmt: skip
            assert outcome.result in allowed, f"call {at}: {outcome.result}"
            judge(pair.path, [after], f"{name}, {other.name} at call {at}")
            assert not quarantined(pair.path), f"call {at}"
    assert met > 0 or name == "get"


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
@pytest.mark.parametrize("other", OTHERS, ids=lambda step: step.name.replace(" ", "-"))
@pytest.mark.parametrize("mine", WRITES, ids=lambda step: step.name)
def test_two_writers_end_as_if_one_after_the_other(mine: Step, other: Step, warm: bool) -> None:
    """G1, G3: the result is that of one order or the other; who gave up has changed nothing."""
    with scratch() as folder:
        pair = _Pair(folder, warm)
        at, met = _first(_STRIDE), 0
        while True:
            at += _STRIDE
            reached, through, outcome = pair.run(at, mine.run, other)
            if not reached and at > 0:
                break
            met += 1
            first, second = mine.effect, other.effect
            if not outcome.done:
                allowed = [second(pair.start)] if through else [pair.start]
            elif not through:
                allowed = _parts(mine, other, pair.start)
            else:
                allowed = [second(first(pair.start)), first(second(pair.start))]
            how = "through" if through else "kept out"
            why = f"{mine.name}, {other.name} at call {at} ({how}, {outcome.error!r})"
            judge(pair.path, allowed, why)
            assert not quarantined(pair.path), why
    assert met > 1


def _parts(mine: Step, other: Step, start: Sessions) -> list[Sessions]:
    """The other one gave up half-way: it may have done the first of its commits."""
    states = [mine.effect(start), other.effect(mine.effect(start)), mine.effect(other.effect(start))]
    half = {"recreate": _drop(A), "two journals": _set(A, other=1)}.get(other.name)
    if half is not None:
        states += [mine.effect(half(start)), half(mine.effect(start))]
    return states
