"""What a plan says, and what came of it. Values only.

There may be thousands of them, so those that hold no others are left out of garbage collection.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from sessiondir.errors import StoreError
from sessiondir.maintenance.policy import Policy

Action = Literal["prune-missing", "prune-cron", "prune-stale", "cap-overflow", "evict-budget", "keep"]
ONLY_WARNING: Final = "the mode is warn"
"""Why something was not done that would be in the mode "enforce"."""

FileAction = Literal["renew", "archive", "delete", "keep"]
FileKind = Literal["journal", "transcript", "archive", "backup", "trash"]


class PlannedSession(msgspec.Struct, frozen=True, gc=False):
    """What is to become of a session, and why.

    Everything but "keep" moves the session to the trash and archives ``transcripts``, names of
    files that no other session uses. With ``for_good`` both are deleted there at once, because the
    disk budget leaves no room for them. ``version`` is the one that the plan rests on, ``size``
    the bytes of its session file, ``updated_at`` epoch milliseconds or None.
    """

    key: str
    version: int
    updated_at: int | float | None
    size: int
    action: Action
    reason: str
    session_id: str | None = None
    transcripts: tuple[str, ...] = ()
    for_good: bool = False


class PlannedFile(msgspec.Struct, frozen=True, gc=False):
    """What is to become of a file that is no session file.

    ``name`` is relative to the folder that the store lies in; ``size`` in bytes. An ``orphan`` is a
    transcript that no session uses. "renew" brings the session files level and begins a new journal.
    """

    name: str
    kind: FileKind
    size: int
    action: FileAction
    reason: str
    orphan: bool = False


@dataclass(frozen=True, slots=True)
class Unmet:
    """A bound that the plan does not meet: its setting, its limit, what there would be, and why."""

    setting: Literal["maxEntries", "maxDiskBytes"]
    limit: int
    would_be: int
    reason: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes on disk.

    ``unwritten`` is roughly what sessions will take that stand in the journal alone so far; ``backups``
    are those of migration and are not in ``total``.
    """

    journal: int = 0
    sessions: int = 0
    unwritten: int = 0
    trash: int = 0
    quarantine: int = 0
    other: int = 0
    transcripts: int = 0
    archives: int = 0
    backups: int = 0

    @property
    def total(self) -> int:
        """What the disk budget is compared with, as long as backups do not count."""
        inside = (self.journal, self.sessions, self.unwritten, self.trash, self.quarantine, self.other)
        return sum(inside) + self.transcripts + self.archives


@dataclass(frozen=True, slots=True)
class Plan:
    """What maintenance would do to one store.

    ``sessions`` and ``files`` are in the order in which they would go, what is kept last. ``stopped``
    says why nothing may be deleted at all now; ``problems`` what could not be looked at and is
    left alone therefore. ``after_bytes`` is what ``usage.total`` would come to, roughly.
    """

    store_path: str
    policy: Policy
    at_ms: int
    sessions: tuple[PlannedSession, ...]
    files: tuple[PlannedFile, ...]
    before_count: int
    usage: Usage
    after_bytes: int
    unmet: tuple[Unmet, ...] = ()
    stopped: str | None = None
    problems: tuple[str, ...] = ()
    active: frozenset[str] = frozenset()
    blind: bool = False
    """Some session, here or next door, cannot be read and may use any transcript: none is touched."""

    @property
    def removals(self) -> tuple[PlannedSession, ...]:
        """The sessions that would go."""
        return tuple(session for session in self.sessions if session.action != "keep")

    @property
    def changes(self) -> tuple[PlannedFile, ...]:
        """The files that would be archived or deleted."""
        return tuple(file for file in self.files if file.action != "keep")

    @property
    def orphans(self) -> tuple[PlannedFile, ...]:
        """Transcripts that no session uses."""
        return tuple(file for file in self.files if file.orphan)

    @property
    def counts(self) -> Counter[str]:
        """How many sessions would go, by action."""
        return Counter(session.action for session in self.removals)

    @property
    def after_count(self) -> int:
        """How many sessions would be left."""
        return self.before_count - len(self.removals)

    def applies(self, session: PlannedSession) -> bool:
        """Whether ``apply`` would remove the session: in the mode "warn" only what ``fix_missing`` found."""
        return session.action != "keep" and (self.policy.mode == "enforce" or session.action == "prune-missing")

    def changes_file(self, file: PlannedFile) -> bool:
        """Whether ``apply`` would touch the file: in the mode "warn" only to archive an orphan when asked."""
        return file.action != "keep" and (
            self.policy.mode == "enforce" or (file.orphan and file.action == "archive")
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was done: ``name`` is a session key or a file name, ``why_not`` None if it was done."""

    name: str
    action: str
    why_not: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What ``apply`` did.

    ``freed_bytes`` counts what was deleted for good. ``error`` is what ended it early; what was
    not tried then has that as its ``why_not``.
    """

    sessions: tuple[Outcome, ...] = ()
    files: tuple[Outcome, ...] = ()
    freed_bytes: int = 0
    error: StoreError | None = None

    @property
    def removed(self) -> tuple[str, ...]:
        """The keys of the sessions that were moved to the trash."""
        return tuple(one.name for one in self.sessions if one.why_not is None)

    @property
    def refused(self) -> tuple[Outcome, ...]:
        """What was planned and not done."""
        return tuple(one for one in (*self.sessions, *self.files) if one.why_not is not None)
