"""migrate and rollback: shown first, done, undone, and refused where they must be."""

from __future__ import annotations

import datetime
import json
import os
from pathlib import Path

import pytest
from cli_support import ENTRIES, Run, command, on_terminal

from sessiondir import SessionStore

MAIN = "agent:main:main"


def names(legacy_path: str) -> list[str]:
    return sorted(os.listdir(Path(legacy_path).parent))


def directory_of(legacy_path: str) -> str:
    return legacy_path.removesuffix(".json") + ".d"


def test_dry_run_shows_and_changes_nothing(run: Run, legacy_path: str) -> None:
    """Counts and warnings of what would be made of the file."""
    before = Path(legacy_path).read_bytes()
    told = json.loads(run("migrate", "--dry-run", "--store", legacy_path, "--json").stdout)
    assert told == {
        "dryRun": True,
        "status": "ready_to_migrate",
        "legacyPath": legacy_path,
        "storePath": directory_of(legacy_path),
        "legacyCount": 3,
        "legacyBytes": len(before),
        "sessionCount": 3,
        "directoryCount": 0,
        "aliases": [],
        "dropped": [],
        "backups": [],
        "rolledBack": False,
        "warnings": [],
    }
    shown = run("migrate", "--dry-run", "--store", legacy_path)
    assert "3 sessions" in shown.stdout
    assert "nothing was written" in shown.stderr
    assert names(legacy_path) == ["sessions.json"]
    assert Path(legacy_path).read_bytes() == before


def test_migrate_keeps_the_original_and_may_be_repeated(run: Run, legacy_path: str) -> None:
    """The sessions are in the directory, the file under its backup name; a second run finds nothing to do."""
    before = Path(legacy_path).read_bytes()
    told = json.loads(run("migrate", "--store", legacy_path, "--json").stdout)
    backup = told.pop("backupPath")
    assert told == {
        "dryRun": False,
        "outcome": "migrated",
        "legacyPath": legacy_path,
        "storePath": directory_of(legacy_path),
        "legacyCount": 3,
        "migratedCount": 3,
        "warnings": [],
    }
    assert Path(backup).read_bytes() == before
    assert Path(backup).name.startswith("sessions.json.bak.")
    with SessionStore.open(legacy_path, create=False, read_only=True) as store:
        assert dict(store.snapshot()) == ENTRIES
    again = run("migrate", "--store", directory_of(legacy_path))
    assert again.stdout == ""
    assert "nothing to migrate" in again.stderr
    assert json.loads(run("migrate", "--store", legacy_path, "--json").stdout)["outcome"] == "already_directory"
    assert run("migrate", "--dry-run", "--store", legacy_path).stdout.endswith("3 sessions is in use\n")
    assert json.loads(run("info", "--store", legacy_path, "--json").stdout)["migratedFrom"]["sessions"] == 3
    assert "migrated from\t" in run("info", "--store", legacy_path).stdout


def test_spellings_of_one_key_are_named(run: Run, legacy_path: str) -> None:
    """Which entry wins is shown before it is done."""
    Path(legacy_path).write_text(json.dumps({"A": {"updatedAt": 2}, "a": {"updatedAt": 1}, "b": 3}))
    told = json.loads(run("migrate", "--dry-run", "--store", legacy_path, "--json").stdout)
    assert told["aliases"] == [{"key": "a", "spellings": ["A", "a"], "winner": "A"}]
    assert (told["legacyCount"], told["sessionCount"]) == (3, 1)
    shown = run("migrate", "--dry-run", "--store", legacy_path).stderr
    assert "the entry of 'A' is taken" in shown
    assert "'b' was left out" in shown
    done = run("migrate", "--store", legacy_path)
    assert "legacy entries\t3" in done.stdout
    assert "'b' was left out" in done.stderr


@pytest.mark.parametrize("dry_run", [(), ("--dry-run",)])
def test_what_cannot_be_migrated(run: Run, legacy_path: str, tmp_path: Path, dry_run: tuple[str, ...]) -> None:
    """Damaged is exit code 20, missing is 10, empty is nothing to do; the file stays in any case."""
    run("migrate", *dry_run, "--store", str(tmp_path / "none.json"), code=10)
    Path(legacy_path).write_text("[1]")
    told = json.loads(run("migrate", *dry_run, "--store", legacy_path, "--json", code=20).stderr)
    assert (told["error"], told["path"]) == ("CorruptFile", legacy_path)
    Path(legacy_path).write_text("{}")
    run("migrate", *dry_run, "--store", legacy_path)
    assert names(legacy_path) == ["sessions.json"]


