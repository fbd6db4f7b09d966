"""Leases: "a run is in progress on this session".

A lease stops nobody who does not ask for it. It is free again when its term is over
(elapsed time; no clock that anybody sets), when its process has died, and after a reboot.
Taking it over is one commit, and the version of that commit is the fencing token: a change
made with ``fence=lease`` is refused once somebody else was granted the lease.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from sessiondir import deciding, terms
from sessiondir.aside import LeaseChange, LeaseRecord
from sessiondir.commit import Committed
from sessiondir.core import Core
from sessiondir.deciding import Documents, commit_decided
from sessiondir.errors import InvalidOption, LeaseHeld, LeaseLost, StoreError, translated
from sessiondir.model import Document, Operation
from sessiondir.reading import StoreReader
from sessiondir.terms import Moment
from sessiondir.watch import POLL_S, Quiet

_log = logging.getLogger("sessiondir")
_LONGEST_OWNER = 200
_RENEWALS = 3
"""A lease is renewed so many times within its term, so that one late renewal costs nothing."""


class Fence(Protocol):
    """What ``fence=`` takes: a lease, of this process or told by another."""

    @property
    def key(self) -> str:
        """The session that the lease is of."""

    @property
    def token(self) -> int:
        """The version of the commit that granted it."""

    @property
    def owner(self) -> str:
        """Whom it was granted to."""


@dataclass(frozen=True, slots=True)
class LeaseInfo:
    """A lease as it stands.

    Attributes:
        key: the session.
        owner: the name that the owner gave.
        token: version of the commit that granted it.
        pid: process that took or last renewed it.
        granted_at_ms: epoch milliseconds.
        ttl_s: length of its term in seconds.
        ends_in_s: seconds until it is free if it is not renewed; negative afterwards.
        free: why nobody holds it any more: ``"expired"``, ``"owner died"``, ``"rebooted"``;
            None while it is held.
    """

    key: str
    owner: str
    token: int
    pid: int
    granted_at_ms: int
    ttl_s: float
    ends_in_s: float
    free: str | None


# -- on a core ----------------------------------------------------------------------------


def lease_info(key: str, record: LeaseRecord, moment: Moment) -> LeaseInfo:
    """What there is to tell of a lease."""
    holder = record.holder
    return LeaseInfo(
        key,
        record.owner,
        record.token,
        holder.pid,
        record.at_ms,
        holder.ttl_ms / 1000,
        terms.remaining_ms(holder, moment) / 1000,
        terms.why_free(holder, moment, deciding.runs),
    )


def grant(core: Core, key: str, owner: str, ttl_ms: int, timeout_s: float) -> Committed:
    """Take the lease of ``key`` if it is free; the commit's version is its token. Raises ``LeaseHeld``.

    It need not survive a power cut: after one every lease is free.
    """
    moment = deciding.now(core.clock)
    change = LeaseChange(key, None, deciding.held_by_us(ttl_ms, moment), owner, moment.wall_ms)

    def decide(documents: Documents) -> Sequence[Operation]:
        record = _record(documents, key)
        if record is not None:
            found = lease_info(key, record, deciding.now(core.clock))
            if found.free is None:
                raise held_error(found)
            _log.info("%s: lease of %r by %s is taken over: %s", core.directory.path, key, found.owner, found.free)
        return (change,)

    committed = commit_decided(core, (key,), decide, timeout_s, "process")
    assert committed is not None
    return committed


def renew(core: Core, fence: Fence, ttl_ms: int, timeout_s: float) -> Committed | None:
    """Begin the term of a lease anew, for this process. Raises ``LeaseLost``.

    A lease whose term is over may be renewed as long as nobody else was granted it.
    """
    holder = deciding.held_by_us(ttl_ms, deciding.now(core.clock))

    def decide(documents: Documents) -> Sequence[Operation]:
        require_token(_record(documents, fence.key), fence)
        return (LeaseChange(fence.key, fence.token, holder),)

    return commit_decided(core, (fence.key,), decide, timeout_s, "process")


def let_go(core: Core, fence: Fence, timeout_s: float) -> Committed | None:
    """Make a lease free; None if it was lost before."""

    def decide(documents: Documents) -> Sequence[Operation]:
        record = _record(documents, fence.key)
        if record is None or record.token != fence.token:
            return ()
        return (LeaseChange(fence.key, fence.token, None),)

    return commit_decided(core, (fence.key,), decide, timeout_s, "process")


def _record(documents: Documents, key: str) -> LeaseRecord | None:
    aside = documents[key].aside
    return aside.lease if aside is not None else None


def require_token(record: LeaseRecord | None, fence: Fence) -> None:
    """Raise ``LeaseLost`` unless the lease that stands is ``fence``."""
    if record is not None and record.token == fence.token:
        return
    now = f"{record.owner} has it now" if record is not None else "nobody has it now"
    raise LeaseLost(
        f"the lease of session {fence.key!r} was lost by {fence.owner}: {now}; nothing was changed: "
        "end this run, or take a new lease and begin again from what is stored",
        session=fence.key,
        owner=fence.owner,
        token=fence.token,
        holder=record.owner if record is not None else None,
        holder_token=record.token if record is not None else None,
    )


def fence_check(core: Core, fence: Fence) -> Callable[[], None]:
    """What to call under the commit lock before a change that rests on ``fence``."""

    def check() -> None:
        view = core.view
        with view.mutex:
            doc = view.load_locked(fence.key)
        require_token(doc.aside.lease if doc.aside is not None else None, fence)

    return check


def held_error(found: LeaseInfo) -> LeaseHeld:
    """The error of a lease that somebody else holds."""
    return LeaseHeld(
        f"session {found.key!r} is leased to {found.owner} (process {found.pid}) for another "
        f"{found.ends_in_s:.1f} s; nothing was changed: try again later, or give a timeout to wait",
        session=found.key,
        owner=found.owner,
        token=found.token,
        pid=found.pid,
        ends_in_s=found.ends_in_s,
    )


def check_owner(owner: object) -> str:
    """``owner`` if it can be a lease's owner, else ``InvalidOption``."""
    if isinstance(owner, str) and owner.strip() and len(owner) <= _LONGEST_OWNER:
        return str.__str__(owner)
    raise InvalidOption(f"owner must be text of 1 to {_LONGEST_OWNER} characters, not {owner!r:.80}")


