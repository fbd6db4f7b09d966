"""Migrating and rolling back in turn, and what stands in the way of either."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness.watched import QuickFs
from support.files import listing

from migration.stores import SMALL_SESSIONS, leftovers, names, put_legacy, sessions
from sessiondir import SessionStore, migration
from sessiondir.errors import MigrationError, StoreError
from sessiondir.fs import SYSTEM_FS
from sessiondir.takeover import is_rolled_back


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store that was migrated."""
    path = put_legacy(tmp_path)
    assert migration.migrate(path).outcome == "migrated"
    return path


def put(path: Path, key: str, entry: dict[str, Any]) -> None:
    with SessionStore.open(str(path)) as handle:
        handle.put(key, entry)


def test_over_and_over(tmp_path: Path) -> None:
    """Changes made on either side are kept through many turns; every turn leaves one backup of each kind."""
    path = put_legacy(tmp_path)
    wanted = dict(SMALL_SESSIONS)
    for turn in range(1, 5):
        assert migration.migrate(path).outcome == "migrated"
        wanted[f"directory-{turn}"] = {"sessionId": f"{turn}", "updatedAt": turn}
        put(path, f"directory-{turn}", wanted[f"directory-{turn}"])
        assert sessions(path) == wanted
        assert migration.rollback(path).outcome == "rolled_back"
        value = json.loads(path.read_bytes())
        assert value == wanted
        wanted[f"legacy-{turn}"] = value[f"legacy-{turn}"] = {"sessionId": f"l{turn}"}
        path.write_text(json.dumps(value))
        assert sessions(path) == wanted
        assert len(names(tmp_path, "sessions.json.bak.")) == len(names(tmp_path, "sessions.d.bak.")) == turn
    assert leftovers(tmp_path) == []


def test_calling_twice_changes_nothing(store: Path) -> None:
    """What is done already is said, and not done again."""
    before = listing(store.parent)
    assert migration.migrate(store).outcome == "already_directory"
    assert listing(store.parent).keys() == before.keys()
    migration.rollback(store)
    before = listing(store.parent)
    assert migration.rollback(store).outcome == "already_legacy"
    assert listing(store.parent).keys() == before.keys()


def test_missing(tmp_path: Path) -> None:
    """Where there is nothing, nothing is done and nothing is created."""
    for path in (tmp_path / "sessions.json", tmp_path / "nowhere" / "sessions.d"):
        assert migration.migrate(path).outcome == "missing"
        assert migration.rollback(path).outcome == "missing"
        assert migration.inspect(path).status == "missing"
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("data", "outcome", "status"),
    [(b"{}", "skipped_empty", "empty_legacy"), (b"{oops", "skipped_invalid", "invalid_legacy")],
)
def test_skipped(tmp_path: Path, data: bytes, outcome: str, status: str) -> None:
    """An empty or damaged file is left as it is, and the reason is told."""
    path = put_legacy(tmp_path, data)
    assert migration.inspect(path).status == status
    result = migration.migrate(path)
    assert result.outcome == outcome
    assert "was left as it is" in result.warnings[-1]
    assert path.read_bytes() == data
    assert names(tmp_path) == ["sessions.json"]


def test_inspect_and_dry_run_change_nothing(store: Path) -> None:
    """Looking leaves every file, its mode and its time as they were."""
    put(store, "more", {"a": 1})
    before = listing(store.parent)
    found = migration.inspect(store)
    assert (found.status, found.directory_count) == ("already_directory", 3)
    planned = migration.rollback(store, dry_run=True)
    assert (planned.outcome, planned.session_count, planned.backup_path) == ("would_roll_back", 3, None)
    assert listing(store.parent) == before
    assert migration.rollback(store).size == planned.size == store.stat().st_size


def test_rollback_never_overwrites(store: Path) -> None:
    """A foreign legacy file is refused, or moved aside when asked to, but never lost."""
    foreign = b'{"foreign": {"sessionId": "f"}}'
    put_legacy(store.parent, foreign)
    for dry_run in (True, False):
        with pytest.raises(MigrationError, match="is not what this store was made from"):
            migration.rollback(store, dry_run=dry_run)
    assert store.read_bytes() == foreign
    assert sessions(store) == SMALL_SESSIONS
    result = migration.rollback(store, overwrite=True)
    assert result.previous_path is not None
    assert Path(result.previous_path).read_bytes() == foreign
    assert json.loads(store.read_bytes()) == SMALL_SESSIONS


