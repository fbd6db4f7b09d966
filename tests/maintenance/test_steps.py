"""Between two pauses maintenance does a bounded piece of work, however much there is: counted, not timed."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from sessiondir.maintenance import Keeper
from sessiondir.maintenance.index import Steps
from sessiondir.testing import WatchedFileSystem

from .stores import DAY, HOUR, Today, enforce, entry, fill, open_store, write_transcript


class Counted:
    """Takes the steps of a keeper, and notes the largest: calls of functions, and calls of the system."""

    longest_s = busy_s = 0.0

    def __init__(self, fs: WatchedFileSystem) -> None:
        self._fs = fs
        self.calls = self.steps = self.most_calls = self.most_system_calls = 0

    def run(self, steps: Steps) -> None:
        """As ``Slices.run``."""
        while True:
            self.calls = 0
            del self._fs.calls[:]
            sys.setprofile(self._count)
            try:
                next(steps)
            except StopIteration:
                return
            finally:
                sys.setprofile(None)
                self.steps += 1
                self.most_calls = max(self.most_calls, self.calls)
                self.most_system_calls = max(self.most_system_calls, len(self._fs.calls))

    def _count(self, frame: Any, event: str, argument: object) -> None:
        if event in ("call", "c_call"):
            self.calls += 1


@pytest.fixture
def no_garbage_collection() -> Iterator[None]:
    """Its callbacks would be counted."""
    gc.disable()
    yield
    gc.enable()


def counted(store_path: str, count: int, tmp_folder: str) -> Counted:
    """What the rounds of a keeper take that has ``count`` sessions before it, and removes nearly all."""
    fs = WatchedFileSystem()
    with open_store(store_path, Today(), fs=fs) as store:
        entries = {f"k{n}": entry(2 * HOUR + n * DAY / 20, f"s{n}", pad="x" * 300) for n in range(count)}
        fill(store, entries)
        for number in range(0, count, 4):
            write_transcript(tmp_folder, f"s{number}.jsonl", 60)
        store.flush()
        keeper = Keeper(store, enforce(maxEntries=50, pruneAfter="10d"))
        steps = keeper.slices = Counted(fs)  # type: ignore[assignment]
        keeper.round()
        assert len(store) == 50
        fill(store, {f"new{n}": entry(2 * HOUR, f"n{n}") for n in range(count)})
        keeper.round()
        assert len(store) == 50
        keeper.close()
        return steps  # type: ignore[return-value]


@pytest.mark.timeout(600)
def test_a_step_does_not_grow_with_the_store(tmp_path: Any, no_garbage_collection: None) -> None:
    """G4, W14: eight times the sessions are more steps, not longer ones."""
    found = []
    for count in (300, 2400):
        folder = str(tmp_path / str(count))
        os.mkdir(folder, 0o700)
        found.append(counted(f"{folder}/sessions.d", count, folder))
    small, large = found
    print([(one.steps, one.most_calls, one.most_system_calls) for one in found])
    assert large.steps > 4 * small.steps
    assert large.most_calls < 1.5 * small.most_calls
    assert large.most_system_calls <= 1.5 * small.most_system_calls
