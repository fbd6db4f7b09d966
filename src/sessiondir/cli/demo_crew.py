"""The processes of the demonstration: what a worker does, and the parent that counts.

A worker tells the parent of each commit only after the call has returned, through a pipe
in records of eight bytes, which the kernel writes whole or not at all. So the parent's
count is what was acknowledged, whatever happens to the worker.
"""

from __future__ import annotations

import multiprocessing
import os
import selectors
import signal
import struct
import time
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, Final

from sessiondir.store import SessionStore

READY, OWN, SHARED, BOTH = range(4)
_RECORD: Final = struct.Struct("<BxHI")
"""Kind of commit, number of the session among the worker's own, microseconds that the call took."""

_SHARED_EVERY: Final = 10
_BOTH_EVERY: Final = 25
_START_S: Final = 30.0
_FINISH_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class Task:
    """What one worker works on.

    ``own`` are sessions nobody else touches, ``shared`` is one that all update, ``pair`` are
    two that all change together, in one transaction.
    """

    path: str
    number: int
    own: tuple[str, ...]
    shared: str
    pair: tuple[str, str]


@dataclass(slots=True)
class Worker:
    """The parent's record of one worker; latencies in microseconds."""

    task: Task
    process: Any
    orders: Connection
    acks: Connection
    ready: bool = False
    killed: bool = False
    counts: Counter[int] = field(default_factory=Counter)
    own: Counter[str] = field(default_factory=Counter)
    latencies: array[int] = field(default_factory=lambda: array("L"))
    rest: bytes = b""

    @property
    def commits(self) -> int:
        """All commits that were acknowledged."""
        return len(self.latencies)


# -- in the worker ------------------------------------------------------------------------


def count_up(entry: dict[str, Any], name: str, worker: int) -> dict[str, Any]:
    """Add one to a counter and to the worker's share of it; the shares must add up to the whole."""
    shares = entry.get(f"{name}By", {})
    shares[str(worker)] = shares.get(str(worker), 0) + 1
    return entry | {name: entry.get(name, 0) + 1, f"{name}By": shares}


def work(task: Task, orders: Connection, acks: Connection) -> None:
    """Body of a worker process: commit until the time that the parent names."""
    # Ctrl-C goes to the whole group; the parent ends its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tell = acks.fileno()
    try:
        with SessionStore.open(task.path) as store:
            os.write(tell, _RECORD.pack(READY, 0, 0))
            end = orders.recv()
            number = 0
            while time.monotonic() < end:
                number += 1
                begun = time.perf_counter_ns()
                kind, index = _commit(store, task, number)
                took_us = (time.perf_counter_ns() - begun) // 1000
                os.write(tell, _RECORD.pack(kind, index, min(took_us, 0xFFFFFFFF)))
    except (BrokenPipeError, EOFError):
        return  # the parent is gone


def _commit(store: SessionStore, task: Task, number: int) -> tuple[int, int]:
    if number % _BOTH_EVERY == 0:
        with store.transaction(*task.pair) as txn:
            for key in task.pair:
                txn[key] = count_up(txn[key], "handovers", task.number)
        return BOTH, 0
    if number % _SHARED_EVERY == 0:
        store.update(task.shared, lambda entry: count_up(entry, "runs", task.number))
        return SHARED, 0
    index = number % len(task.own)
    store.update(task.own[index], _use_tokens)
    return OWN, index


def _use_tokens(entry: dict[str, Any]) -> dict[str, Any]:
    entry["inputTokens"] += 1
    entry["updatedAt"] = int(time.time() * 1000)
    return entry


# -- in the parent ------------------------------------------------------------------------


class Crew:
    """Starts the workers, lets them run, kills one, and counts. Use as a context manager."""

    def __init__(self, tasks: list[Task]) -> None:
        context = multiprocessing.get_context("spawn")
        self.workers: list[Worker] = []
        self._selector = selectors.DefaultSelector()
        for task in tasks:
            their_orders, orders = context.Pipe(duplex=False)
            acks, their_acks = context.Pipe(duplex=False)
            process = context.Process(target=work, args=(task, their_orders, their_acks), daemon=True)
            process.start()
            # Only the worker may hold its ends, or its death would not end the pipe.
            their_orders.close()
            their_acks.close()
            worker = Worker(task, process, orders, acks)
            self.workers.append(worker)
            self._selector.register(acks, selectors.EVENT_READ, worker)

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            if worker.process.is_alive():
                worker.process.kill()
            worker.process.join()
            worker.orders.close()
            worker.acks.close()
        self._selector.close()

    def run(self, seconds: float, on_tick: Callable[[float], None]) -> float:
        """Let all work for ``seconds``; the second half without the one that is killed.

        ``on_tick`` is called some ten times a second with the seconds gone. Returns the
        seconds it took until the last worker had ended, its handle closed.
        """
        self._read_until(lambda: all(worker.ready for worker in self.workers), _START_S)
        begun = time.monotonic()
        for worker in self.workers:
            worker.orders.send(begun + seconds)
        victim = self.workers[len(self.workers) // 2]
        while (gone := time.monotonic() - begun) < seconds:
            self._read(0.1)
            if gone >= seconds / 2 and not victim.killed:
                victim.process.kill()  # SIGKILL: it cannot clean up, close or say anything
                victim.killed = True
            on_tick(gone)
        self._read_until(lambda: not self._selector.get_map(), _FINISH_S)
        for worker in self.workers:
            worker.process.join(_FINISH_S)
        return time.monotonic() - begun

    def _read_until(self, done: Callable[[], bool], timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not done():
            self._read(0.1)
            if time.monotonic() > deadline:
                raise RuntimeError(f"a worker did not answer within {timeout_s:.0f} s")
            if any(not worker.ready and not worker.process.is_alive() for worker in self.workers):
                raise RuntimeError("a worker ended before it began; its message stands above")

    def _read(self, timeout_s: float) -> None:
        for key, _ in self._selector.select(timeout_s):
            worker: Worker = key.data
            data = os.read(key.fd, 1 << 16)
            if not data:
                self._selector.unregister(worker.acks)
                continue
            data = worker.rest + data
            whole = len(data) - len(data) % _RECORD.size
            worker.rest = data[whole:]
            for kind, index, took_us in _RECORD.iter_unpack(data[:whole]):
                _count(worker, kind, index, took_us)


def _count(worker: Worker, kind: int, index: int, took_us: int) -> None:
    if kind == READY:
        worker.ready = True
        return
    worker.counts[kind] += 1
    worker.latencies.append(took_us)
    if kind == OWN:
        worker.own[worker.task.own[index]] += 1
