"""Keeping ``listing.jsonl`` level with the session files, under the checkpoint lock.

The state file vouches for the listing file only as long as nobody but checkpoints touched
``entries/``. So each checkpoint looks at the stamp of ``entries/`` before it writes
session files and remembers it afterwards; if a stamp is not the one that was remembered,
the file does not count any more and is made anew, from all session files, by the
background thread of a process that writes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace

from sessiondir import codec, layout, listfile
from sessiondir.clock import Clock
from sessiondir.directory import StoreDirectory
from sessiondir.document import Document
from sessiondir.entries import SessionFiles
from sessiondir.errors import CorruptFile, StoreError
from sessiondir.listfile import ListingFile, UnusableListing, info_of, stamp
from sessiondir.model import SessionInfo
from sessiondir.state import State, StateListing

_log = logging.getLogger("sessiondir")
FEWEST_SESSIONS = 256
"""With fewer sessions, reading their files takes a few milliseconds."""
_CHANGES_BYTES = 1 << 14
_CHANGES_SHARE = 32
"""Changes are sorted in when they have 1/32 of the sorted rows; so each costs the writing of 32 rows."""
_OVERDUE = 4
_SLICE = 32
_LONGEST_S = 8.0
"""Making the file anew takes no longer: other processes wait 10 s for their last checkpoint."""
_NEXT_TRY_S = 600.0


class ListingKeeper:
    """The listing file of one store, to its checkpointer."""

    def __init__(self, directory: StoreDirectory, clock: Clock, files: SessionFiles) -> None:
        self._directory = directory
        self._clock = clock
        self._files = files
        self._mark: StateListing | None = None
        self._changes: dict[str, SessionInfo | None] = {}
        self._not_before_s = 0.0
        self.waiting: set[object] = set()
        """Who waits for the end of a checkpoint: nothing is made anew then."""
        self.distrusted: str | None = None
        """The identity of a file that turned out to be damaged."""

    def begin(self, state: State | None, inode: str) -> None:
        """A checkpoint begins, with this state file and a journal of this inode."""
        self._changes.clear()
        mark = state.listing if state is not None else None
        known = state is not None and state.position > 0 and state.inode == inode
        trusted = known and mark is not None and mark.identity != self.distrusted
        self._mark = mark if trusted and mark is not None and stamp(self._directory) == mark.entries else None

    def before_writing(self) -> None:
        """Session files are about to be written."""
        if self._mark is not None and stamp(self._directory) != self._mark.entries:
            self._mark = None  # somebody else was at it while this checkpoint went on

    def after_writing(self, docs: Iterable[Document]) -> None:
        """These session files were written."""
        if self._mark is not None:
            self._mark = replace(self._mark, entries=stamp(self._directory))
            for doc in docs:
                self._changes[doc.key] = info_of(doc) if doc.fields is not None else None

    def finish(self, *, anew: bool) -> StateListing | None:
        """What the state file is to say: all session files are level, and it is written next.

        ``anew``: there is time to read all session files. Raises nothing: a listing is a hint.
        """
        try:
            mark = self._finish(anew and not self.waiting)
            if mark is not None:
                self._await_tick(mark.entries[1])
            return mark
        except (OSError, StoreError, UnusableListing, codec.EncodeError) as exc:
            _log.warning("%s: %s was not kept up to date: %s", self._directory.path, layout.LISTING, str(exc))
            return None
        finally:
            self._changes.clear()

    def _finish(self, anew: bool) -> StateListing | None:
        mark = self._mark
        if mark is None:
            return self._make_anew() if anew else None
        if self._changes:
            mark = listfile.append_changes(self._directory, mark, self._changes)
        due = max(_CHANGES_BYTES, mark.base // _CHANGES_SHARE) * (1 if anew else _OVERDUE)
        return self._sort_in(mark) if mark.size - mark.base > due else mark

    def _sort_in(self, mark: StateListing) -> StateListing:
        file = ListingFile(self._directory, mark)
        try:
            infos = file.everything()
        finally:
            file.close()
        return replace(listfile.write_listing(self._directory, infos.values()), entries=mark.entries)

    def _make_anew(self) -> StateListing | None:
        if self._clock.monotonic() < self._not_before_s:
            return None
        before = stamp(self._directory)
        infos = self._read_all()
        if infos is None or stamp(self._directory) != before:
            return None
        return replace(listfile.write_listing(self._directory, infos.values()), entries=before)

    def _read_all(self) -> dict[str, SessionInfo] | None:
        names = list(self._files.names())
        if len(names) < FEWEST_SESSIONS:
            return None
        deadline_s = self._clock.monotonic() + _LONGEST_S
        infos: dict[str, SessionInfo] = {}
        for number, name in enumerate(names):
            if number % _SLICE == 0:
                if self.waiting:
                    return None
                if self._clock.monotonic() > deadline_s:
                    self._put_off()
                    return None
                self._clock.sleep(0)  # let the other threads go on
            try:
                info = info_of(self._files.read_name(name))
            except CorruptFile:
                info = None
            if info is None or info.key in infos:
                # A listing that leaves it out, or shows one of two, has to say so each time: read the files.
                self._put_off()
                return None
            infos[info.key] = info
        return infos

    def _put_off(self) -> None:
        self._not_before_s = self._clock.monotonic() + _NEXT_TRY_S

    def _await_tick(self, changed_ns: int) -> None:
        """Let the file system's clock go on, so that whatever is done to ``entries/`` next changes its stamp."""
        age_s = self._clock.now() - changed_ns / 1e9
        if 0 <= age_s < self._clock.tick_s:
            self._clock.sleep(self._clock.tick_s - age_s)
