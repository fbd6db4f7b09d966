"""Locks: order among threads, time-outs, hand-over, and a lock file that somebody removed."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable

import pytest
from support.places import Place
from support.seams import LeapingClock, RuledFileSystem

from sessiondir import LockTimeout, ReentrantUpdate, layout
from sessiondir.clock import SYSTEM_CLOCK
from sessiondir.layout import KeyRef
from sessiondir.lockfile import Backoff, ByteLock, take_flock
from sessiondir.locks import HeldKeys, KeyLocks

A, B, C = KeyRef("a"), KeyRef("b"), KeyRef("c")


@pytest.fixture
def locks(place: Place) -> KeyLocks:
    """The key locks of one process."""
    return KeyLocks(place.lock_file(), place.clock)


def waiting(locks: KeyLocks, key: str, count: int) -> bool:
    """Whether ``count`` threads wait for a session."""
    queue = locks._queues.get(key)
    return (len(queue.waiters) if queue is not None else 0) == count


def until(condition: Callable[[], bool]) -> None:
    """Give other threads the processor until something is so; the suite's time-out is the bound."""
    while not condition():
        os.sched_yield()


def test_a_session_is_held_once(locks: KeyLocks, place: Place) -> None:
    """A held session cannot be taken by another process; another session can; let go, it is free."""
    other = KeyLocks(place.lock_file(), place.clock)
    locks.acquire(A, 0)
    with pytest.raises(LockTimeout) as caught:
        other.acquire(A, 0)
    assert caught.value.session == "a"
    other.acquire(B, 0)
    other.release(B)
    locks.release(A)
    other.acquire(A, 0)
    other.release(A)


def test_a_thread_cannot_take_a_session_twice(locks: KeyLocks) -> None:
    """Taking a held session again in the same thread is an error at once, and it stays held."""
    locks.acquire(A, 0)
    with pytest.raises(ReentrantUpdate):
        locks.acquire(A, 3600)
    locks.release(A)
    locks.acquire(A, 0)
    locks.release(A)


def test_threads_get_a_session_in_order_of_arrival(locks: KeyLocks) -> None:
    """Waiting threads are served first come, first served."""
    order: list[int] = []

    def work(number: int) -> None:
        locks.acquire(A, 60)
        order.append(number)
        locks.release(A)

    locks.acquire(A, 0)
    threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for number, thread in enumerate(threads):
        thread.start()
        until(lambda number=number: waiting(locks, "a", number + 1))  # type: ignore[misc]
    locks.release(A)
    for thread in threads:
        thread.join()
    assert order == list(range(12))
    assert (locks._holders, locks._queues) == ({}, {})


def test_a_waiter_that_gave_up_is_passed_over(locks: KeyLocks) -> None:
    """A thread whose time is up leaves the queue, names the holder, and the next one is served."""
    errors: list[LockTimeout] = []
    served = threading.Event()

    def impatient() -> None:
        try:
            locks.acquire(A, 0.02)
        except LockTimeout as exc:
            errors.append(exc)

    def patient() -> None:
        locks.acquire(A, 60)
        served.set()
        locks.release(A)

    locks.acquire(A, 0)
    threads = [threading.Thread(target=impatient), threading.Thread(target=patient)]
    for thread in threads:
        thread.start()
    threads[0].join()
    locks.release(A)
    threads[1].join()
    assert served.is_set()
    assert [(error.session, error.holder_pid) for error in errors] == [("a", os.getpid())]
    assert errors[0].waited_s >= 0.02
    assert (locks._holders, locks._queues) == ({}, {})


def test_a_waiter_that_times_out_on_a_process_passes_the_session_on(locks: KeyLocks, place: Place) -> None:
    """If the first of two waiting threads gives up on another process, the second goes on waiting for it."""
    other = KeyLocks(place.lock_file(), place.clock)
    other.acquire(A, 0)
    failed: list[LockTimeout] = []
    got = threading.Event()

    def impatient() -> None:
        try:
            locks.acquire(A, 0.05)
        except LockTimeout as exc:
            failed.append(exc)

    def patient() -> None:
        locks.acquire(A, 60)
        got.set()
        locks.release(A)

    first = threading.Thread(target=impatient)
    first.start()
    until(lambda: "a" in locks._holders)
    second = threading.Thread(target=patient)
    second.start()
    first.join()
    assert len(failed) == 1
    other.release(A)
    second.join()
    assert got.is_set()


def test_an_error_while_locking_leaves_the_session_free(place: Place) -> None:
    """If the system fails while a byte is taken, the session is not left held in this process."""
    fs = RuledFileSystem()
    broken = Place(place.path, fs)
    locks = KeyLocks(broken.lock_file(), place.clock)
    rule = fs.fail("fcntl", errno.EIO)
    for _ in range(2):
        with pytest.raises(OSError, match="Input/output"):
            locks.acquire(A, 0)
    fs.mend(rule)
    locks.acquire(A, 0)
    locks.release(A)
    broken.close()


