"""Threads that make calls together: all are made, the first failure comes out, and no thread stays."""

from __future__ import annotations

import threading
import time

import pytest

from sessiondir.together import MANY, Together


class Work:
    """Notes what it is called with; fails or waits as it is told."""

    def __init__(self, failing: int | None = None, failure: BaseException | None = None) -> None:
        self.done: list[int] = []
        self.threads: set[int] = set()
        self.failing = failing
        self.failure = failure

    def __call__(self, number: int) -> None:
        self.threads.add(threading.get_ident())
        if number == self.failing:
            assert self.failure is not None
            raise self.failure
        self.done.append(number)


def test_everything_is_done_when_the_block_has_ended() -> None:
    """Each item once, by several threads, none of which is left."""
    work = Work()
    with Together(work, MANY, "test") as together:
        for number in range(500):
            together.give(number)
    assert sorted(work.done) == list(range(500))
    assert threading.get_ident() not in work.threads
    assert not [thread for thread in threading.enumerate() if thread.name == "test"]


def test_they_wait_at_the_same_time() -> None:
    """As many calls are underway as there are threads; one more has to wait."""
    barrier = threading.Barrier(MANY, timeout=30)
    with Together(lambda _: barrier.wait(), MANY, "test") as together:
        for number in range(2 * MANY):
            together.give(number)
    assert not barrier.broken


@pytest.mark.parametrize("failure", [OSError(28, "full"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("threads", [0, MANY])
def test_the_first_failure_comes_out(threads: int, failure: BaseException) -> None:
    """Whatever it is; what was not begun is not done any more, and giving ends soon."""
    work = Work(20, failure)
    given = 0
    with pytest.raises(type(failure)) as caught, Together(work, threads, "test") as together:
        for given in range(100_000):
            together.give(given)
    assert caught.value is failure
    assert 20 <= given < 99_999
    assert not [thread for thread in threading.enumerate() if thread.name == "test"]


def test_a_failure_is_told_at_the_end_of_the_block() -> None:
    """Also one of the last item."""
    with pytest.raises(OSError, match="full"), Together(Work(0, OSError("full")), MANY, "test") as together:
        together.give(0)


def test_a_failure_explains_what_came_of_it() -> None:
    """An error of the block does not hide that of a call; an interruption is not held up by one."""
    failed = threading.Event()

    def work(_: int) -> None:
        failed.set()
        raise OSError("full")

    for raised, seen in ((LookupError, OSError), (KeyboardInterrupt, KeyboardInterrupt)):
        failed.clear()
        with pytest.raises(seen), Together(work, MANY, "test") as together:
            together.give(0)
            failed.wait(30)
            time.sleep(0)
            raise raised


@pytest.mark.parametrize("before", [False, True], ids=["once", "before, too"])
def test_no_call_goes_on_when_the_block_was_left(monkeypatch: pytest.MonkeyPatch, before: bool) -> None:
    """Interrupted while it waits for the last calls, it waits for them still, and begins no others."""
    may_go_on = threading.Event()
    begun: list[int] = []

    def work(number: int) -> None:
        begun.append(number)
        may_go_on.wait(30)

    join = threading.Thread.join
    interruptions = [KeyboardInterrupt("first"), KeyboardInterrupt("second")]

    def interrupted(thread: threading.Thread, timeout: float | None = None) -> None:
        if thread.name == "test" and interruptions:
            if len(interruptions) == 1:
                may_go_on.set()
            raise interruptions.pop(0)
        join(thread, timeout)

    monkeypatch.setattr(threading.Thread, "join", interrupted)
    with pytest.raises(KeyboardInterrupt, match="second"), Together(work, 2, "test") as together:
        for number in range(10):
            together.give(number)
        while len(begun) < 2:
            time.sleep(0.001)
        if before:
            raise KeyboardInterrupt("in the block")
    assert sorted(begun) == [0, 1]
    assert not [thread for thread in threading.enumerate() if thread.name == "test"]


def test_no_thread_stays_where_starting_them_was_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that run already end, also the one whose start was interrupted."""
    start = threading.Thread.start
    started: list[threading.Thread] = []

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        started.append(thread)
        if len(started) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Together(Work(), MANY, "test")
    for thread in started:
        thread.join(30)
    assert [thread.is_alive() for thread in started] == [False] * 3


def test_it_works_where_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the giver does the work."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    work = Work()
    with Together(work, MANY, "test") as together:
        for number in range(5):
            together.give(number)
    assert work.done == list(range(5))
    assert work.threads == {threading.get_ident()}
