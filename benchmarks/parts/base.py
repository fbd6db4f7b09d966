"""What every part gets to work with."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.stores import OURS, available, open_store, title
from benchmarks.stores.base import Durability, Entry
from benchmarks.workers import Workers, WorkersFailed

ONE_LOCK = ("directory", "legacy")
"""Stores whose waiters sleep for tens of milliseconds before one lock file."""

_numbers = itertools.count()


@dataclass(slots=True)
class Bench:
    """Where and how long to measure, and with whom.

    ``quick`` is for looking whether everything works, ``large`` adds sizes that take long.
    ``failures`` collects what went wrong; a competitor's failure does not end the run.
    """

    place: Path
    workers: Workers
    rounds: int
    seconds: float
    quick: bool
    large: bool
    say: Callable[[str], None]
    failures: list[str] = field(default_factory=list)

    def stores(self, *names: str) -> tuple[str, ...]:
        """The stores to measure: all, or those named, that are there."""
        return tuple(name for name in names or available() if name in available())

    @contextlib.contextmanager
    def directory(self) -> Iterator[Path]:
        """An empty directory, gone afterwards."""
        path = self.place / f"run-{next(_numbers)}"
        path.mkdir()
        try:
            yield path
        finally:
            shutil.rmtree(path)

    def interleaved(self, cells: Sequence[Any], names: Sequence[str]) -> Iterator[tuple[int, Any, str]]:
        """Round by round every cell with every store, so that a disturbance does not hit one alone.

        Each round begins with another store: what one leaves the disk to do is not always the same one's burden.
        The stores with one lock for everything take part in the first round only: their
        figures are off by factors that a disturbance does not change, and their runs are long.
        """
        for number in range(1, self.rounds + 1):
            first = (number - 1) % len(names)
            for cell in cells:
                for name in (*names[first:], *names[:first]):
                    if number == 1 or name not in ONE_LOCK:
                        yield number, cell, name

    @contextlib.contextmanager
    def excused(self, what: str) -> Iterator[None]:
        """Notes a failure loudly and goes on without that measurement."""
        try:
            yield
        except Exception as exc:
            self.say(f"FAILED: {what}\n{traceback.format_exc()}")
            reason = (str(exc).strip().splitlines() or [type(exc).__name__])[-1]
            self.failures.append(f"{what}: {reason}")


def fill(name: str, place: Path, entries: Mapping[str, Entry]) -> None:
    """Make a store with these sessions."""
    with contextlib.closing(open_store(name, place, "process")) as store:
        store.fill(entries)


def verify(name: str, place: Path, acknowledged: int, what: str) -> int:
    """The updates found in the store. Raises ``WorkersFailed`` if that is not what was acknowledged."""
    with contextlib.closing(open_store(name, place, "process")) as store:
        found = store.counters()
        problems = store.problems()
    if found != acknowledged or problems:
        raise WorkersFailed(
            f"{title(name)}, {what}: {acknowledged} operations were acknowledged, {found} found; "
            f"{problems or 'the check finds nothing wrong'}"
        )
    return found


def work(
    function: Callable[..., Any], name: str, place: Path, durability: Durability, **more: Any
) -> partial[Any]:
    """A worker's task on a store."""
    return partial(function, store=name, place=place, durability=durability, **more)


def ours_of(row: Mapping[str, Any]) -> Any:
    """Our figures in a row that has those of each store by name."""
    return row.get(OURS)
