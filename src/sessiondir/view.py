"""What this process knows of a store: the journal applied up to some point, and cached documents.

One read of the journal at the last known end tells whether anything changed; new lines
are applied, a line that names the next journal is followed. A document that is not
cached is its session file plus the operations newer than it in the journal.

All threads of a process share one view. ``mutex`` guards it; no file lock is ever taken
to read, and no session file is read while the mutex is held, except by a writer that
holds the commit lock.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable

from sessiondir import journal, layout
from sessiondir.directory import StoreDirectory
from sessiondir.entries import SessionFiles
from sessiondir.errors import CorruptFile, FormatTooNew, StoreError, storage_error
from sessiondir.journal import PEEK_BYTES, DamagedLine, Header, JournalFile, Line
from sessiondir.model import (
    Change,
    Delete,
    Document,
    Operation,
    Patch,
    Put,
    apply_operation,
    missing_document,
)
from sessiondir.state import read_state

_log = logging.getLogger("sessiondir")

Position = tuple[int, int, int]
"""Where a session's operation stands in the journal: (version, offset, length)."""

_JUMPS = 20
_DOCUMENT_OVERHEAD = 600
"""Rough bytes of a cached document beyond its JSON."""

Listener = Callable[[str, Document | None], None]
"""Called with a key and its new document, or None when that is not at hand. Mutex held."""


