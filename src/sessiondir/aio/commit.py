"""How a task commits: at once on the loop, or by a worker that finishes what it began.

A worker appends, lets the sessions go, and only then waits for the sync. From its append
on nothing depends on the task: it may be cancelled, and its loop may be closed. While the
commit lock is busy the worker gives up after a moment and the task waits instead, so that
a cancellation is heard and no worker is tied up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from sessiondir import deciding
from sessiondir.aio.keys import HeldSession
from sessiondir.aio.syncing import SharedSync
from sessiondir.aio.workers import Reply, Workers
from sessiondir.clock import Clock
from sessiondir.commit import SHORTEST_WAIT_S, Committed, Verify
from sessiondir.core import Core
from sessiondir.errors import LockTimeout
from sessiondir.lockfile import Backoff
from sessiondir.model import Durability
from sessiondir.operations import Operation

T = TypeVar("T")
_PATIENCE_S = 0.005
_LONGEST_PAUSE_S = 0.02


class TaskCommitter:
    """Commits for the tasks of one handle."""

    def __init__(self, workers: Workers, clock: Clock, checkpoint_interval_s: float) -> None:
        self._workers = workers
        self._clock = clock
        self._interval_s = checkpoint_interval_s
        self._syncing = SharedSync()

    async def commit(
        self,
        core: Core,
        operations: Sequence[Operation],
        expected: Mapping[str, int],
        timeout_s: float,
        durability: Durability,
        held: Iterable[HeldSession] = (),
        *,
        verify: Verify | None = None,
        small: bool = False,
    ) -> Committed:
        """Append one commit, let ``held`` go, and return when it is as durable as asked for.

        ``small``: the operations are known to be short. Raises as ``Core.append``, and nothing was
        committed then, and as ``Core.settle``; ``held`` is still held only if nothing was committed.
        """
        if small and durability == "process" and self._interval_s > 0:
            committed = core.append_at_once(operations, expected)
            if committed is not None:
                for one in held:
                    one.release()
                core.settle(committed, durability, self._interval_s)
                return committed

        def job(reply: Reply) -> None:
            committed = core.append(operations, expected, _PATIENCE_S, durability, verify, shortest_s=0.0)
            for one in held:
                one.release()
            if self._interval_s <= 0:
                core.settle(committed, durability, self._interval_s)
                reply.answer(committed)
                return
            core.settle(committed, "process", self._interval_s)
            if durability == "power":
                self._syncing.join(core, committed, reply, committed)
            else:
                reply.answer(committed)

        found: Committed = await self._until_unlocked(core, job, timeout_s)
        return found

    async def _until_unlocked(self, core: Core, job: Callable[[Reply], None], timeout_s: float) -> Any:
        """Have a worker do a job again and again, with pauses, while it finds the commit lock busy."""
        started = self._clock.monotonic()
        backoff = Backoff(self._clock, _LONGEST_PAUSE_S, first_s=1e-3)
        while True:
            try:
                return await self._workers.settle(job)
            except LockTimeout as exc:
                waited_s = self._clock.monotonic() - started
                if exc.session is not None:
                    raise
                if waited_s >= max(timeout_s, SHORTEST_WAIT_S):
                    raise core.committer.lock_timeout(waited_s) from None
            await self._clock.pause(backoff.next_s())

    async def finish(self, core: Core, job: Callable[[], T], durability: Durability, timeout_s: float) -> T:
        """Run a job that commits what it decides, then wait until that is as durable as asked for.

        The job asks for process durability itself, and is run again while the commit lock is busy.
        """

        def work(reply: Reply) -> None:
            with deciding.waiting_at_most(_PATIENCE_S):
                result = job()
            self._answer_when_durable(core, reply, result, durability)

        found: T = await self._until_unlocked(core, work, timeout_s)
        return found

    async def finish_first(
        self, find_core: Callable[[], Core | None], job: Callable[[], T], durability: Durability
    ) -> T:
        """As ``finish`` for a job that may make the store; ``find_core`` gives its core afterwards.

        One job of a worker, so that a handle closed meanwhile refuses all of it or nothing.
        """

        def work(reply: Reply) -> None:
            result = job()
            core = find_core()
            if core is not None and core.is_ready():
                self._answer_when_durable(core, reply, result, durability)
            else:
                reply.answer(result)

        found: T = await self._workers.settle(work)
        return found

    def _answer_when_durable(self, core: Core, reply: Reply, result: object, durability: Durability) -> None:
        if durability == "power":
            # With the last commit of all the job's is durable, too.
            self._syncing.join(core, deciding.last_commit(core), reply, result)
        else:
            reply.answer(result)