def test_a_long_wait_ends_with_a_time_out_and_nothing_else(place: Place) -> None:
    """However long the wait, for a session, a store-wide byte or the commit lock, it ends as asked."""
    clock = LeapingClock()
    holder = KeyLocks(place.lock_file(), SYSTEM_CLOCK)
    holder.acquire(A, 0)
    with pytest.raises(LockTimeout):
        KeyLocks(place.lock_file(), clock).acquire(A, 60)
    holder.release(A)
    position = layout.CHECKPOINT_LOCK_AT
    held = ByteLock(place.lock_file(), SYSTEM_CLOCK, position)
    assert held.acquire(0)
    assert ByteLock(place.lock_file(), clock, position).acquire(60) is False
    held.release()
    one, two = (os.open(place.path, os.O_RDONLY) for _ in range(2))
    assert take_flock(place.directory.fs, clock, one, 0)
    assert take_flock(place.directory.fs, clock, two, 60) is False
    os.close(one)
    os.close(two)


def test_waits_grow_up_to_a_bound() -> None:
    """A wait begins short, grows, and never exceeds its bound."""
    clock = LeapingClock()
    backoff = Backoff(clock, 0.001)
    slept = []
    for _ in range(5000):
        before = clock.slept_s
        backoff.wait()
        slept.append(clock.slept_s - before)
    assert slept[0] <= 0.0001
    assert max(slept) <= 0.0011
    assert min(slept[100:]) >= 0.0009


def test_held_keys_are_taken_in_one_order_and_let_go_on_failure(locks: KeyLocks, place: Place) -> None:
    """Several sessions are taken by position whatever the order given; if one is busy none stays held."""
    other = KeyLocks(place.lock_file(), place.clock)
    refs = sorted((A, B, C), key=lambda ref: ref.position)
    other.acquire(refs[-1], 0)
    with pytest.raises(LockTimeout), HeldKeys(locks, [C, A, B], 0, place.clock):
        pass
    assert locks._holders == {}
    other.release(refs[-1])
    with HeldKeys(locks, [C, A, B], 0, place.clock):
        for ref in (A, B, C):
            with pytest.raises(LockTimeout):
                other.acquire(ref, 0)
    assert locks._holders == {}


def test_g3_a_removed_lock_file_is_noticed_before_a_session_is_taken(place: Place) -> None:
    """G3: after somebody removed the lock file, two processes still do not hold one session both."""
    old = KeyLocks(place.lock_file(), place.clock)
    (place.path / layout.LOCK).unlink()
    new = KeyLocks(place.lock_file(), place.clock)
    new.acquire(A, 0)
    with pytest.raises(LockTimeout):
        old.acquire(A, 0)
    new.release(A)
    old.acquire(A, 0)
    old.release(A)


def test_g2_a_removed_lock_file_does_not_let_two_checkpoints_run(place: Place) -> None:
    """G2: store-wide locks notice a removed lock file too, or two processes would replace the journal at once."""
    old = ByteLock(place.lock_file(), place.clock, layout.CHECKPOINT_LOCK_AT)
    (place.path / layout.LOCK).unlink()
    new = ByteLock(place.lock_file(), place.clock, layout.CHECKPOINT_LOCK_AT)
    assert new.acquire(0)
    assert old.acquire(0) is False
    new.release()
    assert old.acquire(0)
    old.release()


def test_a_session_held_on_a_removed_lock_file_is_let_go_there(place: Place) -> None:
    """A lock file that is removed while a session is held does not disturb its release."""
    lock_file = place.lock_file()
    locks = KeyLocks(lock_file, place.clock)
    locks.acquire(A, 0)
    (place.path / layout.LOCK).unlink()
    locks.release(A)
    locks.acquire(A, 0)
    locks.release(A)
    assert locks._holders == {}


def test_g7_a_lock_ends_with_its_descriptor(place: Place) -> None:
    """G7: closing the descriptor, as the kernel does for a dead process, frees every session."""
    lock_file = place.lock_file()
    KeyLocks(lock_file, place.clock).acquire(A, 0)
    lock_file.close()
    other = KeyLocks(place.lock_file(), place.clock)
    other.acquire(A, 0)
    other.release(A)
    assert (place.path / layout.LOCK).stat().st_size == 0, "a lock must not be written down"


def test_other_descriptors_on_the_lock_file_take_nothing_away(place: Place) -> None:
    """Opening and closing the lock file elsewhere in the process, as a backup does, frees no lock."""
    locks = KeyLocks(place.lock_file(), place.clock)
    locks.acquire(A, 0)
    (place.path / layout.LOCK).read_bytes()
    with pytest.raises(LockTimeout):
        KeyLocks(place.lock_file(), place.clock).acquire(A, 0)
    locks.release(A)
