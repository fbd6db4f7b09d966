"""G1, G2, G7, G8, G9, G11: every operation under every mishap at every call (F1, F2, F6, F7, F8)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest
from harness.powerloss import scratch
from harness.seeds import seeded
from harness.story import A, running

from crash.matrix import TOTALS, Mishap, Played, all_errors, deaths, some_errors
from crash.table import RECOVERED, TABLE, Row

# A dead process collects nothing; in these tests a transaction that died with it is collected.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*Transaction.__del__:pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.timeout(600),  # thousands of runs each; on a busy machine they take minutes
]


def _try(row: Row, mishaps: Callable[[Played], Iterator[Mishap]], least: int) -> None:
    with scratch() as folder:
        played = Played(row, folder)
        if row.effects is not None:
            found = [state["sessions"] for state in played.states]
            assert found == row.effects(found[0]), "without a mishap it does something else"
        _count(played, mishaps, least)


def _count(played: Played, mishaps: Callable[[Played], Iterator[Mishap]], least: int) -> None:
    before = TOTALS["mishaps"]
    complaints = played.complaints(mishaps)
    tried = TOTALS["mishaps"] - before
    assert tried >= least, "it makes fewer calls than it can"
    assert not complaints, f"{len(complaints)} of {tried}\n" + "\n".join(complaints[:6])


def _deaths_and_errors(played: Played) -> Iterator[Mishap]:
    yield from deaths(played)
    yield from some_errors(played)


def _try_recoveries(row: Row, most: int) -> None:
    with scratch() as folder:
        found = Played(row, folder).recoveries()
    rng = seeded(f"recoveries {row.name}")
    for recovery, tree in found if len(found) <= most else rng.sample(found, most):
        with scratch() as folder:
            _count(Played(recovery, folder, tree), _deaths_and_errors, 1)


def _each_nth(step: int, mishaps: Callable[[Played], Iterator[Mishap]]) -> Callable[[Played], Iterator[Mishap]]:
    """Every ``step``-th of the mishaps; neighbouring operations of the table begin with another."""

    def some(played: Played) -> Iterator[Mishap]:
        return itertools.islice(
            mishaps(played), (TABLE.index(played.row) if played.row in TABLE else 0) % step, None, step
        )

    return some


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_death_at_every_second_call(row: Row) -> None:
    """Wherever the process dies, all acknowledged is there, nothing is half, and recovery twice is as once."""
    _try(row, _each_nth(2, deaths), 4)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_an_error_at_every_fourth_call(row: Row) -> None:
    """A failing call is a documented error or harmless; the same handle goes on when the cause is gone."""
    _try(row, _each_nth(4, some_errors), 2)


@pytest.mark.stress
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_death_at_every_call(row: Row) -> None:
    """As the short form, at each call."""
    _try(row, deaths, 10)


_READING = Row(
    "reading what a death left", lambda folder: running(f"{folder}/sessions.d"), (lambda a: a.store[A],)
)


def test_reading_what_was_not_brought_level() -> None:
    """A file that the journal has deleted, and no reader removes, is not among those that nothing may touch."""
    _try(_READING, _each_nth(2, _deaths_and_errors), 4)


_SOME = ("create", "delete and rotation")


@pytest.mark.parametrize("row", [row for row in RECOVERED if row.name in _SOME], ids=lambda row: row.name)
def test_recovery_meets_mishaps_itself(row: Row) -> None:
    """What a death left is recovered although that dies, or fails, at every call in turn."""
    _try_recoveries(row, 1)


@pytest.mark.stress
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("row", RECOVERED, ids=lambda row: row.name)
def test_recovery_meets_mishaps_after_many_deaths(row: Row) -> None:
    """As the short form, for every operation and several of the deaths in it."""
    _try_recoveries(row, 4)


@pytest.mark.stress
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_every_error_at_every_call(row: Row) -> None:
    """As the short form, with each of the twelve errors at each call, once and for ever."""
    _try(row, all_errors, 200)
