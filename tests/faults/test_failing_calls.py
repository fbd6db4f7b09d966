"""G1, G2, G8: any call may fail with any error, once or for ever (F6, F7, F8)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from harness.failing import ERRORS, Failures, Fault
from harness.powerloss import scratch
from harness.story import SCENARIOS, Scenario

from sessiondir.testing import CLOSING, UNLOCKING

_RARE = (CLOSING, UNLOCKING)


def _not_rare(kind: str, args: tuple[Any, ...]) -> bool:
    return kind not in _RARE


def _sampled(nth: int) -> Iterator[Fault]:
    """Two of the errors for each call, so that neighbouring calls meet all of them."""
    yield Fault(nth, ERRORS[nth % len(ERRORS)], forever=False)
    yield Fault(nth, ERRORS[(nth + 3) % len(ERRORS)], forever=True)


def _every(nth: int) -> Iterator[Fault]:
    for error in ERRORS:
        for forever in (False, True):
            yield Fault(nth, error, forever)


def _complaints(scenario: Scenario, kinds: Any, faults: Any, least: int) -> None:
    with scratch() as folder:
        failures = Failures(scenario, folder, kinds)
        found = list(failures.run(faults))
    assert failures.attempts > least, "the scenario makes fewer calls than it can"
    assert not found, f"{len(found)} of {failures.attempts} attempts\n" + "\n".join(found[:8])


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_failing_call_is_a_documented_error_and_loses_nothing(scenario: Scenario) -> None:
    """G1, G2: a failed call is a StoreError or nothing; all acknowledged commits are there, the next works."""
    _complaints(scenario, _not_rare, _sampled, 100)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_short_write_is_finished_or_undone(scenario: Scenario) -> None:
    """G1: a write that stops half-way, on a full disk or not, leaves the commit whole or absent."""

    def faults(nth: int) -> Iterator[Fault]:
        yield Fault(nth, "ENOSPC", forever=False, short=True)
        yield Fault(nth, "ENOSPC", forever=True, short=True)

    _complaints(scenario, lambda kind, args: kind == "pwrite", faults, 4)


@pytest.mark.parametrize("kind", _RARE)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_failing_to_close_or_unlock_is_no_bare_error(scenario: Scenario, kind: str) -> None:
    """G1, G7: a failing ``close`` or unlock neither hides a commit nor shows as an undocumented error."""

    def faults(nth: int) -> Iterator[Fault]:
        yield Fault(nth, "EIO", forever=False)

    _complaints(scenario, lambda found, args: found == kind, faults, 4)


@pytest.mark.stress
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_every_error_at_every_call(scenario: Scenario) -> None:
    """G1, G2: as the sampled test, with each error at each call, once and for ever."""
    _complaints(scenario, _not_rare, _every, 1000)
