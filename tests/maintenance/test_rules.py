"""The policy against an independent statement of it, for whatever store there may be."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sessiondir.codec import to_fields
from sessiondir.document import put_document
from sessiondir.fs import SYSTEM_FS
from sessiondir.maintenance.disk import DiskSurvey
from sessiondir.maintenance.ground import Ground
from sessiondir.maintenance.index import Index
from sessiondir.maintenance.plan import Plan
from sessiondir.maintenance.planning import Circumstances, Planner
from sessiondir.maintenance.policy import Policy
from sessiondir.maintenance.rules import FUTURE_MS, IDLE_MS, doubt_about_time

from .oracle import expected
from .stores import DAY, HOUR, NOW, Today

KEYS = st.sampled_from(
    [f"agent:main:telegram:direct:{number}" for number in range(8)]
    + [f"agent:main:cron:job:run:{number}" for number in range(8)]
    + [
        "agent:main:cron:job",
        "agent::main:cron:a:run:b:",
        "Agent:Main:Cron:A:Run:B",
        "cron:a:run:b",
        "bot:x",
        "agent:main:main",
    ]
)
AGES = st.one_of(
    st.none(),
    st.sampled_from([0, HOUR, HOUR + 1, DAY, DAY + 1, 30 * DAY, 30 * DAY + 1, -60_000]),
    st.integers(0, 60 * DAY),
)


@st.composite
def stores(draw: Any) -> dict[str, dict[str, Any]]:
    found = {}
    for key in draw(st.sets(KEYS, max_size=20)):
        age = draw(AGES)
        found[key] = {} if age is None else {"updatedAt": NOW - age}
        if draw(st.booleans()):
            found[key]["status"] = draw(st.sampled_from(["running", "done"]))
        if draw(st.integers(0, 9)) == 0:
            found[key]["pinned"] = draw(st.booleans())
    return found


POLICIES = st.builds(
    Policy,
    mode=st.sampled_from(["warn", "enforce"]),
    prune_after_ms=st.sampled_from([0, DAY, 30 * DAY, 400 * DAY]),
    max_entries=st.sampled_from([1, 3, 10, 500]),
    cron_retention_ms=st.sampled_from([None, 0, DAY]),
    grace_ms=st.sampled_from([0, HOUR, DAY]),
    pinned=st.sampled_from([(), ("bot:x",), ("agent:main:telegram:*", "bot:x")]),
)


def plan_of(entries: dict[str, dict[str, Any]], policy: Policy, active: frozenset[str]) -> Plan:
    index = Index(put_document(key, 1, to_fields(entry)) for key, entry in entries.items())
    disk = DiskSurvey(Ground(SYSTEM_FS, Today(), "/nowhere/sessions.d", 1 << 20, 1.0, False))
    how = Circumstances(
        "/nowhere/sessions.d", policy, NOW, lambda facts: "active" if facts.key in active else None
    )
    planner = Planner(index, disk, how)
    for _ in planner.steps():
        pass
    assert planner.plan is not None
    return planner.plan


@settings(max_examples=400, deadline=None)
@given(stores(), POLICIES, st.frozensets(KEYS, max_size=3))
def test_age_and_number_take_exactly_what_the_rules_say(
    entries: dict[str, dict[str, Any]], policy: Policy, active: frozenset[str]
) -> None:
    """G9, W14: which sessions go, and by which rule, is what the plain statement says."""
    plan = plan_of(entries, policy, active)
    wanted = expected(entries, policy, NOW, active)
    assert {session.key: session.action for session in plan.removals} == wanted
    assert {session.key for session in plan.sessions} == entries.keys()
    assert len({session.key for session in plan.sessions}) == len(plan.sessions)
    assert all(session.reason for session in plan.sessions)
    assert plan.after_count == len(entries) - len(wanted)
    # F21: the bound holds, or it is said that it does not.
    assert bool(plan.unmet) == (plan.after_count > policy.max_entries)


@settings(max_examples=200, deadline=None)
@given(stores(), POLICIES)
def test_a_plan_is_at_rest_after_itself(entries: dict[str, dict[str, Any]], policy: Policy) -> None:
    """G9: what a plan leaves, the next plan leaves, too."""
    plan = plan_of(entries, policy, frozenset())
    left = {key: entry for key, entry in entries.items() if key not in {session.key for session in plan.removals}}
    assert plan_of(left, policy, frozenset()).removals == ()


@settings(max_examples=200, deadline=None)
@given(stores(), POLICIES, st.integers(1, 10))
def test_a_looser_cap_removes_no_more(entries: dict[str, dict[str, Any]], policy: Policy, more: int) -> None:
    """Raising ``maxEntries`` never takes a session away that the lower one left."""
    import dataclasses

    looser = dataclasses.replace(policy, max_entries=policy.max_entries + more)
    few, many = (
        {session.key for session in plan_of(entries, one, frozenset()).removals} for one in (looser, policy)
    )
    assert few <= many


@pytest.mark.parametrize(
    ("commit", "newest", "doubted"),
    [
        (None, None, False), (NOW, NOW, False), (NOW - IDLE_MS, None, False), (NOW - IDLE_MS - 1, None, True),
        (NOW - 40 * DAY, NOW - DAY, False), (NOW + FUTURE_MS, None, False), (NOW + FUTURE_MS + 1, None, True),
        (NOW, NOW + FUTURE_MS + 1, True), (NOW - 40 * DAY, NOW - 40 * DAY, True),
    ],
)  # fmt: skip
def test_when_the_clock_is_not_believed(commit: int | None, newest: int | None, doubted: bool) -> None:
    """F20: times from the future, and a now far from the last commit."""
    assert (doubt_about_time(NOW, commit, newest) is not None) == doubted
