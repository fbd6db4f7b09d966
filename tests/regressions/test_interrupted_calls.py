"""G3, G4, G7: an exception out of a signal handler leaves no lock behind, wherever it comes (F18).

A handler for Ctrl-C or an alarm may raise in the middle of any call. Each test lets one raise
at the first possible moment of a call, at the second, and so on until the call ends before.
After each, another thread and another process must find everything free at once.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from harness.interrupting import Interrupt, InterruptedCalls, Interruption
from harness.story import open_on
from harness.watched import QuickFs, leave
from support.forms import interpreted_only

from sessiondir import SessionStore
from sessiondir.compiled import is_compiled
from sessiondir.fs import range_request
from sessiondir.layout import SYNC_LOCK_AT
from sessiondir.model import Durability

AT_ONCE_S = 0.05
PATIENCE_S = 20.0
KEY, SECOND = "one", "two"
OLD = {"n": 0}

LOSE_A_DESCRIPTOR = {
    "directory.py open_fd",
    "directory.py open_file",
    "directory.py subdirectory",
    "journal.py __init__",
    "lockfile.py __init__",
    "lockfile.py open",
    "lockfile.py probe",
    "core.py _begin_writing",
    "core.py begin_writing",
}
"""What is known to be lost, and where: between the opening of a file and the noting of its number."""


LET_GO_WITH_THE_EXCEPTION = {"transaction.py __exit__"}
"""Where sessions stay held until the exception is forgotten: before the first line of the end of a block."""


class AlarmError(TimeoutError):
    """What handlers for alarms like to raise: an ``OSError`` that the system did not report."""


def _update(store: SessionStore, number: int) -> None:
    store.update(KEY, lambda entry: {**entry, "n": number})


def _put(store: SessionStore, number: int) -> None:
    store.put(KEY, {"n": number})


def _transaction(store: SessionStore, number: int) -> None:
    with store.transaction(KEY, SECOND) as txn:
        txn[KEY] = {"n": number}
        txn[SECOND] = {"n": number}


def _look(store: SessionStore, number: int) -> None:
    with store.transaction(KEY, SECOND) as txn:
        assert len(txn) == 2


def _get(store: SessionStore, number: int) -> None:
    store.get(KEY)


def _flush(store: SessionStore, number: int) -> None:
    store.flush()


class Bench:
    """A handle whose calls are interrupted, and a second one that is as in another process."""

    def __init__(self, path: str, durability: Durability = "process") -> None:
        self._options: dict[str, Any] = {"durability": durability, "lock_timeout": AT_ONCE_S}
        self._path = path
        self._threads = ThreadPoolExecutor(1)
        self.other_fs = QuickFs()
        self.other = open_on(self.other_fs, path, **self._options)
        self.other.put(KEY, OLD)
        self.other.put(SECOND, OLD)
        self.reopen()
        for key in (KEY, SECOND):
            self.store.put(key, {"n": -1})  # this handle is one that writes, from here on
            self.store.put(key, OLD)

    def reopen(self) -> None:
        """A new handle, which has neither read nor written anything."""
        self.fs = InterruptedCalls()
        self.store = open_on(self.fs, self._path, **self._options)

    def leave(self) -> None:
        """Let go of the handle that was interrupted, as the death of its process would."""
        leave(self.store, self.fs)

    def end(self) -> None:
        """Let go of everything."""
        self._threads.shutdown()
        self.leave()
        leave(self.other, self.other_fs)

    def wrong(self, number: int) -> str:
        """What is held or broken after a call that wanted to store ``number``; empty if nothing is."""
        core = self.store._core
        assert core is not None
        if core.view.mutex.locked() or (core._lock_file is not None and core.sync._turn.locked()):
            return "a mutex is held"  # to wait for it would have no end
        if not self._sync_lock_is_free():
            return "the sync lock is held"
        seen = self.store.get(KEY)
        if seen != self.other.get(KEY) or self.store.version != self.other.version:
            return f"one handle reads {seen!r}, the other {self.other.get(KEY)!r}"
        if seen not in (OLD, {"n": number}):
            return f"the entry is {seen!r}"
        # The other process first: what this one does next would let go of what it holds too long.
        return self._use(self.other, "another process") or self._use(self.store, "another thread")

    def _sync_lock_is_free(self) -> bool:
        core = self.other._core
        assert core is not None
        lock = core._lock_file
        assert lock is not None
        taken = lock.try_byte(SYNC_LOCK_AT, range_request(SYNC_LOCK_AT))
        lock.release_byte(SYNC_LOCK_AT, range_request(SYNC_LOCK_AT, unlock=True))
        return taken

    def _use(self, store: SessionStore, who: str) -> str:
        def work() -> None:
            for key in (KEY, SECOND):
                store.put(key, {"n": -1}, durability="power")
                store.update(key, lambda entry: OLD, timeout=0)

        try:
            self._threads.submit(work).result(PATIENCE_S)
        except Exception as exc:
            return f"{who}: {type(exc).__name__} {exc}"
        return ""

    def level(self) -> str:
        """Whether both can bring the session files level; what is wrong, if anything."""
        for store in (self.other, self.store):
            core = store._core
            assert core is not None
            if not self._threads.submit(core.checkpoint, AT_ONCE_S).result(PATIENCE_S):
                return "the checkpoint lock is held"
        return "; ".join(f"{one.path}: {one.reason}" for one in self.other.check() if one.level != "note")


@pytest.fixture
def make_bench(store_path: str) -> Iterator[Callable[..., Bench]]:
    """Makes the bench of a test, and takes it down however the test ends."""
    made: list[Bench] = []

    def make(*args: Any) -> Bench:
        made.append(Bench(store_path, *args))
        return made[-1]

    yield make
    for one in made:
        one.end()


def _each_moment(
    bench: Bench,
    call: Callable[[SessionStore, int], None],
    error: type[BaseException],
    before: Callable[[], object] = lambda: None,
    *,
    step: int = 1,
    level_every: int = 25,
) -> tuple[int, str]:
    """Interrupt the call at every moment; how many there were, and what went wrong first."""
    for at in itertools.count(1, step):
        before()
        with Interruption(at, error) as interruption:
            call(bench.store, at)
        if not interruption.reached:
            return at, bench.level()
        wrong = bench.wrong(at)
        if wrong and interruption.function in LET_GO_WITH_THE_EXCEPTION:
            interruption.error = None
            wrong = bench.wrong(at)
        if not wrong and at // step % level_every == 0:
            wrong = bench.level()
        if wrong:
            return at, f"moment {at}, {interruption.where}: {wrong}"
    raise AssertionError


@pytest.mark.parametrize(
    ("error", "durability"), [(Interrupt, "power"), (AlarmError, "power"), (Interrupt, "process")]
)
@pytest.mark.parametrize("call", [_update, _put, _transaction, _look])
def test_g7_no_lock_outlives_an_interrupted_change(
    make_bench: Callable[..., Bench], call: Any, error: type[BaseException], durability: Durability
) -> None:
    """Whatever moment a handler raises at, sessions and store are free, and the entry is old or new."""
    moments, wrong = _each_moment(make_bench(durability), call, error)
    assert not wrong
    assert moments > (20 if is_compiled() else 100)  # compiled code is interrupted only where it calls other code


def test_g6_an_interrupted_read_takes_in_the_rest_later(make_bench: Callable[..., Bench]) -> None:
    """A read that was interrupted while it took in the commits of others loses none of them."""
    bench = make_bench()

    def commit_elsewhere() -> None:
        bench.other.update(KEY, lambda entry: {"n": entry["n"] - 1})
        bench.other.put(KEY, OLD)

    moments, wrong = _each_moment(bench, _get, Interrupt, commit_elsewhere)
    assert not wrong
    assert moments > 40


@pytest.mark.parametrize("call", [_get, _put])
def test_g6_following_to_the_next_journal_can_be_interrupted(make_bench: Callable[..., Bench], call: Any) -> None:
    """Whether a handler raises before or after the next journal was entered, no version is given twice."""
    bench = make_bench()

    def begin_a_journal() -> None:
        bench.other.put(KEY, {"n": -1})
        bench.other.put(KEY, OLD)
        core = bench.other._core
        assert core is not None
        assert core.checkpoint(1, rotate_bytes=0)

    moments, wrong = _each_moment(bench, call, Interrupt, begin_a_journal)
    assert not wrong
    assert moments > (20 if is_compiled() else 100)  # compiled code is interrupted only where it calls other code


@pytest.mark.parametrize("step", [9, pytest.param(1, marks=pytest.mark.stress)])
def test_g7_an_interrupted_checkpoint_hinders_no_other(make_bench: Callable[..., Bench], step: int) -> None:
    """A flush that a handler ended leaves the checkpoint to whoever wants it next."""
    bench = make_bench()

    def change() -> None:
        bench.store.put(KEY, {"n": -1})
        bench.store.put(KEY, OLD)

    moments, wrong = _each_moment(bench, _flush, Interrupt, change, step=step, level_every=1)
    assert not wrong
    assert moments > 300


@pytest.mark.parametrize("error", [Interrupt, AlarmError])
@pytest.mark.parametrize("call", [_update, _put, _transaction, _get, _flush])
@pytest.mark.parametrize("fresh", [False, True], ids=["used", "fresh"])
def test_g7_a_system_call_can_be_interrupted(
    make_bench: Callable[..., Bench], call: Any, error: type[BaseException], fresh: bool
) -> None:
    """A handler that raises while the system call waits leaves as little behind as one that raises after it."""
    bench = make_bench("power")
    for at in itertools.count(1):
        if fresh:
            bench.leave()
            bench.reopen()
        bench.other.put(KEY, {"n": -1})
        bench.other.put(KEY, OLD)
        bench.fs.arm(at, error)
        try:
            call(bench.store, at)
        except BaseException as exc:
            assert bench.fs.where, exc
        if not bench.fs.where:
            break
        where = bench.fs.where
        bench.fs.arm(0)
        assert not bench.wrong(at), f"call {at}, {where}"
        assert not bench.level(), f"call {at}, {where}"
    assert at > 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a file of /proc, not closed
@interpreted_only
@pytest.mark.parametrize("step", [4, pytest.param(1, marks=pytest.mark.stress)])
def test_g7_an_interrupted_first_write_costs_a_descriptor_at_most(
    make_bench: Callable[..., Bench], store_path: str, step: int
) -> None:
    """The one known loss: a file that was just opened stays open, and holds no lock, until the process ends."""
    bench = make_bench()
    lost = set()
    for at in itertools.count(1, step):
        bench.leave()
        bench.reopen()
        with Interruption(at) as interruption:
            bench.store.put(KEY, {"n": at})
        if not interruption.reached:
            break
        fs = QuickFs()
        third = open_on(fs, store_path, lock_timeout=AT_ONCE_S)
        third.put(SECOND, {"n": at})  # it has to get ready, too
        leave(third, fs)
        assert not bench.wrong(at), interruption.where
        interruption.error = None  # and with it the frames that have files
        bench.store.close()
        if bench.fs.open_fds:
            lost.add(interruption.function)
    assert lost <= LOSE_A_DESCRIPTOR
    assert lost, "the list of known losses can go"
    assert at > 500
