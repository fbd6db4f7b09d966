"""Leases for tasks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Generator
from types import TracebackType
from typing import Any, TypeVar

from sessiondir.aio.handle import tell_of_term
from sessiondir.aio.reading import AsyncStoreReader
from sessiondir.errors import LeaseHeld, StoreClosed, StoreError
from sessiondir.leases import LeaseInfo
from sessiondir.leasing import Lease
from sessiondir.model import Durability
from sessiondir.watch import POLL_S, Quiet

T = TypeVar("T")


class AsyncLease:
    """A lease that this process was granted; made by ``AsyncSessionStore.lease``. As ``Lease``.

    ``key`` is the session, ``owner`` the name given, ``token`` the version of the commit that
    granted it. Leaving an ``async with`` block lets it go. ``timeout`` of ``renew`` and ``release``
    bounds their wait for the commit lock, as for messages.
    """

    def __init__(self, store: AsyncStoreLeases, lease: Lease) -> None:
        self._store = store
        self._lease = lease
        self.key = lease.key
        self.owner = lease.owner
        self.token = lease.token

    @property
    def ttl_s(self) -> float:
        """Length of its term in seconds."""
        return self._lease.ttl_s

    @property
    def lost(self) -> StoreError | None:
        """Why the automatic renewal ended before it was let go; None while it goes on."""
        return self._lease.lost

    async def is_held(self, *, timeout: float | None = None) -> bool:
        """Whether it is still ours, and its term not over; reads, and takes no lock."""
        found = await self._store.lease_of(self.key, timeout=timeout)
        return found is not None and found.token == self.token

    async def renew(self, ttl: float | None = None, *, timeout: float | None = None) -> None:
        """Begin its term anew; ``ttl`` in seconds, None: as long as before. Raises ``LeaseLost``."""
        await self._store._decide(lambda: self._lease.renew(ttl), "process", timeout)

    async def release(self, *, timeout: float | None = None) -> bool:
        """Let it go; False if it was lost before. Ends the automatic renewal."""
        return await self._store._decide(self._lease.release, "process", timeout)

    async def __aenter__(self) -> AsyncLease:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is GeneratorExit:
            self._store._see_to_it_behind(self._lease.release)
            return
        if kind is not None:
            await self._store._see_through(self._lease.release)
            return
        try:
            await self.release()
        except asyncio.CancelledError:
            await self._store._see_through(self._lease.release)
            raise

    def __repr__(self) -> str:
        return f"<AsyncLease of {self.key!r} by {self.owner}, token {self.token}>"


class Granting:
    """What ``AsyncSessionStore.lease`` returns: ``await`` it, or use it with ``async with``."""

    def __init__(self, grant: Callable[[], Awaitable[AsyncLease]]) -> None:
        self._grant = grant
        self._lease: AsyncLease | None = None

    def __await__(self) -> Generator[Any, None, AsyncLease]:
        return self._grant().__await__()

    async def __aenter__(self) -> AsyncLease:
        self._lease = await self._grant()
        return self._lease

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._lease is not None
        await self._lease.__aexit__(kind, exc, trace)


class AsyncStoreLeases(AsyncStoreReader):
    """The part of an asynchronous handle that has to do with leases."""

    def lease(
        self, key: str, owner: str, ttl: float = 60.0, timeout: float = 0.0, *, keep: bool = False
    ) -> Granting:
        """Take the session's lease: ``await store.lease(...)``, or ``async with store.lease(...) as lease``.

        As ``SessionStore.lease``; the commit lock is waited for as long as the handle's ``lock_timeout``.
        Cancelled while it waits or takes it, the task holds none.
        """
        return Granting(lambda: self._grant(key, owner, ttl, timeout, keep))

    async def _grant(self, key: str, owner: str, ttl: float, timeout: float, keep: bool) -> AsyncLease:
        await self._begin()
        waiting = Quiet(self._clock, timeout)
        granted: list[Lease] = []
        mark = object()

        def take() -> None:
            lease = self._store.lease(key, owner, ttl, 0.0)
            self._unclaimed[mark] = lease.release
            granted.append(lease)

        while True:
            try:
                await self._decide(take, "process", None)
                break
            except LeaseHeld:
                if waiting.is_over():
                    raise
            except BaseException as exc:
                await self._give_back(mark, exc)
                raise
            await self._clock.pause(POLL_S)
        self._claim(mark)
        return AsyncLease(self, granted[0].keep() if keep else granted[0])

    async def lease_of(self, key: str, *, timeout: float | None = None) -> LeaseInfo | None:
        """Who holds the session's lease; None if it is free."""
        await self._begin()
        return await self._workers.read(lambda: self._store.lease_of(key), timeout)

    async def leases(self, *, free: bool = False, timeout: float | None = None) -> list[LeaseInfo]:
        """All leases that are held, by key; with ``free`` those, too, that nobody holds any more. O(sessions)."""
        await self._begin()
        return await self._workers.read(lambda: self._store.leases(free=free), timeout)

    async def _decide(self, job: Callable[[], T], level: Durability, timeout: float | None) -> T:
        """Run a job of the synchronous store that commits with process durability, and settle it."""
        await self._begin()
        timeout_s = self._store._wait_s(timeout)
        if await self._reading_core() is None:
            # The first commit of a store makes it, or there is nothing to change in one that is not there.
            return await self._committer.finish_first(lambda: self._store._core, job, level)
        if self._store._read_only:
            return await self._workers.finish(job)
        return await self._committer.finish(await self._writing_core(), job, level, timeout_s)

    async def _see_through(self, job: Callable[[], object]) -> None:
        """Run a job that a block which failed or was cancelled must not leave undone.

        However often the task is cancelled meanwhile. What fails is told to the log, because the caller
        gets to know why the block ended; then the term ends by itself.
        """
        try:
            await self._to_the_end(job)
        except StoreError as exc:
            tell_of_term(self.path, exc)

    def _see_to_it_behind(self, job: Callable[[], object]) -> None:
        """As ``_see_through`` where nothing may be awaited: the loop, or a generator, was closed over the block.

        This may be in the middle of a garbage collection, so it takes no lock: the loop that runs has a worker
        do it, or else closing does.
        """
        mark = object()
        self._unclaimed[mark] = job
        with contextlib.suppress(RuntimeError):  # none runs
            asyncio.get_running_loop().call_soon(self._give_back_behind, mark)

    def _give_back_behind(self, mark: object) -> None:
        def work() -> None:
            job = self._unclaimed.pop(mark, None)
            if job is not None:
                self._give_back_or_tell(job)

        with contextlib.suppress(StoreClosed):  # closing does it
            self._workers.submit(work)

    async def _give_back(self, mark: object, why: BaseException) -> None:
        """As ``_see_through`` for what a call took and cannot hand over, if it did; closing does the same."""
        give_back = self._unclaimed.get(mark)
        closing = False
        try:
            if give_back is not None and isinstance(why, GeneratorExit):
                self._see_to_it_behind(give_back)
            elif give_back is not None:
                await self._to_the_end(give_back)
        except StoreClosed:
            closing = True
        except StoreError as exc:
            tell_of_term(self.path, exc)
        finally:
            if not closing:
                self._unclaimed.pop(mark, None)

    async def _to_the_end(self, job: Callable[[], object]) -> None:
        try:
            await self._decide(job, "process", None)
        except asyncio.CancelledError:
            await self._workers.finish(job)  # again, if it was done: that changes nothing
            raise
