"""Session files: one readable JSON file a session, in ``entries/``.

    {"sessionKey": K, "version": V, "entry": {...}}

A session that has no entry, but a lease or messages that wait for it, has its file in
``waiting/`` under the same name, so that a program that knows only entries never meets it.
Members that this version does not know are kept. A file is never changed in place.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Sequence

from sessiondir import codec, durable, layout, pieces, quarantine, steps
from sessiondir.aside import encode_aside, parse_aside
from sessiondir.clock import Clock
from sessiondir.directory import StoreDirectory
from sessiondir.document import Document, missing_document, put_document
from sessiondir.errors import CorruptFile, StoreError
from sessiondir.model import HIGHEST_VERSION


def encode_document(doc: Document) -> bytes:
    """The bytes of a session file."""
    return codec.indent(
        b"{" + b",".join(codec.encode_text(name) + b":" + _text(value) for name, value in _members(doc)) + b"}"
    )


def document_parts(doc: Document) -> Iterable[bytes]:
    """The bytes of a session file; those of a large one are made piece by piece."""
    if doc.weight > steps.LARGE_BYTES:
        return codec.indented_parts(_members(doc))
    return (encode_document(doc),)


def _members(doc: Document) -> list[tuple[str, bytes | codec.Fields]]:
    members: list[tuple[str, bytes | codec.Fields]] = [
        ("sessionKey", codec.encode_text(doc.key)),
        ("version", b"%d" % doc.version),
    ]
    if doc.latest != doc.version:
        members.append(("latest", b"%d" % doc.latest))
    if doc.fields is not None:
        members.append(("entry", doc.fields))
    if doc.aside is not None:
        members += encode_aside(doc.aside)
    if doc.extra:
        members += doc.extra.items()
    return members


def _text(value: bytes | codec.Fields) -> bytes:
    return value if type(value) is bytes else codec.encode_fields(value)  # type: ignore[arg-type]


def parse_document(
    data: bytes, key: str | None, path: str, default_version: int, *, waiting: bool = False
) -> Document:
    """Parse a session file; ``key`` is what its name says, None for a hashed name.

    ``waiting``: it is one of a session without an entry. Raises ``CorruptFile`` with the reason.
    """
    reason = ""
    try:
        pieces.require_text(data)  # members that we keep unread must be text, too
        members = codec.split_object(data)
        found = codec.decode(members.pop("sessionKey", b"null"))
        raw_entry = members.pop("entry", b"null")
        version = codec.decode(members.pop("version", b"%d" % default_version))
        aside = None
        if "latest" in members or "inbox" in members or "lease" in members:
            latest = codec.decode(members.pop("latest", b"0"))
            if type(latest) is not int or latest > HIGHEST_VERSION:
                raise codec.DecodeError(f"latest is {latest!r:.80}")
            aside = parse_aside(members.pop("lease", None), members.pop("inbox", None), latest)
        if not isinstance(found, str):
            reason = "no sessionKey"
        elif key is not None and found != key:
            reason = f"holds session {found!r}"
        elif type(version) is not int or not 0 <= version <= HIGHEST_VERSION:
            reason = f"version is {version!r:.80}"
        elif waiting:
            if raw_entry == b"null":
                return missing_document(found, version, aside)
            reason = "holds an entry"
        else:
            fields = codec.decode_fields(raw_entry)
            # 0 stands for "no such session" wherever versions are compared.
            return put_document(found, max(version, 1), fields, members or None, aside)
    except (codec.DecodeError, UnicodeDecodeError) as exc:
        reason = _describe(data, exc)
    raise CorruptFile(f"{path}: {reason}; run: sessiondir check", path=path, reason=reason)


def _describe(data: bytes, exc: Exception) -> str:
    if not data:
        return "empty file"
    if not data.strip(b"\0"):
        return f"{len(data)} NUL bytes"
    return f"not a JSON document ({exc})"


def _is_refused_as_too_long(exc: OSError, name: str) -> bool:
    """Whether a system refused ``name`` for its length; some say so once of a short one."""
    return exc.errno == errno.ENAMETOOLONG and layout.may_be_too_long(name)


class SessionFiles:
    """The session files of one store.

    Args:
        directory: the store's descriptors.
        clock: for the notes of what is set aside.
        entry_limit: bytes of an entry as compact JSON.
        hashed_only: the file system ignores case, so only hashed names are told apart.
    """

    def __init__(
        self, directory: StoreDirectory, clock: Clock, entry_limit: int, *, hashed_only: bool = False
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._limit = entry_limit * codec.MAX_GROWTH + (1 << 16)
        self._hashed_only = hashed_only
        self.default_version = 0
        """Version of documents that carry none: what the layout-1 state file says."""

    def ask_about_case(self) -> None:
        """See whether the file system ignores case; a store that has no state file yet cannot tell."""
        self._hashed_only = ignores_case(self._directory)

    def _names(self, key: str) -> tuple[str, ...]:
        names = layout.session_file_names(key)
        return names[::-1] if self._hashed_only else names

    def read(self, key: str) -> Document | None:
        """The document in the session's file, None if there is no file.

        Raises ``CorruptFile`` or ``UnreadableFile``. Cost: four system calls and the parsing.
        """
        found = self._read_below(key, layout.ENTRIES)
        if found is None and self._has_waiting():
            # A checkpoint may move it from ``waiting`` to ``entries`` between two looks.
            found = self._read_below(key, layout.WAITING) or self._read_below(key, layout.ENTRIES)
        return found

    def _read_below(self, key: str, below: str) -> Document | None:
        for name in self._names(key):
            try:
                data = self._directory.read_file(name, self._limit, below)
            except FileNotFoundError:
                continue
            path = self._directory.file_path(name, below)
            waiting = below == layout.WAITING
            return parse_document(data, key, path, self.default_version, waiting=waiting)
        return None

    def _has_waiting(self) -> bool:
        try:
            self._directory.subdirectory(layout.WAITING)
        except FileNotFoundError:
            return False
        return True

    def read_name(self, name: str, below: str = layout.ENTRIES) -> Document:
        """The document in a session file found by listing; errors as ``read``."""
        path = self._directory.file_path(name, below)
        data = self._directory.read_file(name, self._limit, below)
        waiting = below == layout.WAITING
        doc = parse_document(data, layout.key_of_name(name), path, self.default_version, waiting=waiting)
        if name not in layout.session_file_names(doc.key):
            reason = f"holds session {doc.key!r}"
            raise CorruptFile(f"{path}: {reason}; run: sessiondir check", path=path, reason=reason)
        return doc

    def all_names(self, below: str = layout.ENTRIES) -> list[str]:
        """Every name in ``entries/`` or ``waiting/``, foreign and temporary ones included."""
        try:
            return self._directory.fs.listdir(self._directory.subdirectory(below))
        except FileNotFoundError:
            return []

    def names(self) -> Iterator[str]:
        """The names of session files; O(sessions)."""
        for name in self.all_names():
            steps.breathe()
            if layout.is_session_name(name):
                yield name

    def waiting_names(self) -> list[tuple[str, str]]:
        """The session files of sessions without an entry, each as (directory, name)."""
        return [(layout.WAITING, name) for name in self.all_names(layout.WAITING) if layout.is_session_name(name)]

    def place_in_the_way(self, key: str) -> tuple[str, str] | None:
        """The directory and name of whatever stands where the session's file belongs."""
        for below in (layout.ENTRIES, layout.WAITING):
            for name in self._names(key):
                try:
                    dir_fd = self._directory.subdirectory(below)
                    self._directory.fs.stat(name, dir_fd=dir_fd, follow_symlinks=False)
                except FileNotFoundError:
                    continue
                return below, name
        return None

    def create(self, doc: Document) -> None:
        """Write the first file of a session in a store that nobody reads yet; its bytes are durable.

        Its name is so after ``sync_names``. On failure no file remains, ``FileExistsError`` if it has
        one, or another session has its name. May be called by several threads at once.
        """
        directory = self._directory
        dir_fd = directory.subdirectory(layout.ENTRIES)
        name, *others = self._names(doc.key)
        try:
            durable.write_new(directory.fs, dir_fd, name, document_parts(doc), directory.owner)
        except OSError as exc:
            if not others or not _is_refused_as_too_long(exc, name):
                raise
            durable.write_new(directory.fs, dir_fd, others[0], document_parts(doc), directory.owner)

    def sync_names(self) -> None:
        """Make the names of all session files durable."""
        durable.sync_directory(self._directory.fs, self._directory.subdirectory(layout.ENTRIES))

    def write(self, docs: Sequence[Document]) -> None:
        """Bring session files level with ``docs``, durably: all written, synced, then renamed.

        On failure some files are new and the others old, each of them whole; every temporary
        file of this call is gone.
        """
        fs = self._directory.fs
        entries_fd = self._directory.subdirectory(layout.ENTRIES, create=True)
        written: list[tuple[int, str, Document]] = []
        stands: dict[str, tuple[str, str]] = {}
        try:
            for doc in docs:
                if doc.is_worth_a_file:
                    written.append(self._write_temporary(doc))
            # One after the other: the first sync commits the file system's transaction for all of them.
            for dir_fd, temporary, _ in written:
                durable.sync_file(fs, dir_fd, temporary)
            while written:
                dir_fd, temporary, doc = written[0]
                below = _place(doc)
                stands[doc.key] = below, self._rename(dir_fd, temporary, doc.key, below)
                written.pop(0)
            # What moves stands in its new place for certain before it leaves the old one.
            if any(below == layout.WAITING for below, _ in stands.values()):
                durable.sync_directory(fs, self._directory.subdirectory(layout.WAITING))
            for doc in docs:
                self._remove_other_names(entries_fd, doc.key, layout.ENTRIES, stands.get(doc.key))
            durable.sync_directory(fs, entries_fd)
            self._leave_waiting(docs, stands)
        finally:
            for dir_fd, temporary, _ in written:
                self._remove_names(dir_fd, (temporary,))

    def _write_temporary(self, doc: Document) -> tuple[int, str, Document]:
        dir_fd = self._directory.subdirectory(_place(doc), create=True)
        return (
            dir_fd,
            durable.write_temporary(self._directory.fs, dir_fd, document_parts(doc), self._directory.owner),
            doc,
        )

    def _leave_waiting(self, docs: Sequence[Document], stands: dict[str, tuple[str, str]]) -> None:
        """Remove the files of sessions that wait no longer."""
        # Only a session that something was beside of may have had a file there.
        done = [doc for doc in docs if doc.aside is not None or doc.fields is None]
        if not done or not self._has_waiting():
            return
        dir_fd = self._directory.subdirectory(layout.WAITING)
        removed = [self._remove_other_names(dir_fd, doc.key, layout.WAITING, stands.get(doc.key)) for doc in done]
        if any(removed):
            durable.sync_directory(self._directory.fs, dir_fd)

    def _rename(self, dir_fd: int, temporary: str, key: str, below: str) -> str:
        """Put a written file in its place; the name it got."""
        rename = self._directory.fs.rename
        name, *others = self._names(key)
        try:
            rename(temporary, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        except IsADirectoryError:
            reason = "a directory stands in place of a session file"
            quarantine.set_aside(self._directory, self._clock, name, reason, below)
            rename(temporary, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        except OSError as exc:
            if not others or not _is_refused_as_too_long(exc, name):
                raise
            name = others[0]
            rename(temporary, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        return name

    def _remove_other_names(self, dir_fd: int, key: str, below: str, stands: tuple[str, str] | None) -> bool:
        """Remove what still shows an older state of a session just written, or deleted; whether it was there."""
        removed = False
        for name in self._names(key):
            if (below, name) == stands:
                continue
            if self._hashed_only and not layout.is_hashed_name(name):
                # Where case is ignored this plain name may be another session's file.
                try:
                    self.read_name(name, below)
                except (FileNotFoundError, StoreError):
                    continue
            removed = self._remove_names(dir_fd, (name,)) or removed
        return removed

    def _remove_names(self, dir_fd: int, names: Sequence[str]) -> bool:
        removed = False
        for name in names:
            try:
                self._directory.fs.unlink(name, dir_fd=dir_fd)
            except FileNotFoundError:
                continue
            removed = True
        return removed

    def sweep(self) -> int:
        """Remove what dead writers left behind; call only while holding the checkpoint lock."""
        self._sweep_waiting()
        count = 0
        for below in (layout.ENTRIES, layout.WAITING):
            found = [name for name in self.all_names(below) if layout.is_temporary(name)]
            if found:
                self._remove_names(self._directory.subdirectory(below), found)
            count += len(found)
        return count

    def _sweep_waiting(self) -> None:
        """Remove files in ``waiting/`` of sessions that got an entry, where a checkpoint died before it did."""
        for below, name in self.waiting_names():
            try:
                waiting = self.read_name(name, below)
                doc = self._read_below(waiting.key, layout.ENTRIES)
            except (FileNotFoundError, StoreError):
                continue  # check() reports it
            if doc is not None and doc.latest >= waiting.latest:
                self._remove_names(self._directory.subdirectory(below), (name,))


def _place(doc: Document) -> str:
    """The directory of a document's file."""
    return layout.ENTRIES if doc.fields is not None else layout.WAITING


def ignores_case(directory: StoreDirectory) -> bool:
    """Whether the file system takes ``STATE.JSON`` for ``state.json``."""
    try:
        directory.fs.stat(layout.STATE.upper(), dir_fd=directory.fd, follow_symlinks=False)
    except OSError:
        return False
    return True
