"""W6: many processes open a store that does not exist yet, at the same moment."""

from __future__ import annotations

import contextlib
import threading

import pytest
from harness.processes import Worker
from harness.story import errors_of, open_on
from harness.watched import QuickFs

from sessiondir import SessionStore


def _race(path: str, count: int) -> None:
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(Worker("first_open", path)) for _ in range(count)]
        for worker in workers:
            assert worker.next() == {"ready": True}
        for worker in workers:
            worker.go()
        versions = [worker.finish()[0]["version"] for worker in workers]
        assert sorted(versions) == list(range(1, count + 1))
        with open_on(QuickFs(), path, read_only=True) as store:
            assert sorted(store.keys()) == sorted(f"by {worker.pid}" for worker in workers)


def test_eight_processes_open_a_missing_store_at_once(store_path: str) -> None:
    """G1: all eight first opens succeed and all eight commits are there."""
    for number in range(2):
        path = f"{store_path[:-2]}-{number}.d"
        _race(path, 8)
        assert not errors_of(path)


def _open_in_threads(path: str, count: int) -> None:
    failures: list[BaseException] = []
    barrier = threading.Barrier(count)

    def run(number: int) -> None:
        # A file system of its own gives each thread a core of its own, as processes have.
        fs = QuickFs()
        try:
            barrier.wait()
            with SessionStore.open(path, fs=fs, lock_timeout=30.0) as store:
                store.put(f"by {number}", {"n": number})
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
    with open_on(QuickFs(), path, read_only=True) as store:
        assert {key: entry["n"] for key, entry in store.snapshot().items()} == {f"by {n}": n for n in range(count)}


def test_many_first_opens_with_cores_of_their_own(store_path: str) -> None:
    """G1: the race is run many times over, with independent cores in threads, and always succeeds."""
    for number in range(40):
        path = f"{store_path[:-2]}-{number}.d"
        _open_in_threads(path, 6)
        assert not errors_of(path)


@pytest.mark.stress
@pytest.mark.timeout(3600)
def test_first_opens_many_times(store_path: str) -> None:
    """G1: a hundred races of eight processes and a thousand of threads."""
    for number in range(100):
        _race(f"{store_path[:-2]}-p{number}.d", 8)
    for number in range(1000):
        _open_in_threads(f"{store_path[:-2]}-t{number}.d", 6)
