"""Session files: one readable JSON file a session, in ``entries/``.

    {"sessionKey": K, "version": V, "entry": {...}}

Members that this version does not know are kept. A file is never changed in place.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence

from sessiondir import codec, durable, layout, quarantine
from sessiondir.clock import Clock
from sessiondir.directory import StoreDirectory
from sessiondir.errors import CorruptFile, StoreError
from sessiondir.model import Document, put_document


def encode_document(doc: Document) -> bytes:
    """The bytes of a session file."""
    assert doc.fields is not None
    members = [
        b'"sessionKey":' + codec.encode_text(doc.key),
        b'"version":%d' % doc.version,
        b'"entry":' + codec.encode_fields(doc.fields),
    ]
    if doc.extra:
        members += [codec.encode_text(name) + b":" + value for name, value in doc.extra.items()]
    return codec.indent(b"{" + b",".join(members) + b"}")


def parse_document(data: bytes, key: str | None, path: str, default_version: int) -> Document:
    """Parse a session file; ``key`` is what its name says, None for a hashed name.

    Raises ``CorruptFile`` with the reason.
    """
    reason = ""
    try:
        data.isascii() or data.decode()  # members that we keep unread must be text, too
        members = codec.split_object(data)
        found = codec.decode(members.pop("sessionKey", b"null"))
        raw_entry = members.pop("entry", b"null")
        version = codec.decode(members.pop("version", b"%d" % default_version))
        if not isinstance(found, str):
            reason = "no sessionKey"
        elif key is not None and found != key:
            reason = f"holds session {found!r}"
        elif not isinstance(version, int) or isinstance(version, bool) or version < 0:
            reason = f"version is {version!r}"
        else:
            fields = codec.decode_fields(raw_entry)
            # 0 stands for "no such session" wherever versions are compared.
            return put_document(found, max(version, 1), fields, members or None)
    except (codec.DecodeError, UnicodeDecodeError) as exc:
        reason = _describe(data, exc)
    raise CorruptFile(f"{path}: {reason}; run: sessiondir check", path=path, reason=reason)


def _describe(data: bytes, exc: Exception) -> str:
    if not data:
        return "empty file"
    if not data.strip(b"\0"):
        return f"{len(data)} NUL bytes"
    return f"not a JSON document ({exc})"


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

    def _names(self, key: str) -> tuple[str, ...]:
        names = layout.session_file_names(key)
        return names[::-1] if self._hashed_only else names

    def read(self, key: str) -> Document | None:
        """The document in the session's file, None if there is no file.

        Raises ``CorruptFile`` or ``UnreadableFile``. Cost: four system calls and the parsing.
        """
        for name in self._names(key):
            try:
                data = self._directory.read_file(name, self._limit, layout.ENTRIES)
            except FileNotFoundError:
                continue
            path = self._directory.file_path(name, layout.ENTRIES)
            return parse_document(data, key, path, self.default_version)
        return None

    def read_name(self, name: str) -> Document:
        """The document in a session file found by listing; errors as ``read``."""
        path = self._directory.file_path(name, layout.ENTRIES)
        data = self._directory.read_file(name, self._limit, layout.ENTRIES)
        doc = parse_document(data, layout.key_of_name(name), path, self.default_version)
        if name not in layout.session_file_names(doc.key):
            reason = f"holds session {doc.key!r}"
            raise CorruptFile(f"{path}: {reason}; run: sessiondir check", path=path, reason=reason)
        return doc

    def all_names(self) -> list[str]:
        """Every name in ``entries/``, foreign and temporary ones included."""
        try:
            return self._directory.fs.listdir(self._directory.subdirectory(layout.ENTRIES))
        except FileNotFoundError:
            return []

    def names(self) -> Iterator[str]:
        """The names of session files; O(sessions)."""
        return (name for name in self.all_names() if layout.is_session_name(name))

    def name_in_the_way(self, key: str) -> str | None:
        """The name of whatever stands where the session's file belongs."""
        dir_fd = self._directory.subdirectory(layout.ENTRIES, create=True)
        for name in self._names(key):
            try:
                self._directory.fs.stat(name, dir_fd=dir_fd, follow_symlinks=False)
            except FileNotFoundError:
                continue
            return name
        return None

    def write(self, docs: Sequence[Document]) -> None:
        """Bring session files level with ``docs``, durably: all written, synced, then renamed.

        On failure some files are new and the others old, each of them whole; every temporary
        file of this call is gone.
        """
        fs, owner = self._directory.fs, self._directory.owner
        dir_fd = self._directory.subdirectory(layout.ENTRIES, create=True)
        written: list[tuple[str, Document]] = []
        stands: dict[str, str] = {}
        try:
            for doc in docs:
                if doc.fields is not None:
                    temporary = durable.write_temporary(fs, dir_fd, encode_document(doc), owner)
                    written.append((temporary, doc))
            # One after the other: the first sync commits the file system's transaction for all of them.
            for temporary, _ in written:
                durable.sync_file(fs, dir_fd, temporary)
            while written:
                temporary, doc = written[0]
                stands[doc.key] = self._rename(dir_fd, temporary, doc.key)
                written.pop(0)
            for doc in docs:
                self._remove_other_names(dir_fd, doc.key, stands.get(doc.key))
            durable.sync_directory(fs, dir_fd)
        finally:
            for temporary, _ in written:
                self._remove_names(dir_fd, (temporary,))

    def _rename(self, dir_fd: int, temporary: str, key: str) -> str:
        """Put a written file in its place; the name it got."""
        rename = self._directory.fs.rename
        name, *others = self._names(key)
        try:
            rename(temporary, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        except IsADirectoryError:
            reason = "a directory stands in place of a session file"
            quarantine.set_aside(self._directory, self._clock, name, reason, layout.ENTRIES)
            rename(temporary, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        except OSError as exc:
            if exc.errno != errno.ENAMETOOLONG or not others:
                raise
            name = others[0]
            rename(temporary, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        return name

    def _remove_other_names(self, dir_fd: int, key: str, stands: str | None) -> None:
        """Remove what would still show an older state of a session just written, or deleted."""
        for name in self._names(key):
            if name == stands:
                continue
            if self._hashed_only and not layout.is_hashed_name(name):
                # Where case is ignored this plain name may be another session's file.
                try:
                    self.read_name(name)
                except (FileNotFoundError, StoreError):
                    continue
            self._remove_names(dir_fd, (name,))

    def _remove_names(self, dir_fd: int, names: Sequence[str]) -> None:
        for name in names:
            try:
                self._directory.fs.unlink(name, dir_fd=dir_fd)
            except FileNotFoundError:
                continue

    def sweep(self) -> int:
        """Remove temporary files of dead writers; call only while holding the checkpoint lock."""
        found = [name for name in self.all_names() if layout.is_temporary(name)]
        if found:
            self._remove_names(self._directory.subdirectory(layout.ENTRIES), found)
        return len(found)


def ignores_case(directory: StoreDirectory) -> bool:
    """Whether the file system takes ``STATE.JSON`` for ``state.json``."""
    try:
        directory.fs.stat(layout.STATE.upper(), dir_fd=directory.fd, follow_symlinks=False)
    except OSError:
        return False
    return True