def test_the_original_may_stand_in_the_way(store: Path) -> None:
    """A legacy file that is to the byte what was migrated is the rest of an interrupted run, not a foreign one."""
    (backup,) = names(store.parent, "sessions.json.bak.")
    (store.parent / backup).rename(store)
    result = migration.rollback(store)
    assert result.previous_path is not None
    assert json.loads(store.read_bytes()) == SMALL_SESSIONS


def test_rolled_back_stores_are_not_migrated_by_themselves(store: Path) -> None:
    """After a rollback the first write is refused until someone migrates by hand."""
    migration.rollback(store)
    written = store.read_bytes()
    assert migration.inspect(store).rolled_back
    with SessionStore.open(str(store)) as handle:
        assert handle.get("42") == SMALL_SESSIONS["42"]
        with pytest.raises(StoreError, match="rolled back"):
            handle.put("42", {"a": 1})
    assert store.read_bytes() == written
    assert not (store.parent / "sessions.d").exists()
    assert migration.migrate(store).outcome == "migrated"
    assert not is_rolled_back(SYSTEM_FS, str(store.parent / "sessions.d"))
    put(store, "42", {"a": 1})


@pytest.mark.parametrize("emptied", ["in the directory", "by the legacy program"])
def test_an_empty_store_that_was_rolled_back_stays_with_the_legacy_program(store: Path, emptied: str) -> None:
    """A file without sessions is no reason to begin a directory beside it, until someone migrates by hand."""
    if emptied == "in the directory":
        with SessionStore.open(str(store)) as handle:
            for key in SMALL_SESSIONS:
                handle.delete(key)
    migration.rollback(store)
    store.write_bytes(b"{}")
    with SessionStore.open(str(store)) as handle:
        assert handle.get("42") is None
        with pytest.raises(MigrationError, match="rolled back"):
            handle.put("42", {"a": 1})
    assert not (store.parent / "sessions.d").exists()
    assert store.read_bytes() == b"{}"
    assert migration.migrate(store, automatic=True).outcome == "rolled_back"
    assert migration.migrate(store).outcome == "skipped_empty"
    assert not migration.inspect(store).rolled_back
    put(store, "42", {"a": 1})
    assert sessions(store) == {"42": {"a": 1}}


_ROLL_BACK = "import sys; from sessiondir import migration; migration.rollback(sys.argv[1], lock_timeout=0)"


