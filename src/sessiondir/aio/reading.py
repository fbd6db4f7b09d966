"""The reading half of an asynchronous handle: nothing here takes a lock or writes."""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterator

from sessiondir.aio.handle import AsyncStoreHandle, is_light
from sessiondir.aio.watch import AsyncWatch
from sessiondir.document import Document, missing_document
from sessiondir.errors import InvalidKey, SessionNotFound
from sessiondir.listing import Order
from sessiondir.model import Change, Entry, Finding, Page, StoreInfo
from sessiondir.snapshot import Snapshot


class AsyncStoreReader(AsyncStoreHandle):
    """What can be asked of a store.

    ``timeout`` is in seconds, None waits as long as it takes; a reading call that takes longer
    raises ``TimeoutError``, of which ``LockTimeout`` is a kind. It may be cancelled at any moment.
    """

    async def get(self, key: str, *, timeout: float | None = None) -> Entry | None:
        """The session's entry as the caller's own copy, None if there is no such session.

        A blank or impossible key is "no such session". Cost: when cached and small one system
        call, on the loop; else a worker reads and decodes it.
        """
        await self._begin()
        doc = self._at_hand(key)
        if doc is not None and is_light(doc):
            return doc.entry()
        job = self._freeing.before(lambda: self._store.get(key))
        return self._lent(await self._workers.read(job, timeout))

    async def _get_existing(self, key: str) -> Entry:
        entry = await self.get(key)
        if entry is None:
            raise SessionNotFound(f"there is no session {key!r} in {self.path}", session=key)
        return entry

    async def contains(self, key: object, *, timeout: float | None = None) -> bool:
        """Whether there is such a session; what ``key in store`` is for ``SessionStore``."""
        doc = await self._document(key, timeout) if isinstance(key, str) else None
        return doc is not None and doc.fields is not None

    async def count(self, *, timeout: float | None = None) -> int:
        """The number of sessions, what ``len(store)`` is for ``SessionStore``; O(sessions)."""
        return len(await self.keys(timeout=timeout))

    async def __aiter__(self) -> AsyncIterator[str]:
        for key in await self.keys():
            yield key

    async def keys(self, prefix: str = "", *, timeout: float | None = None) -> builtins.list[str]:
        """The keys of all sessions that begin with ``prefix``, in no particular order; O(sessions)."""
        await self._begin()
        return await self._workers.read(lambda: self._store.keys(prefix), timeout)

    async def updated_at(self, key: str, *, timeout: float | None = None) -> int | float | None:
        """The entry's ``updatedAt`` in epoch milliseconds; None if missing or not a number."""
        doc = await self._document(key, timeout)
        return doc.updated_at() if doc is not None else None

    async def version(self, *, timeout: float | None = None) -> int:
        """The store's version: the number of its last commit."""
        await self._begin()
        core = self._store._core
        found = core.view.version_at_hand() if core is not None else None
        return found if found is not None else await self._workers.read(lambda: self._store.version, timeout)

    async def version_of(self, key: str, *, timeout: float | None = None) -> int | None:
        """The version of the last commit that changed the session; None if there is no such session."""
        doc = await self._document(key, timeout)
        return doc.version if doc is not None and doc.fields is not None else None

    async def list(
        self,
        prefix: str = "",
        order: Order = "updated",
        limit: int = 50,
        cursor: str | None = None,
        *,
        timeout: float | None = None,
    ) -> Page:
        """One page of sessions, metadata only; arguments as ``SessionStore.list``."""
        await self._begin()
        return await self._workers.read(lambda: self._store.list(prefix, order, limit, cursor), timeout)

    async def snapshot(self, *, timeout: float | None = None) -> Snapshot:
        """All sessions as of one version: a read-only mapping, used without ``await``.

        Takes no lock. O(sessions) in time and memory, in a worker.
        """
        await self._begin()
        return await self._workers.read(self._store.snapshot, timeout)

    async def changes(self, since: int, *, timeout: float | None = None) -> builtins.list[Change]:
        """What was committed after version ``since``, oldest first; errors as ``SessionStore.changes``."""
        await self._begin()
        return await self._workers.read(lambda: self._store.changes(since), timeout)

    def watch(
        self, since: int | None = None, *, key: str | None = None, timeout: float | None = None
    ) -> AsyncWatch:
        """Wait for changes, of any process: ``async for change in store.watch()``.

        Args:
            since: begin after this version; None begins now.
            key: only changes of this session; None: of all.
            timeout: end after so many seconds without a change; None goes on until ``close``.

        The iteration may be left at any point; nothing is locked meanwhile. A change is seen
        within some 20 ms. ``ChangesUnavailable`` as ``SessionStore.watch``.
        """
        self._require_open()
        core = self._store._core
        if since is None:  # everything in a store that is not there yet will be new
            since = core.view.version_at_hand() if core is not None else 0
        return AsyncWatch(
            self._reading_core, lambda: not self._closed, self._workers, self._clock, since, key, timeout
        )

    async def info(self, *, timeout: float | None = None) -> StoreInfo:
        """Versions, counts and sizes; O(sessions)."""
        await self._begin()
        return await self._workers.read(self._store.info, timeout)

    async def check(self, *, timeout: float | None = None) -> builtins.list[Finding]:
        """Verify everything on disk and tell what was found; changes nothing. O(bytes stored)."""
        await self._begin()
        return await self._workers.read(self._store.check, timeout)

    def _at_hand(self, key: object) -> Document | None:
        """The current document if it is cached and nothing has to be waited for."""
        core = self._store._core
        if core is None:
            return None
        try:
            ref = core.ref(key)
        except InvalidKey:
            if isinstance(key, str):
                return missing_document(key)
            raise
        return core.view.load_at_hand(ref.key)

    async def _document(self, key: object, timeout: float | None) -> Document | None:
        """As ``StoreHandle._document``."""
        await self._begin()
        doc = self._at_hand(key)
        return doc if doc is not None else await self._workers.read(lambda: self._store._document(key), timeout)
