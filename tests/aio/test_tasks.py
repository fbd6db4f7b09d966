"""Tasks, threads and loops on one store (F17, F18)."""

from __future__ import annotations

import asyncio
import errno
import gc
import itertools
import os
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from support.processes import run_python
from support.seams import Recorder, RuledFileSystem

from sessiondir import (
    AsyncSessionStore,
    LockTimeout,
    ReentrantUpdate,
    SessionStore,
    StoreClosed,
    registry,
)
from sessiondir.aio.workers import Reply, deliver
from sessiondir.fs import FileSystem


def count(entry: dict[str, Any]) -> dict[str, Any]:
    """One more."""
    return {"n": entry.get("n", 0) + 1}


async def slow_count(entry: dict[str, Any]) -> dict[str, Any]:
    """One more, after the others had a turn."""
    await asyncio.sleep(0)
    return count(entry)


@asynccontextmanager
async def opened(path: str, **options: Any) -> AsyncIterator[AsyncSessionStore]:
    """A store that is not levelled by the clock."""
    async with AsyncSessionStore.open(path, **{"checkpoint_interval": 3600, **options}) as store:
        yield store


@pytest.mark.parametrize("durability", ["process", "power"])
@pytest.mark.parametrize("fn", [count, slow_count], ids=lambda fn: fn.__name__)
def test_g3_a_thousand_tasks_on_one_session_are_all_counted(store_path: str, durability: Any, fn: Any) -> None:
    """G3: a thousand tasks that update one session at once lose no update, and each is counted once."""

    async def run() -> None:
        async with opened(store_path, durability=durability, lock_timeout=100) as store:
            results = await asyncio.gather(*(store.update("a", fn, create=True) for _ in range(1000)))
            assert sorted(result["n"] for result in results if result is not None) == list(range(1, 1001))
            assert await store["a"] == {"n": 1000}
            assert await store.version() == 1000

    asyncio.run(run())


def test_tasks_get_a_session_in_the_order_in_which_they_came(store_path: str) -> None:
    """Tasks and threads that wait for a session stand in one queue: first come, first served."""
    order: list[str] = []

    async def run() -> None:
        async with opened(store_path, durability="process") as store:
            beside = SessionStore.open(store_path, durability="process")
            await store.put("a", {})
            core = store._store._core
            assert core is not None
            held = asyncio.Event()

            async def hold(entry: dict[str, Any]) -> None:
                await held.wait()

            async def note(name: str) -> None:
                await store.update("a", lambda entry: order.append(name))

            def queue_length() -> int:
                queue = core.keys._queues.get("a")
                return len(queue) if queue is not None else 0

            waiting: list[Any] = [asyncio.create_task(store.update("a", hold))]
            await asyncio.sleep(0)
            for number in range(6):
                if number % 2:
                    name = f"thread {number}"
                    waiting.append(
                        asyncio.to_thread(beside.update, "a", lambda entry, name=name: order.append(name))
                    )
                    waiting[-1] = asyncio.ensure_future(waiting[-1])
                else:
                    waiting.append(asyncio.create_task(note(f"task {number}")))
                while queue_length() <= number:
                    await asyncio.sleep(0.001)
            held.set()
            await asyncio.gather(*waiting)
            beside.close()

    asyncio.run(run())
    assert order == ["task 0", "thread 1", "task 2", "thread 3", "task 4", "thread 5"]


def test_g4_a_coroutine_callback_holds_only_its_own_session(store_path: str) -> None:
    """G4: while a callback awaits, other sessions are changed by tasks, threads and processes at once."""

    async def run() -> None:
        async with opened(store_path, lock_timeout=0) as store:
            with SessionStore.open(store_path, fs=FileSystem(), lock_timeout=0) as other:
                await store.put("a", {"n": 1})

                async def sit(entry: dict[str, Any]) -> dict[str, Any]:
                    await store.put("b", {"by": "itself"})
                    other.put("c", {"by": "another process"})
                    await asyncio.gather(*(store.update(f"k{n}", slow_count, create=True) for n in range(20)))
                    with pytest.raises(LockTimeout):
                        other.put("a", {})
                    assert await store["a"] == {"n": 1}
                    return {"n": 2}

                await store.update("a", sit)
                assert await store.count() == 23
                assert await store["a"] == {"n": 2}

    asyncio.run(run())


