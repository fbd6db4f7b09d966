"""Which sessions go, and why. Pure functions of facts, a policy and a time.

In this order, the first rule that fits counts; within each the least recently updated first,
sessions without ``updatedAt`` before all others, and by key where that is equal:

    missing   the session names a transcript that is not there (only when asked for)
    cron      the session of a single cron run, older than ``cronRetention``; no ``updatedAt``: old
    stale     ``updatedAt`` is more than ``pruneAfter`` ago; without ``updatedAt`` never
    cap       as many as there are above ``maxEntries``
    budget    until ``highWaterBytes`` is reached (see ``planning``)

Protected sessions never go; for missing, cap and budget those updated within ``grace`` do not either.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from sessiondir.maintenance.index import SessionFacts
from sessiondir.maintenance.plan import Action
from sessiondir.maintenance.policy import DAY_MS, Policy
from sessiondir.maintenance.units import beyond_text, duration_text

FUTURE_MS: Final = 5 * 60_000
"""How far a time may lie ahead of ours before a clock is not believed."""
IDLE_MS: Final = 7 * DAY_MS
"""How long after the last commit ours is believed without being told so."""
RUNNING_MS: Final = DAY_MS
"""How long an entry that says "running" is believed after its last update."""

_CRON_RUN = re.compile(r"agent:+[^:]+:+cron:+[^:]+:+run:+[^:]+:*\Z", re.IGNORECASE)


def doubt_about_time(
    now_ms: int, last_commit_ms: int | None, newest_ms: float | None, newest: str | None = None
) -> str | None:
    """Why no age can be believed now; None if nothing speaks against the clock.

    Args:
        now_ms: the wall clock.
        last_commit_ms: when the last commit was made, None if unknown.
        newest_ms: the latest ``updatedAt`` of all sessions, None if there is none.
        newest: the key of that session.
    """
    latest = max(filter(None, (last_commit_ms, newest_ms)), default=None)
    if latest is not None and latest > now_ms + FUTURE_MS:
        what = "the last commit" if latest == last_commit_ms else f"updatedAt of session {newest!r}"
        ahead = duration_text(latest - now_ms)
        return f"{what} lies {ahead} in the future: a clock is or was wrong"
    if latest is not None and now_ms - latest > IDLE_MS:
        idle = duration_text(now_ms - latest)
        return f"nothing was committed for {idle}: either the store was idle or the clock has jumped ahead"
    return None


def cap_reason(limit: int) -> str:
    """Why a session goes for ``maxEntries``."""
    return f"more than {limit:,} sessions, and others were updated later"


class Rules:
    """A policy at one moment.

    ``special`` tells of a session why it may not go whatever its age (active, leased), or None.
    """

    def __init__(self, policy: Policy, now_ms: int, special: Callable[[SessionFacts], str | None]) -> None:
        self._policy = policy
        self._now_ms = now_ms
        self._special = special
        self._exact = frozenset(key for key in policy.pinned if not key.endswith("*"))
        self._prefixes = tuple(key[:-1] for key in policy.pinned if key.endswith("*"))
        self._stale_before = now_ms - policy.prune_after_ms
        self._recent_from = now_ms - policy.grace_ms

    def by_age(self, facts: SessionFacts) -> tuple[Action, str] | None:
        """The rule by which a session goes whatever else is there, and a sentence; None if it stays."""
        policy, updated_at = self._policy, facts.updated_at
        retention = policy.cron_retention_ms
        if retention is not None and (updated_at or 0) < self._now_ms - retention and _CRON_RUN.match(facts.key):
            return "prune-cron", f"a cron run {self._age(facts, retention)}"
        if updated_at is not None and updated_at < self._stale_before:
            return "prune-stale", self._age(facts, policy.prune_after_ms)
        return None

    def protection(self, facts: SessionFacts) -> str | None:
        """Why a session may not go at all; None if it may."""
        if facts.pinned or facts.key in self._exact or (self._prefixes and facts.key.startswith(self._prefixes)):
            return "pinned"
        if facts.running and facts.updated_at is not None and facts.updated_at >= self._now_ms - RUNNING_MS:
            return "a run is in progress, its entry says"
        return self._special(facts)

    def is_recent(self, facts: SessionFacts) -> bool:
        """Whether a session was updated so lately that no bound may evict it."""
        return facts.updated_at is not None and facts.updated_at >= self._recent_from

    def _age(self, facts: SessionFacts, limit_ms: int) -> str:
        limit = f"the limit is {duration_text(limit_ms)}"
        if facts.updated_at is None:
            return f"never updated, {limit}"
        return f"not updated for {beyond_text(self._now_ms - facts.updated_at, limit_ms)}, {limit}"
