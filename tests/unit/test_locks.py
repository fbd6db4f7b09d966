"""Locks: order among threads, time-outs, hand-over, and a lock file that somebody removed (F15, F29)."""

from __future__ import annotations

import errno
import itertools
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from harness.interrupting import Interruption
from support.forms import interpreted_only
from support.places import Place
from support.seams import LeapingClock, RuledFileSystem

from sessiondir import LockTimeout, ReentrantUpdate, SessionStore, layout
from sessiondir.clock import SYSTEM_CLOCK
from sessiondir.fs import FileSystem
from sessiondir.layout import KeyRef
from sessiondir.lockfile import Backoff, ByteLock, take_flock
from sessiondir.locks import Claim, HeldKeys, KeyLocks

A, B, C = KeyRef("a"), KeyRef("b"), KeyRef("c")


@pytest.fixture
def locks(place: Place) -> KeyLocks:
    """The key locks of one process."""
    return KeyLocks(place.lock_file(), place.clock)


def waiting(locks: KeyLocks, key: str, count: int) -> bool:
    """Whether ``count`` threads wait for a session."""
    queue = locks._queues.get(key)
    return (len(queue) if queue is not None else 0) == count


def take(locks: KeyLocks, ref: KeyRef, timeout_s: float) -> None:
    """Take a session as a call does: whatever goes wrong, the claim is given up."""
    mine = locks.claim()
    try:
        locks.acquire(ref, mine, timeout_s)
    except BaseException:
        locks.release(ref, mine)
        raise


def let_go(locks: KeyLocks, ref: KeyRef) -> None:
    """Let a held session go in the name of whoever holds it."""
    locks.release(ref, locks._holders[ref.key])


@contextmanager
def holding(held: HeldKeys) -> Iterator[None]:
    """Hold several sessions, as a transaction does."""
    try:
        held.acquire()
        yield
    finally:
        held.release()


def until(condition: Callable[[], bool]) -> None:
    """Give other threads the processor until something is so; the suite's time-out is the bound."""
    while not condition():
        os.sched_yield()


def test_a_session_is_held_once(locks: KeyLocks, place: Place) -> None:
    """A held session cannot be taken by another process; another session can; let go, it is free."""
    other = KeyLocks(place.lock_file(), place.clock)
    take(locks, A, 0)
    with pytest.raises(LockTimeout) as caught:
        take(other, A, 0)
    assert caught.value.session == "a"
    take(other, B, 0)
    let_go(other, B)
    let_go(locks, A)
    take(other, A, 0)
    let_go(other, A)


def test_a_thread_cannot_take_a_session_twice(locks: KeyLocks) -> None:
    """Taking a held session again in the same thread is an error at once, and it stays held."""
    take(locks, A, 0)
    with pytest.raises(ReentrantUpdate):
        take(locks, A, 3600)
    let_go(locks, A)
    take(locks, A, 0)
    let_go(locks, A)


def test_threads_get_a_session_in_order_of_arrival(locks: KeyLocks) -> None:
    """Waiting threads are served first come, first served."""
    order: list[int] = []

    def work(number: int) -> None:
        take(locks, A, 60)
        order.append(number)
        let_go(locks, A)

    take(locks, A, 0)
    threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for number, thread in enumerate(threads):
        thread.start()
        until(lambda number=number: waiting(locks, "a", number + 1))  # type: ignore[misc]
    let_go(locks, A)
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
            take(locks, A, 0.02)
        except LockTimeout as exc:
            errors.append(exc)

    def patient() -> None:
        take(locks, A, 60)
        served.set()
        let_go(locks, A)

    take(locks, A, 0)
    threads = [threading.Thread(target=impatient), threading.Thread(target=patient)]
    for thread in threads:
        thread.start()
    threads[0].join()
    let_go(locks, A)
    threads[1].join()
    assert served.is_set()
    assert [(error.session, error.holder_pid) for error in errors] == [("a", os.getpid())]
    assert errors[0].waited_s >= 0.02
    assert (locks._holders, locks._queues) == ({}, {})


def test_a_waiter_that_times_out_on_a_process_passes_the_session_on(locks: KeyLocks, place: Place) -> None:
    """If the first of two waiting threads gives up on another process, the second goes on waiting for it."""
    other = KeyLocks(place.lock_file(), place.clock)
    take(other, A, 0)
    failed: list[LockTimeout] = []
    got = threading.Event()

    def impatient() -> None:
        try:
            take(locks, A, 0.05)
        except LockTimeout as exc:
            failed.append(exc)

    def patient() -> None:
        take(locks, A, 60)
        got.set()
        let_go(locks, A)

    first = threading.Thread(target=impatient)
    first.start()
    until(lambda: "a" in locks._holders)
    second = threading.Thread(target=patient)
    second.start()
    first.join()
    assert len(failed) == 1
    let_go(other, A)
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
            take(locks, A, 0)
    fs.mend(rule)
    take(locks, A, 0)
    let_go(locks, A)
    broken.close()


