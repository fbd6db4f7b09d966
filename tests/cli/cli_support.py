"""What the tests of the command share: a small store's content, and a process of one's own."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import Result

SOURCE = Path(__file__).parents[2] / "src"

ENTRIES: dict[str, dict[str, Any]] = {
    "agent:main:main": {
        "sessionId": "s-main",
        "updatedAt": 1767225600000,
        "model": "m",
        "deliveryContext": {"channel": "telegram", "to": "42"},
        "items": [1, {"a": "b"}],
    },
    "agent:main:telegram:direct:42": {"sessionId": "s-42", "updatedAt": 1767229200000},
    "bot:old": {"label": "no time"},
}

Run = Callable[..., Result]
"""``run("list", "--json", code=0)``: run in this process and check the exit code."""


def command(*args: str) -> list[str]:
    """The command line that runs the command in a process of its own."""
    return [sys.executable, "-m", "sessiondir", *args]


def environment(**extra: str) -> dict[str, str]:
    """The environment for a process of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SESSIONDIR_")}
    return {**kept, "PYTHONPATH": str(SOURCE), **extra}


def run_process(*args: str, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, its streams being pipes."""
    return subprocess.run(
        command(*args), capture_output=True, text=True, timeout=60, check=False, env=environment(**extra)
    )


def on_terminal(line: list[str], *, cwd: str | None = None, check: bool = True, **extra: str) -> str:
    """What a command line prints when its streams are a terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        line,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=cwd,
        env=environment(**{"TERM": "xterm-256color", "COLUMNS": "120", **extra}),
    ) as process:
        os.close(theirs)
        found = b""
        while True:
            try:
                data = os.read(ours, 65536)
            except OSError:  # Linux says EIO when the other side is closed
                break
            if not data:
                break
            found += data
        code = process.wait(60)
    os.close(ours)
    assert code == 0 or not check, found
    return found.decode()
