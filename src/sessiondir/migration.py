"""From a legacy ``sessions.json`` to a store directory, and back.

    inspect(path)        says what ``migrate`` would find; changes nothing
    migrate(path)        takes the legacy file over; the original is kept as ``.bak.<ms>``
    migrate_all(paths)   the same for many, with one report: what a gateway calls when it starts
    rollback(path)       writes the legacy file again; the directory is kept as ``.d.bak.<ms>``

``path`` may name either side (``.../NAME.json`` or ``.../NAME.d``). Each call may be killed
at any moment and run again: there is one whole store at all times, and which one counts is
never in doubt (see ``takeover``).

Not done here: starting by itself. A handle migrates on its first real change, unless the
store was rolled back. Which stores there are is ``sessiondir.targets``' business.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from sessiondir import layout
from sessiondir.clock import SYSTEM_CLOCK, Clock
from sessiondir.errors import StoreError
from sessiondir.fs import SYSTEM_FS, FileSystem
from sessiondir.inspection import Inspection, inspect, is_active
from sessiondir.model import Limits
from sessiondir.rollback import RollbackResult, rollback
from sessiondir.staging import Progress
from sessiondir.takeover import LOCK_TIMEOUT_S, Outcome, is_rolled_back, left_behind, take_over

__all__ = (
    "Inspection",
    "MigrationReport",
    "MigrationResult",
    "RollbackResult",
    "inspect",
    "migrate",
    "migrate_all",
    "rollback",
)

_log = logging.getLogger("sessiondir")

COUNTED: tuple[Outcome, ...] = (
    "migrated",
    "already_directory",
    "skipped_empty",
    "skipped_invalid",
    "missing",
    "failed",
)
"""The outcomes that the summary always counts, in its order."""


@dataclass(frozen=True, slots=True)
class MigrationResult:
    """What became of one store.

    ``outcome`` is ``migrated``, ``already_directory``, ``skipped_empty``, ``skipped_invalid``,
    ``missing``, ``rolled_back`` (left alone, see ``migrate``) or ``failed``; ``error`` is the
    exception behind the last. ``legacy_count`` counts the members of the legacy file,
    ``migrated_count`` the sessions made of them, or taken over from a file that had appeared
    beside an active store (``late``). ``warnings`` name every entry that was left out and every
    number that was not kept.
    """

    path: str
    store_path: str
    outcome: Outcome
    legacy_count: int = 0
    migrated_count: int = 0
    backup_path: str | None = None
    warnings: tuple[str, ...] = ()
    error: StoreError | None = None
    late: bool = False

    @property
    def issues(self) -> tuple[str, ...]:
        """What to tell of a store that could not be migrated; nothing for all others."""
        if self.outcome == "skipped_invalid":
            return ("invalid legacy store", *self.warnings)
        return self.warnings if self.outcome == "failed" else ()


def migrate(
    path: str | os.PathLike[str],
    *,
    automatic: bool = False,
    any_content: bool = False,
    limits: Limits | None = None,
    lock_timeout: float = LOCK_TIMEOUT_S,
    allow_network: bool = False,
    progress: Progress | None = None,
    fs: FileSystem = SYSTEM_FS,
    clock: Clock = SYSTEM_CLOCK,
) -> MigrationResult:
    """Make a legacy file a store directory, also one that was rolled back before.

    Args:
        path: ``.../NAME.json`` or ``.../NAME.d``.
        automatic: nobody asked for this store in particular: leave it alone if it was rolled back.
        any_content: take the file over although nothing in it looks like a session (otherwise it is
            ``skipped_invalid``, unless it is called ``sessions.json``).
        limits: ``legacy_bytes``, ``entry_bytes`` and ``sessions`` apply.
        lock_timeout: seconds to wait for a running legacy program; 0 tries once.
        allow_network: migrate on a network file system although its locks are not trusted.
        progress: called with (sessions written, sessions in all).

    Raises ``InvalidPath`` only: what goes wrong with the store is outcome ``failed``, and
    then the legacy file stands, or the next call finishes the work. Durable on return.

    A legacy file beside an active store, which only an old program can have written, is
    merged where it is strictly newer and moved away; this is logged as a warning.

    Cost: O(file), one file sync for each session. Memory: some 0.6 kB a session, 30 MiB, and
    about five times the largest entry, whatever the size of the file (see ``legacy``).
    """
    store_path, legacy_path = layout.store_path(path)
    try:
        if automatic and is_rolled_back(fs, store_path) and not is_active(fs, clock, store_path, legacy_path):
            told = f"{legacy_path} was rolled back and is left alone until you run: sessiondir migrate"
            return MigrationResult(legacy_path, store_path, "rolled_back", warnings=(told,))
        result = take_over(
            fs,
            clock,
            legacy_path,
            store_path,
            limits or Limits(),
            by_hand=not automatic,
            any_content=any_content,
            allow_network=allow_network,
            lock_timeout_s=lock_timeout,
            progress=progress,
        )
    except StoreError as exc:
        return MigrationResult(legacy_path, store_path, "failed", warnings=(str(exc),), error=exc)
    return MigrationResult(
        legacy_path,
        store_path,
        result.outcome,
        result.legacy_count,
        result.migrated_count,
        result.backup_path,
        result.warnings,
        late=result.late,
    )


@dataclass(frozen=True)
class MigrationReport:
    """What became of many stores, one result each."""

    results: tuple[MigrationResult, ...]

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many stores had which outcome; every outcome is there, ``rolled_back`` if it was met."""
        found = Counter(result.outcome for result in self.results)
        counts: dict[str, int] = {outcome: found[outcome] for outcome in COUNTED}
        return counts | ({"rolled_back": found["rolled_back"]} if found["rolled_back"] else {})

    @property
    def issues(self) -> tuple[tuple[str, str], ...]:
        """Path and text of everything that is wrong with stores that were invalid or failed."""
        return tuple((result.path, text) for result in self.results for text in result.issues)

    @property
    def needs_attention(self) -> bool:
        """Whether a store was invalid or failed."""
        return self.counts["skipped_invalid"] + self.counts["failed"] > 0

    @property
    def summary(self) -> str:
        """One line for the log."""
        counts = " ".join(f"{outcome}={count}" for outcome, count in self.counts.items())
        line = f"session-store migration summary: inspected={len(self.results)} {counts}"
        issues = "; ".join(f"{path} ({text})" for path, text in self.issues)
        return f"{line}; issues: {issues}" if issues else line