def test_a_long_wait_ends_with_a_time_out_and_nothing_else(place: Place) -> None:
    """However long the wait, for a session, a store-wide byte or the commit lock, it ends as asked."""
    clock = LeapingClock()
    holder = KeyLocks(place.lock_file(), SYSTEM_CLOCK)
    take(holder, A, 0)
    with pytest.raises(LockTimeout):
        take(KeyLocks(place.lock_file(), clock), A, 60)
    let_go(holder, A)
    position = layout.CHECKPOINT_LOCK_AT
    held = ByteLock(place.lock_file(), SYSTEM_CLOCK, position)
    assert held.acquire(1, 0)
    assert ByteLock(place.lock_file(), clock, position).acquire(2, 60) is False
    held.release(1)
    one, two = (os.open(place.path, os.O_RDONLY) for _ in range(2))
    assert take_flock(place.directory.fs, clock, one, 0)
    assert take_flock(place.directory.fs, clock, two, 60) is False
    os.close(one)
    os.close(two)


def test_who_waits_for_a_flock_does_other_work_after_each_sleep_and_not_between(place: Place) -> None:
    """The quick tries come first and nothing else is done between them; then one piece of work a sleep."""
    clock = LeapingClock()
    tries, works, sleeps = [0], [0], [0]
    fs, leap = RuledFileSystem(), clock.sleep
    fs.rules.append(lambda name, _args: tries.__setitem__(0, tries[0] + (name == "flock")))

    def sleep(seconds: float) -> None:
        assert works[0] == sleeps[0]
        sleeps[0] += 1
        leap(seconds)

    clock.sleep = sleep  # type: ignore[method-assign]
    one, two = (os.open(place.path, os.O_RDONLY) for _ in range(2))
    assert take_flock(fs, clock, one, 0)
    assert take_flock(fs, clock, two, 0.01, lambda: works.__setitem__(0, works[0] + 1)) is False
    os.close(one)
    os.close(two)
    assert works == sleeps
    assert tries[0] > sleeps[0] + 10 > 10


def test_who_has_waited_long_for_a_flock_looks_rarely(place: Place) -> None:
    """A crowd must leave the processors to the holder; a short wait is looked after every millisecond."""
    clock, tries, leap = LeapingClock(), [], LeapingClock.sleep
    clock.sleep = lambda seconds: (tries.append((clock.slept_s, seconds)), leap(clock, seconds))  # type: ignore[method-assign,assignment]
    one, two = (os.open(place.path, os.O_RDONLY) for _ in range(2))
    fs = place.directory.fs
    assert take_flock(fs, clock, one, 0)
    assert take_flock(fs, clock, two, 2) is False
    os.close(one)
    os.close(two)
    assert max(pause for at, pause in tries if at < 0.008) <= 0.0011
    assert min(pause for at, pause in tries if 0.5 < at < 0.7) >= 0.009
    assert max(pause for _, pause in tries) <= 0.011
    assert max(pause for at, pause in tries if at > 1.9) <= 0.0011, "who is about to give up looks often"


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
    take(other, refs[-1], 0)
    with pytest.raises(LockTimeout), holding(HeldKeys(locks, [C, A, B], 0, place.clock)):
        pass
    assert locks._holders == {}
    let_go(other, refs[-1])
    with holding(HeldKeys(locks, [C, A, B], 0, place.clock)):
        for ref in (A, B, C):
            with pytest.raises(LockTimeout):
                take(other, ref, 0)
    assert locks._holders == {}


def test_g3_a_removed_lock_file_is_noticed_before_a_session_is_taken(place: Place) -> None:
    """G3: after somebody removed the lock file, two processes still do not hold one session both."""
    old = KeyLocks(place.lock_file(), place.clock)
    (place.path / layout.LOCK).unlink()
    new = KeyLocks(place.lock_file(), place.clock)
    take(new, A, 0)
    with pytest.raises(LockTimeout):
        take(old, A, 0)
    let_go(new, A)
    take(old, A, 0)
    let_go(old, A)


def test_g2_a_removed_lock_file_does_not_let_two_checkpoints_run(place: Place) -> None:
    """G2: store-wide locks notice a removed lock file too, or two processes would replace the journal at once."""
    old = ByteLock(place.lock_file(), place.clock, layout.CHECKPOINT_LOCK_AT)
    (place.path / layout.LOCK).unlink()
    new = ByteLock(place.lock_file(), place.clock, layout.CHECKPOINT_LOCK_AT)
    assert new.acquire("new", 0)
    assert old.acquire("old", 0) is False
    old.release("old")
    new.release("new")
    assert old.acquire("old", 0)
    old.release("old")


