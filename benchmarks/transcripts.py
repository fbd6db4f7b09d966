"""Part four: transcripts. Appending beside plain JSON Lines, twenty appenders, the tail of a large file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from sessiondir.model import Durability
from sessiondir.transcripts import TranscriptFolder

_RECORD = {"type": "message", "id": "0123abcd", "message": {"role": "user", "content": "x" * 900}}
_APPENDERS = 20
_TAIL = 50

_APPENDER = """
import json, sys, time
from sessiondir.transcripts import TranscriptFolder
path, seconds, record = sys.argv[1], float(sys.argv[2]), json.loads(sys.argv[3])
times = []
with TranscriptFolder.open(path, durability="process") as folder:
    transcript = folder.transcript("shared")
    print("ready", flush=True)
    sys.stdin.readline()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        before = time.perf_counter_ns()
        transcript.append(record)
        times.append(time.perf_counter_ns() - before)
print(json.dumps(times))
"""

_READER = """
import json, sys, time
from sessiondir.transcripts import TranscriptFolder
with TranscriptFolder.open(sys.argv[1], read_only=True) as folder:
    transcript = folder.transcript(sys.argv[2])
    times = []
    for _ in range(21):
        before = time.perf_counter_ns()
        found = len(transcript.tail(int(sys.argv[3])))
        times.append(time.perf_counter_ns() - before)
# Not ru_maxrss: that begins with what the parent had.
with open("/proc/self/status") as file:
    peak = next(line for line in file if line.startswith("VmHWM"))
print(json.dumps([found, sorted(times)[10] / 1000, int(peak.split()[1])]))
"""


def measure(
    place: Path, seconds: float, megabytes: tuple[int, ...], progress: Callable[[str], None]
) -> dict[str, Any]:
    """All of this part; ``seconds`` is the length of a window."""
    here = place / "transcripts"
    here.mkdir()
    try:
        progress("transcripts: appending")
        found: dict[str, Any] = {"append": _measure_append(here, seconds)}
        progress(f"transcripts: {_APPENDERS} appenders on one")
        found["shared"] = _measure_shared(here, seconds)
        found["tail"] = []
        for size in megabytes:
            progress(f"transcripts: tail of {size} MB")
            found["tail"].append(_measure_tail(here, size))
        return found
    finally:
        shutil.rmtree(here)


def _measure_append(here: Path, seconds: float) -> list[dict[str, Any]]:
    rows = []
    for durability in ("process", "power"):
        for size in (0, 40):
            row: dict[str, Any] = {"durability": durability, "megabytes": size}
            for name, appender in (("sessiondir", _ours), ("plain", _plain)):
                path = here / "one.jsonl"
                with path.open("wb") as file:
                    file.write((json.dumps(_RECORD) + "\n").encode() * (size * 1000))
                row[name] = appender(here, durability, seconds)
                path.unlink()
            rows.append(row)
    return rows


def _ours(here: Path, durability: Durability, seconds: float) -> dict[str, float]:
    with TranscriptFolder.open(here, durability=durability) as folder:
        transcript = folder.transcript("one")
        return _repeat(lambda: transcript.append(_RECORD), seconds)


def _plain(here: Path, durability: Durability, seconds: float) -> dict[str, float]:
    """What programs without a library do: open, write one line, (sync,) close. No lock, no look at the end."""
    path = str(here / "one.jsonl")

    def append() -> None:
        data = json.dumps(_RECORD, separators=(",", ":")).encode() + b"\n"
        fd = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.write(fd, data)
        if durability == "power":
            os.fdatasync(fd)
        os.close(fd)

    return _repeat(append, seconds)


def _repeat(step: Callable[[], object], seconds: float) -> dict[str, float]:
    times = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        before = time.perf_counter_ns()
        step()
        times.append(time.perf_counter_ns() - before)
    return _summary(times)


def _summary(times_ns: list[int]) -> dict[str, float]:
    cuts = quantiles(times_ns, n=100)
    return {"p50_us": median(times_ns) / 1000, "p99_us": cuts[98] / 1000, "max_us": max(times_ns) / 1000}


def _measure_shared(here: Path, seconds: float) -> dict[str, Any]:
    command = [sys.executable, "-c", _APPENDER, str(here), str(seconds), json.dumps(_RECORD)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(_APPENDERS)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        times = [json.loads(process.communicate(timeout=60 + seconds)[0]) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    counts = [len(one) for one in times]
    with TranscriptFolder.open(here) as folder:
        held = sum(1 for _ in folder.transcript("shared"))
    assert held == sum(counts), f"{held} records of {sum(counts)}"
    summary = _summary([one for each in times for one in each])
    return {**summary, "per_s": sum(counts) / seconds, "fairness": min(counts) / max(counts)}


def _measure_tail(here: Path, megabytes: int) -> dict[str, Any]:
    line = (json.dumps(_RECORD) + "\n").encode() * 1000
    path = here / "large.jsonl"
    with path.open("wb") as file:
        while file.tell() < megabytes << 20:
            file.write(line)
    command = [sys.executable, "-c", _READER, str(here), "large", str(_TAIL)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    count, took_us, resident_kb = json.loads(done.stdout)
    assert count == _TAIL
    path.unlink()
    return {"megabytes": megabytes, "tail_us": took_us, "resident_kb": resident_kb}
