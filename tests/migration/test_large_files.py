"""Large legacy files: bounded memory, progress. Small forms always, full size with ``make stress`` (F32)."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import pytest
from support.processes import run_python
from support.seed import SEED

from migration.stores import sessions
from sessiondir import migration
from sessiondir.model import Limits

MEASURE = """
import json, sys, time
from sessiondir import migration
from sessiondir.model import Limits
import sessiondir.takeover, sessiondir.core
def peak():
    text = open("/proc/self/status").read()
    return int(text.split("VmHWM:")[1].split()[0]) * 1024
told = []
before, started, worked = peak(), time.monotonic(), time.process_time()
{call}
took, worked = time.monotonic() - started, time.process_time() - worked
print(json.dumps([result.outcome, took, worked, peak() - before, told[-1:]]))
"""
MIGRATE = MEASURE.format(
    call="result = migration.migrate(sys.argv[1], limits=Limits(legacy_bytes=1 << 30), "
    "progress=lambda *at: told.append(at))"
)
ROLLBACK = MEASURE.format(call="result = migration.rollback(sys.argv[1])")


def make(path: Path, count: int, size: int) -> None:
    """A legacy file of ``count`` sessions and about ``size`` bytes, shaped as real ones: prompts and skills."""
    source = random.Random(SEED)
    words = ["".join(source.choices("abcdefghij", k=source.randint(3, 9))) for _ in range(500)]
    path.touch(0o600)
    with path.open("w") as file:
        for number in range(count):
            entry = {
                "sessionId": f"{number}",
                "updatedAt": number,
                "skillsSnapshot": snapshot(source, words, size // count),
            }
            text = json.dumps({f"agent:main:direct:{number}": entry}, indent=2)[1:-2]
            file.write(("{" if number == 0 else ",") + text)
        file.write("\n}")


def snapshot(source: random.Random, words: list[str], size: int) -> dict[str, Any]:
    skills = []
    left = size // 2
    while left > 0:
        text = " ".join(source.choices(words, k=15))
        skills.append({"name": text[:9], "description": text, "filePath": "/skills/x", "n": source.random()})
        left -= 260
    return {"prompt": " ".join(source.choices(words, k=size // 14)), "resolvedSkills": skills}


def measure(code: str, path: Path) -> tuple[str, float, float, int, Any]:
    """Outcome, seconds, seconds of processor time, bytes at the peak, the last progress."""
    outcome, seconds, worked, memory, told = json.loads(run_python(code, str(path)))
    return outcome, seconds, worked, memory, told


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """Migrating and going back need far less memory than the file has bytes."""
    path = tmp_path / "sessions.json"
    make(path, 600, 60_000_000)
    size = path.stat().st_size
    assert size > 50_000_000
    outcome, _, _, memory, told = measure(MIGRATE, path)
    assert (outcome, told) == ("migrated", [[600, 600]])
    assert memory < 30 << 20
    outcome, _, _, memory, _ = measure(ROLLBACK, path)
    assert outcome == "rolled_back"
    assert memory < 40 << 20
    assert abs(path.stat().st_size - size) < size // 10


@pytest.mark.stress
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("count", "size"), [(240, 56_000_000), (4_919, 99_000_000)], ids=["56 MB", "99 MB"])
def test_files_of_reported_sizes(tmp_path: Path, count: int, size: int) -> None:
    """Migrated in as little memory; how long it takes is printed."""
    path = tmp_path / "sessions.json"
    make(path, count, size)
    actual = path.stat().st_size
    outcome, took, worked, memory, told = measure(MIGRATE, path)
    print(f"{actual} bytes, {count} sessions: {took:.2f} s, {worked:.2f} s of processor time, {memory >> 20} MiB")
    assert (outcome, told) == ("migrated", [[count, count]])
    assert memory < 30 << 20


def test_one_large_entry(tmp_path: Path) -> None:
    """An entry of several MB, as extreme ones are, goes there and back."""
    path = tmp_path / "sessions.json"
    entry = {"updatedAt": 1, "skills": [{"name": f"{n}", "text": 'é\u2028"' * 200} for n in range(4000)]}
    path.write_text(json.dumps({"k": entry}, indent=2))
    assert path.stat().st_size > 3_000_000
    assert migration.migrate(path, limits=Limits()).outcome == "migrated"
    assert sessions(path) == {"k": entry}
    migration.rollback(path)
    assert json.loads(path.read_bytes()) == {"k": entry}
