"""How long the command takes to say what it can."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.parts.base import Bench
from benchmarks.text import microseconds, table

TITLE = "The command, started anew each time"
_TIMES = 9
_QUICK_TIMES = 3


def measure(bench: Bench) -> dict[str, float]:
    """Median microseconds of a start."""
    bench.say("starting the command")
    installed = Path(sys.executable).with_name("sessiondir")
    times = _QUICK_TIMES if bench.quick else _TIMES
    command = [str(installed)] if installed.exists() else [sys.executable, "-m", "sessiondir"]
    return {
        "sessiondir --help": _median_us([*command, "--help"], times),
        "python -c 'import sessiondir'": _median_us([sys.executable, "-c", "import sessiondir"], times),
        "python -c ''": _median_us([sys.executable, "-c", ""], times),
    }


def _median_us(command: list[str], count: int) -> float:
    times = []
    for _ in range(count):
        begun = time.perf_counter_ns()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append((time.perf_counter_ns() - begun) / 1000)
    return median(times)


def render(found: dict[str, Any]) -> str:
    """One line each."""
    return table(["", "median"], [[name, microseconds(value)] for name, value in found.items()])
