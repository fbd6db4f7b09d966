"""A legacy file that appears beside an active store, because an old program still runs.

What is newer in it is committed to the store; what may have been deleted there stays out:

* A session that the store has is replaced if the file's ``updatedAt`` is **strictly** newer.
* A session that the store does not have is taken in only if it cannot be one that was
  deleted. Three things have to hold: the file's entry is newer than the beginning of the
  journal, so that no earlier deletion was of it; the journal tells of no deletion; and no
  record has it (``formerly``): it was in no legacy file that was taken over before and in no
  store that was rolled back. The file that the store was made from has to be among the
  records, unless the journal still reaches back to the migration.

Keys are compared by the store's rule, which need not be the legacy program's.

What remains: a session that was begun and deleted in the store alone, its deletion no longer in
the journal, comes back if the old program begins one of the same key *afterwards*.

Whatever stays out is named in a warning, and its bytes stay in the file's backup.

Commits are checked against versions as every other commit, so no lock of the legacy program
is needed. Killed in between, the next run finds what was committed to be no longer newer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from sessiondir.commit import Moved
from sessiondir.core import Core
from sessiondir.errors import ChangesUnavailable, CorruptFile, MigrationError
from sessiondir.formerly import Formerly
from sessiondir.legacy import LegacyFile, index_legacy
from sessiondir.legacyentries import LegacyChanged, LegacyEntries
from sessiondir.legacyparse import Located, shown
from sessiondir.model import KeyRule, Limits
from sessiondir.operations import Operation, Put
from sessiondir.place import Place
from sessiondir.registry import borrowed_core
from sessiondir.watch import ChangeReader

_BATCH_BYTES = 8 << 20
_BATCH_FILES = 64
_TRIES = 100
_CHECKPOINT_S = 1.0
_NAMED = 5

_MAY_BE_DELETED = "may have been deleted from the store"
_DAMAGED = "is damaged in the store"


@dataclass
class Merged:
    """What became of the sessions of a late file; ``left_out`` tells why, by key.

    One file may be merged several times while it changes; this adds up.
    """

    path: str
    store_name: str
    updated: set[str] = field(default_factory=set)
    created: set[str] = field(default_factory=set)
    not_newer: set[str] = field(default_factory=set)
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def taken(self) -> int:
        """How many sessions were committed to the store."""
        return len(self.updated | self.created)

    def summary(self) -> str:
        """For people: what happened, and what to do."""
        return (
            f"{self.path} was written beside {self.store_name} by a program that does not know it: "
            f"{len(self.updated)} sessions were newer there and {len(self.created)} new, and were taken over; "
            f"{len(self.not_newer)} were not newer; {len(self.left_out)} were left out; stop that program"
        )

    def details(self) -> Iterator[str]:
        """What was left out, a line for each reason."""
        reasons: dict[str, list[str]] = {}
        for key, reason in self.left_out.items():
            reasons.setdefault(reason, []).append(key)
        for reason, keys in reasons.items():
            names = ", ".join(map(shown, keys[:_NAMED])) + (" ..." if len(keys) > _NAMED else "")
            yield f"left out, as it {reason}: {names}; what the file had stays in its backup"


def merge_late_file(
    place: Place, legacy: LegacyFile, limits: Limits, timeout_s: float, allow_network: bool, merged: Merged
) -> None:
    """Commit what is newer in the file, and say in ``merged`` what was done. The file is not moved.

    Durable on return. Raises ``LegacyChanged``, ``LockTimeout`` and what a commit raises;
    what was committed until then stays, and running it again goes on.
    Cost: one session file read for each entry, one commit for 64 entries or 8 MiB of them.
    """
    with borrowed_core(place.fs, place.clock, place.store_path, limits, allow_network=allow_network) as core:
        core.begin_writing()
        if core.key_rule != "lowercase":
            legacy = _by_rule(place, legacy, limits, core.key_rule)
        _Merging(core, place, legacy, timeout_s, merged).run()


def _by_rule(place: Place, legacy: LegacyFile, limits: Limits, keys: KeyRule) -> LegacyFile:
    """The same file with its keys as the store compares them."""
    found = index_legacy(place.fs, legacy.path, limits, keys)
    if found.signature != legacy.signature:
        raise LegacyChanged
    return found


class _Merging:
    def __init__(self, core: Core, place: Place, legacy: LegacyFile, timeout_s: float, merged: Merged) -> None:
        self._core = core
        self._place = place
        self._legacy = legacy
        self._timeout_s = timeout_s
        self._merged = merged
        self._deleted, self._journal_began_ms, self._knows_all = self._history()

    def run(self) -> None:
        places = sorted(self._legacy.sessions.items(), key=lambda item: item[1].at)
        with LegacyEntries(self._place.fs, self._legacy) as entries:
            batch: list[str] = []
            size = 0
            for key, place in places:
                if self._expected_version(key, place) is None:
                    continue
                batch.append(key)
                size += place.length
                if len(batch) >= _BATCH_FILES or size >= _BATCH_BYTES:
                    self._commit(batch, entries)
                    batch, size = [], 0
            self._commit(batch, entries)

    def _commit(self, keys: list[str], entries: LegacyEntries) -> None:
        for _ in range(_TRIES):
            expected: dict[str, int] = {}
            operations: list[Operation] = []
            for key in keys:
                version = self._expected_version(key, self._legacy.sessions[key])
                if version is not None:
                    expected[key] = version
                    operations.append(Put(key, entries.document(key).fields or {}))
            if not operations:
                return
            try:
                committed = self._core.append(operations, expected, self._timeout_s, "power")
            except Moved:
                continue  # somebody changed one of them: who is newer now?
            self._core.settle(committed, "power", _CHECKPOINT_S)
            for key, version in expected.items():
                (self._merged.updated if version else self._merged.created).add(key)
            return
        reason = f"the store changed during each of {_TRIES} tries to take in what is newer"
        text = f"{self._legacy.path}: {reason}; run it again"
        raise MigrationError(text, path=self._legacy.path, reason=reason)

    def _expected_version(self, key: str, place: Located) -> int | None:
        """The version of the session that the file's entry replaces, 0 for none; None if it stays out."""
        merged = self._merged
        merged.left_out.pop(key, None)
        merged.not_newer.discard(key)
        try:
            doc = self._core.view.load(key)
        except CorruptFile:
            merged.left_out[key] = _DAMAGED
            return None
        if doc.fields is not None:
            if place.updated_at > (doc.updated_at() or 0):
                return doc.version
            merged.not_newer.add(key)
        elif self._cannot_be_deleted(key, place):
            return 0
        else:
            merged.left_out[key] = _MAY_BE_DELETED
        return None

    # -- what was deleted -------------------------------------------------------------------

    def _cannot_be_deleted(self, key: str, place: Located) -> bool:
        """Whether a session that the store does not have was never in it."""
        if key in self._deleted or place.updated_at <= self._journal_began_ms:
            return False
        return not self._formerly.had(key) and (self._knows_all or self._formerly.is_complete)

    @cached_property
    def _formerly(self) -> Formerly:
        return Formerly(self._place, self._core.key_rule)

    def _history(self) -> tuple[frozenset[str], float, bool]:
        """What the journal tells: keys deleted, since when (epoch ms), and whether that is since the beginning."""
        view = self._core.view
        with view.mutex:
            view.catch_up()
            header = view.header()
        if header is None:
            return frozenset(), math.inf, False
        try:
            reader = ChangeReader(self._core, header.base)
        except ChangesUnavailable:
            return frozenset(), math.inf, False
        try:
            deleted = frozenset(change.key for change in reader.read() if change.kind == "delete")
        finally:
            reader.close()
        migrated = self._core.state.migrated_from is not None and header.base == 1
        return deleted, header.at_ms, header.generation == 1 and (migrated or header.base == 0)
