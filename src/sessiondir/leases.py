"""Leases: "a run is in progress on this session".

A lease stops nobody who does not ask for it. It is free again when its term is over
(elapsed time; no clock that anybody sets), when its process has died, and after a reboot.
Taking it over is one commit, and the version of that commit is the fencing token: a change
made with ``fence=lease`` is refused once somebody else was granted the lease.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from sessiondir import deciding, terms
from sessiondir.aside import LeaseChange, LeaseRecord
from sessiondir.commit import Committed
from sessiondir.core import Core
from sessiondir.deciding import Documents, commit_decided
from sessiondir.errors import InvalidOption, LeaseHeld, LeaseLost
from sessiondir.operations import Operation
from sessiondir.terms import Moment

_log = logging.getLogger("sessiondir")
_LONGEST_OWNER = 200


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
    """The error of a lease that somebody else holds, for who wants it himself."""
    later = "try again later, or give a timeout to wait"
    return in_the_way(found, f" for another {found.ends_in_s:.1f} s; nothing was changed: {later}")


def in_the_way(found: LeaseInfo, more: str) -> LeaseHeld:
    """The error of a lease that somebody else holds; ``more`` ends the sentence and tells what to do."""
    return LeaseHeld(
        f"session {found.key!r} is leased to {found.owner} (process {found.pid}){more}",
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
