"""Several sessions, or the whole store, as one commit, in an ``async with`` block."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType

from sessiondir.document import Document
from sessiondir.model import Limits
from sessiondir.operations import Operation
from sessiondir.snapshot import Snapshot
from sessiondir.transaction import StoreEdit, TransactionMapping

Difference = tuple[list[Operation], dict[str, int]]


class AsyncTransaction(TransactionMapping):
    """Some sessions to read and assign; leaving the ``async with`` block commits all changes as one.

    A mapping that is read and assigned without ``await``. Reading gives copies: assign an entry
    to change it. An exception or a cancellation in the block changes nothing.
    """

    def __init__(
        self,
        keys: Mapping[str, str],
        begin: Callable[[], Awaitable[dict[str, Document]]],
        commit: Callable[[Callable[[], Difference]], Awaitable[int | None]],
        end: Callable[[], None],
        limits: Limits,
    ) -> None:
        super().__init__(keys, limits)
        self._begin = begin
        self._commit = commit
        self._end = end

    async def __aenter__(self) -> AsyncTransaction:
        self._use()
        try:
            self._documents = await self._begin()
        except BaseException:
            self._end()
            raise
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        try:
            if kind is None and self._changed:
                self.version = await self._commit(self._difference)
        finally:
            self._end()


class AsyncEdit:
    """The whole store as a mapping in an ``async with`` block; what changed in it is one commit."""

    def __init__(
        self,
        begin: Callable[[], Awaitable[tuple[Snapshot, StoreEdit]]],
        commit: Callable[[Snapshot, StoreEdit], Awaitable[int]],
    ) -> None:
        self._begin = begin
        self._commit = commit
        self._begun: tuple[Snapshot, StoreEdit] | None = None

    async def __aenter__(self) -> StoreEdit:
        if self._begun is not None:
            raise RuntimeError("the edit's block was left; start another one")
        self._begun = await self._begin()
        return self._begun[1]

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._begun is not None
        if kind is None:
            await self._commit(*self._begun)
