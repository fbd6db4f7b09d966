"""G7: when a simulated process dies in one thread, its other threads do not wait for it."""

from __future__ import annotations

import threading

import pytest
from harness.story import open_on

from sessiondir.testing import Stopped, StoppingFileSystem, WatchedFileSystem


def _dead_at(path: str, number: int) -> StoppingFileSystem:
    """Commit and level with a process that dies at call ``number``; what its threads could wait for is free."""
    with open_on(WatchedFileSystem(), path) as store:
        store.put("a", {"n": 0})
    fs, store = StoppingFileSystem(number), None
    try:
        store = open_on(fs, path)
        store.put("a", {"n": number})
        store.flush()
    except Stopped:
        pass
    core = None if store is None else store._core
    if core is not None and core.is_ready():
        assert core.committer.mutex.by is None, f"the commit mutex stays taken after {fs.last}"
        assert not core.checkpointer.is_busy(), f"the checkpoint's mutex stays taken after {fs.last}"
    fs.bury(store)
    return fs


def test_no_mutex_between_threads_survives_the_death_of_one(store_path: str) -> None:
    """Dying at any call, letting go included, leaves no mutex taken that the background thread waits for."""
    number = 1
    while _dead_at(store_path, number).last:
        number += 1
    assert number > 50


@pytest.mark.timeout(60)
def test_a_thread_that_waits_for_a_dead_one_dies_too(store_path: str) -> None:
    """While one thread levels, another waits for its turn; when the first dies, the second is dead at once."""
    fs = StoppingFileSystem()
    store = open_on(fs, store_path, lock_timeout=3600.0)
    store.put("a", {"n": 1})
    ends: list[BaseException] = []
    waiting = threading.Event()
    real = fs.rename

    def flush() -> None:
        waiting.set()
        try:
            store.flush()
        except Stopped as exc:
            ends.append(exc.with_traceback(None))

    second = threading.Thread(target=flush)

    def rename(*args: object, **kwargs: object) -> None:
        second.start()
        waiting.wait()
        fs.stop_at = fs.count + 1
        real(*args, **kwargs)  # type: ignore[arg-type]

    fs.rename = rename  # type: ignore[assignment, method-assign]
    with pytest.raises(Stopped):
        store.flush()
    second.join()
    assert len(ends) == 1
    fs.bury(store)
