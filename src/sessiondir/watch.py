"""What changed: reading the journal from a given version on."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sessiondir import journal
from sessiondir.aside import Ack, LeaseChange, Post
from sessiondir.clock import Clock
from sessiondir.commit import Moved
from sessiondir.commitline import DamagedLine, Line
from sessiondir.core import Core
from sessiondir.errors import ChangesUnavailable, StoreNotFound, translated
from sessiondir.journal import PEEK_BYTES, JournalFile
from sessiondir.model import Change, ChangeKind
from sessiondir.operations import Delete, Patch, Put
from sessiondir.terms import wait_s

POLL_S = 0.02
"""How often a watcher looks: one system call each time, so fifty calls a second."""


_KINDS: dict[type[object], ChangeKind] = {Delete: "delete", LeaseChange: "lease", Post: "post", Ack: "ack"}


def changes_of(line: Line) -> list[Change]:
    """What a commit did."""
    found = []
    for operation in line.operations():
        if type(operation) is Patch:
            names = (*operation.set, *operation.unset)
            found.append(Change(line.version, operation.key, "patch", names, line.at_ms))
        elif type(operation) is Put:
            found.append(Change(line.version, operation.key, "put", tuple(operation.fields), line.at_ms))
        else:
            kind = _KINDS.get(type(operation), "take")
            found.append(Change(line.version, operation.key, kind, (), line.at_ms))
    return found


class ChangeReader:
    """Reads the commits above ``since`` and goes on as they come. Holds no lock.

    Raises ``ChangesUnavailable`` when the journal no longer reaches back that far.
    """

    def __init__(self, core: Core, since: int | None) -> None:
        self._core = core
        self._fs = core.fs
        self.path = core.directory.path
        view = core.view
        with view.mutex:
            view.catch_up()
            self.version = view.version if since is None else since
            file = view.journal
            end = view.end
            latest = view.version
        self._file: JournalFile | None = None
        if file is not None:
            self._file = JournalFile(core.directory, file.name, writable=False, assumed=file.header)
            base = file.header.base
            self._at = end if self.version >= latest else file.start
        else:
            base, self._at = latest, 0
        if self.version < base:
            self.close()
            raise self._unavailable(self.version, base)

    def _unavailable(self, since: int, oldest: int) -> ChangesUnavailable:
        return ChangesUnavailable(
            f"the journal begins at version {oldest}, changes since {since} are no longer in it; "
            "take a snapshot() and go on from its version",
            since=since,
            oldest=oldest,
        )

    def has_news(self) -> bool:
        """Whether ``read`` may find something; one system call."""
        if self._file is None:
            return True
        with translated(self.path, "read"):
            return self._fs.pread(self._file.fd, 1, self._at).strip(b"\0") != b""

    def read(self) -> list[Change]:
        """The changes committed since the last call, oldest first."""
        if self._file is None and not self._begin():
            return []
        found: list[Change] = []
        while (following := self._read_lines(found)) is not None:
            try:
                successor = JournalFile(self._core.directory, following, writable=False)
            except FileNotFoundError:
                with self._core.view.mutex:
                    self._core.view.catch_up()
                    current = self._core.view.journal
                    finished = self._core.view.finished
                if current is None or finished:
                    raise StoreNotFound(
                        f"{self._core.directory.path}: the journal ended and no other follows: the store was "
                        "rolled back or moved; open it again",
                        path=self._core.directory.path,
                    ) from None
                if current.header.base > self.version:
                    raise self._unavailable(self.version, current.header.base) from None
                successor = JournalFile(self._core.directory, current.name, writable=False)
            self.close()
            self._file, self._at = successor, successor.start
        return found

    def _begin(self) -> bool:
        """A store that had no journal may have got one."""
        with self._core.view.mutex:
            self._core.view.catch_up()
            file = self._core.view.journal
        if file is None:
            return False
        self._file = JournalFile(self._core.directory, file.name, writable=False, assumed=file.header)
        self._at = self._file.start
        return True

    def _read_lines(self, found: list[Change]) -> str | None:
        file = self._file
        assert file is not None
        data = self._fs.pread(file.fd, PEEK_BYTES, self._at)
        if not data or not data[0]:
            return None
        whole, _ = journal.read_text(self._fs, file.fd, self._at, data)
        for text in journal.lines(whole):
            self._at += len(text)
            try:
                line = journal.parse_line(text)
                if line.next is not None:
                    return line.next
                if line.version > self.version:
                    found += changes_of(line)
                    self.version = line.version
            except DamagedLine:
                continue  # check() reports it, and the view has logged it
        return None

    def close(self) -> None:
        """Close the descriptor."""
        if self._file is not None:
            self._file.close()


class Quiet:
    """Tells when nothing has happened for ``timeout`` seconds; None: never. Raises ``InvalidOption``."""

    def __init__(self, clock: Clock, timeout: float | None) -> None:
        self._clock = clock
        self._timeout_s = wait_s(timeout) if timeout is not None else None
        self.start()

    def start(self) -> None:
        """Count from now."""
        self._since = self._clock.monotonic()

    def is_over(self) -> bool:
        """Whether it has been quiet for long enough."""
        return self._timeout_s is not None and self._clock.monotonic() - self._since >= self._timeout_s


def follow(
    reader: ChangeReader,
    is_open: Callable[[], bool],
    clock: Clock,
    timeout: float | None,
    key: str | None = None,
) -> Iterator[Change]:
    """Yield changes (of one session: ``key``) until the store is closed or none came for ``timeout`` seconds."""
    quiet = Quiet(clock, timeout)
    try:
        while is_open():
            try:
                with translated(reader.path, "read"):
                    found = reader.read()
            except Exception:
                if not is_open():  # closed by another thread, in the middle of this
                    return
                raise
            if key is not None:
                found = [change for change in found if change.key == key]
            for change in found:
                yield change
                quiet.start()
            if not found:
                if quiet.is_over():
                    return
                clock.sleep(POLL_S)
    finally:
        reader.close()


def require_same_sessions(core: Core, since: int) -> None:
    """Raise ``Moved`` if a session was created or deleted after version ``since``. Commit lock held."""
    try:
        reader = ChangeReader(core, since)
    except ChangesUnavailable:
        raise Moved("", since, core.view.version) from None
    try:
        for change in reader.read():
            if change.kind in ("put", "delete"):
                raise Moved(change.key, 0, change.version)
    finally:
        reader.close()
