"""Starting workers and hearing from them."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
from types import TracebackType
from typing import Any

_TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PATIENCE_S = 60.0
"""Longer than anything here takes; a test that waits so long has failed."""


class Worker:
    """A process that runs a function of ``harness.worker``."""

    def __init__(self, work: str, path: str, /, **options: Any) -> None:
        paths = [_TESTS, *(path for path in sys.path if path)]
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "harness.worker", work, path, json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        )
        self._name = work
        self._rest = b""

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    def next(self) -> dict[str, Any]:
        """The next thing the worker says."""
        while b"\n" not in self._rest:
            assert self.process.stdout is not None
            ready = select.select([self.process.stdout], [], [], PATIENCE_S)[0]
            data = os.read(self.process.stdout.fileno(), 1 << 16) if ready else b""
            assert data, f"worker {self._name} said nothing more: {self._complaint()}"
            self._rest += data
        line, self._rest = self._rest.split(b"\n", 1)
        said: dict[str, Any] = json.loads(line)
        return said

    def go(self) -> None:
        """Give the signal that the worker waits for."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"go\n")
        self.process.stdin.flush()

    def finish_running(self) -> list[dict[str, Any]]:
        """As ``finish``, for a worker that ends by itself: its standard input stays open until then."""
        said: list[dict[str, Any]] = []
        while not said or "done" not in said[-1]:
            said.append(self.next())
        return said + self.finish()

    def wait(self, seconds: float) -> None:
        """Let the worker run for so long."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)

    def finish(self) -> list[dict[str, Any]]:
        """Wait for the end of a worker, see that it ended well, and return what else it said."""
        try:
            output, errors = self.process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            output, errors = self.process.communicate()
        text = errors.decode(errors="replace")
        assert self.process.returncode == 0, f"worker {self._name} ended with {self.process.returncode}:\n{text}"
        return [json.loads(line) for line in (self._rest + output).splitlines()]

    def kill(self) -> list[dict[str, Any]]:
        """SIGKILL; what the worker had said until then."""
        self.process.kill()
        output, _ = self.process.communicate()
        return [json.loads(line) for line in (self._rest + output).splitlines()]

    def _complaint(self) -> str:
        if self.process.poll() is None:
            return "it still runs"
        assert self.process.stderr is not None
        return self.process.stderr.read().decode(errors="replace")

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
