"""Doing what a plan says, in small steps, each thing checked again before it is done.

A session is moved in an order that never has it in neither place:

    1  write its trash file, sync it and its name
    2  commit the deletion, if the session still is at the version that the plan rests on
    3  archive its transcripts, if no session uses them

Whoever dies between 1 and 2 leaves an item of a session that still lives, which the next run
removes; between 2 and 3, transcripts of a session in the trash, which the next run archives.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from sessiondir import durable, trash
from sessiondir.directory import StoreDirectory
from sessiondir.document import Document
from sessiondir.entrysum import entry_sum, is_entry_sum
from sessiondir.errors import (
    LockTimeout,
    NotFoundError,
    ReentrantUpdate,
    StoreError,
    translated,
)
from sessiondir.layout import store_path
from sessiondir.maintenance.disk import DiskSurvey
from sessiondir.maintenance.ground import Ground, delete_unless, document_of, lease_holder, renew_journal
from sessiondir.maintenance.index import Index, Steps
from sessiondir.maintenance.plan import ONLY_WARNING, Outcome, Plan, PlannedFile, PlannedSession, Report
from sessiondir.place import Place
from sessiondir.store import SessionStore
from sessiondir.transcripts.folder import TranscriptFolder
from sessiondir.trash import Note

_log = logging.getLogger("sessiondir")
_BATCH: Final = 16
_BATCH_BYTES: Final = 1 << 20
_LOOKED_AT_A_STEP: Final = 200
_GONE: Final = "it is not there any more"
_MAY_BE_USED: Final = "a session that cannot be read may use it"


class Applier:
    """Applies one plan to a store; run ``steps`` to their end, then take ``report``.

    Call inside ``trash.locked``. ``fresh_index`` gives an index that has everything committed so
    far; it is asked before transcripts are archived, its steps are run, and it is refreshed
    before each of them.
    """

    def __init__(
        self,
        store: SessionStore,
        ground: Ground,
        directory: StoreDirectory,
        plan: Plan,
        fresh_index: Callable[[], tuple[Index, Steps]],
    ) -> None:
        self._store = store
        self._ground = ground
        self._directory = directory
        self._plan = plan
        self._fresh_index = fresh_index
        self._sessions: list[Outcome] = []
        self._files: list[Outcome] = []
        self._freed = 0
        self._error: StoreError | None = None

    @property
    def report(self) -> Report:
        """What was done so far."""
        return Report(tuple(self._sessions), tuple(self._files), self._freed, self._error)

    def steps(self) -> Steps:
        """Do everything; what fails for one session or file goes into the report, the rest goes on."""
        plan = self._plan
        yield from self._renew_journal()
        todo: list[PlannedSession] = []
        for number, session in enumerate(plan.sessions):
            if plan.applies(session):
                todo.append(session)
            elif session.action != "keep":
                self._sessions.append(Outcome(session.key, session.action, ONLY_WARNING))
            if number % _LOOKED_AT_A_STEP == 0:
                yield
        gone: list[tuple[PlannedSession, str]] = []
        for batch in _batches(todo):
            yield from self._move(batch, gone)
        yield from self._archive_transcripts(gone)
        for session, name in gone:
            if session.for_good and self._error is None:
                self._delete_item(name, session.size)
                yield
        yield from self._change_files()

    # -- sessions -------------------------------------------------------------------------

    def _move(self, batch: Sequence[PlannedSession], gone: list[tuple[PlannedSession, str]]) -> Steps:
        """Steps 1 and 2 for some sessions."""
        if self._error is not None:
            self._refuse(batch, f"not tried: {self._error}")
            return
        already = len(self._sessions)
        staged: list[tuple[PlannedSession, str, int]] = []
        names: list[str] = []
        left: dict[str, str] = {}
        try:
            with translated(self._directory.path, "write"):
                for session in batch:
                    temporary = self._stage(session)
                    if temporary is not None:
                        staged.append((session, *temporary))
                    yield
                names = trash.keep(self._directory, [(name, at_ms) for _, name, at_ms in staged])
                yield
                left = self._delete([session for session, _, _ in staged])
        except StoreError as exc:
            # Kept without its frames, which would keep descriptors open.
            self._error = exc.with_traceback(None)
            # A commit that failed half-way may stand all the same: only what lives is no loss.
            left = {session.key: str(exc) for session, _, _ in staged if self._lives(session)}
        outcomes = {session.key: name for (session, _, _), name in zip(staged, names, strict=False)}
        with contextlib.suppress(OSError):  # the next run finds out that the session lives
            trash.remove(self._directory, [name for key, name in outcomes.items() if key in left])
        if self._error is not None and not names:
            self._discard([temporary for _, temporary, _ in staged])
        for session, _, _ in staged:
            why_not = left.get(session.key)
            if why_not is None and session.key in outcomes:
                gone.append((session, outcomes[session.key]))
                _log.info("%s: session %r moved to the trash: %s", self._ground.path, session.key, session.reason)
            self._sessions.append(Outcome(session.key, session.action, why_not))
        told = {outcome.name for outcome in self._sessions[already:]}
        self._refuse([s for s in batch if s.key not in told], f"not tried: {self._error}")
        yield

    def _refuse(self, sessions: Iterable[PlannedSession], why_not: str) -> None:
        self._sessions += [Outcome(session.key, session.action, why_not) for session in sessions]

    def _discard(self, temporaries: Sequence[str]) -> None:
        with contextlib.suppress(OSError):  # the next run sweeps them
            trash.remove(self._directory, temporaries)

    def _stage(self, session: PlannedSession) -> tuple[str, int] | None:
        """Write a session's trash file, not durable yet; None, and an outcome, if it may not go any more."""
        try:
            doc = document_of(self._store, session.key)
        except StoreError as exc:
            self._sessions.append(Outcome(session.key, session.action, str(exc)))
            return None
        why_not = self._why_not(session, doc) if doc is not None else _GONE
        if why_not is not None or doc is None:
            self._sessions.append(Outcome(session.key, session.action, why_not))
            return None
        at_ms = self._ground.now_ms()
        note = Note(at_ms, session.action, session.reason, session.transcripts)
        return trash.stage(self._directory, doc, note), at_ms

    def _why_not(self, session: PlannedSession, doc: Document) -> str | None:
        if doc.fields is None:
            return _GONE
        if not _is_as_planned(doc, session):
            return "it changed since the plan was made"
        if session.key in self._plan.active:
            return "it is active"
        holder = lease_holder(self._store, doc)
        return f"it is leased to {holder}" if holder is not None else None

    def _delete(self, sessions: Sequence[PlannedSession]) -> dict[str, str]:
        """Delete what nobody works on, as one commit; for the others why not."""
        left: dict[str, str] = {}
        while todo := {session.key: session for session in sessions if session.key not in left}:
            try:
                # A session that somebody is updating is in use: no waiting.
                with self._store.transaction(*todo, timeout=0):
                    # Looked at again under the commit lock: a lease may be granted at any other moment.
                    return left | delete_unless(
                        self._store, tuple(todo), lambda key, doc: self._why_not(todo[key], doc)
                    )
            except (LockTimeout, ReentrantUpdate) as exc:
                if exc.session is None or exc.session not in todo:
                    raise
                left[exc.session] = "somebody is working on it"
        return left

    def _lives(self, session: PlannedSession) -> bool:
        try:
            doc = document_of(self._store, session.key)
            return doc is not None and _is_as_planned(doc, session)
        except StoreError:
            return False  # then the item in the trash stays; the next run knows

    # -- transcripts ----------------------------------------------------------------------

    def _archive_transcripts(self, gone: Sequence[tuple[PlannedSession, str]]) -> Steps:
        todo = [(name, session.for_good) for session, _ in gone for name in session.transcripts]
        for file in self._plan.changes:
            if file.action == "archive" and self._plan.changes_file(file):
                todo.append((file.name, False))
            elif file.action == "archive":
                self._files.append(Outcome(file.name, "archive", ONLY_WARNING))
        if not todo or self._error is not None:
            self._files += [Outcome(name, "archive", f"not tried: {self._error}") for name, _ in todo]
            return
        if self._plan.blind:
            self._files += [Outcome(name, "archive", _MAY_BE_USED) for name, _ in todo]
            return
        index: Index | None = None
        try:
            with translated(self._ground.folder, "archive"):
                index, steps = self._fresh_index()
                yield from steps
                beside = DiskSurvey(self._ground)
                yield from beside.ask_neighbours()
                with self._folder() as folder:
                    while todo:
                        # Thousands take seconds, and a session may come back meanwhile.
                        yield from index.refresh()
                        self._archive(folder, index, beside, *todo[0])
                        del todo[0]
                        yield
        except StoreError as exc:
            self._error = exc.with_traceback(None)
            self._files += [Outcome(name, "archive", f"not tried: {exc}") for name, _ in todo]
        finally:
            if index is not None:
                index.close()

    def _folder(self) -> TranscriptFolder:
        ground = self._ground
        return TranscriptFolder.open(
            ground.folder, lock_timeout=0, allow_network=ground.allow_network, fs=ground.fs, clock=ground.clock
        )

    def _archive(
        self, folder: TranscriptFolder, index: Index, beside: DiskSurvey, name: str, for_good: bool
    ) -> None:
        session_id = folder.file(name).session_id
        wanted = [f"file:{name}"] + ([f"id:{session_id}"] if session_id is not None else [])
        used = any(index.users[one] > 0 or beside.neighbour_users[one] > 0 for one in wanted)
        if used or index.unreadable or beside.neighbour_problems:
            why_not = "a session uses it" if used else _MAY_BE_USED
            self._files.append(Outcome(name, "archive", why_not))
            return
        try:
            archive = folder.of({"sessionFile": name}).archive("deleted")
        except NotFoundError:
            return  # somebody archived it meanwhile
        except StoreError as exc:
            self._files.append(Outcome(name, "archive", str(exc)))
            return
        self._files.append(Outcome(name, "archive"))
        if for_good:
            self._delete_beside(archive)

    # -- files ----------------------------------------------------------------------------

    def _renew_journal(self) -> Steps:
        for file in self._plan.changes:
            if file.action == "renew":
                why_not = None
                if not self._plan.changes_file(file):
                    why_not = ONLY_WARNING
                else:
                    try:
                        if not renew_journal(self._store):
                            why_not = "another process is bringing the session files level"
                    except StoreError as exc:
                        why_not = str(exc)
                self._files.append(Outcome(file.name, file.action, why_not))
                yield

    def _change_files(self) -> Steps:
        for file in self._plan.changes:
            if file.action != "delete":
                continue
            if not self._plan.changes_file(file):
                self._files.append(Outcome(file.name, "delete", ONLY_WARNING))
            elif self._error is not None:
                self._files.append(Outcome(file.name, "delete", f"not tried: {self._error}"))
            else:
                self._delete_file(file)
            yield

    def _delete_file(self, file: PlannedFile) -> None:
        if file.kind == "trash":
            self._delete_item(os.path.basename(file.name), file.size)
        else:
            self._delete_beside(file.name)

    def _delete_item(self, name: str, size: int) -> None:
        try:
            with translated(self._directory.path, "write"):
                trash.remove(self._directory, [name])
        except StoreError as exc:
            self._files.append(Outcome(name, "delete", str(exc)))
        else:
            self._files.append(Outcome(name, "delete"))
            self._freed += size
            _log.info("%s: %s deleted from the trash for good", self._ground.path, name)

    def _delete_beside(self, name: str) -> None:
        """Delete a file, or a backup's directory, beside the store."""
        ground = self._ground
        try:
            with translated(f"{ground.folder}/{name}", "remove"):
                place = Place(ground.fs, ground.clock, *store_path(ground.path))
                try:
                    size = _remove(place, name)
                finally:
                    place.close()
        except StoreError as exc:
            self._files.append(Outcome(name, "delete", str(exc)))
            return
        if size is None:
            self._files.append(Outcome(name, "delete", _GONE))
            return
        self._files.append(Outcome(name, "delete"))
        self._freed += size
        _log.info("%s/%s deleted for good", ground.folder, name)


