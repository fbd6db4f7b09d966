"""The table of operations: what is done to a folder in the matrix of faults, each with where it begins."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.story import (
    SCENARIOS,
    A,
    B,
    Scenario,
    Sessions,
    at_rest,
    leased,
    open_on,
    torn,
    with_messages,
)  # fmt: skip
from harness.watched import QuickFs
from maintenance.stores import DAY, NOW, enforce, entry, write_transcript
from migration.stores import put_legacy
from transcripts.folders import ID, numbered

from sessiondir import SessionStore, migration
from sessiondir.clock import Clock
from sessiondir.fs import FileSystem
from sessiondir.maintenance import apply, list_trash, plan, restore
from sessiondir.transcripts import Transcript, TranscriptFolder

_UP = time.clock_gettime(time.CLOCK_BOOTTIME)


class StillClock(Clock):
    """A clock that stands, so that the same deed leaves the same bytes in each run."""

    def __init__(self, ahead_s: float = 0.0) -> None:
        self.now = lambda: NOW / 1000 + ahead_s  # type: ignore[method-assign, assignment]
        self.up = lambda: _UP + ahead_s  # type: ignore[method-assign, assignment]


CLOCK = StillClock()


class Acting:
    """A process at work on a folder; opens what it needs and notes how many deeds have returned."""

    def __init__(self, fs: FileSystem, folder: str, options: dict[str, Any] | None = None) -> None:
        self.fs = fs
        self.folder = folder
        self.path = f"{folder}/sessions.d"
        self.done = 0
        self.opened: SessionStore | None = None
        self.lease: Any = None
        self._options = options or {}
        self._transcripts: TranscriptFolder | None = None

    @property
    def store(self) -> SessionStore:
        """The store, opened with the first use."""
        if self.opened is None:
            self.opened = open_on(self.fs, self.path, clock=CLOCK, **self._options)
        return self.opened

    @property
    def transcripts(self) -> TranscriptFolder:
        """The transcripts beside the store, opened with the first use."""
        if self._transcripts is None:
            self._transcripts = TranscriptFolder.open(
                self.folder, fs=self.fs, clock=CLOCK, lock_timeout=2.0, allow_network=True
            )
        return self._transcripts

    @property
    def has_transcripts(self) -> bool:
        """Whether there is a folder to go on with."""
        return self._transcripts is not None

    def close(self) -> None:
        """Close what was opened."""
        if self._transcripts is not None:
            self._transcripts.close()
        if self.opened is not None:
            self.opened.close()


Deed = Callable[[Acting], object]


@dataclass(frozen=True)
class Row:
    """An operation: what the folder holds before, and the calls, one after the other.

    ``in_parts``: made of several commits or files; half-way, some of them are done. ``finish`` then
    takes it to its end from wherever it was interrupted.
    ``unsynced``: the numbers, counted from 1, of deeds that a power cut may take until a later one is synced.
    ``effects`` gives the sessions after each deed from those before, where that is known beforehand.
    """

    name: str
    prepare: Callable[[str], object]
    deeds: tuple[Deed, ...]
    options: dict[str, Any] = field(default_factory=dict)
    in_parts: bool = False
    finish: Deed | None = None
    unsynced: frozenset[int] = frozenset()
    effects: Callable[[Sessions], list[Sessions]] | None = None


def _of(scenario: Scenario) -> Row:
    """A row for a scenario on one store."""
    deeds: tuple[Deed, ...] = tuple((lambda acting, run=step.run: run(acting.store)) for step in scenario.steps)
    return Row(
        scenario.name,
        lambda folder: scenario.prepare(f"{folder}/sessions.d"),
        deeds,
        scenario.options,
        unsynced=frozenset(number for number, step in enumerate(scenario.steps, 1) if not step.synced),
        effects=scenario.states,
    )


# -- beginnings -------------------------------------------------------------------------------


def _begin(make: Callable[[str], object]) -> Callable[[str], object]:
    return lambda folder: make(f"{folder}/sessions.d")


def _lapsed(folder: str) -> None:
    """A lease whose holder did not renew it in time."""
    at_rest(f"{folder}/sessions.d")
    with open_on(QuickFs(), f"{folder}/sessions.d", clock=StillClock(-7200)) as store:
        store.lease(A, "late", 60)


def _legacy(folder: str) -> None:
    put_legacy(Path(folder))


def _migrated(folder: str) -> None:
    _legacy(folder)
    assert migration.migrate(f"{folder}/sessions.json", fs=QuickFs(), clock=CLOCK).outcome == "migrated"
    with open_on(QuickFs(), f"{folder}/sessions.d", clock=CLOCK) as store:
        store.put("more", {"sessionId": "m", "updatedAt": 7})


def _rolled_back(folder: str) -> None:
    _migrated(folder)
    assert migration.rollback(f"{folder}/sessions.json", fs=QuickFs(), clock=CLOCK).outcome == "rolled_back"


_OLD = {f"old:{number}": entry(40 * DAY + number, f"o{number}", n=number) for number in range(3)}
_LIVE = {"new:1": entry(DAY, "n1"), "new:2": entry(DAY, "o2")}
_POLICY = enforce()


def _stale(folder: str) -> None:
    """Three stale sessions, two of them with a transcript of their own, and two others."""
    with open_on(QuickFs(), f"{folder}/sessions.d", clock=CLOCK) as store:
        for key, value in (_OLD | _LIVE).items():
            store.put(key, value)
    for name in ("o0.jsonl", "o1.jsonl", "o2.jsonl", "n1.jsonl"):
        write_transcript(folder, name)


def _removed(folder: str) -> None:
    """The same, with the stale ones in the trash, and one that lives again."""
    _stale(folder)
    with open_on(QuickFs(), f"{folder}/sessions.d", clock=CLOCK) as store:
        apply(store, plan(store, _POLICY))
        store.put("old:1", {"n": "again"})


ARCHIVED = "other.jsonl.reset.2026-01-01T00-00-00.000Z"


def _transcripts(folder: str) -> None:
    """A transcript with a batch at its end, and an archive."""
    with TranscriptFolder.open(folder, fs=QuickFs(), clock=CLOCK) as transcripts:
        transcripts.transcript(ID).append(numbered(1)[0])
        transcripts.transcript(ID).extend(numbered(2, 3))
        transcripts.transcript("quiet").extend(numbered(4, 5))
        transcripts.transcript("other").extend(numbered(7, 8))
        archived = transcripts.transcript("other").archive("reset")
    os.rename(f"{folder}/{archived}", f"{folder}/{ARCHIVED}")


# -- deeds ------------------------------------------------------------------------------------


def _migrate(acting: Acting) -> None:
    result = migration.migrate(f"{acting.folder}/sessions.json", fs=acting.fs, clock=CLOCK)
    if result.error is not None:
        raise result.error
    assert result.outcome in ("migrated", "already_directory"), result


def _roll_back(acting: Acting) -> None:
    result = migration.rollback(f"{acting.folder}/sessions.json", fs=acting.fs, clock=CLOCK)
    assert result.outcome in ("rolled_back", "already_legacy"), result


def _apply(acting: Acting) -> None:
    report = apply(acting.store, plan(acting.store, _POLICY))
    if report.error is not None:
        raise report.error


def _restore(key: str, *, overwrite: bool = False) -> Deed:
    return lambda acting: restore(acting.store, key, overwrite=overwrite)


def _restored(key: str, *, overwrite: bool = False) -> Deed:
    """Restore again what is still in the trash and was not put there by the restoring itself."""

    def finish(acting: Acting) -> None:
        for item in reversed(list_trash(acting.store).items):
            if item.key == key and item.note.rule != "replaced":
                restore(acting.store, item.name, overwrite=overwrite)

    return finish


def _on(change: Callable[[Transcript], object]) -> Deed:
    return lambda acting: change(acting.transcripts.transcript(ID))


def _grant(acting: Acting) -> None:
    acting.lease = acting.store.lease(B, "run", 3600)


def _renew(acting: Acting) -> None:
    acting.lease.renew(7200)


def _release(acting: Acting) -> None:
    acting.lease.release()


_EXTRA = (
    Row("lease: grant, renew, release", _begin(at_rest), (_grant, _renew, _release),
        unsynced=frozenset((1, 2, 3))),
    Row("lease: take over", _lapsed, (lambda a: a.store.lease(A, "next", 60),), unsynced=frozenset((1,))),
    Row("lease: new owner beside a held one", _begin(leased), (_grant, lambda a: a.store.flush(), _release),
        unsynced=frozenset((1, 3))),
    Row("acknowledge what was taken", _begin(with_messages),
        (lambda a: a.store.take(A, 1), lambda a: a.store.ack(A, "m1"), lambda a: a.store.flush()),
        unsynced=frozenset((1,))),
    Row("recovery and nothing else", _begin(torn), (lambda a: a.store.flush(),)),
    Row("migrate", _legacy, (_migrate,), in_parts=True, finish=_migrate),
    Row("migrate again", _rolled_back, (_migrate,), in_parts=True, finish=_migrate),
    Row("roll back", _migrated, (_roll_back,), in_parts=True, finish=_roll_back),
    Row("cleanup: apply", _stale, (_apply,), in_parts=True, finish=_apply),
    Row("trash: restore", _removed, (_restore("old:0"),), in_parts=True, finish=_restored("old:0")),
    Row("trash: restore over a living one", _removed, (_restore("old:1", overwrite=True),), in_parts=True,
        finish=_restored("old:1", overwrite=True)),
    Row("transcript: append", _transcripts,
        (_on(lambda t: t.append({"n": 4})), _on(lambda t: t.extend(numbered(5, 6))))),
    Row("transcript: first", _transcripts, (lambda a: a.transcripts.transcript("new").extend(numbered(1, 2)),)),
    Row("transcript: pop", _transcripts, (_on(Transcript.pop), _on(Transcript.pop))),
    Row("transcript: clear", _transcripts, (_on(lambda t: t.clear(keep=False)),)),
    Row("transcript: clear and keep", _transcripts, (_on(lambda t: t.clear()),)),
    Row("transcript: archive", _transcripts, (_on(lambda t: t.archive("deleted")),)),
    Row("transcript: restore", _transcripts, (lambda a: a.transcripts.restore(ARCHIVED),)),
)  # fmt: skip

_COMPRESSING = (Row("transcript: compress", _transcripts, (lambda a: a.transcripts.compress(ARCHIVED),)),)
TABLE: tuple[Row, ...] = (
    *map(_of, SCENARIOS),
    *_EXTRA,
    *(_COMPRESSING if importlib.util.find_spec("zstandard") is not None else ()),
)

RECOVERED = tuple(row for row in TABLE if not row.name.startswith("transcript: "))
"""A transcript is recovered by the next append alone, which the matrix makes after each error."""
