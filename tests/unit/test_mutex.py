"""Letting go for sure: a lock that knows its holder, and a release that is done again."""

from __future__ import annotations

import itertools
import threading

import pytest
from harness.interrupting import Interruption
from support.forms import interpreted_only

from sessiondir.mutex import OwnedMutex, finally_release


@interpreted_only
def test_g7_letting_go_is_done_again_when_an_exception_came_out_of_it() -> None:
    """Whatever moment of the work or of the release a handler raises at, the lock is free afterwards."""
    for at in itertools.count(1):
        mutex, mine = OwnedMutex(), object()
        with Interruption(at) as interruption:
            assert finally_release(lambda: mutex.acquire(mine, 0), lambda: mutex.release(mine))  # noqa: B023
        assert _is_free(mutex), interruption.where
        if not interruption.reached:
            break
    assert at > 8


@pytest.mark.parametrize("number", [1, 2])
def test_what_went_wrong_is_passed_on(number: int) -> None:
    """An error of the work, or of the release, is what the caller gets; the release came first."""
    calls: list[int] = []

    def fail() -> None:
        calls.append(number)
        raise KeyError(number)

    with pytest.raises(KeyError):
        if number == 1:
            finally_release(fail, lambda: calls.append(0))
        else:
            finally_release(lambda: None, fail)
    assert calls in ([1, 0, 0], [2, 2])


def test_a_mutex_is_let_go_by_the_call_that_holds_it_alone() -> None:
    """Letting go may be done any number of times, and a call made by a signal handler takes nothing away."""
    mutex = OwnedMutex()
    assert mutex.acquire("call", 0)
    assert not mutex.acquire("handler", 0), "the same thread, in the middle of the call"
    mutex.release("handler")
    assert not _is_free(mutex)
    for _ in range(2):
        mutex.release("call")
        assert _is_free(mutex)


def test_a_mutex_is_waited_for_as_long_as_asked() -> None:
    """A thread that waits gets the mutex when it is let go, or gives up in time."""
    mutex = OwnedMutex()
    got: list[bool] = []

    def wait(timeout_s: float) -> None:
        got.append(mutex.acquire("waiter", timeout_s))
        mutex.release("waiter")

    mutex.acquire("holder", 0)
    for timeout_s, expected in ((0.01, False), (20.0, True)):
        thread = threading.Thread(target=wait, args=(timeout_s,))
        thread.start()
        if expected:
            mutex.release("holder")
        thread.join()
        assert got.pop() is expected


def _is_free(mutex: OwnedMutex) -> bool:
    """Whether another thread gets the mutex at once."""
    found: list[bool] = []

    def try_it() -> None:
        found.append(mutex.acquire("other", 0))
        mutex.release("other")

    thread = threading.Thread(target=try_it)
    thread.start()
    thread.join()
    return found[0]
