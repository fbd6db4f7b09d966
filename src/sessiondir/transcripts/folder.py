"""A sessions folder: which transcripts, archives and copies lie in it, and whose they are."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from sessiondir import layout
from sessiondir.clock import SYSTEM_CLOCK, Clock
from sessiondir.errors import InvalidPath, InvalidTranscript, translated
from sessiondir.fs import SYSTEM_FS, FileSystem
from sessiondir.model import Durability
from sessiondir.transcripts.archives import compress_archive, expand_archive, restore_archive
from sessiondir.transcripts.handle import Handle
from sessiondir.transcripts.names import COMPRESSED, FileName, is_transcript_name, parse, transcript_name, uuid_in
from sessiondir.transcripts.reader import TranscriptReader
from sessiondir.transcripts.transcript import Transcript

RECORD_BYTES = 64 << 20
Entries = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Location:
    """Which file is an entry's transcript; it need not exist.

    ``ignored`` says why a stored ``sessionFile`` was not taken as it stands, else None.
    """

    name: str
    ignored: str | None = None


@dataclass(frozen=True, slots=True)
class TranscriptFile:
    """A file of the folder: what its name says, its ``size`` in bytes, and when it was changed (epoch ms)."""

    told: FileName
    size: int
    modified_ms: int

    @property
    def name(self) -> str:
        """The file name."""
        return self.told.name


class TranscriptFolder:
    """The transcripts beside a store. Use ``open`` or ``beside``, and close it; threads may share it.

    Everything is done relative to one descriptor of the folder. No symbolic link in it is
    followed and only regular files are opened, so nothing outside of it is touched, whatever
    entries say. A forked child may go on using it.
    """

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self.path = handle.path

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        read_only: bool = False,
        durability: Durability = "power",
        lock_timeout: float = 10.0,
        record_bytes: int = RECORD_BYTES,
        allow_network: bool = False,
        fs: FileSystem = SYSTEM_FS,
        clock: Clock = SYSTEM_CLOCK,
    ) -> TranscriptFolder:
        """Open a sessions folder, which must exist.

        Args:
            path: the folder; it may be reached through symbolic links.
            read_only: changes raise ``ReadOnlyStore``.
            durability: "power": what was appended survives power loss; "process": the death of any process.
            lock_timeout: seconds to wait for a transcript that somebody else is changing; 0 tries once.
            record_bytes: the longest record that is written, or kept in memory when read.
            allow_network: write on a network file system although its locks are not trusted.

        Raises ``StoreNotFound``, ``UnsafeDirectory`` if it is no directory, ``InvalidPath``.
        """
        text = os.path.abspath(os.path.expanduser(os.fspath(path)))
        if not isinstance(text, str) or "\0" in text:
            raise InvalidPath("the path of a folder must be text without NUL", path=repr(path))
        handle = Handle(
            fs,
            clock,
            text,
            read_only=read_only,
            durability=durability,
            lock_timeout_s=lock_timeout,
            record_bytes=record_bytes,
            allow_network=allow_network,
        )
        return cls(handle)

    @classmethod
    def beside(cls, store_path: str | os.PathLike[str], **options: Any) -> TranscriptFolder:
        """The folder that a store lies in; ``store_path`` as for ``SessionStore.open``, options as ``open``."""
        return cls.open(os.path.dirname(layout.store_path(store_path)[0]), **options)

    def close(self) -> None:
        """Close the descriptor. Transcripts made by this folder can no longer be used."""
        self._handle.close()

    def __enter__(self) -> TranscriptFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- one file -------------------------------------------------------------------------

    def transcript(self, session_id: str, topic: int | str | None = None) -> Transcript:
        """The transcript of a session id (and of a topic in it), there or not. Raises ``InvalidTranscript``."""
        return Transcript(self._handle, transcript_name(session_id, topic))

    def of(self, entry: Mapping[str, Any]) -> Transcript:
        """The transcript of a session's entry, there or not. Raises as ``locate``."""
        return Transcript(self._handle, self.locate(entry).name)

    def file(self, name: str) -> TranscriptReader:
        """Any file of the folder that ``files`` lists, to be read. Raises ``InvalidTranscript``."""
        told = parse(name)
        if told is None or told.kind == "store backup" or "/" in name or "\0" in name:
            raise InvalidTranscript(
                f"{name!r} is not the name of a transcript or an archive", name=name, reason="not a transcript"
            )
        return TranscriptReader(self._handle, name)

    def locate(self, entry: Mapping[str, Any]) -> Location:
        """Which file of this folder is the entry's transcript, by ``sessionFile`` and ``sessionId``.

        A stored path that leads elsewhere is never followed: if it has the form
        ``.../agents/<agent>/sessions/<name>`` and the name is one of this session, that name in this
        folder is meant (the tree was moved or copied), otherwise the name made of the session id.

        Raises ``InvalidTranscript``: no usable session id, a blank ``sessionFile``, one with ``..``, in a
        sub-directory, or not ending in ``.jsonl``.
        """
        session_id = entry.get("sessionId")
        stored = entry.get("sessionFile")
        if stored is None or not isinstance(stored, str):
            ignored = None if stored is None else "sessionFile is not text"
            return Location(transcript_name(session_id), ignored)
        text = layout.js_trim(stored)
        parts = text.split("/")
        if not text or "\0" in text or ".." in parts:
            raise _invalid(
                stored, "blank" if not text else "leads out of the folder" if ".." in parts else "has a NUL"
            )
        if not text.startswith("/"):
            names = [part for part in parts if part not in ("", ".")]
            if len(names) != 1:
                raise _invalid(stored, "in a sub-directory")
            return Location(_own_name(names[0], stored))
        directory, name = os.path.split(text)
        if self._is_this_folder(directory):
            return Location(_own_name(name, stored))
        told = parse(name) if is_transcript_name(name) else None
        moved = parts[-2:-1] == ["sessions"] and parts[-4:-3] == ["agents"]
        if moved and told is not None and told.kind == "transcript" and told.session_id == session_id:
            return Location(name, f"{stored} lies elsewhere; the file of that name in {self.path} is taken")
        default = transcript_name(session_id)
        return Location(default, f"{stored} lies outside of {self.path}")

    def _is_this_folder(self, directory: str) -> bool:
        handle = self._handle
        try:
            found = handle.fs.stat(directory)
        except (OSError, ValueError):
            return False
        return (found.st_dev, found.st_ino) == handle.directory.identity

    def candidates(self, entry: Mapping[str, Any]) -> list[str]:
        """The names under which an entry's transcript may stand, best first, for archiving it.

        The stored file, unless its name carries another generated id than the entry; the name made
        of the session id; the stored file of another id. Names that cannot be used are left out.
        """
        found: list[str] = []
        session_id = entry.get("sessionId")
        try:
            found.append(self.locate(entry).name)
        except InvalidTranscript:
            pass
        try:
            default = transcript_name(session_id)
        except InvalidTranscript:
            return found
        stale = bool(found) and uuid_in(found[0]) not in (None, uuid_in(default))
        return list(dict.fromkeys([default, *found] if stale else [*found, default]))

    # -- all files ------------------------------------------------------------------------

    def files(self) -> list[TranscriptFile]:
        """Transcripts, archives, backups and copies, by name. One system call a file; nothing is opened.

        Directories, links and foreign files are left out.
        """
        handle = self._handle
        with translated(self.path, "read"):
            names = sorted(handle.fs.listdir(handle.directory.fd))
        found = []
        for name in names:
            told = parse(name)
            status = handle.status(name) if told is not None else None
            if told is not None and status is not None and stat.S_ISREG(status.st_mode):
                found.append(TranscriptFile(told, status.st_size, status.st_mtime_ns // 1_000_000))
        return found

    def conversations(self) -> Iterator[TranscriptFile]:
        """The files that hold what was said, each message once: transcripts, and deleted and reset ones."""
        files = self.files()
        plain = {file.name for file in files}
        for file in files:
            # Both forms are there when a compression died before it could remove the first.
            twice = file.told.compressed and file.name.removesuffix(COMPRESSED) in plain
            if file.told.counts_for_usage and not twice:
                yield file

    def referenced(self, entries: Iterable[Mapping[str, Any]]) -> tuple[set[str], set[str]]:
        """The file names and the session ids that entries refer to. An entry that names nothing adds nothing."""
        names: set[str] = set()
        ids: set[str] = set()
        for entry in entries:
            session_id = entry.get("sessionId")
            if isinstance(session_id, str):
                ids.add(session_id)
            names.update(self.candidates(entry))
        return names, ids

    def orphans(self, entries: Iterable[Mapping[str, Any]]) -> list[TranscriptFile]:
        """Live transcripts, checkpoints and traces that belong to no entry. O(entries + files).

        ``entries`` must be all of the store's: what is not mentioned is an orphan.
        """
        names, ids = self.referenced(entries)
        return [
            file
            for file in self.files()
            if file.told.is_primary and file.name not in names and file.told.session_id not in ids
        ]

    def missing(self, entries: Entries) -> dict[str, Location]:
        """Keys of entries whose transcript is not there, and where it would be.

        That may be in order: agent programs write the file with the first answer. Entries that
        name no transcript at all are left out.
        """
        there = {file.name for file in self.files()}
        found = {}
        for key, entry in entries.items():
            try:
                location = self.locate(entry)
            except InvalidTranscript:
                continue
            if location.name not in there:
                found[key] = location
        return found

    # -- archives -------------------------------------------------------------------------

    def restore(self, name: str) -> Transcript:
        """Make an archive the transcript again that it was made of; that transcript.

        Raises ``TranscriptNotFound``, ``InvalidTranscript`` if the archive is compressed or its
        old name is in use again; nothing was changed then.
        """
        return Transcript(self._handle, restore_archive(self._handle, name))

    def compress(self, name: str) -> str:
        """Replace an archive by ``<name>.zst`` and return that name.

        The archive goes only when what was written has been read back, is equal and durable. Raises
        ``InvalidOption`` without the package ``zstandard``, ``InvalidTranscript``, ``TranscriptNotFound``,
        ``DiskFull``; the archive is as it was then. Agent programs do not read compressed archives.
        """
        return compress_archive(self._handle, name)

    def expand(self, name: str) -> str:
        """Undo ``compress``; the archive's name. Errors as there."""
        return expand_archive(self._handle, name)


def _own_name(name: str, stored: str) -> str:
    if not is_transcript_name(name):
        raise _invalid(stored, "not the name of a transcript (.jsonl)")
    return name


def _invalid(stored: str, reason: str) -> InvalidTranscript:
    return InvalidTranscript(
        f"sessionFile {stored!r}: {reason}; set it to the name of a file in the sessions folder, or remove it",
        name=stored,
        reason=reason,
    )