def migrate_all(
    paths: Iterable[str | os.PathLike[str]],
    *,
    automatic: bool = True,
    limits: Limits | None = None,
    lock_timeout: float = LOCK_TIMEOUT_S,
    allow_network: bool = False,
    fs: FileSystem = SYSTEM_FS,
    clock: Clock = SYSTEM_CLOCK,
) -> MigrationReport:
    """Migrate many stores one after another; whatever goes wrong with one does not stop the rest.

    What a gateway calls when it starts, with ``sessiondir.targets.discover``: by default
    stores that were rolled back are left alone. The same store named twice is migrated once.
    Other arguments as ``migrate``.

    Logs one line: at warning if a store was invalid or failed, else at info, and none where
    there is no store at all; and a warning for each store that was migrated with something
    left out, or in which something had to be mended. Raises ``InvalidPath`` before anything is done.
    """
    stores = dict.fromkeys(layout.store_path(path)[1] for path in paths)
    results = []
    for path in stores:
        result = migrate(
            path,
            automatic=automatic,
            limits=limits,
            lock_timeout=lock_timeout,
            allow_network=allow_network,
            fs=fs,
            clock=clock,
        )
        results.append(result)
        if result.outcome == "migrated" and result.warnings and not result.late:
            _log.warning("%s", left_behind(result.path, result.warnings))
        elif result.outcome == "already_directory" and result.warnings:
            _log.warning("%s: %s", result.store_path, "; ".join(result.warnings))
    report = MigrationReport(tuple(results))
    if results:
        _log.log(logging.WARNING if report.needs_attention else logging.INFO, "%s", report.summary)
    return report
