"""Leases and inboxes for tasks."""

from __future__ import annotations

import asyncio
import os
import threading
from functools import partial
from typing import Any

import pytest
from support.seams import RuledFileSystem

from aio.stepping import interrupted
from sessiondir import AsyncSessionStore, LeaseHeld, LeaseLost, LockTimeout, SessionStore
from sessiondir.aio import handle
from sessiondir.fs import FileSystem

CANCELLED = ("cancelled", "cancelled late", "cancelled again")


def test_a_lease_is_granted_renewed_fenced_and_let_go(store_path: str) -> None:
    """A lease tells others of the run, guards its changes, and ends with its block."""

    async def run() -> None:
        async with AsyncSessionStore.open(store_path) as store:
            async with store.lease("a", "gateway-1", ttl=60) as lease:
                assert await lease.is_held()
                assert await store.put("a", {"n": 1}, fence=lease) > 0
                with pytest.raises(LeaseHeld):
                    await store.lease("a", "gateway-2")
                await lease.renew(30)
                assert lease.ttl_s == 30
                found = await store.lease_of("a")
                assert found is not None
                assert (found.owner, found.token) == ("gateway-1", lease.token)
                assert [one.key for one in await store.leases()] == ["a"]
            assert await store.lease_of("a") is None
            assert await lease.release() is False
            for change in (
                store.put("a", {"n": 2}, fence=lease),
                store.patch("a", {"n": 2}, fence=lease),
                store.update("a", lambda entry: {"n": 2}, fence=lease),
                store.delete("a", fence=lease),
            ):
                with pytest.raises(LeaseLost):
                    await change
            assert await store["a"] == {"n": 1}
            kept = await store.lease("a", "gateway-3", keep=True)
            assert kept.lost is None
            assert await kept.release() is True

    asyncio.run(run())


def test_a_task_waits_for_a_lease(store_path: str) -> None:
    """With a timeout a task gets the lease when it is let go, and the others go on meanwhile."""

    async def run() -> None:
        async with AsyncSessionStore.open(store_path) as store:
            first = await store.lease("a", "one")
            waiting = asyncio.ensure_future(_lease(store, timeout=30))
            await asyncio.sleep(0.03)
            await store.put("a", {"n": 1})
            assert not waiting.done()
            await first.release()
            second = await waiting
            assert second.token > first.token
            await second.release()

    asyncio.run(run())


async def _lease(store: AsyncSessionStore, timeout: float = 0.0) -> Any:
    return await store.lease("a", "two", timeout=timeout)


@pytest.mark.parametrize("way", CANCELLED)
def test_g7_a_lease_interrupted_anywhere_is_not_left_behind(store_path: str, way: str) -> None:
    """G7: a task that is cancelled while it takes a lease holds none."""

    async def run() -> int:
        async with AsyncSessionStore.open(store_path) as store:
            await store.put("a", {})
            nth, reached = 0, True
            while reached:
                nth += 1
                store._calls = 1000
                reached = await interrupted(lambda: _lease(store), nth, way)
                assert (await store.lease_of("a") is None) == reached
            return nth

    assert asyncio.run(run()) > 2


def test_messages_go_from_task_to_task_and_from_process_to_task(store_path: str) -> None:
    """Posting waits for no session; what is taken is acknowledged, or put back."""

    async def run() -> None:
        async with AsyncSessionStore.open(store_path) as store:
            with SessionStore.open(store_path, fs=FileSystem()) as other:
                assert await store.wait_inbox("a", timeout=0.03) == []
                waiting = asyncio.create_task(store.wait_inbox("a", timeout=30))

                async def sit(entry: dict[str, Any]) -> None:
                    await store.post("a", {"n": 1}, id="first")
                    await store.post("a", {"n": 1}, id="first")
                    other.post(["a", "b"], {"n": 2})

                await store.update("a", sit, create=True)
                assert [message.body for message in await waiting][:1] == [{"n": 1}]
                assert [message.body for message in await store.peek("a")] == [{"n": 1}, {"n": 2}]
                assert [message.body for message in await store.peek("b")] == [{"n": 2}]
                with pytest.raises(ZeroDivisionError):
                    async with store.taking("a", 1) as messages:
                        assert [message.body for message in messages] == [{"n": 1}]
                        assert len(await store.peek("a")) == 1
                        raise ZeroDivisionError
                assert len(await store.peek("a")) == 2
                async with store.taking("a") as messages:
                    assert len(messages) == 2
                assert await store.peek("a", taken=True) == []
                taken = await store.take("b")
                assert await store.put_back("b", taken) == 1
                assert [one.key for one in await store.inboxes()] == ["b"]
                assert await store.ack("b", await store.take("b")) == 1
                assert await store.take("b", ack=True) == []

    asyncio.run(run())


@pytest.mark.parametrize("way", CANCELLED)
@pytest.mark.parametrize("name", ["take", "ack", "post"])
def test_g1_messages_are_neither_lost_nor_doubled_by_a_cancellation(store_path: str, name: str, way: str) -> None:
    """G1: cancelled anywhere, taking leaves the message waiting; posting and acknowledging are done or not."""

    async def run() -> int:
        async with AsyncSessionStore.open(store_path) as store:
            nth, reached = 0, True
            while reached:
                nth += 1
                await store.take("a", ack=True)
                await store.post("a", "first")
                ids = [message.id for message in await store.peek("a")]
                calls: dict[str, Any] = {
                    "take": partial(store.take, "a"),
                    "ack": partial(store.ack, "a", ids),
                    "post": partial(store.post, "a", "second"),
                }
                store._calls = 1000
                reached = await interrupted(calls[name], nth, way)
                bodies = [message.body for message in await store.peek("a")]
                done = {"take": [], "ack": [], "post": ["first", "second"]}[name]
                if not reached:
                    assert bodies == done
                elif name == "take":
                    assert bodies == ["first"]
                else:
                    assert bodies in (["first"], done)
                await store.ack("a", [message.id for message in await store.peek("a", taken=True)])
            return nth

    assert asyncio.run(run()) > 2


