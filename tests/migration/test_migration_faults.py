"""Migrating and rolling back while the system refuses calls."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.watched import QuickFs

from migration.stores import SMALL_SESSIONS, names, put_legacy, sessions
from sessiondir import StoreError, migration
from sessiondir.testing import CLOSING, UNLOCKING, FailingFileSystem

NUMBERS = [errno.ENOSPC, errno.EIO, errno.EACCES]
OTHERS = [errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.EINTR, errno.ESTALE, errno.EPERM, errno.ENOMEM]
ERRORS = [*NUMBERS, *(pytest.param(number, marks=pytest.mark.stress) for number in OTHERS)]


def counted(kind: str, args: object) -> bool:
    """Every call but those whose failure nobody can do anything about."""
    return kind not in (CLOSING, UNLOCKING)


def migrate(path: Path, fs: FailingFileSystem) -> bool:
    """Migrate; whether it says that it worked."""
    result = migration.migrate(path, fs=fs)
    assert (result.outcome == "failed") == (result.error is not None)
    return result.outcome in ("migrated", "already_directory")


def rollback(path: Path, fs: FailingFileSystem) -> bool:
    """Roll back; whether it says that it worked. Only errors of this package may come out."""
    try:
        return migration.rollback(path, fs=fs).outcome in ("rolled_back", "already_legacy")
    except StoreError:
        return False


def legacy_store(folder: Path) -> Path:
    return put_legacy(folder)


def directory_store(folder: Path) -> Path:
    path = put_legacy(folder)
    migration.migrate(path, fs=QuickFs())
    return path


@pytest.mark.parametrize("forever", [False, True], ids=["once", "for-ever"])
@pytest.mark.parametrize("number", ERRORS, ids=[errno.errorcode[number] for number in (*NUMBERS, *OTHERS)])
@pytest.mark.parametrize(
    ("act", "prepare"), [(migrate, legacy_store), (rollback, directory_store)], ids=["migrate", "rollback"]
)
def test_every_refused_call_leaves_a_whole_store(
    tmp_path: Path,
    act: Callable[[Path, FailingFileSystem], bool],
    prepare: Callable[[Path], Path],
    number: int,
    forever: bool,
) -> None:
    """Whichever call fails, all sessions stay readable, no success is claimed wrongly, a second try works."""
    nth = 0
    while True:
        nth += 1
        folder = tmp_path / f"{nth}"
        folder.mkdir()
        path = prepare(folder)
        fs = FailingFileSystem()
        fs.arm(nth, number, forever=forever, kinds=counted)
        worked = act(path, fs)
        here = f"{errno.errorcode[number]} from {fs.failed_call}"
        untouched = not fs.failed
        fs.disarm()
        assert sessions(path) == SMALL_SESSIONS, here
        if worked:
            assert path.exists() == (act is rollback), here
        else:
            assert act(path, FailingFileSystem()), here
            assert sessions(path) == SMALL_SESSIONS, here
        assert path.exists() != (folder / "sessions.d").exists(), here
        if act is rollback:
            assert json.loads(path.read_bytes()) == SMALL_SESSIONS, here
        assert names(folder, ".staging-") == [], here
        if untouched:
            break
    assert nth > 50


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