def test_reentrancy_is_an_error_at_once_while_other_tasks_queue(store_path: str) -> None:
    """The task that holds a session is told so; another task waits its turn."""

    async def run() -> None:
        async with opened(store_path, lock_timeout=3600) as store:
            await store.put("a", {"n": 0})

            async def again(entry: dict[str, Any]) -> dict[str, Any]:
                queued.append(asyncio.create_task(store.update("a", count)))
                await asyncio.sleep(0.01)
                with pytest.raises(ReentrantUpdate) as caught:
                    await store.put("a", {})
                assert "this very task" in str(caught.value)
                return {"n": 10}

            queued: list[asyncio.Task[Any]] = []
            await store.update("a", again)
            assert await queued[0] == {"n": 11}

    asyncio.run(run())


def test_the_synchronous_store_does_not_wait_for_a_task_of_its_own_thread(store_path: str) -> None:
    """A synchronous call that would wait for a task which cannot run meanwhile is an error at once."""

    async def run() -> None:
        async with opened(store_path) as store:
            with SessionStore.open(store_path, lock_timeout=3600) as beside:
                await store.put("a", {"n": 1})

                async def sit(entry: dict[str, Any]) -> dict[str, Any]:
                    with pytest.raises(ReentrantUpdate) as caught:
                        beside.put("a", {})
                    assert "AsyncSessionStore" in str(caught.value)
                    return {"n": 2}

                await store.update("a", sit)
                beside.update("a", count)
                assert await store["a"] == beside["a"] == {"n": 3}

    asyncio.run(run())


@pytest.mark.parametrize("shared", [True, False], ids=["one handle", "a handle each"])
def test_g3_several_loops_and_threads_lose_no_update(store_path: str, shared: bool) -> None:
    """G3: loops in several threads and plain threads update one session; everything is counted."""
    store = asyncio.run(_open(store_path))

    async def many(handle: AsyncSessionStore) -> None:
        await asyncio.gather(*(handle.update("a", slow_count, create=True) for _ in range(50)))

    async def in_a_loop() -> None:
        if shared:
            await many(store)
        else:
            async with opened(store_path, durability="process", lock_timeout=100) as own:
                await many(own)

    def in_a_thread() -> None:
        with SessionStore.open(store_path, durability="process", lock_timeout=100) as own:
            for _ in range(50):
                own.update("a", count, create=True)

    threads = [threading.Thread(target=lambda: asyncio.run(in_a_loop())) for _ in range(3)]
    threads += [threading.Thread(target=in_a_thread) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    async def end() -> None:
        assert await store["a"] == {"n": 250}
        await store.close()

    asyncio.run(end())


async def _open(path: str) -> AsyncSessionStore:
    return await AsyncSessionStore.open(path, durability="process", checkpoint_interval=3600, lock_timeout=100)


def test_g7_a_closed_loop_blocks_nobody(store_path: str) -> None:
    """G7: tasks that wait in a loop which was closed without ending them are passed over."""
    loop = asyncio.new_event_loop()
    store = loop.run_until_complete(_open(store_path))
    loop.run_until_complete(store.put("a", {"n": 0}))
    entered = asyncio.Event()

    async def for_ever(entry: dict[str, Any]) -> None:
        entered.set()
        await asyncio.Event().wait()

    async def begin() -> list[asyncio.Task[Any]]:
        tasks = [asyncio.create_task(store.update("a", for_ever)) for _ in range(3)]
        await entered.wait()
        await asyncio.sleep(0)
        return tasks

    tasks = loop.run_until_complete(begin())
    with SessionStore.open(store_path, durability="process", lock_timeout=100) as beside:
        waiting = threading.Thread(target=beside.update, args=("a", count))
        waiting.start()
        core = store._store._core
        assert core is not None
        while len(core.keys._queues["a"]) < 3:
            pass
        loop.close()
        for task in tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined] # that is what this is about
        tasks.clear()
        del task
        gc.collect()
        waiting.join()
        assert beside["a"] == {"n": 1}
    asyncio.run(store.close())


def test_g7_a_closed_loop_with_tasks_that_refer_to_each_other_blocks_nobody(store_path: str) -> None:
    """G7: a task that waits in a dead loop keeps no other alive that holds what it waits for (``gather``)."""
    loop = asyncio.new_event_loop()
    store = loop.run_until_complete(_open(store_path))
    loop.run_until_complete(store.replace({"a": {"n": 0}, "b": {"n": 0}}))

    def begin() -> None:
        entered = asyncio.Event()

        async def for_ever(entry: dict[str, Any]) -> None:
            entered.set()
            await asyncio.Event().wait()

        async def both() -> None:
            async with store.transaction("b"):
                await asyncio.gather(*(store.update("a", for_ever) for _ in range(3)))

        task = loop.create_task(both())
        loop.run_until_complete(entered.wait())
        loop.run_until_complete(asyncio.sleep(0))
        for one in (task, *asyncio.all_tasks(loop)):
            one._log_destroy_pending = False  # type: ignore[attr-defined] # that is what this is about

    begin()
    core = store._store._core
    assert core is not None
    assert len(core.keys._queues["a"]) == 2
    loop.close()
    gc.collect()
    with SessionStore.open(store_path, durability="process", lock_timeout=0) as beside:
        beside.update("a", count)
        beside.update("b", count)
        assert dict(beside.snapshot()) == {"a": {"n": 1}, "b": {"n": 1}}
    assert not core.keys._queues
    asyncio.run(store.close())


