"""What an operation costs the operating system: system calls, syncs, bytes.

Bytes come from ``/proc/self/io``: ``wchar`` is what was given to write calls, and
``write_bytes`` what became dirty in the page cache or went to the disk directly; the
latter also sees memory-mapped files. System calls come from ``strace``, where it is there.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
SYNCS = ("fsync", "fdatasync", "msync", "sync_file_range", "syncfs")
_BEGIN, _END = "/benchmark-begins", "/benchmark-ends"
_MARK = re.compile(rf"{_BEGIN}/(\w+)")
_CALL = re.compile(r"^\d+ +(?:[\d.]+ )?(?:<\.\.\. (\w+) resumed|(\w+)\()")


def queued_ns() -> int:
    """Nanoseconds that this thread could have run and no processor was free; 0 where Linux does not tell."""
    try:
        with open("/proc/thread-self/schedstat", "rb") as file:
            return int(file.read().split()[1])
    except OSError:
        return 0


@dataclass(frozen=True, slots=True)
class Written:
    """Bytes written by this process so far: to write calls, and dirtied or sent to the disk."""

    calls: int
    dirtied: int

    def __sub__(self, other: Written) -> Written:
        return Written(self.calls - other.calls, self.dirtied - other.dirtied)


def written() -> Written:
    """What this process has written since it began, all threads."""
    facts = _proc_fields("/proc/self/io")
    return Written(facts["wchar"], facts["write_bytes"])


def bytes_read() -> int:
    """What this process has got from read calls since it began, from the cache or not."""
    return _proc_fields("/proc/self/io")["rchar"]


def peak_memory() -> int:
    """The most resident memory this process ever had, in bytes, since its program was started."""
    return _proc_fields("/proc/self/status")["VmHWM"] * 1024


def memory() -> int:
    """The resident memory of this process now, in bytes."""
    return _proc_fields("/proc/self/status")["VmRSS"] * 1024


def _proc_fields(path: str) -> dict[str, int]:
    found = {}
    for line in Path(path).read_text(encoding="ascii", errors="replace").splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if words and words[0].isdigit():
            found[name] = int(words[0])
    return found


@functools.cache
def strace_obstacle() -> str | None:
    """Why system calls cannot be counted here; None if they can."""
    if not shutil.which("strace"):
        return "strace is not installed"
    tried = subprocess.run(["strace", "-f", "-o", os.devnull, "true"], capture_output=True, text=True, check=False)
    return None if tried.returncode == 0 else f"strace: {(tried.stderr or '').strip().splitlines()[:1]}"


@contextlib.contextmanager
def marked(name: str) -> Iterator[None]:
    """Marks the calls that ``system_calls`` counts under ``name``, in the program it runs."""
    # Names that do not exist: the calls fail, cost next to nothing, and are found again in the trace.
    with contextlib.suppress(OSError):
        os.stat(f"{_BEGIN}/{name}")
    yield
    with contextlib.suppress(OSError):
        os.stat(_END)


def system_calls(module: str, arguments: Sequence[str]) -> dict[str, Counter[str]]:
    """Run ``python -m module arguments`` under strace; the calls of all its threads while ``marked``, by mark."""
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace"
        command = ["strace", "-f", "-q", "-o", str(trace), sys.executable, "-m", module, *arguments]
        done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False, timeout=120)
        if done.returncode:
            raise RuntimeError(f"{module}: {done.stderr.strip()}")
        return parse_trace(trace.read_text(encoding="utf-8", errors="replace"))


def parse_trace(text: str) -> dict[str, Counter[str]]:
    """The calls between the marks of a trace, by mark; each counted once, when it begins."""
    calls: dict[str, Counter[str]] = {}
    counting: Counter[str] | None = None
    for line in text.splitlines():
        if mark := _MARK.search(line):
            counting = calls.setdefault(mark[1], Counter())
        elif _END in line:
            counting = None
        elif counting is not None and (found := _CALL.match(line)) and found[2]:
            counting[found[2]] += 1
    return calls
