"""What maintenance takes from a store handle, all in one place."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sessiondir import deciding, trash
from sessiondir.clock import Clock
from sessiondir.core import Core
from sessiondir.directory import StoreDirectory
from sessiondir.document import Document
from sessiondir.errors import ChangesUnavailable, CorruptFile
from sessiondir.fs import FileSystem
from sessiondir.leases import LeaseInfo, in_the_way, lease_info
from sessiondir.operations import Delete, Operation
from sessiondir.state import read_state
from sessiondir.store import SessionStore


@dataclass(frozen=True, slots=True)
class Ground:
    """The seams and options of a handle; ``path`` is the store directory, which need not exist."""

    fs: FileSystem
    clock: Clock
    path: str
    trash_file_bytes: int
    """The largest trash file that is read."""
    lock_timeout_s: float
    allow_network: bool

    @property
    def folder(self) -> str:
        """The directory that the store lies in, with the transcripts."""
        return os.path.dirname(self.path)

    def now_ms(self) -> int:
        """The wall clock, in epoch milliseconds."""
        return int(self.clock.now() * 1000)

    def directory(self) -> StoreDirectory:
        """Descriptors of the store of one's own, to be closed. Raises ``FileNotFoundError``."""
        return StoreDirectory(self.fs, self.path)


def ground_of(store: SessionStore) -> Ground:
    """What there is to know of a handle."""
    return Ground(
        store._fs,
        store._clock,
        store.path,
        trash.file_limit(store._limits),
        store._lock_timeout,
        store._allow_network,
    )


def core_of(store: SessionStore) -> Core | None:
    """The store's core; None while there is no store directory."""
    return store._reading()


def get_ready(store: SessionStore) -> None:
    """Make the handle ready to write; an unmigrated legacy file is migrated. Errors as writing."""
    store._writing()


def renew_journal(store: SessionStore) -> bool:
    """Bring the session files level and begin a new journal; False while another process is at it.

    Errors as ``SessionStore.flush``.
    """
    return store._writing().checkpoint(max(store._lock_timeout, 1.0), rotate_bytes=0)


def document_of(store: SessionStore, key: str) -> Document | None:
    """A session's document; None if there is no such session."""
    doc = store._document(key)
    return doc if doc is not None and doc.fields is not None else None


def normalised(store: SessionStore, key: str) -> str:
    """A key under the store's key rule. Raises ``InvalidKey``."""
    return store._normalise(key)


def lease_holder(store: SessionStore, doc: Document) -> str | None:
    """Who holds a session's lease according to its document; None if nobody does."""
    found = _lease(store, doc)
    return found.owner if found is not None else None


def require_unleased(store: SessionStore, doc: Document) -> None:
    """Raises ``LeaseHeld`` if somebody holds a session's lease according to its document."""
    found = _lease(store, doc)
    if found is not None:
        raise in_the_way(found, "; nothing was changed: try again when that run has ended")


def _lease(store: SessionStore, doc: Document) -> LeaseInfo | None:
    record = doc.aside.lease if doc.aside is not None else None
    if record is None:
        return None
    found = lease_info(doc.key, record, deciding.now(store._clock))
    return found if found.free is None else None


def delete_unless(
    store: SessionStore, keys: Sequence[str], why_not: Callable[[str, Document], str | None]
) -> dict[str, str]:
    """Delete sessions as one commit, but for those for which ``why_not`` gives a reason; these reasons.

    ``why_not`` is asked under the commit lock, so nothing can come between its answer and the
    commit. The caller holds the sessions. Errors as writing; nothing was deleted then.
    """
    core = store._writing()
    left: dict[str, str] = {}

    def decide(documents: deciding.Documents) -> list[Operation]:
        left.clear()
        for key in keys:
            reason = why_not(key, documents[key])
            if reason is not None:
                left[key] = reason
        return [Delete(key) for key in keys if key not in left]

    committed = deciding.commit_decided(core, keys, decide, store._lock_timeout, store._durability)
    if committed is not None:
        core.settle(committed, store._durability, store._interval)
    return left


def last_commit_ms(store: SessionStore) -> int | None:
    """When the last commit was made, by the clock of whoever made it; None if nothing tells.

    Where the journal begins behind it, the time of the last checkpoint stands for it.
    """
    core = core_of(store)
    if core is None:
        return None
    try:
        changes = store.changes(since=max(store.version - 1, 0))
    except ChangesUnavailable:
        changes = []
    if changes:
        return changes[-1].at_ms
    try:
        state = read_state(core.directory)
    except CorruptFile:
        return None
    return state.updated_at if state is not None and state.updated_at else None