def test_a_task_that_nobody_refers_to_waits_to_its_end(store_path: str) -> None:
    """G3: a task that was started and forgotten is not collected while it waits for a session."""

    async def run() -> None:
        async with AsyncSessionStore.open(store_path, durability="process") as store:
            await store.put("a", {"n": 0})
            go_on = asyncio.Event()

            async def hold(entry: dict[str, Any]) -> dict[str, Any]:
                await go_on.wait()
                return count(entry)

            holding = asyncio.create_task(store.update("a", hold))
            await asyncio.sleep(0)
            for _ in range(5):
                asyncio.create_task(store.update("a", count))  # noqa: RUF006 - that is what this is about
            await asyncio.sleep(0)
            gc.collect()
            go_on.set()
            await holding
            assert await store.update("a", count) == {"n": 7}

    asyncio.run(run())


def test_one_sync_serves_all_tasks_that_wait(store_path: str) -> None:
    """G2: tasks that commit while a sync runs share the next one, and none of them ties up a worker."""
    recorder = Recorder()
    disk = threading.Semaphore(0)
    slow = False

    def wait_for_disk(name: str, args: tuple[Any, ...]) -> None:
        if name == "fdatasync" and slow:
            disk.acquire()

    async def run() -> None:
        nonlocal slow
        async with opened(store_path, fs=RuledFileSystem(recorder, wait_for_disk)) as store:
            await store.put("a", {})
            recorder.calls.clear()
            slow = True
            writes = [asyncio.create_task(store.put(f"k{n}", {"n": n})) for n in range(50)]
            while await store.version() < 51:
                await asyncio.sleep(0.001)
            assert not any(write.done() for write in writes)
            # The workers are free meanwhile, and so are the sessions.
            assert await store.count() == 51
            assert await store.patch("k0", {"m": 1}, durability="process") == {"n": 0, "m": 1}
            for _ in range(2):
                disk.release()
            await asyncio.gather(*writes)
            slow = False
            assert recorder.calls.count("fdatasync") <= 2

    asyncio.run(run())


def test_tasks_that_one_sync_wakes_take_no_turns_from_the_others() -> None:
    """However many are woken at once, other tasks run between them if each does a while's work; none is lost."""
    order: list[str] = []

    async def woken(reply: Reply, work_s: float) -> None:
        order.append(await reply.future)
        time.sleep(work_s)

    async def tick() -> None:
        while True:
            order.append("tick")
            await asyncio.sleep(0)

    async def run(count: int, work_s: float) -> list[str]:
        order.clear()
        loop = asyncio.get_running_loop()
        replies = [Reply(loop.create_future()) for _ in range(count)]
        tasks = [asyncio.create_task(woken(reply, work_s)) for reply in replies]
        await asyncio.sleep(0)
        ticking = asyncio.create_task(tick())
        for number, reply in enumerate(replies):
            reply.value = str(number)
        deliver(replies)
        await asyncio.gather(*tasks)
        ticking.cancel()
        assert [one for one in order if one != "tick"] == [str(number) for number in range(count)]
        return order[order.index("0") : order.index(str(count - 1)) + 1]

    slow = asyncio.run(run(8, 0.0005))
    assert all("tick" in pair for pair in itertools.pairwise(slow))
    asyncio.run(run(1000, 0.0))


def test_a_closed_store_keeps_no_entries(store_path: str) -> None:
    """Whoever still refers to a handle keeps none of its cached megabytes; they were freed in steps."""

    async def run() -> None:
        async with opened(store_path) as store:
            await store.put("a", {"text": "x" * 500_000})
            await store.get("a")
            core = store._store._core
            assert core is not None
            assert core.view.cache.documents
        assert not core.view.cache.documents
        assert core.view.cache.used_bytes == 0

    asyncio.run(run())


