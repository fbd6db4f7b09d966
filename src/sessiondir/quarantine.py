"""Where damaged things go: unchanged, out of the way, each with a note of why and when."""

from __future__ import annotations

import logging
import os

from sessiondir import codec, durable, layout
from sessiondir.clock import Clock
from sessiondir.directory import StoreDirectory

_log = logging.getLogger("sessiondir")
_NOTE = ".note.json"


def set_aside(directory: StoreDirectory, clock: Clock, name: str, reason: str, below: str | None = None) -> str:
    """Move ``name`` (whatever it is) into the quarantine and return its name there.

    The move is one rename, so its bytes are never at risk; the note is written after it.
    """
    fs = directory.fs
    target_fd = directory.subdirectory(layout.QUARANTINE, create=True)
    source_fd = directory.subdirectory(below) if below else directory.fd
    at_ms = int(clock.now() * 1000)
    kept = f"{at_ms}-{os.urandom(4).hex()}-{name}"
    fs.rename(name, kept, src_dir_fd=source_fd, dst_dir_fd=target_fd)
    durable.sync_directory(fs, target_fd)
    durable.sync_directory(fs, source_fd)
    _write_note(directory, target_fd, kept, f"{below}/{name}" if below else name, reason, at_ms)
    return kept


def keep_bytes(directory: StoreDirectory, clock: Clock, name: str, data: bytes, reason: str) -> str:
    """Keep bytes that were cut out of a file that stays, such as a damaged journal line."""
    target_fd = directory.subdirectory(layout.QUARANTINE, create=True)
    at_ms = int(clock.now() * 1000)
    kept = f"{at_ms}-{os.urandom(4).hex()}-{name}"
    durable.write_new(directory.fs, target_fd, kept, data, directory.owner)
    durable.sync_directory(directory.fs, target_fd)
    _write_note(directory, target_fd, kept, name, reason, at_ms)
    return kept


def _write_note(
    directory: StoreDirectory, target_fd: int, kept: str, origin: str, reason: str, at_ms: int
) -> None:
    _log.warning("%s: %s set aside as %s/%s: %s", directory.path, origin, layout.QUARANTINE, kept, reason)
    note = codec.indent(codec.encode({"origin": origin, "reason": reason, "at": at_ms}))
    try:
        durable.write_new(directory.fs, target_fd, kept + _NOTE, note, directory.owner)
    except OSError as exc:
        # The damaged bytes are safe already; a missing note must not stop the recovery.
        _log.warning("%s: no note for %s: %s", directory.path, kept, str(exc))


def kept_names(directory: StoreDirectory) -> list[str]:
    """Names of what is in the quarantine, notes left out."""
    try:
        names = directory.fs.listdir(directory.subdirectory(layout.QUARANTINE))
    except FileNotFoundError:
        return []
    return sorted(name for name in names if not name.endswith(_NOTE))
