"""``plan`` and ``apply``: maintenance of one store, run by the caller."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from sessiondir import trash
from sessiondir.errors import InvalidOption, InvalidTranscript, StoreNotFound, translated
from sessiondir.maintenance.applying import Applier
from sessiondir.maintenance.disk import DiskSurvey
from sessiondir.maintenance.ground import (
    Ground,
    core_of,
    get_ready,
    ground_of,
    last_commit_ms,
    normalised,
)
from sessiondir.maintenance.index import Index, JournalIndex, SessionFacts, Steps
from sessiondir.maintenance.plan import ONLY_WARNING, Outcome, Plan, Report
from sessiondir.maintenance.planning import Circumstances, Planner
from sessiondir.maintenance.policy import Policy
from sessiondir.maintenance.rules import doubt_about_time
from sessiondir.store import SessionStore
from sessiondir.transcripts.folder import TranscriptFolder


def plan(
    store: SessionStore,
    policy: Policy,
    *,
    active: Iterable[str] = (),
    fix_missing: bool = False,
    archive_orphans: bool = False,
    remove_backups: bool = False,
    trust_clock: bool = False,
) -> Plan:
    """What the policy would do to a store now, for each session and file, and why. Changes nothing.

    Args:
        store: an open store; a legacy file that was not migrated is planned for as it is.
        policy: what is to be kept. It is planned as if its mode were "enforce".
        active: keys of sessions that must not go.
        fix_missing: sessions go, too, whose transcript is not there.
        archive_orphans: transcripts that no session uses are archived.
        remove_backups: count the backups of migrations in the disk budget, and remove them for it.
        trust_clock: plan although a time looks wrong.

    Raises ``InvalidOption``, ``InvalidKey`` and what reading raises. O(sessions), and a system call a
    file; session files are read once, one at a time.
    """
    ground = ground_of(store)
    protected = _keys(store, active)
    index = index_of(store)
    try:
        with translated(ground.folder, "read"):
            run(index.refresh())
            disk = DiskSurvey(ground)
            run(disk.steps())
            how = circumstances(
                store,
                ground,
                policy,
                index,
                disk,
                active=protected,
                fix_missing=fix_missing,
                archive_orphans=archive_orphans,
                remove_backups=remove_backups,
                trust_clock=trust_clock,
            )
            planner = Planner(index, disk, how)
            run(planner.steps())
    finally:
        index.close()
    assert planner.plan is not None
    return planner.plan


def apply(store: SessionStore, plan: Plan) -> Report:
    """Do what a plan says; what was done, and what was not and why.

    Every session is checked again: one that changed since, is being updated, is active or leased
    stays. In the mode "warn" only what ``fix_missing`` found is done. Removed sessions go to the
    trash. Commits of others do not wait for it; it may be killed at any moment, and be run again.

    Raises ``InvalidOption`` if the plan is of another store, ``LockTimeout`` while another
    maintenance runs, ``ReadOnlyStore`` and the like: nothing was done then. What fails later
    is in the report.
    """
    if plan.store_path != store.path:
        raise InvalidOption(
            f"the plan is of {plan.store_path}, the store is {store.path}; make a plan for this one"
        )
    if not any(map(plan.changes_file, plan.changes)) and not any(map(plan.applies, plan.removals)):
        # Getting ready to write would migrate a legacy file.
        return Report(
            tuple(Outcome(one.key, one.action, ONLY_WARNING) for one in plan.removals),
            tuple(Outcome(one.name, one.action, ONLY_WARNING) for one in plan.changes),
        )
    ground = ground_of(store)
    get_ready(store)
    with translated(ground.path, "write"):
        directory = ground.directory()
        try:
            with trash.locked(directory, ground.clock, ground.lock_timeout_s):
                applier = Applier(store, ground, directory, plan, lambda: _fresh(store))
                run(applier.steps())
        finally:
            directory.close()
    return applier.report


def run(steps: Steps) -> None:
    """Take all steps at once."""
    for _ in steps:
        pass


def index_of(store: SessionStore) -> Index:
    """An index of the store, to be refreshed and closed."""
    core = core_of(store)
    if core is not None:
        return JournalIndex(core)
    snapshot = store.snapshot()
    return Index(doc for key in snapshot if (doc := snapshot.document(key)) is not None)


def _fresh(store: SessionStore) -> tuple[Index, Steps]:
    index = index_of(store)
    return index, index.refresh()


def _keys(store: SessionStore, keys: Iterable[str]) -> frozenset[str]:
    if isinstance(keys, str):
        raise InvalidOption("active takes a list of session keys, not one text")
    return frozenset(normalised(store, key) for key in keys)


def circumstances(
    store: SessionStore,
    ground: Ground,
    policy: Policy,
    index: Index,
    disk: DiskSurvey,
    *,
    active: Collection[str],
    fix_missing: bool = False,
    trust_clock: bool = False,
    jumped: str | None = None,
    **options: Any,
) -> Circumstances:
    """What a plan is made under, here and now.

    ``active`` are keys under the store's rule; ``jumped`` is what the caller knows against the clock.
    """

    now_ms = ground.now_ms()
    newest_ms, newest = index.order[-1] if index.order else (None, None)
    doubt = jumped or doubt_about_time(now_ms, last_commit_ms(store), newest_ms, newest)
    if trust_clock:
        doubt = None
    stopped = f"{doubt}; nothing is deleted until somebody says that the clock is right" if doubt else None
    return Circumstances(
        ground.path,
        policy,
        now_ms,
        lambda facts: why_untouchable(store, facts, active),
        _MissingTranscripts(ground, disk) if fix_missing else None,
        stopped,
        active=frozenset(active),
        **options,
    )


def why_untouchable(store: SessionStore, facts: SessionFacts, active: Collection[str]) -> str | None:
    """Why a session may not go as things are outside of its entry: ``active``, or leased; None if it may."""
    if facts.key in active:
        return "it is active"
    lease = store.lease_of(facts.key) if facts.leased else None
    holder = lease.owner if lease is not None else None
    return f"it is leased to {holder}" if holder is not None else None


class _MissingTranscripts:
    """Tells whether the transcript of a session is not there."""

    def __init__(self, ground: Ground, disk: DiskSurvey) -> None:
        self._ground = ground
        self._disk = disk

    def __call__(self, facts: SessionFacts) -> bool:
        if facts.session_id is None:
            return False
        ground = self._ground
        with TranscriptFolder.open(ground.folder, read_only=True, fs=ground.fs, clock=ground.clock) as folder:
            try:
                location = folder.locate({"sessionId": facts.session_id, "sessionFile": facts.session_file})
            except InvalidTranscript:
                return False  # no name that a transcript could have: nothing is known to be missing
        if location.name in self._disk.beside:
            return False
        return location.ignored is None or not self._stands(facts.session_file)

    def _stands(self, path: str | None) -> bool:
        """Whether a path that leads out of the folder leads to something."""
        if path is None or not path.startswith("/"):
            return False
        try:
            self._ground.fs.stat(path)
        except (OSError, ValueError):
            return False
        return True


def require_store(store: SessionStore) -> Ground:
    """The ground of a store that has a directory. Raises ``StoreNotFound``."""
    if core_of(store) is None:
        raise StoreNotFound(f"there is no store at {store.path}, so nothing was removed from it", path=store.path)
    return ground_of(store)
