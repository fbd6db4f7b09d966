"""G8, G12: a store in full use is copied with ``cp -r`` and opened elsewhere (F28)."""

from __future__ import annotations

import contextlib
import shutil
import time

import pytest
from harness.journals import levels
from harness.processes import Worker
from harness.seeds import seeded, stress_seconds
from harness.story import contents, open_on
from harness.watched import QuickFs
from harness.worker import copy_once

_PAIRS = 6


def _copy_while_busy(path: str, seconds: float, journal_bytes: int) -> tuple[int, int]:
    """Copy and judge until ``seconds`` have passed; copies judged, and copies that missed a file."""
    with open_on(QuickFs(), path) as store:
        for number in range(_PAIRS):
            store.put(f"left {number}", {"n": 0, "pad": ""})
            store.put(f"right {number}", {"n": 0, "pad": ""})
    rng = seeded("copying")
    judged = missed = 0
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            options = {"pairs": _PAIRS, "seed": rng.random(), "journal_bytes": journal_bytes}
            stack.enter_context(Worker("pairs", path, checkpoint_interval=0.02, **options))
        end = time.monotonic() + seconds
        while time.monotonic() < end or not judged:
            target = f"{path[:-2]}-copy.d"
            if copy_once(path, target):
                _judge(target)
                judged += 1
            else:
                missed += 1
            shutil.rmtree(target, ignore_errors=True)
    return judged, missed


def _judge(path: str) -> None:
    assert not levels(path)["error"]
    with open_on(QuickFs(), path) as store:
        found = contents(store)
        for key, entry in found.items():
            assert set(entry) == {"n", "pad"}, f"{key} is {entry}"
            assert entry["pad"] == ("x" if key.startswith("left") else "y") * len(entry["pad"])
        store.put("copy", {"n": 1, "pad": ""})
        store.update("copy", lambda entry: entry | {"n": 2})
        assert contents(store) == found | {"copy": {"n": 2, "pad": ""}}
    assert not levels(path)["error"]


@pytest.mark.parametrize("journal_bytes", [1 << 22, 1 << 13], ids=["one-journal", "rotations"])
def test_a_copy_of_a_busy_store_is_a_store(store_path: str, journal_bytes: int) -> None:
    """G12: every complete copy opens at once, without an error, with whole sessions, and takes commits."""
    judged, missed = _copy_while_busy(store_path, 3.0, journal_bytes)
    assert judged > 0, f"{missed} copies missed a file"


@pytest.mark.stress
@pytest.mark.timeout(3600)
def test_copying_for_long(store_path: str) -> None:
    """G12: as above, until SESSIONDIR_STRESS_SECONDS have passed."""
    judged, missed = _copy_while_busy(store_path, stress_seconds(60), 1 << 14)
    print(f"{judged} copies judged, {missed} missed a file")
    assert judged > 0
