"""Maintenance in the background of a program that has the store open.

The keeper reads the keys of what was committed, by any call and any process, off the journal, about
once a second, and does everything in slices of a few milliseconds with a pause after each. It holds
no lock that a commit waits for. On the write path there is nothing but, in the mode "warn", a look at
what this process just wrote (see ``warning``).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Final, Self

from sessiondir import trash
from sessiondir.clock import Clock
from sessiondir.core import Core
from sessiondir.errors import InvalidOption, LockTimeout, StoreClosed, StoreError, translated
from sessiondir.maintenance.applying import Applier
from sessiondir.maintenance.disk import DiskSurvey
from sessiondir.maintenance.ground import core_of, get_ready, ground_of, normalised
from sessiondir.maintenance.index import Index, JournalIndex, SessionFacts, Steps
from sessiondir.maintenance.plan import Plan, Report
from sessiondir.maintenance.planning import Circumstances, Planner
from sessiondir.maintenance.policy import HOUR_MS, Policy
from sessiondir.maintenance.running import circumstances, why_untouchable
from sessiondir.maintenance.telling import Notice, Teller
from sessiondir.maintenance.units import duration_text
from sessiondir.maintenance.warning import WriteWarner, session_notice
from sessiondir.store import SessionStore

_SURVEY_S: Final = 60.0
"""How long sizes on disk are good for, as long as nothing is to be removed."""
_SHARE: Final = 20
"""A round that takes t is followed by at least 20 t without one."""
_JUMP_MS: Final = HOUR_MS
"""How far the wall clock may run ahead of elapsed time before it is not believed."""


class Slices:
    """Runs steps with a pause whenever a slice of time is used up.

    ``longest_s`` is the longest time so far without a pause, ``busy_s`` all of it together.
    """

    def __init__(self, clock: Clock, slice_s: float, pause_s: float) -> None:
        self._clock = clock
        self._slice_s = slice_s
        self._pause_s = pause_s
        self.longest_s = 0.0
        self.busy_s = 0.0

    def run(self, steps: Steps) -> None:
        """Take all steps."""
        started = self._clock.monotonic()
        for _ in steps:
            if self._clock.monotonic() - started >= self._slice_s:
                self._note(started)
                self._clock.sleep(self._pause_s)
                started = self._clock.monotonic()
        self._note(started)

    def _note(self, started: float) -> None:
        spent_s = self._clock.monotonic() - started
        self.longest_s = max(self.longest_s, spent_s)
        self.busy_s += spent_s


class Keeper:
    """Keeps a store within a policy, or warns; to be used in a ``with`` block, or ``start`` and ``close``.

    Args:
        store: the handle to work with; close it after the keeper. Another keeper on the same
            store, in whichever process, does no harm: one of them acts at a time.
        policy: what is to be kept; its mode decides between telling and doing.
        active: keys of sessions that must not go, or a function that tells them.
        on_notice: called with each ``Notice``; None logs it. Each is told once until it no longer
            holds. Called from the keeper's thread, and in the mode "warn" from inside each call of
            this process that writes a session which would go, before it returns: it must be quick
            and leave that session alone.
        on_report: called with the ``Report`` of each round that changed something.
        interval: seconds between rounds.
        slice_ms: milliseconds of work between two pauses; each pause is as long.

    In a forked child there is no keeper: start another one. The index of the sessions takes some
    500 bytes for each.
    """

    def __init__(
        self,
        store: SessionStore,
        policy: Policy,
        *,
        active: Iterable[str] | Callable[[], Iterable[str]] = (),
        on_notice: Callable[[Notice], object] | None = None,
        on_report: Callable[[Report], object] | None = None,
        interval: float = 1.0,
        slice_ms: float = 3.0,
    ) -> None:
        if isinstance(active, str):
            raise InvalidOption("active takes a list of session keys, not one text")
        if not interval > 0 or not slice_ms > 0:
            raise InvalidOption("interval and slice_ms must be above 0")
        self._store = store
        self._policy = policy
        self._active = active if callable(active) else _constant(tuple(active))
        self._teller = Teller(on_notice)
        self._on_report = on_report
        self._interval_s = interval
        self._ground = ground_of(store)
        clock = self._ground.clock
        self.slices = Slices(clock, slice_ms / 1000, slice_ms / 1000)
        """How long the keeper has worked, and the longest time without a pause."""
        self._index: JournalIndex | None = None
        self._disk: DiskSurvey | None = None
        self._surveyed_s = 0.0
        self._planned_s: float | None = None
        self._stopped: str | None = None
        self._absent = False
        """Whether there was no store when last looked at."""
        self._begin_counting()
        self._warner = WriteWarner(policy, clock, self._ground.path, self._teller, self._special, self._doubt)
        self._round_lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    # -- life -----------------------------------------------------------------------------

    def start(self) -> Self:
        """Begin to work in a thread of the keeper's own."""
        if self._thread is None and not self._stop.is_set():
            with contextlib.suppress(StoreError):  # the first round tells of it
                self._watch_writes()
            self._thread = threading.Thread(target=self._loop, name="sessiondir-maintenance", daemon=True)
            self._thread.start()
        return self

    def close(self) -> None:
        """End after the step that is being taken; closing again does nothing."""
        self._stop.set()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        self._warner.attach(None)
        with self._round_lock:
            if self._index is not None:
                self._index.close()
                self._index = None

    __enter__ = start

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def trust_clock(self) -> None:
        """Believe the wall clock as it is now, after a "stopped" notice that told of a jump."""
        self._begin_counting()

    def _begin_counting(self) -> None:
        self._ahead_ms = (self._ground.clock.now() - self._ground.clock.up()) * 1000

    def _loop(self) -> None:
        clock = self._ground.clock
        while not self._stop.is_set():
            started, busy_s = clock.monotonic(), self.slices.busy_s
            try:
                self.round()
            except StoreClosed:
                return
            except (StoreError, OSError) as exc:
                self._tell_failure(exc)
            pause_s = max(self._interval_s, _SHARE * (self.slices.busy_s - busy_s))
            self._stop.wait(max(0.0, pause_s - (clock.monotonic() - started)))

    # -- one round ------------------------------------------------------------------------

    def round(self) -> Report:
        """Look at what changed, tell, and in the mode "enforce" do what is due; what was done.

        For programs that have a scheduler of their own; the calling thread pauses between slices.
        """
        with self._round_lock:
            report = self._round()
            if report.error is None:
                self._teller.recovered()
            return report

    def _watch_writes(self) -> Core | None:
        core = core_of(self._store)
        self._absent = self._absent or core is None
        if self._policy.mode == "warn" and not self._stop.is_set():
            self._warner.attach(core.view if core is not None else None)
        return core

    def _round(self) -> Report:
        core = self._watch_writes()
        if core is None:
            return Report()  # a legacy file that nobody has written to yet, or nothing at all
        self._teller.begin_round()
        if self._index is None or self._index.view is not core.view:
            if self._index is not None:
                self._index.close()
            self._index, self._planned_s = JournalIndex(core), None
        with translated(self._ground.path, "read"):
            self._run(self._index.refresh())
        changed = set(self._index.changed)
        if self._absent:
            self._absent = False
            changed |= self._index.since_the_journal_began()
        if not changed and not self._is_due(self._planned_s):
            return Report()
        plan = self._plan(self._index)
        if plan is None:
            return Report()
        self._stopped = plan.stopped
        self._warner.learn(self._index, plan)
        self._tell_of(plan, changed)
        if self._policy.mode != "enforce" or not (plan.removals or plan.changes):
            return Report()
        return self._enforce(plan)

    def _is_due(self, since_s: float | None) -> bool:
        return since_s is None or self._ground.clock.monotonic() - since_s >= _SURVEY_S

    def _run(self, steps: Steps) -> None:
        self.slices.run(self._until_closed(steps))

    def _until_closed(self, steps: Steps) -> Steps:
        for _ in steps:
            if self._stop.is_set():
                return  # what is half done is as safe as after a kill
            yield

    def _plan(self, index: Index) -> Plan | None:
        fresh = False
        while not self._stop.is_set():
            if self._disk is None or self._is_due(self._surveyed_s):
                disk = DiskSurvey(self._ground, self._disk.trash if self._disk is not None else None)
                with translated(self._ground.folder, "read"):
                    self._run(disk.steps())
                self._disk, self._surveyed_s, fresh = disk, self._ground.clock.monotonic(), True
            planner = Planner(index, self._disk, self._circumstances(index, self._disk))
            self._run(planner.steps())
            self._planned_s = self._ground.clock.monotonic()
            # Which transcripts go with a session must be known as of now.
            if fresh or planner.plan is None or not planner.plan.removals or self._policy.mode == "warn":
                return planner.plan
            self._disk = None
        return None

    def _circumstances(self, index: Index, disk: DiskSurvey) -> Circumstances:
        active = self._active_keys()
        return circumstances(
            self._store,
            self._ground,
            self._policy,
            index,
            disk,
            active=active,
            jumped=self._jumped(),
            everything=False,
        )

    def _active_keys(self) -> frozenset[str]:
        return frozenset(normalised(self._store, key) for key in self._active())

    def _special(self, facts: SessionFacts) -> str | None:
        return why_untouchable(self._store, facts, self._active_keys())

    def _doubt(self) -> str | None:
        return self._stopped or self._jumped()

    def _jumped(self) -> str | None:
        clock = self._ground.clock
        ahead_ms = (clock.now() - clock.up()) * 1000 - self._ahead_ms
        if abs(ahead_ms) <= _JUMP_MS:
            return None
        where = "ahead" if ahead_ms > 0 else "back"
        return f"the clock has jumped {duration_text(abs(ahead_ms))} {where} since the keeper was started"

    def _enforce(self, plan: Plan) -> Report:
        ground = self._ground
        self._planned_s = None  # whatever becomes of it, the next round looks again
        get_ready(self._store)
        with translated(ground.path, "write"):
            directory = ground.directory()
            try:
                with trash.locked(directory, ground.clock, 0):
                    applier = Applier(self._store, ground, directory, plan, self._fresh_index)
                    self._run(applier.steps())
            except LockTimeout:
                return Report()  # somebody else is at it
            finally:
                directory.close()
        self._surveyed_s = 0.0
        report = applier.report
        if report.error is not None:
            self._tell_failure(report.error)
        if self._on_report is not None and (report.removed or report.files):
            self._on_report(report)
        return report

    def _fresh_index(self) -> tuple[Index, Steps]:
        assert self._index is not None
        return _Kept(self._index), self._index.refresh()

    # -- telling --------------------------------------------------------------------------

    def _tell_of(self, plan: Plan, changed: set[str]) -> None:
        holds: list[tuple[str, ...]] = []
        notices: list[tuple[tuple[str, ...], Notice]] = []
        if plan.stopped is not None:
            notices.append((("stopped",), Notice("stopped", f"{plan.store_path}: {plan.stopped}")))
        for unmet in plan.unmet if plan.stopped is None else ():
            bound = f"{unmet.setting} is {unmet.limit:,}, there would be {unmet.would_be:,}"
            text = f"{plan.store_path}: {bound}: {unmet.reason}"
            notices.append((("unmet", unmet.setting), Notice("unmet", text)))
        if plan.policy.mode == "warn":
            for session in plan.removals:
                told = session_notice(plan.store_path, session.key, session.action, session.reason)
                holds.append(told[0])
                if session.key in changed:
                    notices.append(told)
            for rule, count in plan.counts.items():
                text = f"{plan.store_path}: {count:,} sessions would be removed ({rule}); see sessiondir cleanup"
                notices.append((("store", rule), Notice("store", text, rule=rule)))
        for identity, notice in notices:
            holds.append(identity)
            self._teller.tell(identity, notice)
        self._teller.keep_only(holds)

    def _tell_failure(self, exc: Exception) -> None:
        message = f"maintenance of {self._ground.path}: {exc}; it is tried again"
        self._teller.tell(("failed", str(exc)), Notice("failed", message))


class _Kept(Index):
    """The keeper's index in the hands of an applier, which closes what it is given."""

    def __init__(self, index: Index) -> None:
        super().__init__()
        self.refresh = index.refresh  # type: ignore[method-assign]
        self.users = index.users
        self.unreadable = index.unreadable


def _constant(keys: tuple[str, ...]) -> Callable[[], tuple[str, ...]]:
    return lambda: keys
