"""Inboxes for tasks."""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Iterable
from types import TracebackType
from typing import Any

from sessiondir import deciding
from sessiondir.aio.leasing import AsyncStoreLeases
from sessiondir.errors import StoreClosed
from sessiondir.inbox import InboxInfo, Message, check_limit, message_of, waiting
from sessiondir.messaging import LOOK_S
from sessiondir.model import Durability
from sessiondir.watch import Quiet


class Taking:
    """What ``AsyncSessionStore.taking`` returns, to be used with ``async with``."""

    def __init__(
        self, store: AsyncStoreInbox, key: str, limit: int | None, ttl: float, timeout: float | None
    ) -> None:
        self._store = store
        self._key = key
        self._limit = limit
        self._ttl = ttl
        self._timeout = timeout
        self._messages: builtins.list[Message] = []

    async def __aenter__(self) -> builtins.list[Message]:
        self._messages = await self._store.take(self._key, self._limit, ttl=self._ttl, timeout=self._timeout)
        return self._messages

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._messages:
            return
        store, key, messages = self._store._store, self._key, self._messages
        if kind is GeneratorExit:
            self._store._see_to_it_behind(lambda: store.put_back(key, messages))
            return
        if kind is not None:
            await self._store._see_through(lambda: store.put_back(key, messages))
            return
        try:
            await self._store.ack(key, messages, timeout=self._timeout)
        except asyncio.CancelledError:
            await self._store._see_through(lambda: store.ack(key, messages))  # they are dealt with
            raise


class AsyncStoreInbox(AsyncStoreLeases):
    """The part of an asynchronous handle that has to do with messages. As ``SessionStore``.

    ``timeout`` of a call that changes an inbox bounds its wait for the commit lock, in seconds, and is
    at least 2: nobody has that lock for longer than milliseconds unless stopped.
    """

    async def post(
        self,
        key: str | Iterable[str],
        message: Any,
        *,
        id: str | None = None,  # noqa: A002 - as SessionStore
        ttl: float | None = None,
        durability: Durability | None = None,
        timeout: float | None = None,
    ) -> str:
        """Add a message to the inbox of a session, or of several in one commit; its id."""
        level = self._store._level(durability)
        return await self._decide(
            lambda: self._store.post(key, message, id=id, ttl=ttl, durability="process"), level, timeout
        )

    async def peek(
        self, key: str, limit: int | None = None, *, taken: bool = False, timeout: float | None = None
    ) -> builtins.list[Message]:
        """The messages that wait in the session's inbox, oldest first; changes nothing."""
        await self._begin()
        check_limit(limit)
        doc = None if taken else self._at_hand(key)
        if doc is None or len(records := waiting(doc, moment := deciding.now(self._clock))) > 1:
            return await self._workers.read(lambda: self._store.peek(key, limit, taken=taken), timeout)
        return [message_of(one, moment) for one in records[:limit]]

    async def take(
        self,
        key: str,
        limit: int | None = None,
        *,
        ttl: float = 300.0,
        ack: bool = False,
        durability: Durability | None = None,
        timeout: float | None = None,
    ) -> builtins.list[Message]:
        """Take the oldest messages that wait, in one commit; nobody else gets them meanwhile.

        Cancelled meanwhile, it puts them back. With ``ack`` they are gone then, as when the
        program dies.
        """
        level: Durability = self._store._level(durability) if ack else "process"
        taken: builtins.list[Message] = []
        mark = object()

        def job() -> None:
            taken.extend(self._store.take(key, limit, ttl=ttl, ack=ack, durability="process"))
            if taken and not ack:
                self._unclaimed[mark] = lambda: self._store.put_back(key, taken)

        try:
            await self._decide(job, level, timeout)
        except BaseException as exc:
            await self._give_back(mark, exc)
            raise
        if taken and not ack:
            self._claim(mark)
        return taken

    async def ack(
        self,
        key: str,
        messages: Message | str | Iterable[Message | str],
        *,
        durability: Durability | None = None,
        timeout: float | None = None,
    ) -> int:
        """Tell that messages, or their ids, are dealt with: they are removed; how many were there."""
        level = self._store._level(durability)
        return await self._decide(lambda: self._store.ack(key, messages, durability="process"), level, timeout)

    async def put_back(
        self, key: str, messages: Message | str | Iterable[Message | str], *, timeout: float | None = None
    ) -> int:
        """Let messages that this process took wait again, in their old places; how many there were."""
        return await self._decide(lambda: self._store.put_back(key, messages), "process", timeout)

    def taking(
        self, key: str, limit: int | None = None, *, ttl: float = 300.0, timeout: float | None = None
    ) -> Taking:
        """Take messages for an ``async with`` block: acknowledged when it ends, put back when it raises."""
        return Taking(self, key, limit, ttl, timeout)

    async def wait_inbox(self, key: str, timeout: float | None = None) -> builtins.list[Message]:
        """Wait until messages wait in the session's inbox, and return them as ``peek`` does.

        None of them after ``timeout`` seconds (None: never), or when the handle is closed.
        """
        quiet = Quiet(self._clock, timeout)
        try:
            while not self._closed:
                found = await self.peek(key)
                if found or quiet.is_over():
                    return found
                await self._clock.pause(LOOK_S)
        except StoreClosed:
            if not self._closed:  # else in the middle of a look
                raise
        return []

    async def inboxes(self, *, timeout: float | None = None) -> builtins.list[InboxInfo]:
        """All inboxes in which something is, by key. O(sessions)."""
        await self._begin()
        return await self._workers.read(self._store.inboxes, timeout)
