"""G11: a legacy file that appears beside an active store, written by a program that does not know the store."""

from __future__ import annotations

import errno
import json
import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness.watched import QuickFs

from migration.stores import leftovers, names, put_legacy, sessions
from sessiondir import SessionStore, migration
from sessiondir.testing import CLOSING, UNLOCKING, FailingFileSystem, Stopped, StoppingFileSystem

START = 1_000_000
BASE: dict[str, Any] = {
    f"k{n}": {"sessionId": f"{n}", "updatedAt": START + n, "text": "x" * 200} for n in range(6)
}


def now_ms() -> int:
    return int(time.time() * 1000)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A migrated store whose journal still reaches back to the migration."""
    return made(tmp_path)


def made(folder: Path) -> Path:
    path = put_legacy(folder, BASE)
    assert migration.migrate(path, fs=QuickFs()).outcome == "migrated"
    return path


def rotate(path: Path) -> None:
    """Give the store a new journal, so that the old one's deletions are forgotten."""
    with SessionStore.open(path) as store:
        store.put("filler", {"text": "f" * 200_000})
        store.delete("filler")
    assert not (path.parent / "sessions.d" / "journal-1.jsonl").exists()
    time.sleep(0.002)  # the new journal's beginning has passed


def late(path: Path, entries: dict[str, Any]) -> None:
    """The old program writes its file."""
    put_legacy(path.parent, entries)


def test_strictly_newer_wins(store: Path) -> None:
    """Newer is taken over, equally new and older are not."""
    late(
        store,
        {
            "k0": {"updatedAt": START - 1, "from": "file"},
            "k1": {"updatedAt": START + 1, "from": "file"},
            "K2": {"updatedAt": START + 3, "from": "file"},
            "k3": {"from": "file"},
        },
    )
    result = migration.migrate(store)
    assert (result.outcome, result.legacy_count, result.migrated_count) == ("migrated", 4, 1)
    assert sessions(store) == BASE | {"k2": {"updatedAt": START + 3, "from": "file"}}
    assert not store.exists()
    assert leftovers(store.parent) == []


