"""Fuzz every parser with a coverage-guided fuzzer: ``python -m fuzz SECONDS [TARGET...]`` in ``tests/``.

Each target runs in a process of its own for so many seconds, beginning with its corpus. New
inputs go to a temporary directory; with SESSIONDIR_KEEP_CORPUS=1 the corpus is merged with
them, which keeps the fewest inputs that reach everything. An input that breaks a target is
written to ``crash-...`` in the working directory, and the exit code is 1.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile

from support.seed import SEED

from fuzz.corpus import ROOT
from fuzz.targets import TARGETS

_LARGEST = 4096
_FAILURE = re.compile(r"=== Uncaught.*?(?=\nINFO:)|(?:artifact_prefix|Base64)[^\n]*", re.DOTALL)
_DONE = re.compile(r"Done (\d+) runs")


def main() -> int:
    """Run the targets one after the other; the number of those that failed, at most 1."""
    seconds = float(sys.argv[1])
    wanted = sys.argv[2:] or list(TARGETS)
    print(f"SESSIONDIR_SEED={SEED}", flush=True)
    failed = []
    total = 0
    for name in wanted:
        count, output = _run(name, seconds)
        total += count
        print(f"{name:14} {count:>10,} executions, {len(list((ROOT / name).iterdir()))} inputs kept", flush=True)
        if output:
            failed.append(name)
            print(output, flush=True)
    print(f"{'all':14} {total:>10,} executions of {len(wanted)} targets, {len(failed)} failed {' '.join(failed)}")
    return int(bool(failed))


def _run(name: str, seconds: float) -> tuple[int, str]:
    """Executions of one target, and what the fuzzer said if it failed."""
    with tempfile.TemporaryDirectory() as found:
        command = [sys.executable, "-m", "fuzz.guided", name]
        options = [f"-max_total_time={int(seconds)}", f"-max_len={_LARGEST}", "-timeout=20", "-rss_limit_mb=2048"]
        options.append(f"-seed={SEED % (1 << 31) or 1}")  # libFuzzer takes 0 for "choose one"
        done = subprocess.run(
            [*command, *options, found, str(ROOT / name)], capture_output=True, text=True, check=False
        )
        output = done.stdout + done.stderr
        if os.environ.get("SESSIONDIR_KEEP_CORPUS"):
            subprocess.run([*command, "-merge=1", str(ROOT / name), found], capture_output=True, check=False)
    match = _DONE.search(output)
    return int(match[1]) if match else 0, _essence(output) if done.returncode else ""


def _essence(output: str) -> str:
    """The traceback and the input; all of it if there is none."""
    parts = _FAILURE.findall(output)
    return "\n".join(parts) if parts else output[-6000:]


if __name__ == "__main__":
    sys.exit(main())
