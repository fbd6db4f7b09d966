"""What maintenance has to know of every session: read once, then kept current by the journal.

All work is cut into steps (generators that yield every few hundred microseconds), so that
whoever runs them decides how long others have to wait.
"""

from __future__ import annotations

import bisect
import contextlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator

import msgspec

from sessiondir import journal, layout
from sessiondir.commitline import DamagedLine
from sessiondir.core import Core
from sessiondir.document import Document
from sessiondir.errors import CorruptFile, StoreError, UnreadableFile
from sessiondir.journal import PEEK_BYTES, JournalFile

Steps = Iterator[None]
"""Work in small pieces; each ``next`` does one."""

_NAMES_A_STEP = 64
_LAYOUT_BYTES = 14
"""What a member costs in a session file beyond its name and value, roughly."""


class SessionFacts(msgspec.Struct, frozen=True, gc=False):
    """What the rules look at.

    ``updated_at`` is epoch milliseconds, None if the entry has no number there; ``running`` is
    whether the entry says that a run is going on; ``pinned`` whether it says that it is pinned;
    ``leased`` whether there is a lease, which may be over by now; ``weight`` is roughly the bytes
    of its session file.
    """

    key: str
    version: int
    updated_at: int | float | None
    session_id: str | None
    session_file: str | None
    pinned: bool
    running: bool
    leased: bool
    weight: int

    @property
    def rank(self) -> tuple[float, str]:
        """What sessions are removed in the order of: the least recently updated first."""
        return (-math.inf if self.updated_at is None else self.updated_at, self.key)

    def transcripts(self) -> set[str]:
        """The names of files that may be the session's transcript."""
        found = {f"{self.session_id}.jsonl"} if self.session_id else set()
        if self.session_file:
            found.add(layout.js_trim(self.session_file).rpartition("/")[2])
        return found - {""}


def facts_of(doc: Document) -> SessionFacts:
    """The facts of one session's document."""
    fields = doc.fields or {}
    session_id, session_file = fields.get("sessionId"), fields.get("sessionFile")
    pinned_at = fields.get("pinnedAt")
    return SessionFacts(
        doc.key,
        doc.version,
        doc.updated_at(),
        session_id if isinstance(session_id, str) else None,
        session_file if isinstance(session_file, str) else None,
        fields.get("pinned") is True or (type(pinned_at) in (int, float) and bool(pinned_at)),
        fields.get("status") == "running",
        doc.aside is not None and doc.aside.lease is not None,
        doc.weight + _LAYOUT_BYTES * (len(fields) + 5),
    )


class Index:
    """The facts of all sessions of a store, in the order in which they may be removed."""

    def __init__(self, docs: Iterable[Document] = ()) -> None:
        self.facts: dict[str, SessionFacts] = {}
        self.order: list[tuple[float, str]] = []
        """The ranks of all sessions, ascending."""
        self.users: Counter[str] = Counter()
        """How many sessions refer to a session id (``id:...``) or a transcript's name (``file:...``)."""
        self.unreadable: dict[str, str] = {}
        """Sessions and session files that cannot be read, and why."""
        self.changed: set[str] = set()
        """Sessions that the last ``refresh`` found changed."""
        self.is_whole = True
        """Whether the last refresh came to its end, so that ``order`` has everything in order."""
        for doc in docs:
            self._note(doc, sort=False)
        self.order.sort()

    def refresh(self) -> Steps:
        """Take in what was committed since the last time; everything, the first time."""
        yield from ()

    def close(self) -> None:
        """Let go of what is open."""

    def _note(self, doc: Document, *, sort: bool) -> None:
        facts = facts_of(doc)
        self.facts[doc.key] = facts
        self.users.update(references(facts))
        if sort:
            bisect.insort(self.order, facts.rank)
        else:
            self.order.append(facts.rank)

    def _forget(self, key: str) -> None:
        self.unreadable.pop(key, None)
        old = self.facts.pop(key, None)
        if old is not None:
            self.users.subtract(references(old))
            del self.order[bisect.bisect_left(self.order, old.rank)]


