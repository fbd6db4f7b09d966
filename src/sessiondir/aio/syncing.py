"""One sync for all tasks that wait for one.

A worker that has appended a commit joins here. If nobody is syncing, it becomes the one
that does, until nobody waits any more; else it goes back to other work, and its commit is
covered by the next sync. So at most one thread waits for the disk, however many tasks do.
"""

from __future__ import annotations

import copy
import os
import threading

from sessiondir.aio.workers import Reply, deliver
from sessiondir.commit import Committed
from sessiondir.core import Core
from sessiondir.errors import StoreError

_Waiting = tuple[Core, Committed, Reply, object]


class _Queue:
    """Who waits for a sync in one process."""

    def __init__(self) -> None:
        self.mutex = threading.Lock()
        self.waiting: list[_Waiting] = []
        self.running = False

    def next_batch(self) -> list[_Waiting]:
        with self.mutex:
            batch, self.waiting = self.waiting, []
            self.running = bool(batch)
            return batch


class SharedSync:
    """Makes commits durable and answers those who wait for it."""

    def __init__(self) -> None:
        self._queues: dict[int, _Queue] = {}
        """By process: in a forked child nobody goes on with what a thread of the parent was doing."""

    def join(self, core: Core, committed: Committed, reply: Reply, value: object) -> None:
        """Answer ``reply`` with ``value`` once a commit is durable, or with the error. In a worker."""
        pid = os.getpid()
        queue = self._queues.get(pid) or self._queues.setdefault(pid, _Queue())
        with queue.mutex:
            queue.waiting.append((core, committed, reply, value))
            if queue.running:
                return
            queue.running = True
        while batch := queue.next_batch():
            self._sync(batch)

    def _sync(self, batch: list[_Waiting]) -> None:
        # The newest first: its sync covers the others, which then find themselves covered.
        for core, committed, reply, value in sorted(batch, key=lambda one: one[1].version, reverse=True):
            try:
                core.make_durable(committed)
                reply.value = value
            except StoreError as exc:
                reply.problem = copy.copy(exc)  # raised in many tasks: each needs a traceback of its own
            except BaseException as exc:
                reply.problem = exc
        deliver(reply for _, _, reply, _ in batch)
