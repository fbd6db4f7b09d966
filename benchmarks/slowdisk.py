"""A disk whose syncs take long: strace attaches to a worker and delays the calls."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

from benchmarks.counting import SYNCS
from benchmarks.workers import Gate

_ATTACH_S = 10.0


def slowed(gate: Gate, *, task: partial[Any], ms: int) -> Any:
    """Run a worker's task while each sync of this process takes ``ms`` milliseconds longer."""
    with _slow_syncs(ms):
        return task(gate)


@contextlib.contextmanager
def _slow_syncs(ms: int) -> Iterator[None]:
    calls = ",".join(SYNCS)
    # Other calls are stopped for some microseconds as well, which does not show beside the syncs.
    command = [
        *("strace", "-f", "-q", "-e", f"trace={calls}", "-e", f"inject={calls}:delay_exit={ms * 1000}"),
        *("-o", os.devnull, "-p", str(os.getpid())),
    ]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE)
    try:
        _wait_until_traced(tracer)
        yield
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.communicate(timeout=_ATTACH_S)


def _wait_until_traced(tracer: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _ATTACH_S
    while time.monotonic() < end:
        with open("/proc/self/status", encoding="ascii") as file:
            if f"TracerPid:\t{tracer.pid}\n" in file.read():
                return
        if tracer.poll() is not None:
            break
        time.sleep(0.01)
    raise RuntimeError("strace did not attach to this process")