def test_it_is_loud(store: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A warning in the log and in the result: which file, how many, what stayed out, what to do."""
    with SessionStore.open(store) as handle:
        handle.delete("k4")
    late(store, BASE | {"k2": BASE["k2"] | {"updatedAt": START + 99, "more": 1}})
    caplog.set_level(logging.WARNING, "sessiondir")
    with SessionStore.open(store, read_only=True) as handle:
        assert handle.get("k2") == BASE["k2"]
    assert "does not count" in caplog.records[-1].getMessage()
    caplog.clear()
    result = migration.migrate(store)
    (record,) = caplog.records
    assert result.warnings[0] in record.getMessage()
    assert str(result.backup_path) in record.getMessage()
    assert "1 sessions were newer there and 0 new" in result.warnings[0]
    assert "4 were not newer; 1 were left out; stop that program" in result.warnings[0]
    assert "may have been deleted from the store: 'k4'" in result.warnings[1]


@pytest.mark.parametrize("data", [b"", b" \n", b"{}", b"{ }"])
def test_a_file_without_anything_is_not_loud(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, data: bytes
) -> None:
    """A new installation has such a file for good: no program wrote it meanwhile, and nothing is to be done."""
    path = put_legacy(tmp_path, data)
    caplog.set_level(logging.WARNING, "sessiondir")
    with SessionStore.open(path) as handle:
        handle.put("a", {"updatedAt": 1})
    assert sessions(path) == {"a": {"updatedAt": 1}}
    assert caplog.records == []
    assert path.read_bytes() == data
    path.write_bytes(b'{"b":{}}')
    assert sessions(path) == {"a": {"updatedAt": 1}}
    assert "does not count" in caplog.records[-1].getMessage()


@pytest.mark.parametrize("rotated", [False, True], ids=["in the journal", "forgotten by the journal"])
def test_a_deleted_session_never_comes_back(store: Path, rotated: bool) -> None:
    """Not by the copy from before, and not by a newer one of a program that went on using it (defect 9)."""
    with SessionStore.open(store) as handle:
        handle.delete("k0")
        handle.delete("k1")
        handle.put("own", {"updatedAt": START})
        handle.delete("own")
    if rotated:
        rotate(store)
    late(store, BASE | {"k1": BASE["k1"] | {"updatedAt": now_ms() + 5000}, "own": {"updatedAt": START + 1}})
    migration.migrate(store)
    assert sessions(store) == {key: BASE[key] for key in ("k2", "k3", "k4", "k5")}
    backup = json.loads((store.parent / names(store.parent, "sessions.json.bak.")[-1]).read_bytes())
    assert backup.keys() == {*BASE, "own"}


@pytest.mark.parametrize("rotated", [False, True], ids=["in the journal", "forgotten by the journal"])
def test_a_session_that_came_late_and_was_deleted_stays_away(store: Path, rotated: bool) -> None:
    """The old program still has it and makes it newer, but an earlier late file tells that it was here once."""
    late(store, BASE | {"begun": {"sessionId": "new", "updatedAt": now_ms() + 5}})
    assert migration.migrate(store).migrated_count == 1
    with SessionStore.open(store) as handle:
        handle.delete("begun")
    if rotated:
        rotate(store)
    late(store, BASE | {"begun": {"sessionId": "new", "updatedAt": now_ms() + 5000}})
    result = migration.migrate(store)
    assert result.migrated_count == 0
    assert "'begun'" in result.warnings[-1]
    assert sessions(store) == BASE


@pytest.mark.parametrize("rotated", [False, True], ids=["same journal", "new journal"])
def test_a_session_that_the_old_program_began_is_taken_in(store: Path, rotated: bool) -> None:
    """It was not in the original and is newer than the journal, so it cannot be a deleted one."""
    if rotated:
        rotate(store)
    new = {"sessionId": "new", "updatedAt": now_ms() + 5}
    late(store, BASE | {"begun": new})
    assert migration.migrate(store).migrated_count == 1
    assert sessions(store) == BASE | {"begun": new}


@pytest.mark.parametrize("lost", ["sessions.json.bak.", "sessions.json.migrated.", "sessions.json."])
def test_without_the_original_nothing_missing_is_taken_in(store: Path, lost: str) -> None:
    """With a forgotten past and neither name of the original there, nobody can tell what was deleted."""
    rotate(store)
    for name in names(store.parent, lost):
        (store.parent / name).unlink()
    late(store, BASE | {"begun": {"updatedAt": now_ms() + 5}})
    taken = migration.migrate(store).migrated_count
    assert taken == (0 if lost == "sessions.json." else 1)


def test_a_file_from_before_the_migration(store: Path) -> None:
    """Somebody restored an old copy: what the legacy program had removed by then stays away."""
    late(store, {"ancient": {"updatedAt": START - 5}, "k1": BASE["k1"]})
    result = migration.migrate(store)
    assert result.migrated_count == 0
    assert sessions(store) == BASE


def test_old_copies_do_not_use_up_second_names(store: Path) -> None:
    """Only the original is kept under a name that no rotation knows."""
    for turn in range(3):
        late(store, {"k1": {"updatedAt": START + 100 + turn}})
        assert migration.migrate(store).outcome == "migrated"
    assert len(names(store.parent, "sessions.json.bak.")) == 4
    assert len(names(store.parent, "sessions.json.migrated.")) == 1


@pytest.mark.expect_findings("not a JSON document")
def test_a_damaged_session_is_left_alone(store: Path) -> None:
    """A session that is damaged in the store is not overwritten by the way."""
    file = store.parent / "sessions.d" / "entries" / "session-azE.json"
    file.write_bytes(b"damaged")
    late(store, {"k1": {"updatedAt": now_ms()}, "k2": {"updatedAt": START + 100}})
    result = migration.migrate(store)
    assert "is damaged in the store: 'k1'" in result.warnings[1]
    assert file.read_bytes() == b"damaged"


def test_it_is_merged_while_others_write(store: Path) -> None:
    """A session that changes while it is compared is compared again; no update is lost."""
    entries = {f"k{n}": {"updatedAt": START + 50, "from": "file"} for n in range(6)}
    late(store, entries)
    with SessionStore.open(store) as handle:

        class Meddling(QuickFs):
            """Commits something newer just before the merge's own commit."""

            armed = True

            def call(self, name: str, real: Callable[..., Any], args: Any, kwargs: Any) -> Any:
                if self.armed and name == "flock" and str(args[0]) and self.calls.count("pread") > 30:
                    self.armed = False
                    handle.put("k3", {"updatedAt": START + 60, "from": "store"})
                return super().call(name, real, args, kwargs)

        fs = Meddling()
        assert migration.migrate(store, fs=fs).outcome == "migrated"
        assert not fs.armed
        assert handle.get("k3") == {"updatedAt": START + 60, "from": "store"}
        assert handle.get("k4") == entries["k4"]


# -- killed, or refused by the system ------------------------------------------------------------

LATE = BASE | {"k2": {"updatedAt": START + 100, "new": 1}, "k0": BASE["k0"], "k5": {"updatedAt": START + 7}}
MERGED = {key: entry for key, entry in LATE.items() if key != "k0"}


def with_late_file(folder: Path) -> Path:
    folder.mkdir()
    path = made(folder)
    with SessionStore.open(path, fs=QuickFs()) as handle:
        handle.delete("k0")
    late(path, LATE)
    return path


@pytest.mark.parametrize("torn", [False, True], ids=["before", "half-way"])
def test_killed_anywhere(tmp_path: Path, torn: bool) -> None:
    """The store is whole, nothing deleted is back, and the next run finishes."""
    number = 0
    while True:
        number += 1
        path = with_late_file(tmp_path / f"{number}")
        fs = StoppingFileSystem(number, torn=torn)
        try:
            migration.migrate(path, fs=fs)
        except Stopped:
            pass
        fs.bury()
        here = f"killed at call {number} ({fs.last})"
        found = sessions(path)
        assert found.keys() == MERGED.keys(), here
        assert all(found[key] in (BASE[key], MERGED[key]) for key in found), here
        assert migration.migrate(path, fs=QuickFs()).outcome in ("migrated", "already_directory"), here
        assert sessions(path) == MERGED, here
        assert not path.exists(), here
        if not fs.last:
            break
    assert number > 80


@pytest.mark.parametrize("forever", [False, True], ids=["once", "for-ever"])
@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
def test_refused_calls(tmp_path: Path, error: str, forever: bool) -> None:
    """Whichever call fails: no success is claimed wrongly, nothing is lost, a second try works."""
    number = 0
    while True:
        number += 1
        path = with_late_file(tmp_path / f"{number}")
        fs = FailingFileSystem()
        fs.arm(
            number, getattr(errno, error), forever=forever, kinds=lambda kind, _: kind not in (CLOSING, UNLOCKING)
        )
        result = migration.migrate(path, fs=fs)
        here = f"{error} from {fs.failed_call}"
        untouched = not fs.failed
        fs.disarm()
        if result.outcome != "migrated":
            assert result.outcome == "failed", (here, result)
            assert sessions(path).keys() == MERGED.keys(), here
            assert migration.migrate(path, fs=FailingFileSystem()).outcome in ("migrated", "already_directory"), (
                here
            )
        assert sessions(path) == MERGED, here
        assert not path.exists(), here
        if untouched:
            break
    assert number > 60


# -- the store's key rule -------------------------------------------------------------------------


@pytest.mark.parametrize("rotated", [False, True], ids=["same journal", "new journal"])
def test_keys_are_compared_as_the_store_does(tmp_path: Path, rotated: bool) -> None:
    """Beside a store that tells case apart nothing deleted comes back in lower case, and nobody gets a twin."""
    path = tmp_path / "sessions.json"
    with SessionStore.open(path, keys="exact") as handle:
        for key in ("User:Foo", "User:Bar", "user:baz"):
            handle.put(key, {"sessionId": key, "updatedAt": START})
        handle.delete("User:Foo")
    if rotated:
        rotate(path)
    at = now_ms() + 5000
    late(path, {key: {"sessionId": "late", "updatedAt": at} for key in ("User:Foo", "User:Bar", "User:Baz")})
    migration.migrate(path)
    found = sessions(path)
    assert found["User:Bar"] == {"sessionId": "late", "updatedAt": at}
    assert found["user:baz"] == {"sessionId": "user:baz", "updatedAt": START}
    # Whether this one was ever deleted only the first journal can tell.
    assert found.keys() - {"User:Baz"} == {"User:Bar", "user:baz"}
    assert ("User:Baz" in found) == (not rotated)


def test_spellings_are_two_sessions_where_the_store_tells_case_apart(tmp_path: Path) -> None:
    """Neither stands for the other, whichever is newer."""
    path = tmp_path / "sessions.json"
    with SessionStore.open(path, keys="exact") as handle:
        handle.put("A", {"updatedAt": START})
        handle.put("a", {"updatedAt": START})
    late(path, {"A": {"updatedAt": START + 1}, "a": {"updatedAt": START + 2}})
    assert migration.migrate(path).migrated_count == 2
    assert sessions(path) == {"A": {"updatedAt": START + 1}, "a": {"updatedAt": START + 2}}


# -- what records there are of deleted sessions ----------------------------------------------------

FUTURE = 4_000_000_000_000


@pytest.mark.parametrize("lost", ["", "sessions.json.bak.", "sessions.json.migrated.", "sessions.d.bak."])
@pytest.mark.parametrize("deleted_in", ["the store", "the legacy program"])
def test_what_was_deleted_before_an_earlier_rollback_stays_away(
    tmp_path: Path, deleted_in: str, lost: str
) -> None:
    """Any record of it is enough: backups of legacy files, or the directory of before the rollback."""
    path = put_legacy(tmp_path, BASE | {"k0": BASE["k0"] | {"updatedAt": FUTURE}})
    original = path.read_bytes()
    migration.migrate(path)
    if deleted_in == "the store":
        with SessionStore.open(path) as handle:
            handle.delete("k0")
    migration.rollback(path)
    if deleted_in == "the legacy program":
        put_legacy(tmp_path, {key: BASE[key] for key in BASE if key != "k0"})
    migration.migrate(path)
    if lost:
        for name in names(tmp_path, lost):
            item = tmp_path / name
            shutil.rmtree(item) if item.is_dir() else item.unlink()
    put_legacy(tmp_path, original)
    result = migration.migrate(path)
    assert sessions(path).keys() == BASE.keys() - {"k0"}
    assert "may have been deleted from the store: 'k0'" in result.warnings[-1]


def test_a_long_key_in_the_directory_of_before(tmp_path: Path) -> None:
    """Its file's name is a check sum; it is known all the same."""
    key = "agent:" + "x" * 300
    path = put_legacy(tmp_path, BASE | {key: {"updatedAt": FUTURE}})
    original = path.read_bytes()
    migration.migrate(path)
    migration.rollback(path)
    put_legacy(tmp_path, BASE)
    migration.migrate(path)
    for name in names(tmp_path, "sessions.json."):
        (tmp_path / name).unlink()
    put_legacy(tmp_path, original)
    migration.migrate(path)
    assert sessions(path) == BASE