# -- on a handle --------------------------------------------------------------------------


class Lease:
    """A lease that this process was granted; made by ``SessionStore.lease``.

    ``key`` is the session, ``owner`` the name given, ``token`` the version of the commit that
    granted it. Leaving a ``with`` block lets it go.
    """

    def __init__(self, store: StoreLeases, key: str, owner: str, token: int, ttl_ms: int) -> None:
        self._store = store
        self.key = key
        self.owner = owner
        self.token = token
        self._ttl_ms = ttl_ms
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._lost: StoreError | None = None

    @property
    def ttl_s(self) -> float:
        """Length of its term in seconds."""
        return self._ttl_ms / 1000

    @property
    def lost(self) -> StoreError | None:
        """Why the automatic renewal ended before it was let go; None while it goes on."""
        return self._lost

    @property
    def is_held(self) -> bool:
        """Whether it is still ours, and its term not over; reads, and takes no lock."""
        found = self._store.lease_of(self.key)
        return found is not None and found.token == self.token

    def renew(self, ttl: float | None = None) -> None:
        """Begin its term anew; ``ttl`` in seconds, None: as long as before. Raises ``LeaseLost``.

        A lease whose term is over can be renewed as long as nobody else has taken it.
        """
        ttl_ms = self._ttl_ms if ttl is None else terms.term_ms(ttl)
        self._store._renew(self, ttl_ms)
        self._ttl_ms = ttl_ms

    def release(self) -> bool:
        """Let it go; False if it was lost before. Ends the automatic renewal."""
        self._stop.set()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        return self._store._let_go(self)

    def keep(self) -> Self:
        """Renew it from a background thread, three times a term, until it is let go; itself.

        If it is lost all the same (this process was stopped for too long) the thread ends and
        ``lost`` tells why; a fenced change then raises ``LeaseLost``.
        """
        if self._thread is None and not self._stop.is_set():
            self._thread = threading.Thread(target=self._keep, name="sessiondir-lease", daemon=True)
            self._thread.start()
        return self

    def _keep(self) -> None:
        failed = 0
        while not self._stop.wait(self.ttl_s / _RENEWALS):
            try:
                self.renew()
                failed = 0
            except StoreError as exc:
                failed += 1
                if exc.retryable and failed < _RENEWALS:
                    continue
                self._lost = exc
                _log.warning("the lease of session %r is not renewed any more: %s", self.key, str(exc))
                return

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"<Lease of {self.key!r} by {self.owner}, token {self.token}>"


