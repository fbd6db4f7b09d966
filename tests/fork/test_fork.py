"""G3, G7: forking a process that uses a store (F16)."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import select
import threading
import traceback
from collections.abc import Callable
from multiprocessing import forkserver, resource_tracker
from typing import Any

import pytest
from harness.processes import PATIENCE_S
from harness.story import errors_of

from sessiondir import AsyncSessionStore, SessionStore
from sessiondir.aio import freeing
from sessiondir.errors import LockTimeout, StoreError, StoreNotFound
from sessiondir.fs import FileSystem


def _more(entry: dict[str, int]) -> dict[str, int]:
    return entry | {"n": entry.get("n", 0) + 1}


def _fork(work: Callable[[], None]) -> int:
    """Run ``work`` in a forked child, which ends without Python's cleanup; its pid."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return pid


def _wait(pid: int) -> None:
    """Wait for a child, for so long at most, and see that it ended well."""
    descriptor = os.pidfd_open(pid)
    try:
        ready = select.select([descriptor], [], [], PATIENCE_S)[0]
        if not ready:
            os.kill(pid, 9)
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(descriptor)
    assert ready, "the child hung"
    assert os.waitstatus_to_exitcode(status) == 0, "the child failed"


def _count(path: str, times: int) -> None:
    with SessionStore.open(path, durability="process") as store:
        for _ in range(times):
            store.update("one", _more, create=True)


def test_fork_while_another_thread_commits(store_path: str) -> None:
    """G3: children forked in the middle of commits use the inherited handle, and the sum is exact."""
    children, each = 12, 20
    done = threading.Event()
    counted = [0]
    with SessionStore.open(store_path, durability="process", checkpoint_interval=0.01) as store:
        store.update("one", _more, create=True)

        def keep_counting() -> None:
            while not done.is_set():
                store.update("one", _more)
                counted[0] += 1

        def work() -> None:
            for _ in range(each):
                store.update("one", _more)

        thread = threading.Thread(target=keep_counting)
        thread.start()
        try:
            pids = [_fork(work) for _ in range(children)]
            for pid in pids:
                _wait(pid)
        finally:
            done.set()
            thread.join()
        assert store["one"]["n"] == 1 + counted[0] + children * each
    assert not errors_of(store_path)


@pytest.mark.parametrize("durability", ["power", "process"])
def test_fork_inside_update_where_the_child_exits(store_path: str, durability: str) -> None:
    """G7: a child that ends inside the parent's update does not free the parent's session."""
    with SessionStore.open(store_path, durability=durability) as store:  # type: ignore[arg-type]
        store.put("one", {"n": 0})

        def forking(entry: dict[str, int]) -> dict[str, int]:
            _wait(_fork(lambda: None))
            _wait(_fork(lambda: _expect_held(store_path)))
            return entry | {"n": 1}

        assert store.update("one", forking) == {"n": 1}
        assert store.update("one", _more) == {"n": 2}


def _expect_held(path: str) -> None:
    """In a child: the session that the parent holds is busy, others are not."""
    with SessionStore.open(path, durability="process") as store:
        with pytest.raises(LockTimeout):
            store.update("one", _more, timeout=0.05)
        store.put(f"child {os.getpid()}", {"n": 1})


def test_fork_inside_update_where_the_child_continues(store_path: str) -> None:
    """G3: a child that goes on inside the callback, with the inherited handle, waits its turn, and both count."""
    with SessionStore.open(store_path, durability="process") as store:
        store.put("one", {"n": 0})
        pids: list[int] = []

        def child() -> None:
            with pytest.raises(LockTimeout):
                store.update("one", _more, timeout=0.02)
            store.put("other", {"n": 5})  # from here on the parent lets go
            store.update("one", _more, timeout=30.0)
            store.close()

        def forking(entry: dict[str, int]) -> dict[str, int]:
            pids.append(_fork(child))
            while store.get("other") is None:
                pass
            return entry | {"n": entry["n"] + 10}

        store.update("one", forking)
        _wait(pids[0])
        assert store["one"] == {"n": 11}
        assert store["other"] == {"n": 5}
    assert not errors_of(store_path)


def test_a_child_that_returns_from_the_callback_commits_too(store_path: str) -> None:
    """G3: both processes leave the same callback; the second commit notices the first and is computed again."""
    with SessionStore.open(store_path, durability="process") as store:
        store.put("one", {"n": 0})
        parent = os.getpid()
        pids: list[int] = []

        def forking(entry: dict[str, int]) -> dict[str, int]:
            if os.getpid() == parent and not pids:
                pid = os.fork()
                if pid:
                    pids.append(pid)
            return entry | {"n": entry["n"] + 1}

        code = 1
        try:
            store.update("one", forking)
            code = 0
        except BaseException:
            if os.getpid() == parent:
                raise
            traceback.print_exc()
        finally:
            if os.getpid() != parent:
                os._exit(code)
        _wait(pids[0])
        assert store["one"] == {"n": 2}
        assert store.update("one", _more) == {"n": 3}


def test_a_grandchild_works_as_a_child_does(store_path: str) -> None:
    """G3: a child forks again, and each of the three processes commits through the same handle."""
    with SessionStore.open(store_path, durability="process") as store:
        store.update("one", _more, create=True)

        def child() -> None:
            store.update("one", _more)
            _wait(_fork(lambda: _one_more(store)))

        _wait(_fork(child))
        store.update("one", _more)
        assert store["one"] == {"n": 4}


class _HeldSync(FileSystem):
    """Syncs wait until they may go on; nobody waits at first."""

    def __init__(self) -> None:
        self.waiting, self.may_go_on = threading.Event(), threading.Event()
        self.may_go_on.set()
        self.fdatasync = self._sync

    def _sync(self, fd: int) -> None:
        self.waiting.set()
        assert self.may_go_on.wait(PATIENCE_S)
        os.fdatasync(fd)