def test_a_session_held_on_a_removed_lock_file_is_let_go_there(place: Place) -> None:
    """A lock file that is removed while a session is held does not disturb its release."""
    lock_file = place.lock_file()
    locks = KeyLocks(lock_file, place.clock)
    take(locks, A, 0)
    (place.path / layout.LOCK).unlink()
    let_go(locks, A)
    take(locks, A, 0)
    let_go(locks, A)
    assert locks._holders == {}


def test_g7_a_lock_ends_with_its_descriptor(place: Place) -> None:
    """G7: closing the descriptor, as the kernel does for a dead process, frees every session."""
    lock_file = place.lock_file()
    take(KeyLocks(lock_file, place.clock), A, 0)
    lock_file.close()
    other = KeyLocks(place.lock_file(), place.clock)
    take(other, A, 0)
    let_go(other, A)
    assert (place.path / layout.LOCK).stat().st_size == 0, "a lock must not be written down"


def test_other_descriptors_on_the_lock_file_take_nothing_away(place: Place) -> None:
    """Opening and closing the lock file elsewhere in the process, as a backup does, frees no lock."""
    locks = KeyLocks(place.lock_file(), place.clock)
    take(locks, A, 0)
    (place.path / layout.LOCK).read_bytes()
    with pytest.raises(LockTimeout):
        take(KeyLocks(place.lock_file(), place.clock), A, 0)
    let_go(locks, A)


@interpreted_only
def test_g7_handing_a_session_over_can_be_interrupted_anywhere(place: Place) -> None:
    """Done again after an exception, letting go gives the session to the longest waiting thread, once."""
    for at in itertools.count(1):
        locks = KeyLocks(place.lock_file(), place.clock)
        mine = locks.claim()
        locks.acquire(A, mine, 0)
        served: list[int] = []
        waiters = [_waiter(locks, number, served) for number in range(2)]
        with Interruption(at) as interruption:
            locks.release(A, mine)
        locks.release(A, mine)
        for thread in waiters:
            thread.join(20)
        assert served == [0, 1], interruption.where
        assert (locks._holders, locks._queues) == ({}, {}), interruption.where
        if not interruption.reached:
            break
    assert at > 10


def _waiter(locks: KeyLocks, number: int, served: list[int]) -> threading.Thread:
    """A thread that waits for the session as the ``number``th."""

    def work() -> None:
        take(locks, A, 20)
        served.append(number)
        let_go(locks, A)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    until(lambda: waiting(locks, "a", number + 1))
    return thread


@interpreted_only
def test_g7_waiting_for_a_session_can_be_interrupted_anywhere(place: Place) -> None:
    """A thread whose wait ends with an exception keeps no place in the queue, and no session."""
    for at in itertools.count(1):
        locks = KeyLocks(place.lock_file(), place.clock)
        holder = Claim(-1, place.clock.monotonic())
        locks.acquire(A, holder, 0)
        mine = locks.claim()
        with Interruption(at) as interruption, pytest.raises(LockTimeout):
            locks.acquire(A, mine, 0.001)
        locks.release(A, mine)
        assert locks._queues == {}, interruption.where
        locks.release(A, holder)
        assert locks._holders == {}, interruption.where
        if not interruption.reached:
            break
    assert at > 10


def test_a_claim_given_up_as_it_was_served_goes_to_the_next(place: Place) -> None:
    """A waiter that was made the holder in the moment it gave up passes the session on."""
    locks = KeyLocks(place.lock_file(), place.clock)
    first, second = Claim(-1, 0.0, threading.Lock()), Claim(-2, 0.0, threading.Lock())
    holder = locks.claim()
    locks.acquire(A, holder, 0)
    for claim in (first, second):
        assert claim.gate is not None
        claim.gate.acquire()
        locks._queues.setdefault("a", deque()).append(claim)
    locks.release(A, holder)
    assert locks._holders == {"a": first}
    locks.release(A, first)
    assert locks._holders == {"a": second}
    locks.release(A, second)
    assert (locks._holders, locks._queues) == ({}, {})


def test_g7_an_abandoned_transaction_lets_go(store_path: str) -> None:
    """A handler may raise before the first line of a block's end: dropping the transaction frees its sessions."""
    with SessionStore.open(store_path) as store:
        transaction = store.transaction("a", "b")
        transaction.__enter__()
        del transaction
        assert store.put("a", {"n": 1}) == 1
        with SessionStore.open(store_path, fs=FileSystem(), lock_timeout=0) as other:
            other.put("b", {"n": 1})
