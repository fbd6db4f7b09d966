"""What retention removed: ``trash/``, one readable file for each removed session.

    removed-<epoch ms>-<16 hex>.json
    {"sessionKey": K, "version": V, "entry": {...},
     "removed": {"at": ms, "rule": "stale", "reason": "...", "transcripts": ["<id>.jsonl"]}}

A file is a session file with a note, so it can be read and put back by hand. It is written
and durable before the session's deletion is committed, and goes only when the session is
back or its time is over: whoever is killed in between leaves both, never neither.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from collections.abc import Iterator, Sequence

import msgspec

from sessiondir import codec, durable, layout
from sessiondir.clock import Clock
from sessiondir.directory import StoreDirectory
from sessiondir.document import Document, put_document
from sessiondir.entries import encode_document, parse_document
from sessiondir.errors import CorruptFile, LockTimeout
from sessiondir.lockfile import take_flock
from sessiondir.model import Limits

_NOTE = "removed"
_NAME = re.compile(r"removed-([0-9]{1,16})-[0-9a-f]{16}\.json\Z", re.ASCII)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Note(msgspec.Struct, frozen=True, gc=False):
    """Why and when a session was removed.

    ``at_ms`` is epoch milliseconds, ``rule`` the word of the rule (``"stale"``), ``reason`` a
    sentence, ``transcripts`` the names of the transcripts that were set aside with it.
    """

    at_ms: int
    rule: str
    reason: str
    transcripts: tuple[str, ...] = ()


class TrashItem(msgspec.Struct, frozen=True, gc=False):
    """A removed session: its file's name and size in bytes, its key, version and note."""

    name: str
    size: int
    key: str
    version: int
    note: Note
    session_id: str | None
    updated_at: int | float | None


def names(directory: StoreDirectory) -> list[str]:
    """The names of everything in ``trash/``, oldest removal first."""
    try:
        return sorted(directory.fs.listdir(directory.subdirectory(layout.TRASH)))
    except FileNotFoundError:
        return []


def removed_at_ms(name: str) -> int | None:
    """When the session of a trash file was removed, by its name; None for other names."""
    match = _NAME.match(name)
    return int(match[1]) if match is not None else None


def file_limit(limits: Limits) -> int:
    """The largest trash file that is read, in bytes: an entry as large as allowed, laid out for people."""
    return limits.entry_bytes * codec.MAX_GROWTH + (1 << 16)


def read(directory: StoreDirectory, name: str, limit: int) -> tuple[TrashItem, Document]:
    """A trash file: what it says, and the session as it was.

    Raises ``FileNotFoundError``, ``CorruptFile`` (also above ``limit`` bytes), ``UnreadableFile``.
    """
    path = directory.file_path(name, layout.TRASH)
    data = directory.read_file(name, limit, layout.TRASH)
    doc = parse_document(data, None, path, 0)
    extra = dict(doc.extra or {})
    note = _parse_note(extra.pop(_NOTE, None), path)
    if note.at_ms != removed_at_ms(name):
        raise _corrupt(path, "the time in the note is not that in the name")
    fields = doc.fields or {}
    session_id = fields.get("sessionId")
    item = TrashItem(
        name,
        len(data),
        doc.key,
        doc.version,
        note,
        session_id if isinstance(session_id, str) else None,
        doc.updated_at(),
    )
    return item, put_document(doc.key, doc.version, fields, extra or None)


def _parse_note(value: object, path: str) -> Note:
    found = codec.decode(value) if isinstance(value, bytes) else value
    if not isinstance(found, dict):
        raise _corrupt(path, "no note of why it was removed")
    at_ms, rule, reason = found.get("at"), found.get("rule"), found.get("reason")
    transcripts = found.get("transcripts", [])
    good = type(at_ms) is int and isinstance(rule, str) and isinstance(reason, str)
    if not good or not isinstance(transcripts, list) or not all(isinstance(one, str) for one in transcripts):
        raise _corrupt(path, "the note of why it was removed is damaged")
    assert isinstance(at_ms, int)
    return Note(at_ms, str(rule), str(reason), tuple(transcripts))


def _corrupt(path: str, reason: str) -> CorruptFile:
    return CorruptFile(f"{path}: {reason}; run: sessiondir check", path=path, reason=reason)


@contextlib.contextmanager
def locked(directory: StoreDirectory, clock: Clock, timeout_s: float) -> Iterator[None]:
    """Be the only one who moves sessions into or out of the trash. Raises ``LockTimeout``.

    The lock is the ``flock`` of the directory, and dies with its owner. Commits do not wait for it.
    """
    directory.subdirectory(layout.TRASH, create=True)
    # A descriptor of one's own: threads that share one would not exclude each other.
    fd = directory.fs.open(layout.TRASH, _DIRECTORY, dir_fd=directory.fd)
    try:
        if not take_flock(directory.fs, clock, fd, timeout_s):
            raise LockTimeout(
                f"{directory.path}: another process is moving sessions into or out of the trash; nothing was "
                "changed, try again later",
                session=None,
                holder_pid=None,
                holder="another process",
                held_s=None,
                waited_s=timeout_s,
            )
        yield
    finally:
        directory.fs.close(fd)


def stage(directory: StoreDirectory, doc: Document, note: Note) -> str:
    """Write a session to a temporary file in ``trash/`` and return its name; not yet durable."""
    assert doc.fields is not None
    value = {"at": note.at_ms, "rule": note.rule, "reason": note.reason, "transcripts": list(note.transcripts)}
    extra = {**(doc.extra or {}), _NOTE: codec.encode(value)}
    data = encode_document(put_document(doc.key, doc.version, doc.fields, extra))
    dir_fd = directory.subdirectory(layout.TRASH, create=True)
    return durable.write_temporary(directory.fs, dir_fd, data, directory.owner)


def keep(directory: StoreDirectory, staged: Sequence[tuple[str, int]]) -> list[str]:
    """Make staged files part of the trash, durably; their names, in the same order.

    ``staged`` holds temporary names and the ``at_ms`` of their notes. On failure none of them
    is left, staged or kept, as far as the system lets them be removed.
    """
    fs, dir_fd = directory.fs, directory.subdirectory(layout.TRASH)
    kept: list[str] = []
    try:
        # One after the other: the first sync commits the file system's transaction for all of them.
        for temporary, _ in staged:
            durable.sync_file(fs, dir_fd, temporary)
        for temporary, at_ms in staged:
            name = f"removed-{at_ms}-{os.urandom(8).hex()}.json"
            fs.rename(temporary, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
            kept.append(name)
        durable.sync_directory(fs, dir_fd)
    except BaseException:
        with contextlib.suppress(OSError):  # what stays is an item of a session that still lives
            remove(directory, [*kept, *(temporary for temporary, _ in staged[len(kept) :])])
        raise
    return kept


def remove(directory: StoreDirectory, gone: Sequence[str]) -> None:
    """Remove files from the trash for good; those that are not there count as removed."""
    if not gone:
        return
    dir_fd = directory.subdirectory(layout.TRASH)
    for name in gone:
        with contextlib.suppress(FileNotFoundError):
            directory.fs.unlink(name, dir_fd=dir_fd)
    durable.sync_directory(directory.fs, dir_fd)


def sweep(directory: StoreDirectory) -> None:
    """Remove the temporary files of runs that died; call inside ``locked``."""
    # Their names begin with a dot and are sorted, so that the thousands behind them need not be looked at.
    hidden = itertools.takewhile(lambda name: name.startswith("."), names(directory))
    remove(directory, [name for name in hidden if layout.is_temporary(name)])
