"""Courtesy between processes that want one session again and again."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from support.places import Place
from support.seams import RuledFileSystem

from sessiondir import LockTimeout
from sessiondir.clock import Clock
from sessiondir.layout import WAIT_MARKS_FROM, KeyRef
from sessiondir.lockfile import LockFile
from sessiondir.locks import KeyLocks
from sessiondir.turns import TURN_S, Turns


class StandingClock(Clock):
    """Time that passes only by sleeping; ``then`` is called after each sleep."""

    def __init__(self) -> None:
        self.at = 100.0
        self.slept: list[float] = []
        self.then = lambda: None
        self.monotonic = lambda: self.at  # type: ignore[method-assign]
        self.sleep = self._sleep  # type: ignore[method-assign]

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += seconds
        self.then()


def _two(place: Place) -> tuple[StandingClock, LockFile, Turns, LockFile, Turns]:
    clock = StandingClock()
    ours, theirs = place.lock_file(), place.lock_file()
    return clock, ours, Turns(ours, clock), theirs, Turns(theirs, clock)


def test_nobody_waits_nobody_gives_way(place: Place) -> None:
    """Without a mark, giving way takes no time and begins a new turn."""
    clock, _, ours, _, _ = _two(place)
    ref = KeyRef("a")
    ours.give_way(ref, clock.at)
    assert clock.slept == []
    assert ref.turn_ends == clock.at + TURN_S


def test_the_session_stays_free_until_a_waiter_has_it(place: Place) -> None:
    """Who gives way comes back when another took the session, and not before."""
    clock, _, ours, file, theirs = _two(place)
    ref = KeyRef("a")
    theirs.mark(ref)

    def take_after_a_while() -> None:
        if len(clock.slept) == 3:
            assert file.try_byte(ref.position, ref.lock)

    clock.then = take_after_a_while
    ours.give_way(ref, clock.at)
    assert len(clock.slept) == 3


def test_a_waiter_that_does_not_come_is_not_waited_for_long(place: Place) -> None:
    """A stopped process may have marked the session: it delays a turn by milliseconds."""
    clock, _, ours, _, theirs = _two(place)
    ref = KeyRef("a")
    theirs.mark(ref)
    began = clock.at
    ours.give_way(ref, clock.at)
    assert 0.003 < clock.at - began < 0.006


def test_g7_marks_die_with_their_owner_and_are_taken_back(place: Place) -> None:
    """G7: neither a process that died nor one that got the session holds anybody up."""
    clock, file, ours, their_file, theirs = _two(place)
    ref = KeyRef("a")
    mark = ref.position + WAIT_MARKS_FROM
    theirs.mark(ref)
    ours.mark(ref)
    assert file.is_taken(mark)
    theirs.unmark(ref)
    assert not file.is_taken(mark), "our own mark is not in our way"
    theirs.mark(ref)
    their_file.close()
    ours.give_way(ref, clock.at)
    assert clock.slept == []


def test_a_mark_does_not_lock_the_session(place: Place) -> None:
    """A mark, even on every key, is no lock; a lock is no mark."""
    _, file, _, their_file, theirs = _two(place)
    ref = KeyRef("a")
    theirs.mark(ref)
    assert not file.is_taken(ref.position)
    assert file.try_byte(ref.position, ref.lock)
    assert their_file.is_taken(ref.position)
    assert not file.is_taken(ref.position), "held by ourselves"


def test_courtesy_never_fails_an_update(place: Place) -> None:
    """Errors of marks are nobody's business."""
    fs = RuledFileSystem()
    other = Place(place.path, fs)
    clock = StandingClock()
    turns = Turns(other.lock_file(), clock)
    fs.fail("fcntl", errno.ENOLCK)
    ref = KeyRef("a")
    turns.mark(ref)
    turns.give_way(ref, clock.at)
    turns.unmark(ref)
    assert clock.slept == []
    other.close()


def test_who_has_waited_longest_looks_most_often() -> None:
    """So the oldest waiter is most likely to get the next turn; who waits for seconds looks rarely."""
    assert Turns.pause_s(0.02) < Turns.pause_s(0.002)
    assert Turns.pause_s(0.2) < Turns.pause_s(0.002)
    assert Turns.pause_s(0.0) < Turns.pause_s(0.002)
    assert Turns.pause_s(5.0) >= 0.002


def test_who_comes_from_a_turn_leaves_the_others_theirs() -> None:
    """The first look after a turn of one's own is a late one; from then on nothing differs."""
    assert Turns.pause_s(0.0, had_turn=True) == Turns.pause_s(0.002, had_turn=True) > Turns.pause_s(0.0)
    assert Turns.pause_s(0.02, had_turn=True) == Turns.pause_s(0.02)


def test_the_first_look_of_a_waiter_depends_on_his_last_turn(place: Place) -> None:
    """What holds of the pauses is what a waiting process does."""
    clock = StandingClock()
    ours, theirs = KeyLocks(place.lock_file(), clock), KeyLocks(place.lock_file(), clock)
    ref, same = KeyRef("a"), KeyRef("a")
    for wait_s, first_s in ((0.0, 1e-3), (1.0, 60e-6)):
        with _held(ours, ref, 1):
            pass
        with _held(theirs, same):
            clock.at += wait_s
            clock.slept.clear()
            with pytest.raises(LockTimeout), _held(ours, ref, 0.02):
                pass
            assert clock.slept[0] == first_s


@contextmanager
def _held(locks: KeyLocks, ref: KeyRef, timeout_s: float = 0.0) -> Iterator[None]:
    mine = locks.claim()
    try:
        locks.acquire(ref, mine, timeout_s)
        yield
    finally:
        locks.release(ref, mine)