class StoreLeases(StoreReader):
    """The part of a store handle that has to do with leases."""

    def lease(self, key: str, owner: str, ttl: float = 60.0, timeout: float = 0.0, *, keep: bool = False) -> Lease:
        """Take the session's lease: tell everybody who asks that a run is in progress on it.

        Args:
            key: session key; the session need not exist.
            owner: who holds it, for people: ``"gateway-1/run-42"``.
            ttl: seconds until it is free again unless renewed.
            timeout: seconds to wait while somebody else holds it.
            keep: renew it from a background thread until it is let go.

        Raises ``LeaseHeld`` naming the holder; else as ``post``. Nothing waits for a lease but
        who asks for it: ``get``, ``update`` and ``post`` go on. One commit, without a sync.
        """
        check_owner(owner)
        ttl_ms = terms.term_ms(ttl)
        waiting = Quiet(self._clock, timeout)
        core = self._writing()
        name = core.ref(key).key
        while True:
            try:
                # Reading first: whoever waits must not take the commit lock fifty times a second.
                self._require_free(name)
                committed = grant(core, name, owner, ttl_ms, self._lock_timeout)
                break
            except LeaseHeld:
                if waiting.is_over():
                    raise
                self._clock.sleep(POLL_S)
                core = self._writing()
        self._settle_process(committed)
        lease = Lease(self, name, owner, committed.version, ttl_ms)
        return lease.keep() if keep else lease

    def _require_free(self, key: str) -> None:
        found = self.lease_of(key)
        if found is not None:
            raise held_error(found)

    def lease_of(self, key: str) -> LeaseInfo | None:
        """Who holds the session's lease; None if it is free. One system call when cached."""
        doc = self._document(key)
        if doc is None or doc.aside is None or doc.aside.lease is None:
            return None
        found = lease_info(doc.key, doc.aside.lease, deciding.now(self._clock))
        return found if found.free is None else None

    def leases(self, *, free: bool = False) -> list[LeaseInfo]:
        """All leases that are held, by key; with ``free`` those, too, that nobody holds any more. O(sessions)."""
        moment = deciding.now(self._clock)
        found = [
            lease_info(doc.key, doc.aside.lease, moment)
            for doc in self._documents_beside()
            if doc.aside is not None and doc.aside.lease is not None
        ]
        return sorted((one for one in found if free or one.free is None), key=lambda one: one.key)

    def _documents_beside(self) -> list[Document]:
        core = self._reading()
        with translated(self.path, "read"):
            return list(deciding.documents_beside(core)) if core is not None else []

    def _renew(self, lease: Lease, ttl_ms: int) -> None:
        core = self._writing()
        self._settle_process(renew(core, lease, ttl_ms, self._lock_timeout))

    def _let_go(self, lease: Lease) -> bool:
        core = self._writing()
        committed = let_go(core, lease, self._lock_timeout)
        self._settle_process(committed)
        return committed is not None

    def _settle_process(self, committed: Committed | None) -> None:
        """See to the checkpoint of a commit that need not survive a power cut."""
        if committed is not None:
            self._writing().settle(committed, "process", self._interval)
