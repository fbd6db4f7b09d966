"""Following the journal: what other processes committed, taken in at little cost.

One read of the journal at the last known end tells whether anything changed. What other
processes committed is not parsed when it is seen: it joins the *backlog*, of which only
the session keys are noted. When somebody asks for one of these sessions, its lines are
looked up in the backlog; what a checkpoint has brought into the session files meanwhile is
never looked at. So a writer pays little for what the others do. A line that names the
next journal is followed at once.

``View`` builds on this and adds the documents.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from msgspec import Raw

from sessiondir import codec, journal, layout, pieces
from sessiondir.cache import DocumentCache
from sessiondir.commitline import DamagedLine, Line
from sessiondir.directory import StoreDirectory
from sessiondir.document import Document, apply_operation, patch_document
from sessiondir.entries import SessionFiles
from sessiondir.errors import FormatTooNew, StoreError, storage_error
from sessiondir.journal import PEEK_BYTES, JournalFile, key_text
from sessiondir.operations import Operation, Patch
from sessiondir.state import State, read_state

_log = logging.getLogger("sessiondir")

Position = tuple[int, int, int]
"""Where a session's operation stands in the journal: (version, offset, length)."""

_JUMPS = 20
_BACKLOG_BYTES = 8 << 20
SLICE_BYTES = 1 << 14
"""So much of a backlog is noted in less than a millisecond."""


