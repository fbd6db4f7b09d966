"""G5, G6: processes that write, level and list at once, each with handles that were just opened."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from harness.seeds import seeded, stress_seconds
from harness.story import errors_of
from support.listings import require_true
from support.processes import environment

_TESTS = Path(__file__).resolve().parent.parent
_WRITERS = 3
_PROGRAM = """
import random, sys, time
from sessiondir import Limits, SessionStore, listkeeping
from support.seams import RuledFileSystem

number, path, seconds, seed = sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4]
listkeeping.FEWEST_SESSIONS, listkeeping._CHANGES_BYTES = 2, 600
rng, end, listed, from_file, at = random.Random(f"{seed}/{number}"), time.monotonic() + seconds, 0, 0, 0
while time.monotonic() < end or not from_file:
    interval = rng.choice([0.01, 0.05, 3600])
    limits = Limits(journal_bytes=20_000)
    with SessionStore.open(path, durability="process", checkpoint_interval=interval, limits=limits) as store:
        for _ in range(rng.randrange(1, 60)):
            at += 1
            key = f"w{number}-{rng.randrange(5)}"
            if rng.random() < 0.15:
                store.delete(key)
            else:
                store.put(key, {"updatedAt": at})
            if rng.random() < 0.3:
                read = []
                note = lambda name, args: name == "open" and str(args[0]).startswith("session-") and read.append(1)
                with SessionStore.open(path, read_only=True, fs=RuledFileSystem(note)) as reader:
                    rows = {row.key: row.updated_at for row in reader.list(limit=40).items}
                entry = store.get(key)
                assert rows.get(key) == (entry and entry["updatedAt"]), (key, rows, entry)
                assert list(rows.values()) == sorted(rows.values(), reverse=True)
                listed, from_file = listed + 1, from_file + (len(read) < 10)
print(listed, from_file)
"""


def _list_while_busy(path: str, seconds: float) -> None:
    seed = str(seeded("listings").random())
    programs = [
        subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(number), path, str(seconds), seed],
            env=environment() | {"PYTHONPATH": f"{environment()['PYTHONPATH']}{os.pathsep}{_TESTS}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(_WRITERS)
    ]
    for program in programs:
        out, err = program.communicate(timeout=seconds + 120)
        assert program.returncode == 0, err
        listed, from_file = map(int, out.split())
        assert listed >= from_file > 0
    require_true(path)
    assert not errors_of(path)


def test_g6_each_writer_lists_what_it_committed(store_path: str) -> None:
    """G6: whatever checkpoints, new journals and new listing files come in between, no row is old or missing."""
    _list_while_busy(store_path, 3.0)


@pytest.mark.stress
@pytest.mark.timeout(3600)
def test_listing_for_long(store_path: str) -> None:
    """G6: as above, until SESSIONDIR_STRESS_SECONDS have passed."""
    _list_while_busy(store_path, stress_seconds(60.0))
