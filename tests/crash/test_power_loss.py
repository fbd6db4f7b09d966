"""G2: what a power cut may leave, at any moment of any operation (F3)."""

from __future__ import annotations

import pytest
from harness.powerloss import Played, scratch
from harness.seeds import seeded
from harness.story import SCENARIOS, Scenario, Step
from harness.story import at_rest as _at_rest
from harness.story import flush as _flush

from sessiondir.testing import Rule

_IMAGES = 12


def _judge(scenario: Scenario, rule: Rule, durability: str, most: int = _IMAGES) -> None:
    with scratch() as folder:
        played = Played(scenario, folder, durability=durability)  # type: ignore[arg-type]
        found = list(played.judged(rule, seeded(scenario.name), most=most))
    wrong = [complaint for complaint in found if complaint is not None]
    assert len(found) > 20, "too few images to mean anything"
    assert not wrong, f"{len(wrong)} of {len(found)} images\n" + "\n".join(wrong[:5])


@pytest.mark.parametrize("rule", ["ordered", "strict"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_acknowledged_commits_survive_power_loss(scenario: Scenario, rule: Rule) -> None:
    """G2: with durability "power" a step that returned is there after any power cut, and nothing is half there."""
    _judge(scenario, rule, "power")


_UNSYNCED = ("create", "transaction", "delete and checkpoint", "rotation", "delete and rotation", "recovery")


@pytest.mark.parametrize("rule", ["ordered", "strict"])
@pytest.mark.parametrize("scenario", [one for one in SCENARIOS if one.name in _UNSYNCED], ids=lambda one: one.name)
def test_unsynced_commits_survive_oldest_first(scenario: Scenario, rule: Rule) -> None:
    """G2: with durability "process" a power cut keeps the first so many commits, and never damages the store."""
    _judge(scenario, rule, "process")


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
    _judge(_MANY, rule, "process", most=24)