def _is_as_planned(doc: Document, session: PlannedSession) -> bool:
    """Whether a session is at the version that was planned for: a commit's, or the check sum of a legacy entry."""
    if doc.version == session.version or doc.fields is None:
        return doc.version == session.version
    return is_entry_sum(session.version) and entry_sum(doc.fields) == session.version


def _remove(place: Place, name: str) -> int | None:
    """Remove a regular file, or a directory whose name ends in ``/``; the bytes of a file that this frees.

    None, and nothing was removed, if there is no such thing under that name.
    """
    plain = name.rstrip("/")
    status = place.status(plain)
    if status is None:
        return None
    if name.endswith("/") and stat.S_ISDIR(status.st_mode):
        place.remove_tree(plain)
    elif stat.S_ISREG(status.st_mode):
        place.fs.unlink(plain, dir_fd=place.fd)
    else:
        return None
    durable.sync_directory(place.fs, place.fd)
    return status.st_size if stat.S_ISREG(status.st_mode) and status.st_nlink == 1 else 0


def _batches(sessions: Sequence[PlannedSession]) -> Iterator[list[PlannedSession]]:
    batch: list[PlannedSession] = []
    size = 0
    for session in sessions:
        if batch and (len(batch) >= _BATCH or size + session.size > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(session)
        size += session.size
    if batch:
        yield batch