def test_something_in_the_way(run: Run, legacy_path: str) -> None:
    """A directory that is no store stays as it is: exit code 21."""
    place = Path(directory_of(legacy_path))
    place.mkdir(mode=0o700)
    (place / "mine.txt").write_text("mine")
    (place / "mine.txt").chmod(0o600)
    told = json.loads(run("migrate", "--store", legacy_path, "--json", code=21).stderr)
    assert told["error"] == "MigrationError"
    assert os.listdir(place) == ["mine.txt"]


def test_a_running_legacy_program(run: Run, legacy_path: str) -> None:
    """Its lock is waited for, then it is exit code 11."""
    lock = Path(f"{legacy_path}.lock")
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    lock.write_text(json.dumps({"pid": os.getppid(), "createdAt": now}))
    run("migrate", "--store", legacy_path, "--lock-timeout", "0.1", code=11)
    lock.unlink()
    run("migrate", "--store", legacy_path)


def test_rollback_gives_back_what_the_store_holds_now(run: Run, legacy_path: str) -> None:
    """Changes since the migration included; the directory is kept; nothing migrates it again by itself."""
    run("migrate", "--store", legacy_path)
    run("set", MAIN, "model=new", "--store", legacy_path)
    preview = json.loads(run("rollback", "--dry-run", "--store", legacy_path, "--json").stdout)
    assert (preview["outcome"], preview["sessionCount"], preview["backupPath"]) == ("would_roll_back", 3, None)
    assert "nothing was written" in run("rollback", "--dry-run", "--store", legacy_path).stderr
    assert not Path(legacy_path).exists()
    told = json.loads(run("rollback", "--store", legacy_path, "--json").stdout)
    assert told["outcome"] == "rolled_back"
    assert told["size"] == preview["size"] == Path(legacy_path).stat().st_size
    assert Path(told["backupPath"]).is_dir()
    assert json.loads(Path(legacy_path).read_text()) == {**ENTRIES, MAIN: {**ENTRIES[MAIN], "model": "new"}}
    assert "nothing to roll back" in run("rollback", "--store", legacy_path).stderr
    run("set", MAIN, "model=newer", "--store", legacy_path, code=21)
    assert "model" in run("get", MAIN, "--store", legacy_path).stdout
    assert json.loads(run("migrate", "--dry-run", "--store", legacy_path, "--json").stdout)["rolledBack"] is True
    run("migrate", "--store", legacy_path)
    run("set", MAIN, "model=newer", "--store", legacy_path)


def test_rollback_does_not_overwrite(run: Run, legacy_path: str, tmp_path: Path) -> None:
    """A file of another program is moved aside only when asked for, and kept."""
    run("rollback", "--store", str(tmp_path / "none.d"), code=10)
    run("migrate", "--store", legacy_path)
    Path(legacy_path).write_text('{"foreign": {"updatedAt": 1}}')
    assert "exists beside" in run("check", "--store", legacy_path).stdout
    run("rollback", "--dry-run", "--store", legacy_path, code=21)
    run("rollback", "--store", legacy_path, code=21)
    assert "foreign" in Path(legacy_path).read_text()
    told = json.loads(run("rollback", "--overwrite", "--store", legacy_path, "--json").stdout)
    assert "foreign" in Path(told["previousPath"]).read_text()
    assert json.loads(Path(legacy_path).read_text()) == ENTRIES


def test_progress_shows_on_a_terminal_alone(run: Run, legacy_path: str) -> None:
    """Through a pipe nothing is drawn; on a terminal the bar goes away again."""
    Path(legacy_path).write_text(json.dumps({f"k{number}": {"updatedAt": number} for number in range(200)}))
    assert "writing" not in run("migrate", "--store", legacy_path).output
    run("rollback", "--store", legacy_path)
    shown = on_terminal(command("migrate", "--store", legacy_path))
    assert "writing sessions" in shown
    assert "200/200" in shown
    assert shown.splitlines()[-1].startswith("original")
