"""G1, G2, G7: a process may die at any call of any operation (F1, F2)."""

from __future__ import annotations

import pytest
from harness.dying import Deaths
from harness.powerloss import complaint_about, scratch
from harness.story import SCENARIOS, Scenario

# A dead process collects nothing; in these tests a transaction that died with it is collected.
pytestmark = pytest.mark.filterwarnings("ignore:.*Transaction.__del__:pytest.PytestUnraisableExceptionWarning")


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_death_at_every_call_leaves_old_or_new(scenario: Scenario) -> None:
    """G1, G2: wherever the process dies, the store is as before or after the step, and takes the next commit."""
    with scratch() as folder:
        deaths = Deaths(scenario, folder)
        found = [complaint_about(remains.tree, remains.allowed, remains.where) for remains in deaths]
    complaints = [complaint for complaint in found if complaint is not None]
    assert deaths.calls > 50, "the scenario makes fewer calls than it can"
    assert not complaints, f"{len(complaints)} of {len(found)} results\n" + "\n".join(complaints[:5])
