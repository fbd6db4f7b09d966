"""Writer processes: spawned once, told what to run over a pipe, started together.

The parent gives all of them the same moment to start at. Throughput counts what was
finished inside the common window; an operation that ends later still counts as
acknowledged and with its full latency, or a writer that starved would not be seen.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
import traceback
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.contenders import CONTENDERS, Contender

_START_DELAY_S = 0.05
_ANSWER_S = 90.0


@dataclass(frozen=True, slots=True)
class Job:
    """What one worker does in one run.

    ``op`` is "update" or "patch". ``pace_s`` is a pause after each operation. With
    ``hold_key`` another thread of the worker sits in a callback on that session for the
    whole window.
    """

    contender: str
    place: Path
    durability: str
    op: str
    keys: tuple[str, ...]
    seconds: float
    pace_s: float = 0.0
    hold_key: str | None = None


@dataclass(slots=True)
class Outcome:
    """What one worker did: operations inside the window, latencies (ns) of all, and all acknowledged."""

    in_window: int
    latencies: array[int]
    acknowledged: int
    close_s: float = 0.0


class WorkersFailed(RuntimeError):
    """A worker reported an error or died; the benchmark is void."""


class Workers:
    """A set of worker processes. Use as a context manager."""

    def __init__(self, count: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        self._processes = []
        for number in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs,), name=f"writer-{number}", daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in self._pipes:
            pipe.close()  # a worker that waits for orders ends
        for process in self._processes:
            process.join(2)
            if process.is_alive():
                process.kill()
                process.join()

    def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Run one job a worker, all started together."""
        pipes = self._pipes[: len(jobs)]
        # A holder begins when the others are ready, or they would wait for it before the start.
        for holders in (False, True):
            chosen = [(p, j) for p, j in zip(pipes, jobs, strict=True) if (j.hold_key is not None) is holders]
            for pipe, job in chosen:
                pipe.send(job)
            for pipe, _ in chosen:
                _answer(pipe)
        start_at = time.monotonic() + _START_DELAY_S
        for pipe in pipes:
            pipe.send(start_at)
        outcomes = [_answer(pipe) for pipe in pipes]
        # Handles are closed only when all have finished, so that no close falls into another's window.
        for pipe in pipes:
            pipe.send("close")
        for pipe, outcome in zip(pipes, outcomes, strict=True):
            assert isinstance(outcome, Outcome)
            closed = _answer(pipe)
            assert isinstance(closed, float)
            outcome.close_s = closed
        return outcomes  # type: ignore[return-value]


def _answer(pipe: Connection) -> object:
    if not pipe.poll(_ANSWER_S):
        raise WorkersFailed(f"a writer gave no answer within {_ANSWER_S:.0f} s")
    try:
        answer = pipe.recv()
    except EOFError as exc:
        raise WorkersFailed("a writer died") from exc
    if isinstance(answer, str):
        raise WorkersFailed(answer)
    return answer


def _work(pipe: Connection) -> None:
    # Ctrl-C goes to the whole group; the parent ends the workers in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        while True:
            job = pipe.recv()
            contender = CONTENDERS[job.contender](job.place, job.durability)
            pipe.send(_run(pipe, job, contender))
            pipe.recv()
            begun = time.monotonic()
            contender.close()
            pipe.send(time.monotonic() - begun)
    except (EOFError, ConnectionError):
        # The parent has ended the run and removed the store: no handle may be closed in order now.
        os._exit(0)
    except Exception:
        with contextlib.suppress(ConnectionError):
            pipe.send(traceback.format_exc())


def _run(pipe: Connection, job: Job, contender: Contender) -> Outcome:
    for key in job.keys:  # so that no first access is measured in a run this short
        contender.bump(key)
    counts = {key: contender.get(key)["counter"] for key in job.keys} if job.op == "patch" else {}
    holder = _start_holder(job) if job.hold_key else None
    pipe.send(None)
    start_at = pipe.recv()
    time.sleep(max(0.0, start_at - time.monotonic()))
    outcome = _loop(job, contender, counts, start_at + job.seconds)
    outcome.acknowledged += len(job.keys)
    if holder is not None:
        holder.join()
        outcome.acknowledged += 1
    return outcome


def _loop(job: Job, contender: Contender, counts: dict[str, int], end: float) -> Outcome:
    clock, monotonic, pause = time.perf_counter_ns, time.monotonic, time.sleep
    latencies = array("q")
    keys, bump, patch = job.keys, contender.bump, contender.patch
    in_window = number = 0
    while True:
        key = keys[number % len(keys)]
        if counts:
            value = counts[key] = counts[key] + 1
            before = clock()
            patch(key, value)
        else:
            before = clock()
            bump(key)
        latencies.append(clock() - before)
        number += 1
        if monotonic() >= end:
            return Outcome(in_window, latencies, number)
        in_window += 1
        if job.pace_s:
            pause(job.pace_s)


def _start_holder(job: Job) -> threading.Thread:
    """A second handle in this process, inside a callback on one session until after the window."""
    entered = threading.Event()
    assert job.hold_key is not None
    key = job.hold_key

    def sit(entry: dict[str, object]) -> dict[str, object]:
        entered.set()
        time.sleep(job.seconds + _START_DELAY_S)
        entry["counter"] = int(entry["counter"]) + 1  # type: ignore[call-overload]
        return entry

    def hold() -> None:
        contender = CONTENDERS[job.contender](job.place, job.durability)
        contender.modify(key, sit)
        contender.close()

    thread = threading.Thread(target=hold, name="holder", daemon=True)
    thread.start()
    if not entered.wait(10):
        raise WorkersFailed("the holder never got its session")
    return thread