def test_a_read_has_a_timeout_of_its_own(store_path: str) -> None:
    """A read that the disk does not answer in time raises TimeoutError; the handle goes on."""
    go_on = threading.Event()
    slow = False

    def wait_for_disk(name: str, args: tuple[Any, ...]) -> None:
        if name == "listdir" and slow:
            go_on.wait()

    async def run() -> None:
        nonlocal slow
        async with opened(store_path, fs=RuledFileSystem(wait_for_disk)) as store:
            await store.put("a", {})
            slow = True
            with pytest.raises(TimeoutError):
                await store.keys(timeout=0.01)
            go_on.set()
            assert await store.keys(timeout=100) == ["a"]

    asyncio.run(run())


def test_closing_ends_what_waits(store_path: str) -> None:
    """Calls that wait for a session when the handle is closed raise StoreClosed and change nothing."""

    async def run() -> None:
        store = await AsyncSessionStore.open(store_path, lock_timeout=100)
        await store.put("a", {"n": 1})
        entered = asyncio.Event()
        go_on = asyncio.Event()

        async def sit(entry: dict[str, Any]) -> dict[str, Any]:
            entered.set()
            await go_on.wait()
            return {"n": 2}

        tasks = [asyncio.create_task(store.update("a", sit)), asyncio.create_task(store.update("a", count))]
        await entered.wait()
        await store.close()
        await store.close()
        go_on.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in results] == [StoreClosed, StoreClosed]

    asyncio.run(run())
    with SessionStore.open(store_path) as store:
        assert store["a"] == {"n": 1}


