"""Making a plan out of facts, sizes and rules. Changes nothing, and works in small steps."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import msgspec

from sessiondir import layout
from sessiondir.maintenance.disk import Beside, DiskSurvey
from sessiondir.maintenance.index import Index, SessionFacts, Steps, references
from sessiondir.maintenance.plan import (
    Action,
    FileAction,
    FileKind,
    Plan,
    PlannedFile,
    PlannedSession,
    Unmet,
)
from sessiondir.maintenance.policy import Policy
from sessiondir.maintenance.rules import Rules, cap_reason
from sessiondir.maintenance.units import beyond_text, duration_text, size_text

_SESSIONS_A_STEP: Final = 100
_SMALL_JOURNAL: Final = 1 << 16
_WITHIN: Final = "within the rules"
_MISSING: Final = "its transcript is not there"


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a plan is made under: a policy, a time, and what the caller asked for.

    ``special`` tells why a session may not go whatever its age; ``missing`` whether a session's
    transcript is not there, None unless such sessions are to go; ``stopped`` why nothing may go.
    """

    store_path: str
    policy: Policy
    now_ms: int
    special: Callable[[SessionFacts], str | None]
    missing: Callable[[SessionFacts], bool] | None = None
    stopped: str | None = None
    archive_orphans: bool = False
    remove_backups: bool = False
    everything: bool = True
    """Whether what is kept is in the plan, too."""
    active: frozenset[str] = frozenset()


