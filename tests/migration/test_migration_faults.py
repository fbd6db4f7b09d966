"""Migrating and rolling back on a full disk and with what cannot be read; calls that fail are in tests/crash."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from harness.watched import QuickFs

from migration.stores import SMALL_SESSIONS, names, put_legacy, sessions
from sessiondir import StoreError, migration
from sessiondir.testing import FailingFileSystem


def directory_store(folder: Path) -> Path:
    path = put_legacy(folder)
    migration.migrate(path, fs=QuickFs())
    return path


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    """When the staging cannot be written, the folder looks as before, and the error says what to do."""
    path = put_legacy(tmp_path)
    fs = FailingFileSystem()
    fs.arm(3, errno.ENOSPC, forever=True, kinds=lambda kind, args: kind == "pwrite")
    result = migration.migrate(path, fs=fs)
    assert result.outcome == "failed"
    assert result.error is not None
    assert result.error.retryable
    assert names(tmp_path) == ["sessions.json"]


def test_an_unreadable_session_stops_the_rollback(tmp_path: Path) -> None:
    """A session that cannot be read for now is not left out of the legacy file: nothing is done."""
    path = directory_store(tmp_path)
    fs = FailingFileSystem()
    fs.arm(
        1,
        errno.EIO,
        forever=True,
        kinds=lambda kind, args: kind == "open" and isinstance(args[0], str) and args[0].startswith("session-"),
    )
    with pytest.raises(StoreError):
        migration.rollback(path, fs=fs)
    assert not path.exists()
    assert sessions(path) == SMALL_SESSIONS