def test_two_rollbacks_at_once(tmp_path: Path) -> None:
    """If another process is quicker there is nothing left to do; if we were, it is told so. Nothing is lost."""

    class Meddling(QuickFs):
        def __init__(self, path: Path, nth: int) -> None:
            super().__init__()
            self.path, self.left, self.told = path, nth, ""

        def call(self, name: str, real: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            self.left -= 1
            if self.left == 0:
                command = [sys.executable, "-c", _ROLL_BACK, str(self.path)]
                self.told = subprocess.run(command, capture_output=True, text=True, check=False).stderr
            return super().call(name, real, args, kwargs)

    seen = set()
    for nth in (1, 4, 8, 32, 96, 144):
        folder = tmp_path / str(nth)
        folder.mkdir()
        path = put_legacy(folder)
        migration.migrate(path, fs=QuickFs())
        fs = Meddling(path, nth)
        outcome = migration.rollback(path, fs=fs, lock_timeout=0).outcome
        assert fs.left <= 0
        assert json.loads(path.read_bytes()) == SMALL_SESSIONS
        assert len(names(folder, "sessions.d.bak.")) == 1
        assert leftovers(folder) == []
        assert outcome == ("rolled_back" if fs.told else "already_legacy"), (nth, fs.told)
        seen.add((outcome, "LockTimeout" in fs.told))
    assert seen == {("already_legacy", False), ("rolled_back", True)}


def test_rolled_back_by_somebody_while_a_first_write_takes_it_over(tmp_path: Path) -> None:
    """The write finds out before the moment of change: the rollback stands."""
    path = put_legacy(tmp_path)

    def meddle(done: int, total: int) -> None:
        if done == total and not names(tmp_path, "sessions.d.bak."):
            assert migration.migrate(path).outcome == "migrated"
            assert migration.rollback(path).outcome == "rolled_back"

    result = migration.migrate(path, automatic=True, progress=meddle)
    assert result.outcome == "failed"
    assert "rolled back" in result.warnings[0]
    assert json.loads(path.read_bytes()) == SMALL_SESSIONS
    assert migration.inspect(path).rolled_back
    assert not (tmp_path / "sessions.d").exists()
    assert leftovers(tmp_path) == []


def test_a_store_that_was_never_a_file(tmp_path: Path) -> None:
    """A store that began as a directory is handed over too; integer-like keys come first."""
    path = tmp_path / "sessions.json"
    for key in ("b", "10", "9", "A"):
        put(path, key, {"sessionId": key})
    migration.rollback(path)
    assert list(json.loads(path.read_bytes())) == ["9", "10", "A", "b"]


def test_what_a_legacy_file_cannot_hold_is_told(tmp_path: Path) -> None:
    """Keys that the legacy program takes for one, and members beside the entry, are named."""
    path = tmp_path / "sessions.json"
    for key in ("Key", "key", "other"):
        put(path, key, {"sessionId": key})
    for file in (tmp_path / "sessions.d" / "entries").iterdir():
        value = json.loads(file.read_text())
        if value["sessionKey"] == "other":
            file.write_text(json.dumps(value | {"later": [1]}))
    warnings = migration.rollback(path).warnings
    assert any("hold more than an entry" in text for text in warnings)
    assert any("'Key' and 'key' are one session" in text for text in warnings)


@pytest.mark.expect_findings("not a JSON document")
def test_a_damaged_session_is_named_and_kept(store: Path) -> None:
    """One damaged session file does not stop the rollback; its bytes stay in the backup."""
    file = store.parent / "sessions.d" / "entries" / "session-NDI.json"
    file.write_bytes(b"damaged")
    result = migration.rollback(store)
    assert "'42' was left out" in result.warnings[0]
    assert list(json.loads(store.read_bytes())) == ["agent:main:main"]
    assert result.backup_path is not None
    assert (Path(result.backup_path) / "entries" / file.name).read_bytes() == b"damaged"


def test_something_in_place_of_the_store(tmp_path: Path) -> None:
    """What is no store is not taken for one and not removed; an empty directory is no obstacle."""
    path = put_legacy(tmp_path)
    (tmp_path / "sessions.d").mkdir(mode=0o700)
    (tmp_path / "sessions.d" / "notes.txt").write_text("mine")
    (tmp_path / "sessions.d" / "notes.txt").chmod(0o600)
    result = migration.migrate(path)
    assert (result.outcome, type(result.error)) == ("failed", MigrationError)
    assert names(tmp_path) == ["sessions.d", "sessions.json"]
    (tmp_path / "sessions.d" / "notes.txt").unlink()
    assert migration.migrate(path).outcome == "migrated"


def test_a_link_in_place_of_the_store_is_not_followed(tmp_path: Path) -> None:
    """A symbolic link named NAME.d leads nowhere."""
    path = put_legacy(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "sessions.d").symlink_to("elsewhere")
    result = migration.migrate(path)
    assert result.outcome == "failed"
    assert "symbolic link" in result.warnings[0]
    assert names(tmp_path / "elsewhere") == []


def test_several_stores(tmp_path: Path) -> None:
    """One store that fails does not stop the others, and one named twice is migrated once."""
    paths = []
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        paths.append(put_legacy(tmp_path / name))
    (tmp_path / "b" / "sessions.d").symlink_to("nowhere")
    report = migration.migrate_all([*paths, tmp_path / "a" / "sessions.d"])
    assert [result.outcome for result in report.results] == ["migrated", "failed", "migrated"]


def test_progress(tmp_path: Path) -> None:
    """Progress is told while sessions are written, up to the last one."""
    path = put_legacy(tmp_path, {f"k{n}": {"n": n} for n in range(150)})
    told: list[tuple[int, int]] = []
    migration.migrate(path, progress=lambda done, total: told.append((done, total)))
    assert told == [(64, 150), (128, 150), (150, 150)]


def test_a_file_that_changes_while_it_is_staged(tmp_path: Path) -> None:
    """What the legacy program writes during the migration is in the store: changed, added and removed."""
    path = put_legacy(tmp_path, {f"k{n}": {"n": n} for n in range(70)})
    changed = {f"k{n}": {"n": n} for n in range(1, 70)} | {"k5": {"n": "changed"}, "added": {}}

    def meanwhile(done: int, total: int) -> None:
        if total == 70 and done == 70:
            other = tmp_path / "other"
            other.write_text(json.dumps(changed))
            other.rename(path)

    assert migration.migrate(path, progress=meanwhile).migrated_count == 70
    assert sessions(path) == changed


def test_what_is_nested_deeply_goes_back_too(tmp_path: Path) -> None:
    """G11: whatever depth the migration takes in, rolling back writes."""
    path = tmp_path / "sessions.json"
    deep = b'{"a": {"x": ' + b"[" * 900 + b"7" + b"]" * 900 + b"}}"
    path.write_bytes(deep)
    assert migration.migrate(path).outcome == "migrated"
    assert migration.rollback(path).outcome == "rolled_back"
    assert b"".join(path.read_bytes().split()) == b"".join(deep.split())