class JournalFollower:
    """How far this process has followed a store's journal; ``mutex`` guards all of it.

    Args:
        directory: the store's descriptors.
        files: its session files.
        base: version of the session files when there is no journal.
        cache_bytes: how much to keep at hand.
    """

    def __init__(self, directory: StoreDirectory, files: SessionFiles, base: int, cache_bytes: int) -> None:
        self._directory = directory
        self._fs = directory.fs
        self._files = files
        self.mutex = threading.Lock()
        self.version = base
        self.journal: JournalFile | None = None
        self.predecessor: JournalFile | None = None
        """The journal that named this one, until its last line is known to be durable."""
        self.end = 0
        self.torn = False
        self.finished = False
        """The journal names a successor that is not there; reads go on, writes must not."""
        self.writable = False
        self.without_journal: Callable[[], None] | None = None
        """Looks whether a store without a journal has changed."""
        self.cache = DocumentCache(cache_bytes)
        self.backlog_from = 0
        self._touched: dict[bytes, int] = {}
        """Sessions that the backlog changes (as ``key_text``), and from where on to look for it."""
        self.pending: dict[str, list[Position]] = {}
        self.dirty: dict[str, int] = {}
        self.lost: dict[str, list[Position]] = {}
        self._skipped: list[Position] = []
        """What the last replay could not apply."""
        self._found: list[Position] = []
        """What the last replay found in the backlog."""
        self.damaged: dict[tuple[int, int], str] = {}
        self.epoch = 0
        """Counts the times that everything cached had to be forgotten."""
        self._levels = 0
        """Counts the times that operations were given up because the session files have them."""

    # -- following the journal ------------------------------------------------------------

    def start(self, file: JournalFile) -> None:
        """Begin with ``file``; call with the mutex held or before sharing the view."""
        self._enter(file)
        self.catch_up()

    def catch_up(self) -> None:
        """Take in what was committed since the last call. Mutex held. Cost: one system call if nothing was."""
        file = self.journal
        try:
            if file is None:
                if self.without_journal is not None:
                    self.without_journal()
                return
            data = self._fs.pread(file.fd, PEEK_BYTES, self.end)
            if data and data[0]:
                self._advance(file, data)
        except OSError as exc:
            if isinstance(exc, StoreError):
                raise
            raise storage_error(exc, file.path if file is not None else self._directory.path, "read") from exc

    def catch_up_if_little(self) -> bool:
        """As ``catch_up`` where that takes microseconds; else False, and nothing was taken in. Mutex held."""
        file = self.journal
        if file is None:
            return False
        try:
            data = self._fs.pread(file.fd, PEEK_BYTES, self.end)
        except OSError:
            return False  # the thorough way tells of it
        if not data or not data[0]:
            return True
        much = len(data) == PEEK_BYTES and b"\0" not in data
        if much or b',"next":"' in data or self.end + PEEK_BYTES - self.backlog_from > _BACKLOG_BYTES:
            return False
        self._advance(file, data)
        return True

    def version_at_hand(self) -> int | None:
        """The store's version if that takes microseconds and waits for nothing. Mutex *not* held."""
        if not self.mutex.acquire(False):
            return None
        try:
            return self.version if self.catch_up_if_little() else None
        finally:
            self.mutex.release()

    def _advance(self, file: JournalFile, data: bytes) -> None:
        while True:
            text, self.torn = journal.read_text(self._fs, file.fd, self.end, data)
            if not text:
                return
            version = journal.last_version(text)
            following = journal.names_next(text) if version is None else None
            if following is None:
                if version is None or not self._defer(text, version):
                    self.settle()
                    self._apply_text(file, text, self.end)
                return
            # Every commit of a finished journal is in the session files or in the next journal,
            # so nobody needs these lines but a listener, who wants to hear of all.
            if self.cache.listeners:
                self.settle()
                cut = text.rfind(b"\n", 0, -1) + 1
                self._apply_text(file, text[:cut], self.end)
                text = text[cut:]  # the end stays before the line that names the next until that was opened
            self._touch(text)
            successor = self._follow(following, file)
            if successor is None:
                self.finished = True
                self.end += len(text)
                self.settle()
                return
            file = successor
            data = self._fs.pread(file.fd, PEEK_BYTES, self.end)

    def _defer(self, text: bytes, version: int) -> bool:
        """Add whole lines, up to ``version``, to the backlog; False if they have to be parsed now."""
        if self.cache.listeners or version < self.version:
            return False
        self._touch(text)
        self.end += len(text)
        self.version = version
        if self.end - self.backlog_from > _BACKLOG_BYTES:
            self._shorten_backlog()
        return True

    def _touch(self, text: bytes) -> None:
        touched = self._touched
        for key in journal.keys_in(text):
            if key not in touched:
                touched[key] = self.end

    def _shorten_backlog(self) -> None:
        try:
            state = read_state(self._directory)
        except StoreError:
            state = None  # whoever writes next finds out
        if state is not None:
            self.skip_levelled(state)
        # No more than the excess: all of it takes most of a second, perhaps under the commit lock.
        while self.end - self.backlog_from > _BACKLOG_BYTES and self.settle_some():
            pass

    def skip_levelled(self, state: State) -> None:
        """Give up what the session files have according to ``state``, read just now. Mutex held.

        In a copy of a live store the state file may be younger than the session files; there
        the journal has another inode, and nothing is given up.
        """
        file = self.journal
        if file is None or state.journal != file.name or state.inode != file.inode:
            return
        self.dirty = {key: version for key, version in self.dirty.items() if version > state.version}
        if self.backlog_from < state.position <= self.end:
            self._drop_touched()
            self._drop_levelled(state.position)
            self.backlog_from = state.position
            self._levels += 1

    def _drop_levelled(self, position: int) -> None:
        """Forget the noted places before ``position``, where a part of the backlog is given up.

        What the backlog has done to a session since would be missing between them: where its
        file is gone, with the deletion or the last message, they would bring it back.
        """
        for key, places in list(self.pending.items()):
            left = [place for place in places if place[1] >= position]
            if left:
                self.pending[key] = left
            else:
                del self.pending[key]

    def _drop_touched(self) -> None:
        """Forget the cached documents that the backlog changes."""
        for key in self.cache:
            if key_text(key) in self._touched:
                self.cache.drop(key)

    def settle(self) -> None:
        """Note what the whole backlog changes. Mutex held. Cost: some microseconds a line."""
        while self.settle_some():
            pass
        self._touched.clear()

    def settle_some(self, slice_bytes: int = SLICE_BYTES) -> bool:
        """As ``settle``, for about so much of the backlog; whether more is left."""
        start = self.backlog_from
        if start >= self.end or self.journal is None:
            return False
        size = slice_bytes
        while True:
            text = journal.read_range(self._fs, self.journal.fd, start, min(self.end, start + size))
            cut = text.rfind(b"\n") + 1
            if cut or start + size >= self.end:
                break
            size *= 4  # one line longer than a slice
        cut = cut or len(text)
        self._apply_text(self.journal, pieces.part_of(text, 0, cut), start)
        return self.backlog_from < self.end

    def _in_backlog(self, key: str) -> dict[Position, bytes]:
        """Where the backlog changes a session, or seems to, with the lines that stand there."""
        return self._in_lines(key, max(self._touched.get(key_text(key), self.end), self.backlog_from))

    def _in_lines(self, key: str, start: int) -> dict[Position, bytes]:
        """Where the journal changes a session from ``start`` on, or seems to, with the lines that stand there."""
        if start >= self.end or self.journal is None:
            return {}
        data = journal.read_range(self._fs, self.journal.fd, start, self.end)
        return {
            (journal.last_version(line) or self.version, start + at, len(line)): line
            for at, line in journal.lines_with(data, key_text(key))
        }

    def _note(self, key: str) -> list[Line]:
        """Copy a session's places from the backlog to ``pending``; the lines that stand there."""
        text = key_text(key)
        start = max(self._touched.get(text, self.end), self.backlog_from)
        file = self.journal
        places, lines = [], []
        if start < self.end and file is not None:
            data = journal.read_range(self._fs, file.fd, start, self.end)
            for at, part in journal.lines_with(data, text):
                line = self._parse(file, part, start + at)
                if line is not None:
                    places.append((line.version, start + at, len(part)))
                    lines.append(line)
        # Own commits may get noted twice; replay looks at each place once.
        if places:
            self.pending.setdefault(key, []).extend(places)
        return lines

    def _untouch(self, key: str) -> None:
        """Take a session off the backlog, once its places are noted and its cached document is current."""
        if b"\\" not in key_text(key):  # else other sessions may share the text
            self._touched.pop(key_text(key), None)

    def _cached(self, key: str) -> Document | None:
        """The cached document, with what the backlog has of it."""
        doc = self.cache.get(key)
        if doc is None or not self._touched or key_text(key) not in self._touched:
            return doc
        self._bring_up(doc, self._note(key))
        self._untouch(key)
        return self.cache.get(key)

    def _bring_up(self, doc: Document, lines: list[Line]) -> None:
        """Apply lines to a cached document; patches that follow each other are applied as one."""
        run: dict[str, Raw] = {}
        version, latest = doc.version, doc.latest
        try:
            for line in lines:
                if line.version <= latest:
                    continue
                latest = line.version
                set_ = line.plain_patch(doc.key, version) if doc.fields is not None else None
                if set_ is not None:
                    run.update(set_)
                    version = latest
                else:
                    doc = self._with_line(_patched(doc, version, run), line)
                    run, version = {}, doc.version
            doc = _patched(doc, version, run)
        except (DamagedLine, FormatTooNew):
            # Whoever asks for this session is told; the others must not suffer.
            self.cache.drop(doc.key)
        else:
            self.cache.put(doc)

    def _with_line(self, doc: Document, line: Line) -> Document:
        """A document with what a line does to it."""
        for operation in line.operations():
            if operation.key == doc.key and self._follows(doc, operation):
                doc = apply_operation(doc, operation, line.version)
        return doc

    def _apply_text(self, file: JournalFile, text: bytes, offset: int) -> None:
        """Apply whole lines that stand at ``offset``."""
        note = self._note_line
        for data in journal.lines(text):
            length = len(data)
            if not note(data, offset, length):
                line = self._parse(file, data, offset)
                if line is not None:
                    self._apply_line(line, offset, length)
            offset += length
        self.end = max(self.end, offset)
        self.backlog_from = offset

    def _note_line(self, data: bytes, offset: int, length: int) -> bool:
        """Note where a line's operations stand without parsing it; False if that is not enough.

        The pattern may take a value for a key; replay then finds nothing to do there.
        """
        version = journal.last_version(data)
        if version is None or b"\\" in data or self.cache.listeners:
            return False
        keys = [text.decode() for text in journal.keys_in(data)]
        get = self.cache.get
        for key in keys:
            doc = get(key)
            if doc is not None and doc.latest < version:
                return False  # it has to be applied
        place = (version, offset, length)
        for key in keys:
            self.pending.setdefault(key, []).append(place)
            self.dirty[key] = max(version, self.dirty.get(key, 0))
        self.version = max(self.version, version)
        return True

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
            _log.error("%s: damaged line at byte %d (%s); later commits are used", file.path, offset, str(exc))
            return None

    def _apply_line(self, line: Line, offset: int, length: int) -> None:
        version = line.version
        place = (version, offset, length)
        cache = self.cache
        for key in {op.key for op in line.ops} if len(line.ops) != 1 else (line.ops[0].key,):
            self.pending.setdefault(key, []).append(place)
            self.dirty[key] = max(version, self.dirty.get(key, 0))
            doc = cache.get(key)
            if doc is None:
                cache.tell(key)
            elif doc.latest < version:
                self._bring_up(doc, [line])
        self.version = max(self.version, version)

    def _follow(self, name: str, finished: JournalFile) -> JournalFile | None:
        try:
            file = JournalFile(self._directory, name, writable=self.writable)
        except FileNotFoundError:
            return self._jump(finished)
        # A power cut may take the line that led here, and with it whatever is committed there.
        self.predecessor = finished
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
        # First: an exception in the middle must not leave a journal entered below its base.
        self.version = max(self.version, header.base)
        self._drop_touched()
        self._touched.clear()
        self.journal, self.end, self.torn = file, file.start, False
        self.backlog_from = self.end
        self.pending = {}
        self.lost = {}
        self.dirty = {key: version for key, version in self.dirty.items() if version > header.base}

    def forget(self) -> None:
        """Drop every cached document. Mutex held."""
        self.cache.clear()
        self.epoch += 1

    def make_writable(self) -> None:
        """Reopen the journal for writing. Mutex held."""
        if self.writable:
            return
        old = self.journal
        if old is not None:
            try:
                self.journal = JournalFile(self._directory, old.name, writable=True, assumed=old.header)
            except FileNotFoundError:
                self.writable = True  # it was finished meanwhile: the next one is opened for writing
                self.catch_up()
        self.writable = True

    def _follows(self, doc: Document, operation: Operation) -> bool:
        """Whether an operation can be applied: a patch needs the version that it was computed from.

        In a copy of a live store commits may be missing between a session file and the journal;
        patching over the gap would make a session that never was. Beside a damaged line the
        later ones count.
        """
        if type(operation) is not Patch:
            return True
        if doc.fields is None:
            return False
        if operation.base in (None, doc.version) or self.damaged:
            return True
        # A file of another program carries no version: what it counts as is settled by the state file.
        return doc.version <= self._files.default_version


def _patched(doc: Document, version: int, run: dict[str, Raw]) -> Document:
    """``doc`` with a run of patches up to ``version``."""
    if not run:
        return doc
    try:
        return patch_document(doc, version, codec.fields_from_raw(run), ())
    except codec.DecodeError as exc:
        raise DamagedLine(str(exc)) from exc
