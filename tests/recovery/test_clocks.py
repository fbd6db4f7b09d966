"""G2, G3, G6: versions decide, so no clock and no time of a file can hide or reorder a commit (F11)."""

from __future__ import annotations

import itertools
import os

import pytest
from harness.story import contents, errors_of, open_on
from harness.watched import QuickFs
from support.seams import FixedClock

YEAR_MS = 366 * 86_400_000
NOW_MS = 1_700_000_000_000
JUMPS = {
    "frozen": [NOW_MS] * 6,
    "back and forth by a year": [NOW_MS, NOW_MS + YEAR_MS, NOW_MS - YEAR_MS, NOW_MS, NOW_MS - YEAR_MS, NOW_MS],
    "to zero": [NOW_MS, 0, 0, NOW_MS, 0, 1],
    "beyond four digits": [NOW_MS, 300_000_000_000_000, NOW_MS, 300_000_000_000_000, 0, NOW_MS],
}


def _same_times(path: str) -> None:
    """All files look as old as the age of the world; a file system with a coarse clock does that to any two."""
    for folder, _, names in os.walk(path):
        for name in names:
            os.utime(f"{folder}/{name}", ns=(0, 0))


@pytest.mark.parametrize("name", JUMPS)
def test_g6_commits_are_ordered_and_seen_whatever_the_clock_says(store_path: str, name: str) -> None:
    """Two processes with clocks of their own write in turn, level, begin new journals, and open again."""
    here, there = FixedClock(NOW_MS), FixedClock(NOW_MS)
    expected: dict[str, dict[str, int]] = {}
    versions = []
    with (
        open_on(QuickFs(), store_path, clock=here) as one,
        open_on(QuickFs(), store_path, clock=there) as two,
    ):
        turns = zip(itertools.cycle((one, two)), itertools.cycle((here, there)), JUMPS[name] * 2, strict=False)
        for number, (store, clock, at_ms) in enumerate(turns):
            clock.at_ms = at_ms
            for key in ("shared", f"s{number % 4}"):
                store.update(
                    key, lambda entry, n=number: entry | {"n": n, "count": entry.get("count", 0) + 1}, create=True
                )
                expected[key] = {"n": number, "count": expected.get(key, {"count": 0})["count"] + 1}
                versions.append(store.version)
            if number % 3 == 2:
                store.flush()
                assert store._writing().checkpoint(10, rotate_bytes=0)
            _same_times(store_path)
            assert contents(one) == contents(two) == expected
            assert one.version == two.version == versions[-1]
    assert versions == sorted(set(versions)), "versions only grow"
    _same_times(store_path)
    assert not errors_of(store_path)
    with open_on(QuickFs(), store_path, clock=FixedClock(0)) as again:
        assert contents(again) == expected
        assert again.put("after", {"n": 1}) > versions[-1]
        assert [change.version for change in again.changes(since=again.version - 1)] == [again.version]
