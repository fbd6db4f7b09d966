"""``AsyncSessionStore``: the face of the package for asyncio programs."""

from __future__ import annotations

import builtins
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar, overload

from sessiondir import layout
from sessiondir.aio.handle import is_light, is_short, is_small
from sessiondir.aio.keys import HeldSession, hold, this_task
from sessiondir.aio.messaging import AsyncStoreInbox
from sessiondir.aio.transaction import AsyncEdit, AsyncTransaction, Difference
from sessiondir.aio.workers import Workers
from sessiondir.changes import Compute, check_entry, conflict, deleting, patching, putting, updated, version_of
from sessiondir.commit import Moved
from sessiondir.core import Core
from sessiondir.document import Document
from sessiondir.errors import ConflictError, InvalidOption, StoreClosed
from sessiondir.firstchange import rebased, rebased_edit
from sessiondir.lazyentry import LazyEntry
from sessiondir.leases import Fence, fence_check, require_token
from sessiondir.lockfile import Backoff
from sessiondir.locks import reentrant
from sessiondir.model import Durability, Entry
from sessiondir.operations import Operation
from sessiondir.readback import handed_out
from sessiondir.snapshot import Snapshot
from sessiondir.store import EDIT_TRIES, SessionStore, levelling_timeout
from sessiondir.transaction import StoreEdit
from sessiondir.watch import require_same_sessions

T = TypeVar("T")
AsyncUpdate = Callable[[Entry], Mapping[str, Any] | Awaitable[Mapping[str, Any] | None] | None]
_AsyncCompute = Callable[[Document], Awaitable[tuple[Operation | None, T]]]
_LONGEST_PAUSE_S = 0.05