class Planner:
    """Makes one plan; run ``steps`` to their end, then take ``plan``."""

    def __init__(self, index: Index, disk: DiskSurvey, how: Circumstances) -> None:
        self._index = index
        self._disk = disk
        self._how = how
        self._policy = how.policy
        self._rules = Rules(how.policy, how.now_ms, how.special)
        self._going: dict[str, PlannedSession] = {}
        self._spared: dict[str, str] = {}
        """Sessions that a rule would have taken, and why they stay."""
        self._gone: Counter[str] = Counter()
        """What the sessions that go refer to, as ``Index.users``."""
        self._taken: set[str] = set()
        self._files: dict[str, PlannedFile] = {}
        self._changing: dict[str, PlannedFile] = {}
        """Those of ``_files`` that are not kept."""
        self._freed = 0
        self._going_bytes = 0
        self._ownerless: Counter[str] = Counter()
        """Bytes that are counted, and that neither a rule nor the budget takes."""
        self._problems = list(disk.problems)
        unreadable = len(index.unreadable)
        if unreadable:
            self._problems.append(
                f"{unreadable} session{'s' if unreadable > 1 else ''} cannot be read and may use any transcript; "
                "run: sessiondir check"
            )
        self._blind = bool(unreadable or disk.neighbour_problems)
        self.plan: Plan | None = None

    def steps(self) -> Steps:
        """Work out the plan."""
        yield from self._disk.count(self._index)
        usage = self._disk.usage
        counted = usage.total + (usage.backups if self._how.remove_backups else 0)
        yield
        if self._how.stopped is None:
            yield from self._apply_age()
            yield from self._apply_cap()
        yield from self._judge_files()
        if self._how.stopped is None:
            yield from self._apply_budget(counted)
        sessions = list(self._going.values())
        if self._how.everything:
            for number, kept in enumerate(self._kept_sessions()):
                sessions.append(kept)
                if number % _SESSIONS_A_STEP == 0:
                    yield
        self.plan = Plan(
            self._how.store_path,
            self._policy,
            self._how.now_ms,
            tuple(sessions),
            self._all_files(),
            len(self._index.facts),
            usage,
            counted - self._freed,
            tuple(self._unmet(counted - self._freed)),
            self._how.stopped,
            tuple(self._problems),
            self._how.active,
            self._blind,
        )

    # -- sessions -------------------------------------------------------------------------

    def _ascending(self) -> Iterator[SessionFacts]:
        return (self._index.facts[key] for _, key in self._index.order)

    def _apply_age(self) -> Steps:
        missing = self._how.missing
        for number, facts in enumerate(self._ascending()):
            is_missing = missing is not None and missing(facts)
            found: tuple[Action, str] | None = ("prune-missing", _MISSING)
            if not is_missing or self._rules.is_recent(facts):
                found = self._rules.by_age(facts)
                if is_missing and found is None:
                    # Agent programs write the file with the first answer, which may be under way.
                    self._spare(facts, _MISSING)
            if found is not None:
                self._take(facts, *found)
                yield
            elif number % _SESSIONS_A_STEP == 0:
                yield

    def _apply_cap(self) -> Steps:
        limit = self._policy.max_entries
        over = len(self._index.facts) - len(self._going) - limit
        for facts in self._ascending():
            if over <= 0:
                return
            if facts.key not in self._going and self._evict(facts, "cap-overflow", cap_reason(limit)):
                over -= 1
            yield

    def _evict(self, facts: SessionFacts, action: Action, reason: str) -> bool:
        if self._rules.is_recent(facts):
            self._spare(facts, reason)
            return False
        return self._take(facts, action, reason)

    def _spare(self, facts: SessionFacts, reason: str) -> None:
        self._spared[facts.key] = f"{reason}; updated within {duration_text(self._policy.grace_ms)}"

    def _take(self, facts: SessionFacts, action: Action, reason: str) -> bool:
        protection = self._spared.get(facts.key) or self._rules.protection(facts)
        if protection is not None:
            self._spared[facts.key] = protection if facts.key in self._spared else f"{reason}; but {protection}"
            return False
        self._gone.update(references(facts))
        size = self._disk.size_of(facts.key) or facts.weight
        self._going_bytes += size
        self._going[facts.key] = PlannedSession(
            facts.key,
            facts.version,
            facts.updated_at,
            size,
            action,
            reason,
            facts.session_id,
            self._transcripts_of(facts),
        )
        return True

    def _transcripts_of(self, facts: SessionFacts) -> tuple[str, ...]:
        """The files that nobody needs once this session is gone, too."""
        names = {name for name in facts.transcripts() if self._is_meant(name, facts)}
        names |= set(self._disk.by_session.get(facts.session_id or "", ()))
        found = tuple(sorted(name for name in names if self._is_live(name) and not self._is_used(name)))
        self._taken.update(found)
        return found

    def _is_meant(self, name: str, facts: SessionFacts) -> bool:
        """Whether a name is that of a file here, and not what a path that leads elsewhere happens to end in."""
        if name == f"{facts.session_id}.jsonl":
            return True
        place = os.path.dirname(layout.js_trim(facts.session_file or ""))
        return place in ("", ".", os.path.dirname(self._how.store_path))

    def _is_live(self, name: str) -> bool:
        file = self._disk.beside.get(name)
        return file is not None and file.told.is_primary and name not in self._taken

    def _is_used(self, name: str) -> bool:
        """Whether any session that stays, here or next door, refers to a file."""
        session_id = self._disk.beside[name].told.session_id
        wanted = [f"file:{name}"] + ([f"id:{session_id}"] if session_id else [])
        users, gone, others = self._index.users, self._gone, self._disk.neighbour_users
        return any(users[one] > gone[one] or others[one] for one in wanted)

    # -- files ----------------------------------------------------------------------------

    def _judge_files(self) -> Steps:
        for number, (name, file) in enumerate(self._disk.beside.items()):
            if self._disk.is_ours(name, self._index):
                if file.told.is_primary:
                    self._judge_transcript(name, file)
                else:
                    self._judge_archive(name, file)
            if number % _SESSIONS_A_STEP == 0:
                yield
        for name in self._disk.trash:
            self._judge_trash(name)
            yield
        for name in self._disk.left_over:
            self._set(self._trash_path(name), "trash", 0, "delete", "left by a run that was interrupted")
        for name, size in self._disk.backups.items():
            self._set(name, "backup", size, "keep", "a backup that migration made")

    def _judge_transcript(self, name: str, file: Beside) -> None:
        if name in self._taken:
            return
        if self._is_used(name):
            self._set(name, "transcript", file.size, "keep", "a session uses it")
        elif self._blind:
            self._set(name, "transcript", file.size, "keep", "a session that cannot be read may use it")
        elif name in self._disk.trashed and self._how.stopped is None:
            self._set(name, "transcript", file.size, "archive", "its session is in the trash")
        else:
            wanted = self._how.archive_orphans and self._how.stopped is None
            reason = "no session uses it"
            kind = "transcripts that are archived only now" if wanted else "transcripts that no session uses"
            self._ownerless[kind] += file.size
            self._set(name, "transcript", file.size, "archive" if wanted else "keep", reason, orphan=True)

    def _judge_archive(self, name: str, file: Beside) -> None:
        at_ms, why = file.told.at_ms, file.told.reason
        limit_ms = {
            "deleted": self._policy.prune_after_ms,
            "reset": self._policy.reset_archive_retention_ms,
        }.get(why or "")
        action: FileAction = "keep"
        reason = _WITHIN
        if file.told.kind != "archive":
            self._ownerless["backups of transcripts that agent programs made"] += file.size
        if limit_ms is None or at_ms is None:
            reason = "archives of this kind are never removed by their age"
        elif at_ms < self._how.now_ms - limit_ms:
            if self._belongs_to_trash(file.told.base, at_ms):
                reason = "its session is in the trash"
            elif self._how.stopped is None:
                action = "delete"
                age = beyond_text(self._how.now_ms - at_ms, limit_ms)
                reason = f"archived ({why}) {age} ago, the limit is {duration_text(limit_ms)}"
        self._set(name, "archive", file.size, action, reason)

    def _belongs_to_trash(self, base: str, at_ms: int) -> bool:
        return any(
            at_ms >= removed_ms and not self._is_expired(removed_ms)
            for removed_ms in self._disk.trashed.get(base, ())
        )

    def _is_expired(self, removed_ms: int) -> bool:
        retention = self._policy.trash_retention_ms
        return retention is not None and removed_ms < self._how.now_ms - retention

    def _judge_trash(self, name: str) -> None:
        item = self._disk.trash[name]
        live = self._index.facts.get(item.key)
        action: FileAction = "keep"
        reason = f"session {item.key!r}, removed: {item.note.reason}"
        if live is not None and live.version == item.version:
            action, reason = "delete", f"session {item.key!r} was not removed after all"
        elif self._is_expired(item.note.at_ms) and self._how.stopped is None:
            age = duration_text(self._how.now_ms - item.note.at_ms)
            action, reason = "delete", f"session {item.key!r}, in the trash for {age}"
        self._set(self._trash_path(name), "trash", item.size, action, reason)

    def _trash_path(self, name: str) -> str:
        return f"{os.path.basename(self._how.store_path)}/{layout.TRASH}/{name}"

    def _set(
        self, name: str, kind: FileKind, size: int, action: FileAction, reason: str, *, orphan: bool = False
    ) -> None:
        if action in ("delete", "renew"):
            self._freed += size
        self._files[name] = PlannedFile(name, kind, size, action, reason, orphan)
        if action != "keep":
            self._changing[name] = self._files[name]

    # -- the disk budget ------------------------------------------------------------------

    def _apply_budget(self, counted: int) -> Steps:
        limit, target = self._policy.max_disk_bytes, self._policy.disk_target_bytes
        if limit is None or target is None or counted - self._freed <= limit:
            return
        why = f"the store takes {size_text(counted)}, its bound is {size_text(limit)}"
        journal = self._disk.usage.journal
        if journal > _SMALL_JOURNAL:
            # Sessions must not go because of bytes that the next checkpoint frees anyway.
            name = f"{os.path.basename(self._how.store_path)}/{self._disk.journal_name}"
            self._set(name, "journal", journal, "renew", why)
        for _, name in sorted(self._reclaimable()):
            if counted - self._freed <= target:
                return
            file = self._files[name]
            self._set(name, file.kind, file.size, "delete", why)
            yield
        # No session goes for bytes that are not its own and that others' going does not free.
        target += sum(self._ownerless.values())
        for key, session in self._going.items():
            if counted - self._freed <= target:
                return
            # What is removed in the mode "warn" is not removed for the budget.
            if self._policy.mode == "enforce" or session.action != "prune-missing":
                self._for_good(key, session)
        for facts in self._ascending():
            if counted - self._freed <= target:
                return
            if facts.key not in self._going and self._evict(facts, "evict-budget", why):
                self._for_good(facts.key, self._going[facts.key])
                for name in self._going[facts.key].transcripts:
                    self._files.pop(name, None)
            yield

    def _reclaimable(self) -> Iterator[tuple[int, str]]:
        """What may be deleted before any session goes, with its time."""
        for name, file in self._files.items():
            if file.action != "keep":
                continue
            if file.kind == "trash":
                yield self._disk.trash[os.path.basename(name)].note.at_ms, name
            elif file.kind == "backup" and self._how.remove_backups:
                yield int(name.rstrip("/").rpartition(".")[2]), name
            elif file.kind == "archive" and self._disk.beside[name].told.kind == "archive":
                yield self._disk.beside[name].told.at_ms or 0, name

    def _for_good(self, key: str, session: PlannedSession) -> None:
        self._going[key] = msgspec.structs.replace(session, for_good=True)
        self._freed += session.size
        if not self._blind:
            self._freed += sum(self._disk.beside[name].size for name in session.transcripts)

    # -- the result -----------------------------------------------------------------------

    def _kept_sessions(self) -> Iterator[PlannedSession]:
        for facts in self._ascending():
            if facts.key not in self._going:
                reason = self._how.stopped or self._spared.get(facts.key, _WITHIN)
                size = self._disk.size_of(facts.key) or facts.weight
                yield PlannedSession(
                    facts.key, facts.version, facts.updated_at, size, "keep", reason, facts.session_id
                )

    def _all_files(self) -> tuple[PlannedFile, ...]:
        if not self._how.everything:
            return tuple(self._changing.values())
        kept = [file for file in self._files.values() if file.action == "keep"]
        return (*self._changing.values(), *kept)

    def _unmet(self, after_bytes: int) -> Iterator[Unmet]:
        after = len(self._index.facts) - len(self._going)
        if after > self._policy.max_entries:
            reason = self._how.stopped or f"{len(self._spared):,} sessions may not go: {self._reasons()}"
            yield Unmet("maxEntries", self._policy.max_entries, after, reason)
        limit = self._policy.max_disk_bytes
        if limit is not None and after_bytes > limit:
            yield Unmet("maxDiskBytes", limit, after_bytes, self._how.stopped or self._what_is_left())

    def _what_is_left(self) -> str:
        usage = self._disk.usage
        left = self._ownerless.copy()
        renewed = any(file.action == "renew" for file in self._changing.values())
        left["the journal"] = 0 if renewed else usage.journal
        left["quarantine"] = usage.quarantine
        left["sessions that may not go"] = usage.sessions + usage.unwritten - self._going_bytes
        shown = (f"{what} {size_text(size)}" for what, size in left.most_common(4) if size)
        return f"left are {', '.join(shown)}"

    def _reasons(self) -> str:
        counts = Counter(reason.rpartition("; ")[2].removeprefix("but ") for reason in self._spared.values())
        return ", ".join(f"{reason} ({count:,})" for reason, count in counts.most_common(5))