def test_a_child_forked_during_a_sync_of_tasks_syncs_by_itself(store_path: str) -> None:
    """G2, G3: a child uses the inherited asynchronous handle on a loop of its own, though what synced is gone."""
    fs = _HeldSync()
    loop = asyncio.new_event_loop()

    async def begin() -> tuple[AsyncSessionStore, asyncio.Task[int]]:
        store = await AsyncSessionStore.open(store_path, fs=fs)
        await store.put("first", {"n": 1})
        fs.waiting.clear()
        fs.may_go_on.clear()
        task = asyncio.create_task(store.put("parent", {"n": 1}))
        while not fs.waiting.is_set():
            await asyncio.sleep(0.001)
        return store, task

    store, task = loop.run_until_complete(begin())

    async def in_child() -> None:
        await asyncio.wait_for(store.put("child", {"n": 1}), PATIENCE_S)
        await store.close()

    def child() -> None:
        fs.may_go_on.set()
        asyncio.run(in_child())

    try:
        _wait(_fork(child))
    finally:
        fs.may_go_on.set()

    async def end() -> list[str]:
        await task
        found = [key for key in ("first", "parent", "child") if await store.get(key)]
        await store.close()
        return found

    assert loop.run_until_complete(end()) == ["first", "parent", "child"]
    loop.close()


def test_a_child_forked_while_a_worker_looks_what_to_free_reads_large_entries(
    store_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G7: what a thread of the parent held at that moment stops no task of the child."""
    looking, may_go_on = threading.Event(), threading.Event()
    references = freeing._references

    def held(*args: Any) -> int:
        looking.set()
        assert may_go_on.wait(PATIENCE_S)
        return references(*args)

    loop = asyncio.new_event_loop()

    async def begin() -> tuple[AsyncSessionStore, Any]:
        store = await AsyncSessionStore.open(store_path)
        await store.put("large", {"texts": ["lorem ipsum"] * 30_000})
        found = await store.get("large")
        monkeypatch.setattr(freeing, "_references", held)
        while not looking.is_set():
            await asyncio.sleep(0.001)
        return store, found

    store, found = loop.run_until_complete(begin())

    async def in_child() -> None:
        assert await store.get("large") == found
        await store.close()

    def child() -> None:
        may_go_on.set()
        asyncio.run(in_child())

    try:
        _wait(_fork(child))
    finally:
        may_go_on.set()
    loop.run_until_complete(store.close())
    loop.close()


def _one_more(store: SessionStore) -> None:
    store.update("one", _more)
    store.close()


def test_the_child_keeps_no_descriptor_of_the_parent(store_path: str) -> None:
    """G7: what the child has open on the store it opened itself, so the parent's locks end with the parent."""
    with SessionStore.open(store_path, durability="process") as store:
        store.put("one", {"n": 0})
        before = {name for name, _ in _open_in(store_path)}

        def child() -> None:
            store.update("one", _more)
            names = _open_in(store_path)
            assert len(names) == len(before), names

        _wait(_fork(child))
        assert store.update("one", _more) == {"n": 2}


def _open_in(path: str) -> list[tuple[str, str]]:
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
        if target.startswith(path):
            found.append((name, target))
    return found


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
@pytest.mark.parametrize("open_before", [False, True], ids=["closed", "open"])
def test_multiprocessing(store_path: str, method: str, open_before: bool) -> None:
    """G3: worker processes of every start method count exactly, with or without a handle in the parent."""
    context = multiprocessing.get_context(method)
    each, workers = 30, 3
    store = SessionStore.open(store_path, durability="process")
    store.update("one", _more, create=True)
    if not open_before:
        store.close()
    processes = [context.Process(target=_count, args=(store_path, each)) for _ in range(workers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(PATIENCE_S)
        assert process.exitcode == 0
        process.close()
    if open_before:
        assert store.update("one", _more) == {"n": 2 + workers * each}
        store.close()
    with SessionStore.open(store_path, read_only=True) as reader:
        assert reader["one"]["n"] == 1 + open_before + workers * each
    assert not errors_of(store_path)
    if method != "fork":
        # The helper processes would live on, with their pipes, until the test run ends.
        forkserver._forkserver._stop()  # type: ignore[attr-defined]
        resource_tracker._resource_tracker._stop()  # type: ignore[attr-defined]


def test_g10_a_child_of_a_store_that_was_moved_touches_no_descriptor_of_its_own(store_path: str) -> None:
    """Every call in the child is a ``StoreError``, and closing closes nothing that the child opened itself."""
    with SessionStore.open(store_path, durability="process", checkpoint_interval=3600) as store:
        store.put("one", {"n": 1})
        store.flush()
        store.patch("one", {"n": 2})
        os.rename(store_path, store_path + ".moved")

        def child() -> None:
            # They get the numbers of what was inherited and dropped.
            mine = [os.open("/dev/null", os.O_RDONLY) for _ in range(8)]
            for call in (
                lambda: store.get("one"),
                lambda: store.get("other"),
                store.keys,
                store.snapshot,
            ):
                with pytest.raises(StoreError):
                    call()
            with pytest.raises(StoreNotFound, match="not there any more"):
                store.put("one", {"n": 3})
            store.close()
            for fd in mine:
                assert os.readlink(f"/proc/self/fd/{fd}") == "/dev/null"
                os.close(fd)

        _wait(_fork(child))
        os.rename(store_path + ".moved", store_path)
        assert store.update("one", _more) == {"n": 3}
    assert not errors_of(store_path)