@pytest.mark.parametrize("way", CANCELLED)
@pytest.mark.parametrize("name", ["lease", "awaited lease", "taking"])
def test_g7_a_block_interrupted_anywhere_leaves_nothing_taken(
    store_path: str, monkeypatch: pytest.MonkeyPatch, name: str, way: str
) -> None:
    """G7: however its task is cancelled, on entry, inside or on exit, the lease is free and no message taken."""
    monkeypatch.setattr(handle, "_CALLS_IN_A_ROW", 1)  # so that every call waits at its beginning

    async def block(store: AsyncSessionStore) -> None:
        if name == "lease":
            async with store.lease("a", "me"):
                await asyncio.sleep(0)
        elif name == "awaited lease":
            async with await store.lease("a", "me"):
                await asyncio.sleep(0)
        else:
            async with store.taking("a") as messages:
                assert len(messages) == 1
                await asyncio.sleep(0)

    async def run() -> int:
        async with AsyncSessionStore.open(store_path) as store:
            await store.put("a", {})
            nth, reached = 0, True
            while reached:
                nth += 1
                if not await store.peek("a"):
                    await store.post("a", "hello")
                reached = await interrupted(lambda: block(store), nth, way)
                assert await store.lease_of("a") is None
                assert await store.peek("a", taken=True) == await store.peek("a")
            return nth

    assert asyncio.run(run()) > 4


def test_a_cancellation_is_delivered_although_nothing_can_be_put_back(store_path: str) -> None:
    """A block cancelled after the handle was closed ends as cancelled; what it took stays taken for its term."""

    async def run() -> None:
        async with AsyncSessionStore.open(store_path) as store:
            await store.post("a", "hello")

            async def block() -> None:
                async with store.lease("a", "me"), store.taking("a"):
                    await asyncio.sleep(600)

            task = asyncio.create_task(block())
            while len(await store.peek("a")) > 0:
                await asyncio.sleep(0.001)
            await store.close()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        with SessionStore.open(store_path) as after:
            assert [message.taken_by for message in after.peek("a", taken=True)] == [os.getpid()]
            assert after.lease_of("a") is not None

    asyncio.run(run())


def test_posts_that_wait_for_the_disk_tie_up_no_worker(store_path: str) -> None:
    """G2: many posts wait for one sync while reads go on; each is acknowledged after it."""
    disk = threading.Semaphore(0)
    slow = False

    def wait_for_disk(name: str, args: tuple[Any, ...]) -> None:
        if name == "fdatasync" and slow:
            disk.acquire()

    async def run() -> None:
        nonlocal slow
        fs = RuledFileSystem(wait_for_disk)
        async with AsyncSessionStore.open(store_path, fs=fs, checkpoint_interval=3600) as store:
            await store.put("a", {})
            slow = True
            posts = [asyncio.create_task(store.post("a", number)) for number in range(20)]
            while len(await store.peek("a")) < 20:
                await asyncio.sleep(0.001)
            assert not any(post.done() for post in posts)
            disk.release(2)
            await asyncio.gather(*posts)
            slow = False

    asyncio.run(run())


@pytest.mark.parametrize("name", ["post", "take", "ack", "lease", "renew", "release", "release kept"])
def test_waiting_for_a_stopped_process_is_bounded_cancelled_at_once_and_ties_up_no_worker(
    store_path: str, name: str
) -> None:
    """While another process has the commit lock, many calls wait, reads go on, and each call ends as it should."""

    async def run() -> None:
        async with AsyncSessionStore.open(store_path, checkpoint_interval=3600, lock_timeout=600) as store:
            await store.put("a", {"n": 1})
            await store.post("a", "hello", id="m")
            taken = await store.take("a") if name == "ack" else []
            lease, kept = await store.lease("b", "me"), await store.lease("c", "me", keep=True)
            calls: dict[str, Any] = {
                "post": lambda **given: store.post("a", "again", **given),
                "take": lambda **given: store.take("a", **given),
                "ack": lambda **given: store.ack("a", taken, **given),
                "lease": lambda **given: _lease(store, **given),
                "renew": lease.renew,
                "release": lease.release,
                "release kept": kept.release,
            }
            before = await store.version()
            with SessionStore.open(store_path, fs=FileSystem()) as other:
                other.put("b", {})
                core, mine = other._core, object()
                assert core is not None
                core.committer.lock(mine, 10)
                waiting = [asyncio.create_task(calls[name]()) for _ in range(20)]
                short = asyncio.create_task(calls[name](timeout=0))
                await asyncio.sleep(0.02)
                assert sorted(await store.keys()) == ["a", "b"]
                for task in waiting[1:]:
                    task.cancel()
                found = await asyncio.gather(*waiting[1:], return_exceptions=True)
                assert all(isinstance(one, asyncio.CancelledError) for one in found)
                if name == "lease":  # whose timeout is for the holder of the lease
                    short.cancel()
                with pytest.raises((LockTimeout, asyncio.CancelledError)):
                    await short
                assert await store.version() == before + 1  # the other's
                core.committer.unlock(mine)
                await waiting[0]
                assert await store.version() == before + 2
            await kept.release()  # or its thread would tell a later test that the handle is closed

    asyncio.run(run())
