"""The part of a store handle that has to do with leases; what they are is in ``leases``."""

from __future__ import annotations

import logging
import threading
from types import TracebackType
from typing import Self

from sessiondir import deciding, leases, terms
from sessiondir.commit import Committed
from sessiondir.document import Document
from sessiondir.errors import LeaseHeld, StoreError, translated
from sessiondir.leases import LeaseInfo, held_error, lease_info
from sessiondir.reading import StoreReader
from sessiondir.watch import POLL_S, Quiet

_log = logging.getLogger("sessiondir")
_RENEWALS = 3
"""A lease is renewed so many times within its term, so that one late renewal costs nothing."""


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
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            longest_s = deciding.longest_wait_s()
            thread.join(longest_s)
            if thread.is_alive():  # it waits for the commit lock, as whoever lets go would have to
                raise self._store._writing().committer.lock_timeout(longest_s or 0.0)
        self._thread = None
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
        leases.check_owner(owner)
        ttl_ms = terms.term_ms(ttl)
        waiting = Quiet(self._clock, timeout)
        core = self._writing()
        name = core.ref(key).key
        while True:
            try:
                # Reading first: whoever waits must not take the commit lock fifty times a second.
                self._require_free(name)
                committed = leases.grant(core, name, owner, ttl_ms, self._lock_timeout)
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
        self._settle_process(leases.renew(core, lease, ttl_ms, self._lock_timeout))

    def _let_go(self, lease: Lease) -> bool:
        core = self._writing()
        committed = leases.let_go(core, lease, self._lock_timeout)
        self._settle_process(committed)
        return committed is not None

    def _settle_process(self, committed: Committed | None) -> None:
        """See to the checkpoint of a commit that need not survive a power cut."""
        if committed is not None:
            self._writing().settle(committed, "process", self._interval)
