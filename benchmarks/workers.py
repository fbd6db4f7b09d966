"""Processes that work at once: spawned once, told what to run over a pipe, started together.

What runs in a worker is a plain function of a module. It gets a ``Gate`` first:

    def task(gate, **arguments):
        ...                    # open, warm up
        begun = gate.start()   # all are ready; the moment is the same for all
        ...                    # work
        gate.finished()        # all have worked; nobody closes into another's window
        ...                    # close
        return result
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

_START_DELAY_S = 0.05
_ANSWER_S = 120.0
_READY, _FINISHED, _GO = "ready", "finished", "go"

Task = Callable[..., Any]


class WorkersFailed(RuntimeError):
    """A worker reported an error or died; what it measured is void."""


class Gate(Protocol):
    """Where the workers of one run wait for each other; the worker's side."""

    def start(self) -> float:
        """Wait until all are ready; the common start as ``time.monotonic()``."""

    def finished(self) -> None:
        """Wait until all have finished what is measured."""


class _PipeGate:
    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def start(self) -> float:
        self._pipe.send(_READY)
        moment = self._pipe.recv()
        assert isinstance(moment, float)
        time.sleep(max(0.0, moment - time.monotonic()))
        return moment

    def finished(self) -> None:
        self._pipe.send(_FINISHED)
        self._pipe.recv()


@dataclass(frozen=True, slots=True)
class _Result:
    value: Any


@dataclass(frozen=True, slots=True)
class _Failure:
    text: str


class Workers:
    """A set of worker processes that grows as it is needed. Use as a context manager."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        self._processes: list[BaseProcess] = []

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
        self._pipes, self._processes = [], []

    def run(self, tasks: Sequence[partial[Any]]) -> list[Any]:
        """Run one task in each worker, started together; their results in order.

        Raises ``WorkersFailed``; the workers are gone then, and the next run has new ones.
        """
        while len(self._pipes) < len(tasks):
            self._spawn()
        pipes = self._pipes[: len(tasks)]
        try:
            for pipe, task in zip(pipes, tasks, strict=True):
                pipe.send(task)
            for pipe in pipes:
                _expect(pipe, _READY)
            moment = time.monotonic() + _START_DELAY_S
            for pipe in pipes:
                pipe.send(moment)
            for pipe in pipes:
                _expect(pipe, _FINISHED)
            for pipe in pipes:
                pipe.send(_GO)
            return [_result(pipe) for pipe in pipes]
        except BaseException:
            for process in self._processes:
                process.kill()
            self.__exit__()
            raise

    def _spawn(self) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_work, args=(theirs,), name=f"worker-{len(self._pipes)}", daemon=True
        )
        process.start()
        theirs.close()
        self._pipes.append(ours)
        self._processes.append(process)


def _answer(pipe: Connection) -> Any:
    if not pipe.poll(_ANSWER_S):
        raise WorkersFailed(f"a worker gave no answer within {_ANSWER_S:.0f} s")
    try:
        answer = pipe.recv()
    except (EOFError, ConnectionError) as exc:
        raise WorkersFailed("a worker died") from exc
    if isinstance(answer, _Failure):
        raise WorkersFailed(answer.text)
    return answer


def _expect(pipe: Connection, word: str) -> None:
    answer = _answer(pipe)
    if answer != word:
        raise WorkersFailed(f"a worker said {answer!r} instead of {word!r}")


def _result(pipe: Connection) -> Any:
    answer = _answer(pipe)
    if not isinstance(answer, _Result):
        raise WorkersFailed(f"a worker said {answer!r} instead of its result")
    return answer.value


def _work(pipe: Connection) -> None:
    # Ctrl-C goes to the whole group; the parent ends the workers in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gate = _PipeGate(pipe)
    try:
        while True:
            task = pipe.recv()
            try:
                pipe.send(_Result(task(gate)))
            except (EOFError, ConnectionError):
                raise
            except Exception:
                with contextlib.suppress(ConnectionError):
                    pipe.send(_Failure(traceback.format_exc()))
    except (EOFError, ConnectionError):
        # The parent has ended the run and removed the store: no handle may be closed in order now.
        os._exit(0)
