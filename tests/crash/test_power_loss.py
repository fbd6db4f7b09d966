"""G1, G2, G9, G11: what a power cut may leave, at any moment of any operation (F3)."""

from __future__ import annotations

import pytest
from harness import powerloss
from harness.powerloss import scratch
from harness.seeds import seeded
from harness.story import SCENARIOS, Scenario, Step
from harness.story import at_rest as _at_rest
from harness.story import flush as _flush

from crash.matrix import Played
from crash.table import RECOVERED, TABLE, Row
from sessiondir.testing import Rule


def _cut(played: Played, most: int, least: int) -> None:
    found = list(played.power_cuts(seeded(played.row.name), most))
    wrong = [complaint for complaint in found if complaint is not None]
    print(f"{len(found)} images, {len(wrong)} violations")
    assert len(found) >= least, "too few images to mean anything"
    assert not wrong, f"{len(wrong)} of {len(found)} images\n" + "\n".join(wrong[:5])


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_power_cuts_in_any_operation(row: Row) -> None:
    """With durability "power" what returned is there after any power cut, and nothing is half there."""
    with scratch() as folder:
        _cut(Played(row, folder), 2, 3)


@pytest.mark.stress
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_many_power_cuts_in_any_operation(row: Row) -> None:
    """As the short form, with up to twelve images of each moment by each rule."""
    with scratch() as folder:
        _cut(Played(row, folder), 12, 3)


@pytest.mark.stress
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("row", RECOVERED, ids=lambda row: row.name)
def test_power_cuts_while_recovering(row: Row) -> None:
    """What deaths left is recovered although the power goes meanwhile."""
    with scratch() as folder:
        found = Played(row, folder).recoveries()
    rng = seeded(f"recoveries {row.name}")
    for recovery, tree in rng.sample(found, min(3, len(found))):
        with scratch() as folder:
            _cut(Played(recovery, folder, tree), 6, 1)


def _judge(scenario: Scenario, rule: Rule, most: int = 12) -> None:
    with scratch() as folder:
        played = powerloss.Played(scenario, folder, durability="process")
        found = list(played.judged(rule, seeded(scenario.name), most=most))
    wrong = [complaint for complaint in found if complaint is not None]
    assert len(found) > 20, "too few images to mean anything"
    assert not wrong, f"{len(wrong)} of {len(found)} images\n" + "\n".join(wrong[:5])


_UNSYNCED = ("create", "transaction", "delete and checkpoint", "rotation", "delete and rotation", "recovery")


@pytest.mark.parametrize("rule", ["ordered", "strict"])
@pytest.mark.parametrize("scenario", [one for one in SCENARIOS if one.name in _UNSYNCED], ids=lambda one: one.name)
def test_unsynced_commits_survive_oldest_first(scenario: Scenario, rule: Rule) -> None:
    """G2: with durability "process" a power cut keeps the first so many commits, and never damages the store."""
    _judge(scenario, rule)


def _numbered(number: int) -> Step:
    key = f"agent:main:{number % 3}"
    return Step(
        f"put {number}",
        lambda s: s.put(key, {"n": number, "text": "t" * 20 * number}),
        lambda d: d | {key: {"n": number, "text": "t" * 20 * number}},
    )


_MANY = Scenario(
    "many unsynced commits", _at_rest, (*map(_numbered, range(1, 7)), _flush, _numbered(7), _numbered(8))
)


@pytest.mark.parametrize("rule", ["ordered", "strict"])
def test_many_unsynced_commits_are_kept_as_a_prefix(rule: Rule) -> None:
    """G2: of a run of unsynced commits a power cut keeps the first ones, never a later one alone."""
    _judge(_MANY, rule, most=24)