class JournalIndex(Index):
    """An index that the journal of a store keeps current; close it after use."""

    def __init__(self, core: Core) -> None:
        super().__init__()
        self.core = core
        self.view = core.view
        self._following: _ChangedKeys | None = None
        self._epoch = -1
        self.is_whole = False

    def close(self) -> None:
        """Close the journal."""
        if self._following is not None:
            self._following.close()
            self._following = None

    def refresh(self) -> Steps:
        """As ``Index.refresh``. Cost: what changed since; the first time every session file is read."""
        self.changed.clear()
        with self.view.mutex:
            epoch = self.view.epoch
        usable = self.is_whole and self._following is not None and epoch == self._epoch
        self.is_whole = False
        if usable:
            yield from self._take_changes()
        if not usable or self._following is None or self._following.lost:
            yield from self._read_everything(epoch)
        self.is_whole = True

    def since_the_journal_began(self) -> set[str]:
        """Sessions changed since the current journal was begun, for a store that was not there before."""
        with self.view.mutex:
            header = self.view.header()
        base = header.base if header is not None else 0
        return {facts.key for facts in self.facts.values() if facts.version > base}

    def _take_changes(self) -> Steps:
        following = self._following
        assert following is not None
        keys: set[str] = set()
        for some in following.read():
            keys |= some
            yield
        if following.lost:
            return
        for key in keys:
            self._forget(key)
            self._read(key, sort=True)
            self.changed.add(key)
            yield

    def _read_everything(self, epoch: int) -> Steps:
        self.close()
        self._following = _ChangedKeys(self.core)
        self._epoch = epoch
        for kept in (self.facts, self.order, self.users, self.unreadable):
            kept.clear()
        yield from self._settle()
        with self.view.mutex:
            again = set(self.view.pending)
        names = self.core.files.all_names()
        yield
        for number, name in enumerate(names):
            key = layout.key_of_name(name)
            if key is None and layout.is_hashed_name(name):
                key = self._key_inside(name)
            if key is not None and key not in again and key not in self.facts:
                self._read(key, sort=False)
            if key is not None or number % _NAMES_A_STEP == 0:
                yield
        for key in again:
            self._read(key, sort=False)
            yield
        self.order.sort()
        yield
        yield from self._take_changes()

    def _settle(self) -> Steps:
        more = True
        while more:
            with self.view.mutex:
                self.view.catch_up()
                more = self.view.settle_some()
            yield

    def _key_inside(self, name: str) -> str | None:
        try:
            return self.core.files.read_name(name).key
        except FileNotFoundError:
            return None  # deleted since it was listed
        except (CorruptFile, UnreadableFile) as exc:
            self.unreadable[name] = _reason(exc)
            return None

    def _read(self, key: str, *, sort: bool) -> None:
        try:
            doc = self.view.peek(key)
        except (CorruptFile, UnreadableFile) as exc:
            self.unreadable[key] = _reason(exc)
        except UnicodeEncodeError:
            return  # text within an entry that looked like a session key
        else:
            if doc.fields is not None:
                self._note(doc, sort=sort)


def references(facts: SessionFacts) -> list[str]:
    """What a session refers to, as ``Index.users`` counts it."""
    found = [f"file:{name}" for name in facts.transcripts()]
    if facts.session_id:
        found.append(f"id:{facts.session_id}")
    return found


def _reason(exc: StoreError) -> str:
    return exc.reason if isinstance(exc, CorruptFile) else str(exc)


class _ChangedKeys:
    """Follows the journal for the keys alone; values are not parsed, and writers notice nothing."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.lost = False
        """A journal was missed; everything has to be read again."""
        with core.view.mutex:
            core.view.catch_up()
            file, self._at = core.view.journal, core.view.end
        self._file: JournalFile | None = None
        if file is not None:
            self._file = JournalFile(core.directory, file.name, writable=False, assumed=file.header)

    def close(self) -> None:
        """Close the journal."""
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):  # it was only read
                file.close()

    def read(self) -> Iterator[set[str]]:
        """The keys changed since the last call, in parts."""
        while True:
            file = self._file
            if file is None:
                with self._core.view.mutex:
                    self._core.view.catch_up()
                    # A store that had no journal has got one.
                    self.lost = self._core.view.journal is not None
                return
            data = self._core.fs.pread(file.fd, PEEK_BYTES, self._at)
            if not data or not data[0]:
                return
            text, _ = journal.read_text(self._core.fs, file.fd, self._at, data)
            if not text:
                return
            yield from self._parts(text)
            self._at += len(text)
            following = journal.names_next(text)
            if following is not None and not self._go_on(following):
                self.lost = True
                return

    def _go_on(self, name: str) -> bool:
        try:
            successor = JournalFile(self._core.directory, name, writable=False)
        except FileNotFoundError:
            return False
        self.close()
        self._file, self._at = successor, successor.start
        return True

    def _parts(self, text: bytes) -> Iterator[set[str]]:
        start = 0
        while start < len(text):
            end = text.find(b"\n", min(start + PEEK_BYTES, len(text) - 1)) + 1
            yield _keys(text[start:end])
            start = end


def _keys(text: bytes) -> set[str]:
    found = set()
    for raw in journal.keys_in(text):
        if raw.endswith(b"\\"):  # a key with a quote in it: only the whole line tells
            return _parsed_keys(text)
        try:
            found.add(msgspec.json.decode(b'"' + raw + b'"', type=str))
        except (msgspec.DecodeError, UnicodeDecodeError):
            return _parsed_keys(text)
    return found


def _parsed_keys(text: bytes) -> set[str]:
    found = set()
    for line in text.splitlines(keepends=True):
        try:
            found |= {operation.key for operation in journal.parse_line(line).operations()}
        except DamagedLine:
            continue  # check() reports it
    return found
