"""The reading half of a store handle: nothing here takes a lock or writes."""

from __future__ import annotations

import builtins
from collections.abc import Iterator

from sessiondir.core import closed_error
from sessiondir.errors import SessionNotFound, StoreClosed, translated
from sessiondir.handle import StoreHandle
from sessiondir.info import describe
from sessiondir.listing import Listing, Order
from sessiondir.model import Change, Entry, Finding, Page, StoreInfo
from sessiondir.snapshot import Snapshot, all_keys, take_snapshot
from sessiondir.unmigrated import page_of_legacy, snapshot_of_legacy, version_of_legacy
from sessiondir.watch import POLL_S, ChangeReader, Quiet, follow


class StoreReader(StoreHandle):
    """What can be asked of a store."""

    def get(self, key: str) -> Entry | None:
        """The session's entry as the caller's own copy, None if there is no such session.

        A blank or impossible key is "no such session". Cost: one system call when cached.
        """
        doc = self._document(key)
        return doc.entry() if doc is not None else None

    def __getitem__(self, key: str) -> Entry:
        entry = self.get(key)
        if entry is None:
            raise SessionNotFound(f"there is no session {key!r} in {self.path}", session=key)
        return entry

    def __contains__(self, key: object) -> bool:
        doc = self._document(key) if isinstance(key, str) else None
        return doc is not None and doc.fields is not None

    def __len__(self) -> int:
        """The number of sessions; O(sessions)."""
        return len(self.keys())

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def keys(self, prefix: str = "") -> list[str]:
        """The keys of all sessions that begin with ``prefix``, in no particular order; O(sessions)."""
        core, documents = self._either_side()
        if core is None:
            return [key for key in documents if key.startswith(prefix)]
        with translated(self.path, "read"):
            return all_keys(core, prefix)

    def updated_at(self, key: str) -> int | float | None:
        """The entry's ``updatedAt`` in epoch milliseconds; None if missing or not a number."""
        doc = self._document(key)
        return doc.updated_at() if doc is not None else None

    @property
    def version(self) -> int:
        """The store's version: the number of its last commit."""
        core, documents = self._either_side()
        if core is None:
            return version_of_legacy(documents)
        with core.view.mutex:
            core.view.catch_up()
            return core.view.version

    def version_of(self, key: str) -> int | None:
        """The version of the last commit that changed the session; None if there is no such session."""
        doc = self._document(key)
        return doc.version if doc is not None and doc.fields is not None else None

    def list(self, prefix: str = "", order: Order = "updated", limit: int = 50, cursor: str | None = None) -> Page:
        """One page of sessions, metadata only.

        Args:
            prefix: of the session key.
            order: ``"updated"``: newest ``updatedAt`` first, sessions without one last;
                ``"key"``: by key.
            limit: items of a page.
            cursor: ``next_cursor`` of the page before; it stays valid while others commit.

        A first page alone takes some 0.2 ms, however many sessions there are, where ``listing.jsonl``
        can be relied on; else the first call reads every session once. The following ones cost
        what changed since.
        """
        core, documents = self._either_side()
        if core is None:
            return page_of_legacy(documents, prefix, order, limit, cursor)
        if self._listing is None or self._listing.view is not core.view:
            self._listing = Listing(core)  # the first one, or the first after a fork
        with translated(self.path, "read"):
            return self._listing.page(prefix, order, limit, cursor)

    def snapshot(self) -> Snapshot:
        """All sessions as of one version: a read-only mapping with ``version`` and ``damaged``.

        Takes no lock. O(sessions) in time and memory.
        """
        core, documents = self._either_side()
        with translated(self.path, "read"):
            return take_snapshot(core) if core is not None else snapshot_of_legacy(documents)

    def changes(self, since: int) -> builtins.list[Change]:
        """What was committed after version ``since``, oldest first.

        Raises ``ChangesUnavailable`` if the journal no longer reaches back that far; take a
        ``snapshot`` then.
        """
        core = self._reading()
        if core is None:
            return []
        with translated(self.path, "read"):
            reader = ChangeReader(core, since)
            try:
                return reader.read()
            finally:
                reader.close()

    def watch(
        self, since: int | None = None, *, key: str | None = None, timeout: float | None = None
    ) -> Iterator[Change]:
        """Wait for changes, of any process, and yield them; holds nothing while the caller works.

        Args:
            since: begin after this version; None begins now.
            key: only changes of this session; None: of all.
            timeout: end after so many seconds without a change; None goes on until ``close``.

        A change is seen within some 20 ms. Raises ``ChangesUnavailable`` if the caller is so
        slow that the journal has been replaced twice meanwhile.
        """
        if self._reading() is None:
            return self._watch_missing(key, timeout)
        return self._watch(since, key, timeout)

    def _watch(self, since: int | None, key: str | None, timeout: float | None) -> Iterator[Change]:
        core = self._reading()
        assert core is not None
        reader = ChangeReader(core, since)
        name = core.ref(key).key if key is not None else None
        return follow(reader, lambda: not self._closed, self._clock, timeout, name)

    def _watch_missing(self, key: str | None, timeout: float | None) -> Iterator[Change]:
        """Watch a store that does not exist yet: everything in it will be new."""
        waiting = Quiet(self._clock, timeout)
        found: Iterator[Change] | None = None
        while found is None:
            try:
                found = self._watch(0, key, timeout) if self._reading() is not None else None
            except StoreClosed:
                return
            if found is None:
                if waiting.is_over():
                    return
                self._clock.sleep(POLL_S)
        yield from found

    def info(self) -> StoreInfo:
        """Versions, counts and sizes; O(sessions)."""
        with translated(self.path, "read"):
            core, documents = self._either_side()
            return describe(core, self.path, documents, self._new_rule())

    def check(self) -> builtins.list[Finding]:
        """Verify everything on disk and tell what was found; changes nothing. O(bytes stored)."""
        if self._closed:
            raise closed_error()
        from sessiondir.check import check_store  # noqa: PLC0415 - operators need it, gateways do not

        return check_store(self._fs, self._clock, self.path, self._limits)
