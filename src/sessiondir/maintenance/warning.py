"""Telling of a write, before it returns, that what it wrote would not be kept.

Called for every commit of this process by the one place that all commits pass. Nothing is
looked through: a session's age is told by itself, and its place among the others by the
index and the plan of the keeper's last round.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

from sessiondir.clock import Clock
from sessiondir.maintenance.index import Index, SessionFacts, facts_of
from sessiondir.maintenance.plan import Action, Plan
from sessiondir.maintenance.policy import Policy
from sessiondir.maintenance.rules import Rules, cap_reason
from sessiondir.maintenance.telling import Notice, Teller
from sessiondir.operations import Operation
from sessiondir.view import View

_log = logging.getLogger("sessiondir")
Rank = tuple[float, str]


class WriteWarner:
    """Tells of the sessions that one process writes to one store.

    Args:
        policy: what is to be kept.
        special: why a session may not go, as ``Rules`` takes it.
        doubt: why no age can be believed now, or None.
    """

    def __init__(
        self,
        policy: Policy,
        clock: Clock,
        path: str,
        teller: Teller,
        special: Callable[[SessionFacts], str | None],
        doubt: Callable[[], str | None],
    ) -> None:
        self._policy = policy
        self._clock = clock
        self._path = path
        self._teller = teller
        self._special = special
        self._doubt = doubt
        self._view: View | None = None
        self._index: Index | None = None
        self._edges: list[tuple[Rank, Action, str]] = []
        """The last sessions that the plan takes for a bound: what is older would go for it, too."""
        self._safe_from_ms: float | None = None
        """What was updated since then goes for no bound; None until a round has shown it."""
        ages = (policy.prune_after_ms, policy.cron_retention_ms)
        self._shortest_age_ms = min(age for age in ages if age is not None)

    def attach(self, view: View | None) -> None:
        """Be called for every commit by way of ``view`` from now on, and no longer by way of another."""
        if view is self._view:
            return
        if self._view is not None:
            with self._view.mutex:
                self._view.on_commit = tuple(one for one in self._view.on_commit if one != self._note)
        self._view, self._index, self._edges, self._safe_from_ms = view, None, [], None
        if view is not None:
            with view.mutex:
                view.on_commit = (*view.on_commit, self._note)

    def learn(self, index: Index, plan: Plan) -> None:
        """Go by a round's index and plan from now on."""
        edges: dict[Action, tuple[Rank, Action, str]] = {}
        for session in plan.removals:
            facts = index.facts.get(session.key)
            if facts is not None and session.action in ("cap-overflow", "evict-budget"):
                edges[session.action] = (facts.rank, session.action, session.reason)
        self._edges = list(edges.values())
        self._index = index
        limit = self._policy.max_entries
        # With one more session each place moves up by one.
        last = index.order[-limit][0] if len(index.order) >= limit else float("-inf")
        self._safe_from_ms = max([last, *(edge[0][0] for edge in self._edges)]) + 1

    def _note(self, operations: Sequence[Operation]) -> None:
        """Judge what a commit wrote. Whatever goes wrong here, the commit stands."""
        try:
            self._judge_all({operation.key for operation in operations})
        except Exception as exc:
            _log.error("%s: retention could not be looked at: %s: %s", self._path, type(exc).__name__, str(exc))

    def _judge_all(self, keys: Iterable[str]) -> None:
        view = self._view
        if view is None:
            return
        now_ms = int(self._clock.now() * 1000)
        for key in keys:
            doc = view.at_hand(key)
            if doc is None:
                doc = view.peek(key)  # it was dropped from the cache at once
            if doc.fields is None:
                continue
            updated_at = doc.updated_at()
            if updated_at is None or not self._is_safe(updated_at, now_ms):
                self._judge(facts_of(doc), now_ms)
            elif self._teller.is_told_of(key):
                self._teller.take_back(key)

    def _is_safe(self, updated_at: float, now_ms: int) -> bool:
        safe_from_ms = self._safe_from_ms
        return (
            safe_from_ms is not None
            and updated_at >= safe_from_ms
            and updated_at >= now_ms - self._shortest_age_ms
        )

    def _judge(self, facts: SessionFacts, now_ms: int) -> None:
        rules = Rules(self._policy, now_ms, self._special)
        found = rules.by_age(facts)
        if found is None and not rules.is_recent(facts):
            found = self._by_place(facts)
        if found is None or rules.protection(facts) is not None:
            self._teller.take_back(facts.key)
            return
        if self._doubt() is None:
            rule, reason = found
            self._teller.tell(*session_notice(self._path, facts.key, rule, reason))

    def _by_place(self, facts: SessionFacts) -> tuple[Action, str] | None:
        """The bound that a session goes for as things stood at the last round."""
        for edge, action, reason in self._edges:
            if facts.rank <= edge:
                return action, reason
        index, limit = self._index, self._policy.max_entries
        if index is None or not index.is_whole:
            return None
        old = index.facts.get(facts.key)
        place = limit + (old is not None and old.rank > facts.rank)
        try:
            if index.order[-place] > facts.rank:
                return "cap-overflow", cap_reason(limit)
        except IndexError:
            pass  # there are not so many
        return None


def session_notice(path: str, key: str, rule: str, reason: str) -> tuple[tuple[str, ...], Notice]:
    """What is told of a session that would go, and its identity."""
    text = f"session {key!r} would be removed from {path}: {reason}"
    return ("session", key, rule), Notice("session", text, key, rule)
