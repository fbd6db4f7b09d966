"""What this process knows of a store: documents, cached or read, current to the journal's end.

A document that is not cached is its session file plus the operations newer than it in
the journal. All threads of a process share one view. No file lock is ever taken to read,
and no session file is read while the mutex is held, except by a writer that holds the
commit lock.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from sessiondir.cache import Listener
from sessiondir.commitline import DamagedLine, Line
from sessiondir.document import Document, apply_operation, missing_document
from sessiondir.errors import CorruptFile, StoreError, translated
from sessiondir.follower import JournalFollower, Position
from sessiondir.journal import Header, key_text
from sessiondir.operations import Delete, Operation, Put

_log = logging.getLogger("sessiondir")
_LITTLE_BYTES = 1 << 16


class View(JournalFollower):
    """The state of a store as seen by this process.

    ``on_commit`` holds what is called with the operations of each commit of this process, after
    the commit lock was let go; the session may still be held. It must neither wait nor raise.
    """

    on_commit: tuple[Callable[[Sequence[Operation]], object], ...] = ()

    def load(self, key: str) -> Document:
        """The document of ``key``, current when the call began; ``fields`` is None if there is none.

        Mutex *not* held. Raises ``CorruptFile`` or ``UnreadableFile``.
        Cost: cached, one system call; else the reading of one session file.
        """
        with self.mutex:
            self.catch_up()
            doc = self._cached(key) if self._touched else self.cache.get(key)
        if doc is not None:
            doc.recent = True
            return doc
        return self._read(key, keep=True)

    def load_at_hand(self, key: str) -> Document | None:
        """As ``load`` where that takes microseconds and waits for nothing; else None. Mutex *not* held."""
        if self.mutex.locked():
            return None
        with self.mutex:  # not acquire(False): a signal handler may raise between that and a try
            if not self.catch_up_if_little():
                return None
            if self._touched and self.end - self.backlog_from > _LITTLE_BYTES and key_text(key) in self._touched:
                return None
            doc = self._cached(key) if self._touched else self.cache.get(key)
        if doc is not None:
            doc.recent = True
        return doc

    def at_hand(self, key: str) -> Document | None:
        """What is cached of a session, without a look for what others committed. Mutex *not* held."""
        with self.mutex:
            return self._cached(key)

    def freshen(self, keys: Iterable[str]) -> None:
        """Bring cached documents up to date, if this can be done now; for who waits for a lock meanwhile."""
        with self.mutex, contextlib.suppress(StoreError):  # whoever asks for the session is told
            self.catch_up()
            for key in keys:
                self._cached(key)

    def peek(self, key: str) -> Document:
        """As ``load``, but leaves the cache alone: for reading many sessions once."""
        return self._read(key, keep=False)

    def _read(self, key: str, *, keep: bool) -> Document:
        with translated(self._directory.path, "read"):
            return self._read_until_current(key, keep)

    def _read_until_current(self, key: str, keep: bool) -> Document:
        while True:
            with self.mutex:
                self.catch_up()
                doc = self._cached(key)
                if doc is not None:
                    return doc
                moment = self._moment()
            stored, problem = self._read_stored(key)
            with self.mutex:
                current = self._take_in(key, stored, problem, keep) if self._moment() == moment else None
            # Else operations that this reading of the file lacks may have been given up since.
            if current is not None:
                return current

    def _take_in(
        self, key: str, stored: Document | None, problem: StoreError | None, keep: bool
    ) -> Document | None:
        """The document of a session file read just now; None if that was too late. Mutex held."""
        doc = self._cached(key)
        if doc is None:
            doc = self._replay(key, stored, problem)
            if self._skipped and self._has_news():
                return None  # it was deleted while we read, and levelled before we could know
            self._note_lost(key)
            if keep:
                self._keep(doc)
        return doc

    def _moment(self) -> tuple[object, int, int]:
        """What changes when operations are given up."""
        return self.journal, self.epoch, self._levels

    def load_locked(self, key: str) -> Document:
        """As ``load``, with the mutex held, after ``catch_up``; for a writer, which holds the commit lock."""
        doc = self._cached(key)
        if doc is None:
            doc = self.peek_locked(key)
            self._keep(doc)
        return doc

    def peek_locked(self, key: str) -> Document:
        """As ``peek``, with the mutex held, after ``catch_up``."""
        doc = self._cached(key)
        if doc is None:
            doc = self._replay(key, *self._read_stored(key))
            self._note_lost(key)
        return doc

    def _keep(self, doc: Document) -> None:
        # All of the backlog is in it now; when it was dropped, reading needs these places.
        if self._found:
            self.pending.setdefault(doc.key, []).extend(self._found)
        self.cache.put(doc)
        self._untouch(doc.key)

    def listen(self, listener: Listener) -> None:
        """Have ``listener`` called for every change from now on. Mutex held."""
        self.catch_up()
        self.settle()
        self.cache.listeners.append(listener)

    def _read_stored(self, key: str) -> tuple[Document | None, StoreError | None]:
        try:
            return self._files.read(key), None
        except CorruptFile as exc:
            return None, exc

    def _note_lost(self, key: str) -> None:
        """Remember, and say once, that operations of a session could not be applied."""
        if not self._skipped:
            self.lost.pop(key, None)
            return
        if key not in self.lost:
            _log.error("%s: commits to session %r are missing before others", self._directory.path, key)
        self.lost[key] = self._skipped

    def _has_news(self) -> bool:
        before = self.version
        self.catch_up()
        return self.version != before

    def _replay(self, key: str, stored: Document | None, problem: StoreError | None) -> Document:
        """The session file's document with the journal's newer operations applied."""
        # Own commits may be noted twice, once more with the backlog; the version rule skips them.
        lines = self._in_backlog(key)
        self._found = list(lines)
        places = {*self.pending.get(key, ()), *lines}
        doc, known, self._skipped = self._replayed(key, stored, places, lines)
        if self._skipped and self.journal is not None:
            # A file older than the state file says, put back by hand perhaps: the journal may still have it all.
            lines = self._in_lines(key, self.journal.start)
            doc, known, self._skipped = self._replayed(key, stored, {*places, *lines}, lines)
        if problem is not None and not known:
            raise problem
        return doc

    def _replayed(
        self, key: str, stored: Document | None, places: Iterable[Position], lines: Mapping[Position, bytes]
    ) -> tuple[Document, bool, list[Position]]:
        """The document with these operations applied, whether it is known, and what could not be applied.

        ``lines`` are those that were read already.
        """
        doc = stored if stored is not None else missing_document(key)
        known = doc.fields is not None
        skipped: list[Position] = []
        for place in sorted(places):
            version, offset, length = place
            if version <= doc.latest:
                continue
            assert self.journal is not None
            text = lines.get(place) or self._fs.pread(self.journal.fd, length, offset)
            line = self._parse(self.journal, text, offset)
            for operation in self._operations(line, offset):
                if operation.key != key:
                    continue
                if not self._follows(doc, operation):
                    skipped.append(place)
                    continue
                if type(operation) in (Put, Delete):
                    # A deleted session's file is gone, and with it the version that would have
                    # told these patches, of before it was deleted, from news.
                    skipped.clear()
                    known = True
                doc = apply_operation(doc, operation, version)
        return doc, known, skipped

    def _operations(self, line: Line | None, offset: int) -> list[Operation]:
        if line is None or self.journal is None:
            return []
        try:
            return line.operations()
        except DamagedLine as exc:
            self.damaged[(self.journal.generation, offset)] = str(exc)
            return []

    def applied(self, version: int, operations: Iterable[Operation], place: Position) -> None:
        """Take over a commit of our own that was appended at ``end``. Mutex held."""
        cache, pending = self.cache, self.pending
        behind = self.backlog_from < self.end
        for operation in operations:
            key = operation.key
            doc = self._cached(key)
            if doc is not None:
                cache.put(apply_operation(doc, operation, version))
            else:  # dropped meanwhile; the journal has it
                cache.tell(key)
            if key in pending:
                pending[key].append(place)
            else:
                pending[key] = [place]
            self.dirty[key] = version
        self.version = version
        self.end = place[1] + place[2]
        if not behind:
            self.backlog_from = self.end
        self.torn = False

    def levelled(self, versions: dict[str, int]) -> None:
        """Session files were brought up to these versions. Mutex held."""
        self._levels += 1
        for key, version in versions.items():
            if self.dirty.get(key, 0) <= version:
                self.dirty.pop(key, None)
            left = [place for place in self.pending.get(key, ()) if place[0] > version]
            if left:
                self.pending[key] = left
            else:
                self.pending.pop(key, None)

    def header(self) -> Header | None:
        """The current journal's header."""
        return self.journal.header if self.journal is not None else None