def test_closing_has_a_timeout_and_goes_on_without_who_waited(
    store_path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """After its timeout a close raises TimeoutError; it is finished behind, or the log says why not."""
    go_on = threading.Event()
    slow, broken = False, False

    def disk(name: str, args: tuple[Any, ...]) -> None:
        if name in ("fsync", "fdatasync") and slow:
            go_on.wait()
            if broken:
                raise OSError(errno.EIO, os.strerror(errno.EIO))

    async def run(number: int) -> None:
        nonlocal slow
        slow = False
        go_on.clear()
        store = await AsyncSessionStore.open(store_path, fs=RuledFileSystem(disk), checkpoint_interval=3600)
        await store.put("a", {"n": number})
        slow = True
        with pytest.raises(TimeoutError, match="still being closed"):
            await store.close(timeout=0.01)
        with pytest.raises(StoreClosed):
            await store.get("a")
        await store.close(timeout=0)
        go_on.set()
        while registry._cores or (broken and not caplog.records):  # the suite's time-out is the bound
            await asyncio.sleep(0.001)

    asyncio.run(run(1))
    assert not caplog.records
    with SessionStore.open(store_path, read_only=True) as store:
        assert store.info().journal_bytes < 1000
        assert store["a"] == {"n": 1}
    broken = True
    asyncio.run(run(2))
    assert "nobody waits any more" in caplog.text
    with SessionStore.open(store_path) as store:
        assert store["a"] == {"n": 2}


def test_a_watch_left_half_way_holds_nothing(store_path: str) -> None:
    """F19: a watch that nobody goes on with blocks no writer, and its descriptor goes with it."""

    async def run() -> None:
        async with opened(store_path) as store:
            await store.put("a", {"n": 0})
            watching = store.watch(since=0)
            assert (await anext(watching)).key == "a"
            with SessionStore.open(store_path, fs=FileSystem(), lock_timeout=0) as other:
                for number in range(20):
                    other.put("a", {"n": number})
                    await store.patch("a", {"m": number})
            async for change in store.watch(since=0):
                if change.version == 10:
                    break
            assert (await anext(watching)).version == 2
            assert watching._reader is not None
            assert watching._reader._file is not None
            link, path = f"/proc/self/fd/{watching._reader._file.fd}", watching._reader._file.path
            assert os.readlink(link) == os.path.realpath(path)
            del watching
            # The worker that read last may be about to forget it.
            while os.path.lexists(link) and os.readlink(link) == os.path.realpath(path):
                await asyncio.sleep(0.001)

    asyncio.run(run())


def test_a_watch_wakes_for_a_commit_and_misses_none_when_cancelled(store_path: str) -> None:
    """What a cancelled step of a watch had read already comes with the next step."""

    async def run() -> None:
        async with opened(store_path) as store:
            await store.put("a", {"n": 0})
            watching = store.watch(timeout=30)
            seen: list[int] = []
            for number in range(10):
                step = asyncio.ensure_future(anext(watching))
                await asyncio.sleep(0)
                await store.put("a", {"n": number + 1})
                if number % 2:
                    step.cancel()
                found = (await asyncio.gather(step, return_exceptions=True))[0]
                if not isinstance(found, asyncio.CancelledError):
                    seen.append(found.version)
            while len(seen) < 10:
                seen.append((await anext(watching)).version)
            assert seen == list(range(2, 12))

    asyncio.run(run())


def test_g12_a_forgotten_handle_warns_and_the_interpreter_ends_cleanly(store_path: str) -> None:
    """G12: what was not closed is warned about, tasks still at work do no harm, and the files are level."""
    told = run_python(
        """
        import asyncio, sys, warnings
        from sessiondir import AsyncSessionStore, SessionStore

        async def main():
            store = await AsyncSessionStore.open(sys.argv[1])
            await store.put("a", {"n": 1})
            async def for_ever(entry):
                await asyncio.sleep(3600)
            for _ in range(3):
                asyncio.create_task(store.update("a", for_ever))
            await asyncio.sleep(0.01)

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            asyncio.run(main())
            import gc
            gc.collect()
        print([(one.category.__name__, "not closed" in str(one.message)) for one in caught])
        with SessionStore.open(sys.argv[1], lock_timeout=0) as store:
            print(store.update("a", lambda entry: {"n": 2}))
        """,
        store_path,
    )
    assert told == "[('ResourceWarning', True)]\n{'n': 2}\n"


def test_g1_an_interrupt_from_the_keyboard_leaves_whole_commits(store_path: str) -> None:
    """G1: Ctrl-C in the middle of many commits ends the program; every session is free and whole."""
    told = run_python(
        """
        import asyncio, itertools, os, signal, sys, threading
        from sessiondir import AsyncSessionStore, SessionStore

        async def main():
            async with AsyncSessionStore.open(sys.argv[1]) as store:
                count = itertools.count(1)
                async def work(number):
                    while True:
                        async with store.transaction("a", f"k{number}") as txn:
                            n = txn.get("a", {"n": 0})["n"] + 1
                            txn["a"] = {"n": n}
                            txn[f"k{number}"] = {"n": txn.get(f"k{number}", {"n": 0})["n"] + 1}
                        if next(count) == 30:
                            threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGINT)).start()
                await asyncio.gather(*(work(number) for number in range(8)))

        try:
            asyncio.run(main())
        except KeyboardInterrupt:
            print("interrupted")
        with SessionStore.open(sys.argv[1], lock_timeout=0) as store:
            total = store["a"]["n"]
            print(total > 0, total == sum(store[f"k{n}"]["n"] for n in range(8) if f"k{n}" in store))
            store.update("a", lambda entry: {"n": 0})
        """,
        store_path,
    )
    assert told == "interrupted\nTrue True\n"


def test_it_works_under_uvloop(store_path: str) -> None:
    """Tasks, workers and the shared sync work on uvloop's loop as on asyncio's."""
    told = run_python(
        """
        import asyncio, sys, uvloop
        from sessiondir import AsyncSessionStore

        async def main():
            async with AsyncSessionStore.open(sys.argv[1]) as store:
                async def count(entry):
                    await asyncio.sleep(0)
                    return {"n": entry.get("n", 0) + 1}
                await asyncio.gather(*(store.update("a", count, create=True) for _ in range(200)))
                task = asyncio.create_task(store.update("a", count))
                await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                print(type(asyncio.get_running_loop()).__module__, (await store["a"])["n"] in (200, 201))
                async for change in store.watch(since=0, timeout=0):
                    pass
                print(change.key)

        uvloop.run(main())
        """,
        store_path,
    )
    assert told == "uvloop True\na\n"


def test_an_interpreter_ends_although_a_loop_with_an_open_block_was_never_closed(store_path: str) -> None:
    """The task is destroyed when no thread can start any more: nothing is waited for, and the files are level."""
    run_python(
        f"""
        import asyncio, logging, warnings
        logging.disable()  # asyncio's complaints of the loop and of its task
        warnings.simplefilter("ignore")
        from sessiondir import AsyncSessionStore
        async def main():
            async with AsyncSessionStore.open({store_path!r}) as store:
                await store.put("a", {{"n": 1}})
                async with store.lease("a", "me"):
                    await asyncio.sleep(600)
        loop = asyncio.new_event_loop()
        task = loop.create_task(main())
        loop.run_until_complete(asyncio.sleep(0.2))
        """
    )
    with SessionStore.open(store_path) as store:
        assert store["a"] == {"n": 1}
        assert store.lease_of("a") is None
