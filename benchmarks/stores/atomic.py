"""Replacing a file as a whole, for the competitors that are plain files."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

_numbers = itertools.count()


def replace_file(path: Path, data: bytes, *, synced: bool) -> None:
    """Write a temporary file beside ``path`` and rename it over; with ``synced``, sync file and directory."""
    temporary = f"{path}.{os.getpid()}-{next(_numbers)}.tmp"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        if synced:
            os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(temporary, path)
    if synced:
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
