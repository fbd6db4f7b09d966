"""What tells one content of a legacy file from the next, without reading it.

Apart from ``legacy``, because every handle looks whether there is such a file, and few read one.
"""

from __future__ import annotations

import os

from sessiondir.errors import storage_error
from sessiondir.fs import FileSystem

Signature = tuple[int, int, int, int]
"""Device, inode, size in bytes and modification time in nanoseconds: another one, another content."""


def legacy_signature(fs: FileSystem, path: str) -> Signature | None:
    """What tells one content of the file from the next; None if there is no file. One system call.

    Raises ``UnreadableFile`` when the system does not say.
    """
    try:
        return signature_of(fs.stat(path, follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as exc:
        raise storage_error(exc, path, "read") from exc


def signature_of(status: os.stat_result) -> Signature:
    """The signature in what ``stat`` says."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