class AsyncSessionStore(AsyncStoreInbox):
    """A store of session entries for asyncio tasks. Open it with ``open``.

    Names, arguments, results and errors are those of ``SessionStore``, as coroutines; the
    two may be used side by side on one store. ``contains``, ``count`` and ``version`` stand for
    ``in``, ``len`` and the property; ``await store[key]`` and ``async for key in store`` work.

    ``timeout`` of a writing call bounds the wait for sessions and locks, in seconds; None takes the
    handle's ``lock_timeout``. A task that is cancelled while it waits leaves nothing behind. Once
    a commit has begun it is finished, and as durable as asked for, before the task is cancelled.
    """

    def __init__(self, store: SessionStore, workers: Workers) -> None:
        super().__init__(store, workers)
        self._tentative: set[tuple[object, str]] = set()
        """Sessions that tasks compute a first change of, while there is no store to lock them in."""

    def __getitem__(self, key: str) -> Awaitable[Entry]:
        """``await store[key]``: the entry; ``SessionNotFound`` if there is none."""
        return self._get_existing(key)

    async def put(
        self,
        key: str,
        entry: Mapping[str, Any],
        if_version: int | None = None,
        *,
        durability: Durability | None = None,
        fence: Fence | None = None,
        timeout: float | None = None,
    ) -> int:
        """Store a whole entry; the session's version afterwards. As ``SessionStore.put``.

        Leave ``entry`` alone until the call returns: a large one is encoded by a worker.
        """
        compute = self._off_loop(putting(entry, if_version, self._limits), entry)
        version, unchanged = await self._change(key, compute, timeout, durability, replacing=True, fence=fence)
        return unchanged if version is None else version

    async def patch(
        self,
        key: str,
        fields: Mapping[str, Any],
        create: bool = False,
        *,
        durability: Durability | None = None,
        fence: Fence | None = None,
        timeout: float | None = None,
    ) -> Entry | None:
        """Set and remove some top-level fields; the entry afterwards. As ``SessionStore.patch``."""
        compute = self._off_loop(patching(fields, create, self._limits), fields)
        found = (await self._change(key, compute, timeout, durability, fence=fence))[1]
        if found is None:
            return None
        try:
            return await self._entry_of(found)
        except StoreClosed:
            return found.lazy_entry()  # closed meanwhile; but this is committed

    async def update(
        self,
        key: str,
        fn: AsyncUpdate,
        create: bool = False,
        timeout: float | None = None,
        *,
        durability: Durability | None = None,
        fence: Fence | None = None,
    ) -> Entry | None:
        """Read, let ``fn`` compute, and commit the difference, as one step. As ``SessionStore.update``.

        ``fn`` is a function or a coroutine function and runs in the calling task. While it runs
        or waits, this session is held, and only this one: other tasks that want it queue, in
        order of arrival. ``ReentrantUpdate`` if this very task updates the session again.
        """

        async def compute(doc: Document) -> tuple[Operation | None, Entry | None]:
            entry = await self._entry_of(doc)
            if entry is None:
                if not create:
                    return None, None
                entry = {}
            given = handed_out(doc, entry) if not is_light(doc) else None
            result = fn(entry)
            if result is not None and not isinstance(result, dict) and inspect.isawaitable(result):
                result = await result
                if not is_light(doc):
                    self._lent(entry)  # from now on: it may have waited for long
            if result is None:
                return None, await self._entry_of(doc)
            new = check_entry(result)
            if (is_light(doc) or type(new) is LazyEntry) and is_small(new, doc.parsed):
                return updated(doc, new, self._limits)
            operation, after = await self._workers.read(lambda: updated(doc, new, self._limits, given))
            return operation, self._lent(after)

        return (await self._change(key, compute, timeout, durability, fence=fence))[1]

    async def delete(
        self,
        key: str,
        if_version: int | None = None,
        *,
        durability: Durability | None = None,
        fence: Fence | None = None,
        timeout: float | None = None,
    ) -> bool:
        """Remove a session; whether it was there. ``ConflictError`` as ``put``."""
        compute = self._off_loop(deleting(if_version), {})
        return (await self._change(key, compute, timeout, durability, fence=fence))[1]

    async def _entry_of(self, doc: Document) -> Entry | None:
        if doc.is_parsed or is_light(doc):
            return doc.lazy_entry()
        return self._lent(await self._workers.read(self._freeing.before(doc.lazy_entry)))

    def _off_loop(self, compute: Compute[T], values: Mapping[str, Any]) -> _AsyncCompute[T]:
        """``compute`` for tasks: by a worker if ``values`` are large."""
        small = is_small(values)

        async def compute_somewhere(doc: Document) -> tuple[Operation | None, T]:
            return compute(doc) if small else await self._workers.read(lambda: compute(doc))

        return compute_somewhere

    async def _change(
        self,
        key: str,
        compute: _AsyncCompute[T],
        timeout: float | None,
        durability: Durability | None,
        *,
        replacing: bool = False,
        fence: Fence | None = None,
    ) -> tuple[int | None, T]:
        """Run ``compute`` on the session's document and commit what it says, until nothing moved between."""
        await self._begin()
        timeout_s = self._store._wait_s(timeout)
        level = durability or self._store._durability
        if level not in ("power", "process"):
            raise InvalidOption(f"durability must be 'power' or 'process', not {durability!r}")
        if fence is not None:
            compute = self._fenced(compute, fence)
        if await self._reading_core() is None:
            done = await self._first_change(key, compute, timeout_s, level)
            if done is not None:
                return done
        core = await self._writing_core()
        verify = fence_check(core, fence) if fence is not None else None
        ref = core.ref(key)
        held = await hold(core.keys, ref, timeout_s, self._clock, self._workers, self._require_open)
        try:
            while True:
                doc = await self._load(core, ref.key, replacing=replacing)
                operation, result = await compute(doc)
                if operation is None:
                    return None, result
                self._require_open()
                expected = {ref.key: version_of(doc)}
                try:
                    committed = await self._committer.commit(
                        core,
                        (operation,),
                        expected,
                        timeout_s,
                        level,
                        (held,),
                        verify=verify,
                        small=verify is None and is_short(operation),
                    )
                except Moved:
                    continue
                return committed.version, result
        finally:
            held.release()

    def _fenced(self, compute: _AsyncCompute[T], fence: Fence) -> _AsyncCompute[T]:
        """``compute`` that first sees to it that the lease is not lost, before anything long is begun."""

        async def fenced(doc: Document) -> tuple[Operation | None, T]:
            leased = await self._document(fence.key, None)
            require_token(leased.aside.lease if leased is not None and leased.aside is not None else None, fence)
            return await compute(doc)

        return fenced

    async def _load(self, core: Core, key: str, *, replacing: bool = False) -> Document:
        self._require_open()
        doc = core.view.load_at_hand(key)
        if doc is not None:
            return doc
        if replacing:  # which may set a damaged file aside
            return await self._workers.finish(lambda: core.load_or_set_aside(key))
        return await self._workers.read(lambda: core.view.load(key))

    async def _first_change(
        self, key: str, compute: _AsyncCompute[T], timeout_s: float, level: Durability
    ) -> tuple[int | None, T] | None:
        """A change while there is no store directory; one that changes nothing must not make one.

        None if there is one by now and the session has moved on, or may have.
        """
        store = self._store

        doc = await self._workers.read(lambda: store._before_migration(store._normalise(key)))
        if doc is None:
            return None
        mine = (this_task().task, doc.key)
        if mine in self._tentative:
            raise reentrant(doc.key, "this very task")
        self._tentative.add(mine)
        try:
            operation, result = await compute(doc)
        finally:
            self._tentative.discard(mine)
        if operation is None:
            return None, result
        core = await self._writing_core()
        if core.ref(key).key != doc.key:
            return None  # the key rule is another since there is a store
        change = operation
        try:
            operations, expected = await self._workers.read(
                lambda: rebased(core, (change,), {doc.key: version_of(doc)})
            )
            return (await self._committer.commit(core, operations, expected, timeout_s, level)).version, result
        except Moved:
            return None  # the legacy program has saved meanwhile, or someone else migrated it first and went on

    # -- several sessions in one commit -----------------------------------------------------

    def transaction(self, *keys: str, timeout: float | None = None) -> AsyncTransaction:
        """Some sessions to read and change as one commit; to be used in an ``async with`` block.

        As ``SessionStore.transaction``; the block may await. The sessions are held until it ends.
        """
        if not keys:
            raise InvalidOption("transaction() needs the keys of the sessions it may touch")
        self._require_open()
        for key in keys:
            layout.normalise_key(key, "exact")  # refuses impossible keys at once
        store = self._store
        if store._read_only:
            store._writing()
        timeout_s = store._wait_s(timeout)
        names: dict[str, str] = {}
        cores: builtins.list[Core] = []
        held: builtins.list[HeldSession] = []

        async def begin() -> dict[str, Document]:
            await self._begin()
            core = await self._writing_core()
            cores.append(core)
            refs = {key: core.ref(key) for key in keys}
            names.update({ref.key: ref.key for ref in refs.values()} | {key: ref.key for key, ref in refs.items()})
            unique = {ref.key: ref for ref in refs.values()}.values()
            deadline = self._clock.monotonic() + timeout_s
            # One order for everybody, so that two transactions cannot hold each other up.
            for ref in sorted(unique, key=lambda ref: (ref.position, ref.key)):
                left_s = max(0.0, deadline - self._clock.monotonic())
                held.append(await hold(core.keys, ref, left_s, self._clock, self._workers, self._require_open))
            return {name: await self._load(core, name) for name in dict.fromkeys(names.values())}

        async def commit(difference: Callable[[], Difference]) -> int | None:
            self._require_open()
            operations, expected = await self._workers.read(difference)
            if not operations:
                return None
            try:
                committed = await self._committer.commit(
                    cores[0], operations, expected, timeout_s, store._durability, held
                )
            except Moved as moved:
                raise conflict(moved.key, moved.expected, moved.actual) from None
            return committed.version

        def end() -> None:
            for one in held:
                one.release()

        return AsyncTransaction(names, begin, commit, end, self._limits)

    @overload
    def edit(self, fn: None = None, *, timeout: float | None = None) -> AsyncEdit: ...

    @overload
    def edit(self, fn: Callable[[StoreEdit], Awaitable[T]], *, timeout: float | None = None) -> Awaitable[T]: ...

    @overload
    def edit(self, fn: Callable[[StoreEdit], T], *, timeout: float | None = None) -> Awaitable[T]: ...

    def edit(
        self, fn: Callable[[StoreEdit], Any] | None = None, *, timeout: float | None = None
    ) -> AsyncEdit | Awaitable[Any]:
        """The whole store as a mapping; what changed in it is one commit. As ``SessionStore.edit``.

        ``async with store.edit() as sessions:`` runs the block once and may raise ``ConflictError``;
        ``await store.edit(fn)`` calls ``fn``, a function or a coroutine function, until it fits.
        No session is held.
        """
        timeout_s = self._store._wait_s(timeout)
        if fn is not None:
            return self._edit_result(fn, timeout_s)

        async def commit(snapshot: Snapshot, edit: StoreEdit) -> int:
            try:
                return await self._commit_edit(snapshot, edit, timeout_s)
            except Moved as moved:
                raise conflict(moved.key, moved.expected, moved.actual) from None

        return AsyncEdit(self._begin_edit, commit)

    async def _edit_result(self, fn: Callable[[StoreEdit], Any], timeout_s: float) -> Any:
        return (await self._edit_until_it_fits(fn, timeout_s))[0]

    async def _edit_until_it_fits(self, fn: Callable[[StoreEdit], Any], timeout_s: float) -> tuple[Any, int]:
        """What ``fn`` returned, and the store's version with its changes."""
        last: ConflictError | None = None
        for _ in range(EDIT_TRIES):
            snapshot, edit = await self._begin_edit()
            result = fn(edit)
            if inspect.isawaitable(result):
                result = await result
            try:
                return result, await self._commit_edit(snapshot, edit, timeout_s)
            except Moved as moved:
                last = conflict(moved.key, moved.expected, moved.actual)
        assert last is not None
        raise last

    async def _begin_edit(self) -> tuple[Snapshot, StoreEdit]:
        await self._begin()
        return await self._workers.read(self._store._begin_edit)

    async def _commit_edit(self, snapshot: Snapshot, edit: StoreEdit, timeout_s: float) -> int:
        self._require_open()
        operations, expected = await self._workers.read(edit.changes)
        if not operations:
            return snapshot.version
        core = await self._writing_core()
        since = snapshot.version
        if snapshot.of_legacy:
            found, seen = operations, expected
            operations, expected, since = await self._workers.read(
                lambda: rebased_edit(core, snapshot, edit, found, seen)
            )
        damaged = [operation.key for operation in operations if operation.key in snapshot.damaged]
        if damaged:
            await self._workers.finish(lambda: [core.load_or_set_aside(key) for key in damaged])
        verify = (lambda: require_same_sessions(core, since)) if edit.listed else None
        committed = await self._committer.commit(
            core, operations, expected, timeout_s, self._store._durability, verify=verify
        )
        return committed.version

    async def replace(self, mapping: Mapping[str, Mapping[str, Any]], *, timeout: float | None = None) -> int:
        """Make the store hold exactly ``mapping``, as one commit. As ``SessionStore.replace``.

        Leave ``mapping`` alone until the call returns: workers encode it.
        """
        await self._begin()
        fill = await self._workers.read(lambda: self._store._filling(mapping))
        timeout_s = self._store._wait_s(timeout)
        # Thousands of sessions: not on the loop.
        return (await self._edit_until_it_fits(lambda edit: self._workers.read(lambda: fill(edit)), timeout_s))[1]

    async def flush(self, *, timeout: float | None = None) -> None:
        """Bring the session files level with every commit made so far, and make all of it durable."""
        await self._begin()
        if await self._reading_core() is None or self._store._read_only:
            return
        core = await self._writing_core()
        timeout_s = max(self._store._wait_s(timeout), 1.0)
        started = self._clock.monotonic()
        backoff = Backoff(self._clock, _LONGEST_PAUSE_S, first_s=1e-3)
        while not await self._workers.finish(lambda: core.checkpoint(0)):
            if self._clock.monotonic() - started >= timeout_s:
                raise levelling_timeout(self.path, timeout_s)
            await self._clock.pause(backoff.next_s())
            self._require_open()
