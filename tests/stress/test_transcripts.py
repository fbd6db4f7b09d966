"""W11, W17: transcripts of a gigabyte and more, and appenders that go on for long (F32)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from harness.seeds import stress_seconds
from support.processes import environment

_TAIL = """
import json, sys
from sessiondir.transcripts import TranscriptFolder
with TranscriptFolder.open(sys.argv[1], read_only=True) as folder:
    numbers = [record.value["n"] for record in folder.transcript("large").tail(50)]
    count = sum(1 for _ in folder.transcript("large").scan()) if sys.argv[2] == "all" else 0
with open("/proc/self/status") as file:
    peak = next(line for line in file if line.startswith("VmHWM"))
print(json.dumps([numbers, count, int(peak.split()[1])]))
"""
_APPEND = """
import sys, time
from sessiondir.transcripts import TranscriptFolder
count = 0
end = time.monotonic() + float(sys.argv[3])
with TranscriptFolder.open(sys.argv[1], durability="process") as folder:
    transcript = folder.transcript("shared")
    while time.monotonic() < end:
        same = {"who": int(sys.argv[2]), "n": count, "t": "x" * 500}
        transcript.extend([{**same, "part": part} for part in range(2)])
        count += 1
print(count)
"""


def run(code: str, *args: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, *map(str, args)],
        stdout=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip


@pytest.mark.stress
@pytest.mark.timeout(3600)
def test_the_tail_of_a_gigabyte(tmp_path: Path) -> None:
    """W11: the resident memory for the last 50 records of 1 GB, and for reading all of them, is that of 1 MB."""
    peaks = {}
    for size in (1 << 20, 1 << 30):
        path = tmp_path / "large.jsonl"
        with path.open("wb") as file:
            number = 0
            while file.tell() < size:
                numbers = range(number, number + 500)
                file.write("".join(json.dumps({"n": n, "t": "x" * 1000}) + "\n" for n in numbers).encode())
                number += 500
        path.chmod(0o600)
        for what in ("tail", "all"):
            process = run(_TAIL, tmp_path, what)
            told = json.loads(process.communicate()[0])
            assert process.returncode == 0
            assert told[0] == list(range(number - 50, number))
            assert told[1] == (number if what == "all" else 0)
            peaks[size, what] = told[2]
        path.unlink()
    print(f"peaks in kB: {peaks}")
    for what in ("tail", "all"):
        assert peaks[1 << 30, what] < peaks[1 << 20, what] + 8192


@pytest.mark.stress
@pytest.mark.timeout(3600)
def test_twenty_appenders_for_long(tmp_path: Path) -> None:
    """W17, G3: twenty processes on one transcript, every batch there once, in order and unmixed."""
    processes = [run(_APPEND, tmp_path, who, stress_seconds(60)) for who in range(20)]
    counts = [int(process.communicate()[0]) for process in processes]
    from sessiondir.transcripts import TranscriptFolder

    seen = [0] * 20
    with TranscriptFolder.open(tmp_path, read_only=True) as folder:
        for position, record in enumerate(folder.transcript("shared")):
            who, part = record.value["who"], record.value["part"]
            assert (record.value["n"], part) == (seen[who], position % 2)
            seen[who] += part
    print(f"appended: {counts}")
    assert seen == counts
