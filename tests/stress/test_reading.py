"""G5: readers see whole commits, while writers commit and journals are replaced (F19)."""

from __future__ import annotations

import contextlib
import time

import pytest
from harness.processes import Worker
from harness.seeds import seeded, stress_seconds
from harness.story import errors_of, open_on
from harness.watched import QuickFs

from sessiondir.testing import WatchedFileSystem

_PAIRS = 3


def _read_while_busy(path: str, seconds: float) -> int:
    """Read in every way until ``seconds`` have passed; how many snapshots were compared."""
    rng = seeded("reading")
    fs: WatchedFileSystem = QuickFs()
    rounds, last = 0, 0
    seen: dict[str, int] = {}
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            options = {"pairs": _PAIRS, "seed": rng.random(), "journal_bytes": 1 << 13}
            stack.enter_context(Worker("pairs", path, **options))
        stack.enter_context(Worker("flushing", path, journal_bytes=1 << 13))
        store = stack.enter_context(open_on(fs, path, read_only=True, cache_bytes=2000))
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            snapshot = store.snapshot()
            assert snapshot.version >= last, "versions never go back"
            last = snapshot.version
            for number in range(_PAIRS):
                left, right = snapshot.get(f"left {number}"), snapshot.get(f"right {number}")
                assert (left or {"n": 0})["n"] == (right or {"n": 0})["n"], f"half a commit at {last}"
                key = f"left {number}"
                now = (store.get(key) or {"n": 0})["n"]
                assert now >= seen.get(key, 0), "a later read shows an older entry"
                seen[key] = now
            assert not snapshot.damaged
            rounds += 1
        generations = store.info().journal
    print(f"{rounds:,} snapshots compared")
    assert generations != "journal-1.jsonl", "no journal was replaced while reading"
    assert not {"flock", "fcntl"} & set(fs.calls), "a reader took a lock"
    return rounds


def test_readers_see_whole_commits_only(store_path: str) -> None:
    """G5: both sides of a transaction are always equal in a snapshot, and versions only grow."""
    with open_on(QuickFs(), store_path) as store:
        store.put("left 0", {"n": 0})
        store.put("right 0", {"n": 0})
    assert _read_while_busy(store_path, 4.0) > 0
    assert not errors_of(store_path)


@pytest.mark.stress
@pytest.mark.timeout(3600)
def test_readers_see_whole_commits_for_long(store_path: str) -> None:
    """G5: as above, until SESSIONDIR_STRESS_SECONDS have passed."""
    with open_on(QuickFs(), store_path) as store:
        store.put("left 0", {"n": 0})
    assert _read_while_busy(store_path, stress_seconds(60)) > 0
    assert not errors_of(store_path)
