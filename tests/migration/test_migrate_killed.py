"""Migrating, killed at every system call (F1, F24)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from harness.watched import QuickFs

from migration.stores import SMALL_SESSIONS, leftovers, names, put_legacy, sessions
from sessiondir import migration
from sessiondir.testing import Stopped, StoppingFileSystem

Prepare = Callable[[Path], Path]


def fresh(folder: Path) -> Path:
    """A legacy store that was never migrated."""
    return put_legacy(folder)


def rolled_back(folder: Path) -> Path:
    """A legacy store that was a directory before."""
    path = put_legacy(folder)
    migration.migrate(path, fs=QuickFs())
    migration.rollback(path, fs=QuickFs())
    for name in names(folder, ".bak.") + names(folder, ".migrated."):
        (folder / name).rename(folder.parent / f"{folder.name}-{name}")
    return path


def killed_at(path: Path, number: int, *, torn: bool = False) -> StoppingFileSystem:
    """Migrate with a process that dies in place of its ``number``-th call (0: never)."""
    fs = StoppingFileSystem(number, torn=torn)
    try:
        migration.migrate(path, fs=fs)
    except Stopped:
        pass
    fs.bury()
    return fs


@pytest.mark.parametrize("torn", [False, True], ids=["before", "half-way"])
@pytest.mark.parametrize("prepare", [fresh, rolled_back])
def test_one_whole_store_wherever_it_is_killed(tmp_path: Path, prepare: Prepare, torn: bool) -> None:
    """Whichever call is the last one, all sessions are there at once, and the next run finishes cleanly."""
    (tmp_path / "0").mkdir()
    total = killed_at(prepare(tmp_path / "0"), 0).count
    assert total > 50
    states = set()
    for number in range(1, total + 1):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        path = prepare(folder)
        original = path.read_bytes()
        fs = killed_at(path, number, torn=torn)
        here = f"killed at call {number} ({fs.last})"
        states.add(((folder / "sessions.d").exists(), path.exists()))
        assert sessions(path) == SMALL_SESSIONS, here
        again = migration.migrate(path, fs=QuickFs())
        assert again.outcome in ("migrated", "already_directory"), (here, again)
        assert sessions(path) == SMALL_SESSIONS, here
        (backup,) = names(folder, "sessions.json.bak.")
        assert (folder / backup).read_bytes() == original, here
        (second,) = names(folder, "sessions.json.migrated.")
        assert (folder / second).samefile(folder / backup), here
        assert names(folder) == ["sessions.d", backup, second], here
    # Legacy file alone, both (the interrupted promotion), directory alone: each was met.
    assert states == {(False, True), (True, True), (True, False)}


def test_an_interrupted_promotion_is_reported_as_a_migration(tmp_path: Path) -> None:
    """The run that only moves the legacy file away tells counts and backup as if it had done everything."""
    path = put_legacy(tmp_path)
    calls = [call for call in killed_at(path, 0).calls if call != "close"]
    last_rename = len(calls) - calls[::-1].index("rename")
    folder = tmp_path / "again"
    folder.mkdir()
    path = put_legacy(folder)
    killed_at(path, last_rename)
    (second,) = names(folder, "sessions.json.migrated.")
    assert names(folder, "sessions.json") == ["sessions.json", "sessions.json.lock", second]
    result = migration.migrate(path)
    assert (result.outcome, result.legacy_count, result.migrated_count) == ("migrated", 3, 2)
    assert result.warnings == ("finished an interrupted migration",)
    assert result.backup_path is not None
    assert leftovers(folder) == []


def test_staging_of_a_live_process_is_left_alone(tmp_path: Path) -> None:
    """Only a staging directory whose builder is gone is removed, whatever its age."""
    path = put_legacy(tmp_path)
    building = StoppingFileSystem(60)
    with pytest.raises(Stopped):
        migration.migrate(path, fs=building)
    (staging,) = names(tmp_path, ".staging-")
    migration.migrate(path)
    assert names(tmp_path, ".staging-") == [staging]
    building.bury()
    path = put_legacy(tmp_path)
    (tmp_path / "sessions.d").rename(tmp_path / "away")
    migration.migrate(path)
    assert names(tmp_path, ".staging-") == []
