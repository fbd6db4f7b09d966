"""Other processes: real ones, talked to line by line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from types import TracebackType
from typing import Any

import sessiondir

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(sessiondir.__file__)))


def environment() -> dict[str, str]:
    """The environment of a child that imports the package under test."""
    path = os.pathsep.join([_ROOT, *filter(None, [os.environ.get("PYTHONPATH")])])
    return os.environ | {"PYTHONPATH": path}


def run_python(code: str, *args: str) -> str:
    """Run ``code`` in a new interpreter and return what it printed; its failure is the test's, and its bound."""
    command = [sys.executable, "-c", textwrap.dedent(code), *args]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


_LOOP = """
import json, sys
from sessiondir import SessionStore, UNSET
store = None
space = {"SessionStore": SessionStore, "UNSET": UNSET, "hear": sys.stdin.readline}
def tell(value): print(json.dumps(value), flush=True)
space["tell"] = tell
for line in sys.stdin:
    exec(json.loads(line), space)
    tell(None)
"""


class Peer:
    """Another process on the same store, which runs the code it is given.

    ``do`` waits until the code has run; ``start`` does not, so that the code may hold
    something, say so with ``tell(...)`` and wait for ``answer()`` with ``hear()``.
    """

    def __init__(self, path: str, **options: Any) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LOOP],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid
        self.do(f"store = SessionStore.open({path!r}, **{options!r})")

    def start(self, code: str) -> None:
        """Hand over code without waiting for its end."""
        self._send(json.dumps(textwrap.dedent(code)))

    def answer(self, line: str = "") -> None:
        """Give the running code a line to ``hear``."""
        self._send(line)

    def heard(self) -> Any:
        """The next value that the peer tells; None at the end of what it was given."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the other process ended with {self._process.wait()}"
        return json.loads(line)

    def do(self, code: str) -> Any:
        """Run code to its end; the last value that it told."""
        self.start(code)
        last = None
        while (value := self.heard()) is not None:
            last = value
        return last

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        """End the process as ``kill -9`` does."""
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            if kind is None:
                self.do("store.close()")
            self.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
