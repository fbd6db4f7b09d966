"""G1, G2: the process that cleans up after a death may die too, at any call."""

from __future__ import annotations

import pytest
from harness.dying import Deaths, Remains, die_again
from harness.powerloss import complaint_about, scratch
from harness.seeds import seeded
from harness.story import SCENARIOS

# A dead process collects nothing; in these tests a transaction that died with it is collected.
pytestmark = pytest.mark.filterwarnings("ignore:.*Transaction.__del__:pytest.PytestUnraisableExceptionWarning")

_NAMES = ("create", "transaction", "rotation", "delete and rotation", "recovery")
_RESULTS = 3


def _some(found: list[Remains]) -> list[Remains]:
    rng = seeded("recovery death")
    return found if len(found) <= _RESULTS else rng.sample(found, _RESULTS)


@pytest.mark.parametrize("name", _NAMES)
def test_dying_while_recovering_changes_nothing_about_it(name: str) -> None:
    """G1, G2: recovery that dies at any call can be recovered from, with the same sessions."""
    scenario = next(scenario for scenario in SCENARIOS if scenario.name == name)
    complaints: list[str] = []
    results = 0
    with scratch() as folder:
        for remains in _some(list(Deaths(scenario, folder))):
            with scratch() as inner:
                for again in die_again(remains, inner):
                    results += 1
                    complaint = complaint_about(again.tree, again.allowed, again.where)
                    if complaint is not None:
                        complaints.append(complaint)
    assert results >= _RESULTS
    assert not complaints, f"{len(complaints)} of {results} results\n" + "\n".join(complaints[:5])
