"""The calls that have to do with leases and messages, and what each of them comes to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sessiondir import AsyncLease, AsyncSessionStore
from sessiondir.inbox import Message


@dataclass
class Stage:
    """What a call finds: a message that waits, one that was taken, and a lease that is held."""

    store: Any
    lease: AsyncLease
    taken: Sequence[Message]


@dataclass
class State:
    """What is to be seen of the inbox of ``a`` and of the leases."""

    waiting: list[str] = field(default_factory=lambda: ["waits"])
    taken: list[str] = field(default_factory=lambda: ["taken"])
    leases: dict[str, str] = field(default_factory=lambda: {"b": "me"})


class Call(NamedTuple):
    """A call, the state after it, and one that it may leave if it is thrown away with its loop."""

    make: Callable[[Stage], Awaitable[Any]]
    after: State
    abandoned: State


async def set_up(store: AsyncSessionStore) -> Stage:
    """Bring about the state of ``State()``, whatever was before."""
    for key in ("a", "b"):
        await store.ack(key, await store.peek(key, taken=True), durability="process")
    for one in await store.leases(free=True):
        await store._workers.finish(lambda key=one.key: _let_go(store, key))
    lease = await store.lease("b", "me", ttl=600)
    await store.post("a", "taken", durability="process")
    taken = await store.take("a", ttl=600)
    await store.post("a", "waits", durability="process")
    assert await state_of(store) == State()
    return Stage(store, lease, taken)


def _let_go(store: AsyncSessionStore, key: str) -> None:
    """Let a lease go whose holder was thrown away."""
    found = store._store.lease_of(key)
    if found is not None:
        from sessiondir.leasing import Lease

        assert Lease(store._store, key, found.owner, found.token, 600_000).release()


async def state_of(store: AsyncSessionStore) -> State:
    """The state as it is."""
    waiting = [message.id for message in await store.peek("a")]
    everything = await store.peek("a", taken=True)
    return State(
        [message.body for message in everything if message.id in waiting],
        [message.body for message in everything if message.id not in waiting],
        {one.key: one.owner for one in await store.leases()},
    )


async def _taking(stage: Stage) -> None:
    async with stage.store.taking("a", 1) as messages:
        assert [message.body for message in messages] == ["waits"]
        await asyncio.sleep(0)


async def _lease_block(stage: Stage) -> None:
    async with stage.store.lease("c", "me"):
        await asyncio.sleep(0)


async def _awaited_lease_block(stage: Stage) -> None:
    async with await stage.store.lease("c", "me"):
        await asyncio.sleep(0)


async def _lease(stage: Stage) -> None:
    await stage.store.lease("c", "me", ttl=600)


SAME = State()
BOTH_TAKEN = State([], ["taken", "waits"])
LEASED = State(leases={"b": "me", "c": "me"})

BESIDE: dict[str, Call] = {
    "post": Call(lambda on: on.store.post("a", "more"), State(["waits", "more"]), State(["waits", "more"])),
    "peek": Call(lambda on: on.store.peek("a"), SAME, SAME),
    "peek taken": Call(lambda on: on.store.peek("a", taken=True), SAME, SAME),
    "take": Call(lambda on: on.store.take("a", ttl=600), BOTH_TAKEN, BOTH_TAKEN),
    "take ack": Call(lambda on: on.store.take("a", ack=True), State([]), State([])),
    "ack": Call(lambda on: on.store.ack("a", on.taken), State(taken=[]), State(taken=[])),
    "put_back": Call(
        lambda on: on.store.put_back("a", on.taken), State(["taken", "waits"], []), State(["taken", "waits"], [])
    ),
    "taking": Call(_taking, State([]), BOTH_TAKEN),
    "wait_inbox": Call(lambda on: on.store.wait_inbox("a"), SAME, SAME),
    "wait_inbox empty": Call(lambda on: on.store.wait_inbox("b", timeout=0.03), SAME, SAME),
    "inboxes": Call(lambda on: on.store.inboxes(), SAME, SAME),
    "lease": Call(_lease, LEASED, LEASED),
    "lease block": Call(_lease_block, SAME, LEASED),
    "awaited lease block": Call(_awaited_lease_block, SAME, LEASED),
    "lease_of": Call(lambda on: on.store.lease_of("b"), SAME, SAME),
    "leases": Call(lambda on: on.store.leases(), SAME, SAME),
    "is_held": Call(lambda on: on.lease.is_held(), SAME, SAME),
    "renew": Call(lambda on: on.lease.renew(700), SAME, SAME),
    "release": Call(lambda on: on.lease.release(), State(leases={}), State(leases={})),
}
KEPT_IF_CANCELLED = {"take", "lease", "taking", "lease block", "awaited lease block"}
"""What these take, they give back when they are cancelled: the state is as before, or as after."""
