"""``SessionStore``: the face of the package."""

from __future__ import annotations

import builtins
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar, overload

from sessiondir import steps
from sessiondir.changes import Compute, check_entry, conflict, deleting, patching, putting, updating, version_of
from sessiondir.commit import Moved
from sessiondir.core import closed_error
from sessiondir.document import Document
from sessiondir.errors import InvalidOption, LockTimeout, SessionNotFound
from sessiondir.firstchange import rebased, rebased_edit
from sessiondir.leases import Fence, fence_check, require_token
from sessiondir.locks import HeldKeys, reentrant
from sessiondir.messaging import StoreInbox
from sessiondir.model import Durability, Entry
from sessiondir.operations import Operation
from sessiondir.snapshot import Snapshot
from sessiondir.transaction import (
    StoreEdit,
    Transaction,
)
from sessiondir.watch import require_same_sessions
from sessiondir.writing import change

T = TypeVar("T")
Update = Callable[[Entry], Mapping[str, Any] | None]
EDIT_TRIES = 100


class SessionStore(StoreInbox):
    """A store of session entries, shared by threads and processes. Open it with ``open``.

    Every entry handed out is the caller's own copy. ``update`` and ``patch`` hand out a kind of
    dict that copies an array or object when it is first looked at, so a large entry costs no
    more than what is used of it; ``dict(entry)`` makes a plain one, for code that looks at the type.

    Keys are text; how two spellings of a key compare is the store's key rule (see ``info``).
    All methods may be called from any thread, and in a forked child.

    Errors that any method may raise: ``StoreClosed``; reading, ``CorruptFile`` and
    ``UnreadableFile`` for that session alone; writing, ``LockTimeout``, ``DiskFull``,
    ``ReadOnlyStore``, ``UnsafeDirectory``, ``UnsupportedFileSystem`` (nothing was changed)
    and ``DurabilityUnknown`` (committed, but a power cut may take it).
    """

    def put(
        self,
        key: str,
        entry: Mapping[str, Any],
        if_version: int | None = None,
        *,
        durability: Durability | None = None,
        fence: Fence | None = None,
    ) -> int:
        """Store a whole entry; the session's version afterwards.

        Args:
            key: session key; created if missing.
            entry: JSON object. Tuples are stored as arrays. An equal entry commits nothing.
            if_version: the entry version this rests on; 0: the session must not exist.
            durability: for this call; None takes the handle's.
            fence: a lease that the change rests on; ``LeaseLost`` if it is ours no more.

        Raises ``ConflictError`` if the version is another; ``InvalidKey``, ``InvalidEntry``,
        ``EntryTooLarge``. Nothing was changed then. A damaged session file is set aside.
        """
        compute = putting(entry, if_version, self._limits)
        version, unchanged = self._change(key, compute, None, durability, replacing=True, fence=fence)
        return unchanged if version is None else version

    __setitem__ = put

    def __delitem__(self, key: str) -> None:
        if not self.delete(key):
            raise SessionNotFound(f"there is no session {key!r} in {self.path}", session=key)

    def patch(
        self,
        key: str,
        fields: Mapping[str, Any],
        create: bool = False,
        *,
        durability: Durability | None = None,
        fence: Fence | None = None,
    ) -> Entry | None:
        """Set some top-level fields and remove those given as ``UNSET``; the entry afterwards.

        None if there is no such session and ``create`` is false. ``None`` as a value is
        stored as null. ``fence`` and errors as ``put``. The journal line holds the given fields only.
        O(the given fields), and O(entry) when it is first used.
        """
        compute = patching(fields, create, self._limits)
        found = self._change(key, compute, None, durability, fence=fence)[1]
        return found.lazy_entry() if found is not None else None

    def update(
        self,
        key: str,
        fn: Update,
        create: bool = False,
        timeout: float | None = None,
        *,
        durability: Durability | None = None,
        fence: Fence | None = None,
    ) -> Entry | None:
        """Read, let ``fn`` compute, and commit the difference, as one step.

        Args:
            key: session key.
            fn: gets its own copy of the entry and returns the new one, or None for "no
                change". While it runs this session is held, and only this one (none, in a
                store that is made or migrated by this very change). It is called again if
                the session was changed meanwhile all the same, by a whole-store edit say.
            create: whether a missing session is an empty entry to ``fn``.
            timeout: seconds to wait for the session; None takes the handle's ``lock_timeout``.
            durability: for this call; None takes the handle's.
            fence: a lease that the change rests on, looked at before ``fn`` is called and
                again when it commits.

        Returns the entry as it then stands; None if missing and not created. What ``fn``
        raises is passed on, and nothing was changed. ``ReentrantUpdate`` if ``fn`` updates
        the session it was called for; else as ``put``.

        O(number of fields), O(arrays and objects that ``fn`` looks at or sets), O(entry) when it
        is first used. Fields above 256 KiB are parsed and compared each time.
        """
        compute = updating(fn, create, self._limits)
        return self._change(key, compute, timeout, durability, fence=fence)[1]

    def delete(
        self,
        key: str,
        if_version: int | None = None,
        *,
        durability: Durability | None = None,
        fence: Fence | None = None,
    ) -> bool:
        """Remove a session; whether it was there. ``fence`` and ``ConflictError`` as ``put``.

        What waits in its inbox, and its lease, stay.
        """
        return self._change(key, deleting(if_version), None, durability, fence=fence)[1]

    def _change(
        self,
        key: str,
        compute: Compute[T],
        timeout: float | None,
        durability: Durability | None,
        *,
        replacing: bool = False,
        fence: Fence | None = None,
    ) -> tuple[int | None, T]:
        """Run ``compute`` on the session's document and commit what it says, until nothing moved between."""
        timeout_s = self._wait_s(timeout)
        level = durability or self._durability
        if level not in ("power", "process"):
            raise InvalidOption(f"durability must be 'power' or 'process', not {durability!r}")
        if fence is not None:
            compute = self._fenced(compute, fence)
        if self._core is None and self._reading() is None:
            # No directory yet: a change that changes nothing must not create or migrate one.
            done = self._first_change(key, compute, timeout_s, level)
            if done is not None:
                return done
        core = self._writing()
        verify = fence_check(core, fence) if fence is not None else None
        # Not ``core.view.load``: a child that is forked in ``compute`` has another view.
        load = core.load_or_set_aside if replacing else lambda name: core.view.load(name)  # noqa: PLW0108
        committed, result = change(core.keys, core.ref(key), load, compute, core.append, timeout_s, level, verify)
        if committed is None:
            return None, result
        core.settle(committed, level, self._interval)
        return committed.version, result

    def _first_change(
        self, key: str, compute: Compute[T], timeout_s: float, level: Durability
    ) -> tuple[int | None, T] | None:
        """A change while there is no store directory; one that changes nothing must not make or migrate one.

        None if there is one by now and the session has moved on, or may have.
        """
        name = self._normalise(key)
        doc = self._before_migration(name)
        if doc is None:
            return None
        operation, result = self._compute_unlocked(doc, compute)
        if operation is None:
            return None, result
        core = self._writing()
        if core.ref(key).key != name:
            return None  # the key rule is another since there is a store
        try:
            operations, expected = rebased(core, (operation,), {name: version_of(doc)})
            committed = core.append(operations, expected, timeout_s, level)
        except Moved:
            return None  # the legacy program has saved meanwhile, or someone else migrated it first and went on
        core.settle(committed, level, self._interval)
        return committed.version, result

    def _fenced(self, compute: Compute[T], fence: Fence) -> Compute[T]:
        """``compute`` that first sees to it that the lease is not lost, before anything long is begun."""

        def fenced(doc: Document) -> tuple[Operation | None, T]:
            leased = self._document(fence.key)
            require_token(leased.aside.lease if leased is not None and leased.aside is not None else None, fence)
            return compute(doc)

        return fenced

    def _compute_unlocked(self, doc: Document, compute: Compute[T]) -> tuple[Operation | None, T]:
        mine = (threading.get_ident(), doc.key)
        if mine in self._tentative:
            raise reentrant(doc.key)
        try:
            self._tentative.add(mine)
            return compute(doc)
        finally:
            self._tentative.discard(mine)

    # -- several sessions in one commit -----------------------------------------------------

    def transaction(self, *keys: str, timeout: float | None = None) -> Transaction:
        """Some sessions to read and change as one commit; to be used in a ``with`` block.

        The sessions are held while the block runs, so work on them waits, and nothing else
        does. ``ConflictError`` when leaving the block if a whole-store edit changed one of
        them meanwhile; nothing was committed then.
        """
        if not keys:
            raise InvalidOption("transaction() needs the keys of the sessions it may touch")
        timeout_s = self._wait_s(timeout)
        core = self._writing()
        refs = {key: core.ref(key) for key in keys}
        unique = list({ref.key: ref for ref in refs.values()}.values())
        held = HeldKeys(core.keys, unique, timeout_s, self._clock)

        def begin() -> Callable[[str], Document]:
            held.acquire()
            return core.view.load

        def commit(operations: builtins.list[Operation], expected: dict[str, int]) -> int:
            if self._closed:
                raise closed_error()
            try:
                committed = core.append(operations, expected, timeout_s, self._durability)
            except Moved as moved:
                raise conflict(moved.key, moved.expected, moved.actual) from None
            held.release()
            core.settle(committed, self._durability, self._interval)
            return committed.version

        names = {ref.key: ref.key for ref in refs.values()} | {key: ref.key for key, ref in refs.items()}
        return Transaction(names, begin, commit, held.release, self._limits)

    @overload
    def edit(self) -> AbstractContextManager[StoreEdit]: ...

    @overload
    def edit(self, fn: Callable[[StoreEdit], T]) -> T: ...

    def edit(self, fn: Callable[[StoreEdit], T] | None = None) -> AbstractContextManager[StoreEdit] | T:
        """The whole store as a mapping; what changed in it is one commit.

        ``with store.edit() as sessions:`` runs the block once. If a session that it read or
        changed was changed by someone else meanwhile, leaving the block raises
        ``ConflictError`` and commits nothing.

        ``store.edit(fn)`` calls ``fn(sessions)`` again in that case, until it fits; its
        result is returned.

        No session is held. O(sessions) for the snapshot; the commit holds the differences.
        """
        if fn is None:
            return self._edit_block()
        return self._edit_until_it_fits(fn)[0]

    def _edit_until_it_fits(self, fn: Callable[[StoreEdit], T]) -> tuple[T, int]:
        """What ``fn`` returned, and the store's version with its changes."""
        for _ in range(EDIT_TRIES):
            snapshot, edit = self._begin_edit()
            result = fn(edit)
            try:
                return result, self._commit_edit(snapshot, edit)
            except Moved as moved:
                last = moved
        raise conflict(last.key, last.expected, last.actual)

    @contextmanager
    def _edit_block(self) -> Iterator[StoreEdit]:
        snapshot, edit = self._begin_edit()
        yield edit
        try:
            self._commit_edit(snapshot, edit)
        except Moved as moved:
            raise conflict(moved.key, moved.expected, moved.actual) from None

    def _begin_edit(self) -> tuple[Snapshot, StoreEdit]:
        if self._read_only:
            self._writing()
        snapshot = self.snapshot()
        documents = {key: doc for key in snapshot if (doc := snapshot.document(key)) is not None}
        return snapshot, StoreEdit(documents, snapshot.errors, self._normalise, self._limits)

    def _commit_edit(self, snapshot: Snapshot, edit: StoreEdit) -> int:
        operations, expected = edit.changes()
        if not operations:
            return snapshot.version
        core = self._writing()
        operations, expected, since = rebased_edit(core, snapshot, edit, operations, expected)
        for operation in operations:
            if operation.key in snapshot.damaged:
                core.load_or_set_aside(operation.key)
        verify = (lambda: require_same_sessions(core, since)) if edit.listed else None
        committed = core.append(operations, expected, self._lock_timeout, self._durability, verify)
        core.settle(committed, self._durability, self._interval)
        return committed.version

    def replace(self, mapping: Mapping[str, Mapping[str, Any]]) -> int:
        """Make the store hold exactly ``mapping``; only differences are committed, as one commit.

        Sessions not in ``mapping`` are removed; sessions whose file is damaged stay as they
        are unless they are in it. Returns the store's version. O(sessions).
        """
        return self._edit_until_it_fits(self._filling(mapping))[1]

    def _filling(self, mapping: Mapping[str, Mapping[str, Any]]) -> Callable[[StoreEdit], None]:
        """What makes a store hold exactly ``mapping``."""
        wanted: dict[str, Mapping[str, Any]] = {}
        for key, entry in mapping.items():
            steps.breathe()
            wanted[self._normalise(key)] = check_entry(entry)

        def fill(sessions: StoreEdit) -> None:
            sessions.require_readable()
            for key in list(sessions):
                steps.breathe()
                if key not in wanted:
                    del sessions[key]
            for key, entry in wanted.items():
                steps.breathe()
                sessions[key] = entry

        return fill

    def flush(self) -> None:
        """Bring the session files level with every commit made so far, and make all of it durable."""
        core = self._reading()
        if core is not None and not self._read_only:
            core.begin_writing()
            if not core.checkpoint(max(self._lock_timeout, 1.0)):
                raise levelling_timeout(self.path, max(self._lock_timeout, 1.0))


def levelling_timeout(path: str, waited_s: float) -> LockTimeout:
    """The error of having waited for another process's checkpoint."""
    return LockTimeout(
        f"{path}: another process is bringing the session files level and does not end; "
        "commits are safe in the journal, try again later",
        session=None,
        holder_pid=None,
        holder="another process",
        held_s=None,
        waited_s=waited_s,
    )
