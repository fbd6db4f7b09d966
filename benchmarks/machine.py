"""On what machine, with what versions."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks import counting, stores
from sessiondir.compiled import is_compiled

_ROOT = Path(__file__).resolve().parent.parent


def facts(place: str) -> dict[str, Any]:
    """What one has to know to compare with another measurement."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()) + " UTC",
        "commit": _git_commit(),
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 1e9:.1f} GB",
        "load_before": round(os.getloadavg()[0], 2),
        "kernel": f"{platform.system()} {platform.release()}",
        "file_system": place,
        "python": platform.python_version(),
        "sessiondir": "compiled" if is_compiled() else "interpreted",
        "sqlite": sqlite3.sqlite_version,
        **versions(),
        "system_calls": counting.strace_obstacle() or "counted with strace",
    }


def versions() -> dict[str, str]:
    """The versions of all packages that are measured; ``missing`` for those that are not there."""
    names = {"msgspec", "openai-agents"}
    for name in stores.available():
        names |= set(stores.store_class(name).packages)
    found = {}
    for name in sorted(names):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def _git_commit() -> str | None:
    try:
        commit = _git("rev-parse", "--short", "HEAD")
        changed = _git("status", "--porcelain", "--", "src", "benchmarks/*.py")
        return f"{commit}-dirty" if changed else commit
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(_ROOT), *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()
