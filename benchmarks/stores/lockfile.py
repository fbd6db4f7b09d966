"""The lock of the legacy program: a file that exists while somebody writes the store.

It is created exclusively and names the process that holds it. Who finds it sleeps 50 ms, then
100, 150 and so on up to a second, and tries again; it is taken away from a dead process, and
from anybody after 30 seconds. Threads of one process queue before it.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

_STALE_S = 30.0
_STEP_S, _LONGEST_S = 0.05, 1.0
_queues: dict[Path, threading.Lock] = {}


class LockFile:
    """A context manager; raises ``TimeoutError`` when the wait was in vain."""

    def __init__(self, path: Path, wait_s: float) -> None:
        self._path = path
        self._wait_s = wait_s
        self._queue = _queues.setdefault(path, threading.Lock())

    def __enter__(self) -> None:
        if not self._queue.acquire(timeout=self._wait_s):
            raise TimeoutError(f"{self._path}: another thread did not let go")
        try:
            self._create()
        except BaseException:
            self._queue.release()
            raise

    def __exit__(self, *_: object) -> None:
        try:
            self._path.unlink(missing_ok=True)
        finally:
            self._queue.release()

    def _create(self) -> None:
        end = time.monotonic() + self._wait_s
        attempt = 0
        while True:
            try:
                fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            except FileExistsError:
                if self._is_stale():
                    self._path.unlink(missing_ok=True)
                    continue
                attempt += 1
                pause_s = min(_LONGEST_S, _STEP_S * attempt)
                if time.monotonic() + pause_s > end:
                    raise TimeoutError(f"{self._path} was there for {self._wait_s:.0f} s") from None
                time.sleep(pause_s)
                continue
            try:
                os.write(fd, _payload())
            finally:
                os.close(fd)
            return

    def _is_stale(self) -> bool:
        try:
            text = self._path.read_text(encoding="utf-8")
            age_s = time.time() - self._path.stat().st_mtime
        except FileNotFoundError:
            return False
        owner = {}
        with contextlib.suppress(ValueError):
            owner = json.loads(text)
        pid = owner.get("pid")
        if age_s > _STALE_S:
            return True
        return isinstance(pid, int) and _start_time(pid) != owner.get("starttime")


def _payload() -> bytes:
    owner = {
        "pid": os.getpid(),
        "createdAt": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "starttime": _start_time(os.getpid()),
    }
    return json.dumps(owner, indent=2).encode()


def _start_time(pid: int) -> int | None:
    """When a process began, as the kernel counts; None if there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except OSError:
        return None