class View:
    """The state of a store as seen by this process.

    Args:
        directory: the store's descriptors.
        files: its session files.
        base: version of the session files when there is no journal.
        cache_bytes: how much JSON to keep.
    """

    def __init__(self, directory: StoreDirectory, files: SessionFiles, base: int, cache_bytes: int) -> None:
        self._directory = directory
        self._fs = directory.fs
        self._files = files
        self._cache_bytes = cache_bytes
        self._used_bytes = 0
        self.mutex = threading.Lock()
        self.version = base
        self.journal: JournalFile | None = None
        self.end = 0
        self.torn = False
        self.finished = False
        """The journal names a successor that is not there; reads go on, writes must not."""
        self.writable = False
        self.without_journal: Callable[[], None] | None = None
        """Looks whether a store without a journal has changed."""
        self.documents: dict[str, Document] = {}
        self.pending: dict[str, list[Position]] = {}
        self.dirty: dict[str, int] = {}
        self.lost: dict[str, list[Position]] = {}
        self.damaged: dict[tuple[int, int], str] = {}
        self.listeners: list[Listener] = []
        self.epoch = 0
        """Counts the times that everything cached had to be forgotten."""

    # -- following the journal ------------------------------------------------------------

    def start(self, file: JournalFile) -> None:
        """Begin with ``file``; call with the mutex held or before sharing the view."""
        self._enter(file)
        self.catch_up()

    def catch_up(self) -> None:
        """Apply what was committed since the last call. Mutex held. Cost: one system call if nothing was."""
        file = self.journal
        if file is None:
            if self.without_journal is not None:
                self.without_journal()
            return
        data = self._fs.pread(file.fd, PEEK_BYTES, self.end)
        if data and data[0]:
            self._advance(file, data)

    def _advance(self, file: JournalFile, data: bytes) -> None:
        while True:
            following = self._apply_lines(file, data)
            if following is None:
                return
            successor = self._follow(following, file)
            if successor is None:
                self.finished = True
                return
            file = successor
            data = self._fs.pread(file.fd, PEEK_BYTES, self.end)

    def _apply_lines(self, file: JournalFile, data: bytes) -> str | None:
        """Apply the lines at the end; the name of the next journal if this one is finished."""
        lines, rest = journal.read_lines(self._fs, file.fd, self.end, data)
        self.torn = bool(rest)
        for text in lines:
            offset = self.end
            line = self._parse(file, text, offset)
            self.end = offset + len(text)
            if line is None:
                continue
            if line.next is not None:
                return line.next
            self._apply_line(line, offset, len(text))
        return None

    def _parse(self, file: JournalFile, text: bytes, offset: int) -> Line | None:
        try:
            return journal.parse_line(text)
        except DamagedLine as exc:
            # The read may have raced with a writer that was cutting a torn tail: look again.
            again = self._fs.pread(file.fd, len(text), offset)
            if again != text:
                try:
                    return journal.parse_line(again)
                except DamagedLine:
                    pass
            self.damaged[(file.generation, offset)] = str(exc)
            _log.error("%s: damaged line at byte %d (%s); later commits are used", file.path, offset, exc)
            return None

    def _apply_line(self, line: Line, offset: int, length: int) -> None:
        version = line.version
        fresh = version > self.version
        place = (version, offset, length)
        for key in {op.key for op in line.ops}:
            self.pending.setdefault(key, []).append(place)
            self.dirty[key] = version
            doc = self.documents.get(key)
            if doc is not None and doc.version < version:
                self._apply_to_cached(doc, line)
            elif fresh and doc is None:
                for listener in self.listeners:
                    listener(key, None)
        if fresh:
            self.version = version

    def _apply_to_cached(self, doc: Document, line: Line) -> None:
        try:
            for operation in line.operations():
                if operation.key == doc.key:
                    doc = apply_operation(doc, operation, line.version)
        except (DamagedLine, FormatTooNew):
            # Whoever asks for this session is told; the others must not suffer.
            del self.documents[doc.key]
            self._used_bytes -= doc.weight + _DOCUMENT_OVERHEAD
        else:
            self._replace(doc)

    def _follow(self, name: str, finished: JournalFile) -> JournalFile | None:
        try:
            file = JournalFile(self._directory, name, writable=self.writable)
        except FileNotFoundError:
            return self._jump(finished)
        self._enter(file)
        return file

    def _jump(self, finished: JournalFile) -> JournalFile | None:
        """Several journals were finished while we slept: go on from the state file, remembering nothing.

        None when there is no later journal, as in a copy that was taken at a bad moment.
        """
        for _ in range(_JUMPS):
            state = read_state(self._directory)
            if state is None or state.journal is None:
                return None
            if (layout.journal_generation(state.journal) or 0) <= finished.generation:
                return None
            try:
                file = JournalFile(self._directory, state.journal, writable=self.writable)
            except FileNotFoundError:
                continue  # finished and removed since we read the state file
            self.forget()
            self._enter(file)
            return file
        return None

    def _enter(self, file: JournalFile) -> None:
        """Go on with ``file``; whatever its base covers is in the session files."""
        header = file.header
        self.journal, self.end, self.torn = file, file.start, False
        self.pending = {}
        self.dirty = {key: version for key, version in self.dirty.items() if version > header.base}
        self.version = max(self.version, header.base)

    def forget(self) -> None:
        """Drop every cached document. Mutex held."""
        self.documents.clear()
        self._used_bytes = 0
        self.epoch += 1

    def make_writable(self) -> None:
        """Reopen the journal for writing. Mutex held."""
        if self.writable:
            return
        self.writable = True
        if self.journal is not None:
            try:
                old = self.journal
                file = JournalFile(self._directory, old.name, writable=True, assumed=old.header)
            except FileNotFoundError:
                self.catch_up()
                return
            self.journal = file

    # -- documents ------------------------------------------------------------------------

    def load(self, key: str) -> Document:
        """The document of ``key``, current when the call began; ``fields`` is None if there is none.

        Mutex *not* held. Raises ``CorruptFile`` or ``UnreadableFile``.
        Cost: cached, one system call; else the reading of one session file.
        """
        with self.mutex:
            self.catch_up()
            doc = self.documents.get(key)
        if doc is not None:
            doc.recent = True
            return doc
        return self._read(key, keep=True)

    def peek(self, key: str) -> Document:
        """As ``load``, but leaves the cache alone: for reading many sessions once."""
        return self._read(key, keep=False)

    def _read(self, key: str, *, keep: bool) -> Document:
        while True:
            with self.mutex:
                self.catch_up()
                doc = self.documents.get(key)
                if doc is not None:
                    return doc
                moment = (self.journal, self.epoch)
            stored, problem = self._read_stored(key)
            with self.mutex:
                if (self.journal, self.epoch) != moment:
                    continue  # the file may belong to an older journal than ours now is
                doc = self.documents.get(key)
                if doc is None:
                    doc = self._replay(key, stored, problem)
                    if keep:
                        self._replace(doc)
                return doc

    def load_locked(self, key: str) -> Document:
        """As ``load``, with the mutex held; for a writer, which holds the commit lock too."""
        doc = self.documents.get(key)
        if doc is None:
            doc = self.peek_locked(key)
            self._replace(doc)
        return doc

    def peek_locked(self, key: str) -> Document:
        """As ``peek``, with the mutex held."""
        doc = self.documents.get(key)
        return doc if doc is not None else self._replay(key, *self._read_stored(key))

    def _read_stored(self, key: str) -> tuple[Document | None, StoreError | None]:
        try:
            return self._files.read(key), None
        except CorruptFile as exc:
            return None, exc
        except OSError as exc:
            if isinstance(exc, StoreError):
                raise
            raise storage_error(exc, self._directory.path, "read") from exc

    def _replay(self, key: str, stored: Document | None, problem: StoreError | None) -> Document:
        """The session file's document with the journal's newer operations applied."""
        doc = stored if stored is not None else missing_document(key)
        known = doc.fields is not None
        skipped: list[Position] = []
        for place in self.pending.get(key, ()):
            version, offset, length = place
            if version <= doc.version:
                continue
            assert self.journal is not None
            line = self._parse(self.journal, self._fs.pread(self.journal.fd, length, offset), offset)
            for operation in line.operations() if line is not None else ():
                if operation.key != key:
                    continue
                if type(operation) is Patch and doc.fields is None:
                    skipped.append(place)
                    continue
                known = True
                doc = apply_operation(doc, operation, version)
        if problem is not None and not known:
            raise problem
        if skipped and doc.fields is None and doc.version == 0:
            if key not in self.lost:
                _log.error("%s: the journal changes session %r, whose file is missing", self._directory.path, key)
            self.lost[key] = skipped
        return doc

    def _replace(self, doc: Document) -> None:
        old = self.documents.get(doc.key)
        self.documents[doc.key] = doc
        self._used_bytes += doc.weight - old.weight if old is not None else doc.weight + _DOCUMENT_OVERHEAD
        for listener in self.listeners:
            listener(doc.key, doc)
        if self._used_bytes > self._cache_bytes:
            self._evict(doc.key)

    def _evict(self, keep: str) -> None:
        """Drop documents until three quarters of the budget are used; a used one gets a second chance."""
        aim = self._cache_bytes * 3 // 4
        for _ in range(2 * len(self.documents)):
            if self._used_bytes <= aim:
                return
            key = next(iter(self.documents))
            doc = self.documents.pop(key)
            if doc.recent or key == keep:
                doc.recent = False
                self.documents[key] = doc
                if len(self.documents) == 1:
                    return
            else:
                self._used_bytes -= doc.weight + _DOCUMENT_OVERHEAD

    def applied(self, version: int, operations: Iterable[Operation], place: Position) -> None:
        """Take over a commit of our own that was just appended. Mutex and commit lock held."""
        for operation in operations:
            key = operation.key
            doc = self.documents.get(key)
            if doc is not None:
                self._replace(apply_operation(doc, operation, version))
            else:  # dropped from the cache meanwhile; the journal has it
                for listener in self.listeners:
                    listener(key, None)
            self.pending.setdefault(key, []).append(place)
            self.dirty[key] = version
        self.version = version
        self.end = place[1] + place[2]
        self.torn = False

    def levelled(self, versions: dict[str, int]) -> None:
        """Session files were brought up to these versions. Mutex held."""
        for key, version in versions.items():
            if self.dirty.get(key, 0) <= version:
                self.dirty.pop(key, None)
            places = self.pending.get(key)
            if places and places[-1][0] <= version:
                del self.pending[key]

    def header(self) -> Header | None:
        """The current journal's header."""
        return self.journal.header if self.journal is not None else None


def changes_of(line: Line) -> list[Change]:
    """What a commit did, for ``changes`` and ``watch``."""
    found = []
    for operation in line.operations():
        if type(operation) is Patch:
            names = (*operation.set, *operation.unset)
            found.append(Change(line.version, operation.key, "patch", names, line.at_ms))
        elif type(operation) is Put:
            found.append(Change(line.version, operation.key, "put", tuple(operation.fields), line.at_ms))
        elif type(operation) is Delete:
            found.append(Change(line.version, operation.key, "delete", (), line.at_ms))
    return found
