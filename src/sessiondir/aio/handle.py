"""The life of an asynchronous handle: opening, taking turns, closing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator, Mapping
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from sessiondir.aio.commit import TaskCommitter
from sessiondir.aio.freeing import Freeing
from sessiondir.aio.workers import Workers
from sessiondir.clock import SYSTEM_CLOCK, Clock
from sessiondir.codec import members
from sessiondir.core import Core, closed_error
from sessiondir.document import Document
from sessiondir.errors import StoreError
from sessiondir.fs import SYSTEM_FS, FileSystem
from sessiondir.model import Durability, Entry, KeyRule, Limits
from sessiondir.operations import Delete, Operation, Put
from sessiondir.store import SessionStore
from sessiondir.terms import wait_s

_log = logging.getLogger("sessiondir")
H = TypeVar("H", bound="AsyncStoreHandle")
SMALL_WEIGHT = 1 << 17
"""Documents up to this ``weight`` are decoded and compared on the loop: some 50 microseconds."""
_SMALL_CHARACTERS = 1 << 15
_SMALL_VALUES = 500
_CALLS_IN_A_ROW = 16
"""So many calls may go by without giving the other tasks a turn: less than a millisecond."""


def tell_of_term(path: str, exc: StoreError) -> None:
    """Tell the log that something could not be given back."""
    _log.warning("%s: a lease or messages stay taken until their term is over: %s", path, str(exc))


class Opening(Generic[H]):
    """What ``AsyncSessionStore.open`` returns: ``await`` it, or use it with ``async with``."""

    def __init__(self, start: Callable[[], SessionStore], finish: Callable[[SessionStore, Workers], H]) -> None:
        self._start = start
        self._finish = finish
        self._handle: H | None = None

    def __await__(self) -> Generator[Any, None, H]:
        return self._open().__await__()

    async def _open(self) -> H:
        workers = Workers()
        opened: list[SessionStore] = []

        def close() -> None:
            for store in opened:
                store.close()

        try:
            await workers.finish(lambda: opened.append(self._start()))
        except GeneratorExit:
            workers.close_behind(close)  # thrown away with its loop: nothing may be awaited
            raise
        except BaseException:
            await workers.close(close)
            raise
        return self._finish(opened[0], workers)

    async def __aenter__(self) -> H:
        self._handle = await self._open()
        return self._handle

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handle is not None:
            await self._handle.__aexit__(kind, exc, trace)


class AsyncStoreHandle:
    """What ``AsyncSessionStore`` needs before it can read or write a session."""

    def __init__(self, store: SessionStore, workers: Workers) -> None:
        self._store = store
        self._workers = workers
        self._clock = store._clock
        self._limits = store._limits
        self._committer = TaskCommitter(workers, store._clock, store._interval)
        self._freeing = Freeing(workers.submit_for)
        self._unclaimed: dict[object, Callable[[], object]] = {}
        """What calls have taken and not handed over yet, and how to give it back; a worker adds to it."""
        self._closed = False
        self._calls = 0
        self.path = store.path

    @classmethod
    def open(
        cls,
        path: str,
        *,
        create: bool = True,
        read_only: bool = False,
        durability: Durability = "power",
        lock_timeout: float = 10.0,
        checkpoint_interval: float = 1.0,
        cache_bytes: int = 64 << 20,
        keys: KeyRule | None = None,
        limits: Limits | None = None,
        allow_network: bool = False,
        fs: FileSystem = SYSTEM_FS,
        clock: Clock = SYSTEM_CLOCK,
    ) -> Opening[Self]:
        """Open a store: ``await AsyncSessionStore.open(path)``, or ``async with`` in place of ``await``.

        Arguments, errors and cost as ``SessionStore.open``. The errors are raised by the ``await``.
        The handle may be used by tasks of several loops, each in a thread of its own.
        """

        def start() -> SessionStore:
            return SessionStore.open(
                path,
                create=create,
                read_only=read_only,
                durability=durability,
                lock_timeout=lock_timeout,
                checkpoint_interval=checkpoint_interval,
                cache_bytes=cache_bytes,
                keys=keys,
                limits=limits,
                allow_network=allow_network,
                fs=fs,
                clock=clock,
            )

        return Opening(start, cls)

    async def close(self, *, timeout: float | None = None) -> None:
        """Close the handle, when its calls that are at work have ended; closing it again does nothing.

        Calls that still wait for something raise ``StoreClosed``. The rest as ``SessionStore.close``.
        After ``timeout`` seconds ``TimeoutError``: it goes on being closed, and nobody can use it any more.
        """
        timeout_s = wait_s(timeout) if timeout is not None else None
        if not self._closed:
            self._closed = True
            await self._workers.close(self._end, timeout_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is GeneratorExit and not self._closed:  # thrown away with its loop: nothing may be awaited
            self._closed = True
            self._workers.close_behind(self._end)
        else:
            await self.close()

    def _lent(self, entry: Entry | None) -> Entry | None:
        """``entry``, a large one that a worker has made; when nobody uses it any more a worker frees it."""
        if entry is not None and not self._closed:  # else nobody would let go of it
            self._freeing.lend(entry)
        return entry

    def _claim(self, mark: object) -> None:
        """Hand over what a call has taken. ``StoreClosed`` if it was given back, because the handle was closed."""
        if self._unclaimed.pop(mark, None) is None:
            raise closed_error()

    def _give_back_or_tell(self, give_back: Callable[[], object]) -> None:
        try:
            give_back()
        except StoreError as exc:
            tell_of_term(self.path, exc)

    def _end(self) -> None:
        """The last job of all, when no other is at work."""
        while self._unclaimed:
            _, give_back = self._unclaimed.popitem()
            self._give_back_or_tell(give_back)
        try:
            self._freeing.free_all()
        finally:
            self._store.close()

    def __repr__(self) -> str:
        return f"<AsyncSessionStore {self.path}{' closed' if self._closed else ''}>"

    def _require_open(self) -> None:
        if self._closed:
            raise closed_error()

    async def _begin(self) -> None:
        """To be awaited first by every call: a row of quick calls must not keep the loop to itself."""
        if self._closed:
            raise closed_error()
        self._calls += 1
        if self._calls >= _CALLS_IN_A_ROW:
            self._calls = 0
            await asyncio.sleep(0)

    async def _reading_core(self) -> Core | None:
        """The core, or None while there is no store directory."""
        return self._store._core or await self._workers.read(self._store._reading)

    async def _writing_core(self) -> Core:
        """The core, ready to write; creates or migrates the store if there is no directory yet."""
        store = self._store
        core = store._core
        if store._read_only or (core is not None and core.is_ready()):
            return store._writing()  # which raises, or has nothing to do
        return await self._workers.finish(store._writing)


def is_small(entry: Mapping[str, Any], parsed: Mapping[str, Any] | None = None) -> bool:
    """Whether an entry is encoded in some 50 microseconds; looks at no more of it than that takes.

    Values that are those of ``parsed``, the document's own, do not count: they are not encoded.
    """
    characters, values = 0, 0
    rest: list[Any] = [entry]
    if parsed:
        rest = [value for name, value in members(entry) if value is not parsed.get(name, rest)]
    while rest:
        value = rest.pop()
        kind = type(value)
        if kind is str:
            characters += len(value)
        elif kind is dict or isinstance(value, Mapping):
            values += len(value)
            if values > _SMALL_VALUES:
                return False
            rest.extend(member for _, member in members(value))
        elif kind is list or kind is tuple:
            values += len(value)
            if values > _SMALL_VALUES:
                return False
            rest.extend(value)
        if characters > _SMALL_CHARACTERS:
            return False
    return True


def is_light(doc: Document) -> bool:
    """Whether a document is decoded in some 50 microseconds."""
    return doc.weight <= SMALL_WEIGHT


def is_short(operation: Operation) -> bool:
    """Whether an operation makes a short journal line."""
    if type(operation) is Delete:
        return True
    values = operation.fields if type(operation) is Put else operation.set  # type: ignore[union-attr]
    size = 0
    for value in values.values():
        if type(value) is str or type(value) is bytes:
            size += len(value)
    return size <= _SMALL_CHARACTERS
