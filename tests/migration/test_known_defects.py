"""Defects of earlier programs of this kind: each with a test that would catch it. Numbers are theirs."""

from __future__ import annotations

import errno
import json
import logging
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from support.files import make_layout1
from support.processes import Peer
from support.seams import RuledFileSystem

from migration.stores import SMALL, SMALL_SESSIONS, legacy_bytes, names, put_legacy, sessions
from sessiondir import SessionStore, layout, migration
from sessiondir.errors import InvalidKey, MigrationError, StoreError, UnreadableFile, UnsafeDirectory
from sessiondir.maintenance import list_trash
from sessiondir.model import Limits
from sessiondir.targets import Installation, discover


class SharedFs(RuledFileSystem):
    """A file system that shows every directory as writable by everybody, as some mounts do."""

    def __init__(self) -> None:
        super().__init__()
        real = self.fstat

        def fstat(fd: int) -> os.stat_result:
            found = real(fd)
            if not stat.S_ISDIR(found.st_mode):
                return found
            return os.stat_result((found.st_mode | 0o777, *found[1:]))

        self.fstat = fstat  # type: ignore[method-assign]


def test_1_a_store_that_cannot_be_migrated_stays_readable(tmp_path: Path) -> None:
    """1: where directories are not safe, reading goes on, and writing says why it does not."""
    path = put_legacy(tmp_path)
    fs = SharedFs()
    with SessionStore.open(path, fs=fs) as store:
        assert dict(store.snapshot()) == SMALL_SESSIONS
        with pytest.raises((UnsafeDirectory, MigrationError), match="writable session-store directory"):
            store.put("42", {"a": 1})
        assert dict(store.snapshot()) == SMALL_SESSIONS
    assert names(tmp_path) == ["sessions.json"]
    assert path.read_bytes() == legacy_bytes(SMALL)


def test_2_keys_in_any_case_are_found(tmp_path: Path) -> None:
    """2: every way to one session finds it whatever the spelling, and leaves one session."""
    path = put_legacy(tmp_path)
    migration.migrate(path)
    with SessionStore.open(path) as store:
        for key in ("Agent:Main:Main", " AGENT:MAIN:MAIN\ufeff"):
            assert store.get(key) is not None
            assert key in store
            assert store.updated_at(key) == 1000
            store.patch(key, {"label": key})
            assert store.update(key, lambda entry: entry | {"n": 1}) == store[key]
            store.put(key, store[key])
        assert sorted(store) == ["42", "agent:main:main"]


def test_2_directories_with_misspelt_keys_are_straightened(tmp_path: Path) -> None:
    """2: what a layout-1 program wrote under another spelling is found after a migration; the newer wins."""
    path = tmp_path / "sessions.d"
    entries = {"Agent:X": {"updatedAt": 5}, "agent:y": {"updatedAt": 1}, "Agent:Y": {"updatedAt": 2}, "z": {}}
    make_layout1(path, entries | {"agent:w": {"updatedAt": 3}, "AGENT:W": {"updatedAt": 3, "other": 1}}, 3)
    result = migration.migrate(path)
    assert (result.outcome, len(result.warnings)) == ("already_directory", 3)
    assert "'Agent:X' could not be found" in result.warnings[1]
    with SessionStore.open(path) as store:
        assert store["Agent:X"] == {"updatedAt": 5}
    assert sessions(path) == {
        "agent:x": {"updatedAt": 5},
        "agent:y": {"updatedAt": 2},
        "agent:w": {"updatedAt": 3},
        "z": {},
    }
    assert migration.migrate(path).warnings == ()
    with SessionStore.open(path) as store:
        kept = {item.key: item.note.rule for item in list_trash(store).items}
        assert kept == {"agent:y": "spelling", "AGENT:W": "spelling"}


def test_2_a_start_says_what_was_straightened(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """2: nobody sees the result of a migration at a start, so the log has it."""
    path = tmp_path / "sessions.d"
    make_layout1(path, {"agent:y": {"updatedAt": 1}, "Agent:Y": {"updatedAt": 2}}, 3)
    caplog.set_level(logging.WARNING, "sessiondir")
    report = migration.migrate_all([path])
    assert report.counts["already_directory"] == 1
    (told,) = [text for text in caplog.messages if "under that spelling" in text]
    assert "'agent:y' now has the entry of 'Agent:Y', the trash that of 'agent:y'" in told


def test_3_one_session_reads_as_the_whole_store_does(tmp_path: Path) -> None:
    """3: old field names are renamed on every way, before and after the migration."""
    path = put_legacy(tmp_path)
    with SessionStore.open(path) as store:
        for _ in range(2):
            assert store["42"]["channel"] == "telegram"
            assert "provider" not in store["42"]
            assert dict(store.snapshot())["42"] == store["42"] == store.update("42", lambda entry: None)
            store.patch("agent:main:main", {"label": "migrates"})
    assert json.loads((tmp_path / "sessions.d" / "entries" / "session-NDI.json").read_text())["entry"] == {
        "sessionId": "n",
        "updatedAt": 5,
        "channel": "telegram",
    }


def test_4_other_processes_see_a_commit_whose_state_file_failed(tmp_path: Path) -> None:
    """4: what is committed is visible everywhere, although the state file could not be written after it."""
    path = put_legacy(tmp_path)
    migration.migrate(path)
    fs = RuledFileSystem()
    with Peer(str(path)) as peer:
        assert peer.do("tell(store.version)") == 1
        with SessionStore.open(path, checkpoint_interval=0, fs=fs) as store:
            rule = fs.fail("rename", errno.ENOSPC, lambda old, new: new == "state.json")
            store.put("42", {"n": 1})
            assert peer.do("tell([store.version, store.get('42')])") == [2, {"n": 1}]
            fs.mend(rule)


def test_5_a_handle_that_migrates_sees_what_it_migrated(tmp_path: Path) -> None:
    """5: what was cached from the legacy file is not shown instead of the directory's content."""
    path = put_legacy(tmp_path)
    with SessionStore.open(path) as store:
        before = dict(store.snapshot())
        store.put("new", {"sessionId": "new"})
        assert dict(store.snapshot()) == before | {"new": {"sessionId": "new"}} == sessions(path)


@pytest.mark.parametrize("trap", ["link", "oversized"])
def test_6_the_file_is_examined_when_it_is_migrated(tmp_path: Path, trap: str) -> None:
    """6: a handle that has read a good file does not migrate from memory when a trap stands there by now."""
    path = put_legacy(tmp_path)
    outside = tmp_path / "outside.json"
    with SessionStore.open(path, limits=Limits(legacy_bytes=1000)) as store:
        assert store.get("42") is not None
        if trap == "link":
            path.rename(outside)
            path.symlink_to(outside)
        else:
            path.write_bytes(legacy_bytes(SMALL | {"big": {"text": "x" * 2000}}))
        with pytest.raises(StoreError, match="symbolic link" if trap == "link" else "limit is 1000"):
            store.put("42", {"a": 1})
    assert not (tmp_path / "sessions.d").exists()


@pytest.mark.parametrize("migrated", [False, True], ids=["legacy file", "directory"])
def test_7_a_blank_key_is_the_same_everywhere(tmp_path: Path, migrated: bool) -> None:
    """7: not found on reads, a clear error on writes, in both kinds of store."""
    path = put_legacy(tmp_path)
    if migrated:
        migration.migrate(path)
    with SessionStore.open(path) as store:
        for key in ("", " \t", "\ufeff"):
            assert store.get(key) is None
            assert key not in store
            with pytest.raises(InvalidKey):
                store.put(key, {})
            with pytest.raises(InvalidKey):
                store.update(key, lambda entry: {}, create=True)
    assert path.exists() != migrated


def test_8_what_cannot_be_listed_or_read_is_not_empty(tmp_path: Path) -> None:
    """8: a failing listing is an error, and a session that cannot be read is named, never just absent."""
    path = put_legacy(tmp_path)
    migration.migrate(path)
    fs = RuledFileSystem()
    with SessionStore.open(path, read_only=True, fs=fs) as store:
        rule = fs.fail("listdir", errno.EIO)
        for ask in (store.snapshot, store.keys, store.list):
            with pytest.raises(StoreError):
                ask()
        fs.mend(rule)
        fs.fail("open", errno.EACCES, lambda name, *rest: str(name).startswith("session-NDI"))
        with pytest.raises(UnreadableFile):
            store.get("42")
        assert "42" in store.snapshot().damaged
    with pytest.raises(StoreError):
        migration.rollback(path, fs=fs)


def test_9_deleted_sessions_stay_deleted(tmp_path: Path) -> None:
    """9: a legacy file left beside the store (an interrupted migration, an old program) brings nothing back."""
    path = put_legacy(tmp_path)
    migration.migrate(path)
    with SessionStore.open(path) as store:
        store.delete("42")
    put_legacy(tmp_path)
    assert migration.migrate_all([path]).counts["migrated"] == 1
    put_legacy(tmp_path, SMALL | {"42": SMALL["42"] | {"label": "old program"}})
    assert migration.migrate_all([path]).counts["migrated"] == 1
    assert "42" not in sessions(path)


def test_10_going_back_overwrites_nothing_and_lasts(tmp_path: Path) -> None:
    """10: a file in the way is refused, and after a rollback nothing migrates by itself, at any start."""
    path = put_legacy(tmp_path)
    migration.migrate(path)
    put_legacy(tmp_path, {"mine": {}})
    with pytest.raises(MigrationError):
        migration.rollback(path)
    assert json.loads(path.read_text()) == {"mine": {}}
    migration.rollback(path, overwrite=True)
    for _ in range(2):
        assert migration.migrate_all([path]).counts["rolled_back"] == 1
        with SessionStore.open(path) as store, pytest.raises(StoreError):
            store.put("42", {"a": 1})
    assert json.loads(path.read_text()) == SMALL_SESSIONS


def test_11_what_dead_runs_left_is_cleared_away(tmp_path: Path) -> None:
    """11: abandoned staging directories and temporary files go with the next run; backups do not."""
    path = put_legacy(tmp_path)
    abandoned = tmp_path / "sessions.d.staging-0123456789abcdef"
    (abandoned / "entries").mkdir(parents=True)
    (abandoned / "entries" / "session-eA.json").write_text("{")
    (tmp_path / "sessions.json.tmp-0123456789abcdef").write_text("{")
    foreign = tmp_path / "sessions.d.staging-mine"
    foreign.mkdir()
    migration.migrate(path)
    migration.rollback(path)
    migration.migrate(path)
    assert names(tmp_path, "staging-") == [foreign.name]
    assert names(tmp_path, ".tmp-") == []
    assert len(names(tmp_path, "sessions.d.bak.")) == 1
    assert len(names(tmp_path, "sessions.json.bak.")) == 2


def test_12_stores_named_by_a_template_do_not_collide(tmp_path: Path) -> None:
    """12: several legacy files in one directory have a store each; a store behind a link is found once."""
    real = tmp_path / "real"
    real.mkdir()
    for agent in ("main", "b"):
        (real / f"sessions-{agent}.json").write_bytes(legacy_bytes({"k": {"sessionId": agent}}))
    (tmp_path / "link").symlink_to(real)
    state = tmp_path / "state"
    state.mkdir()
    store = str(tmp_path / "link" / "sessions-{agentId}.json")
    config: dict[str, Any] = {"session": {"store": store}, "agents": {"list": [{"id": "main"}, {"id": "b"}]}}
    (state / "openclaw.json").write_text(json.dumps(config))
    here = Installation.find({"OPENCLAW_STATE_DIR": str(state)})
    for outcome in ("migrated", "already_directory"):
        found = discover(here)
        assert [target.path for target in found] == [f"{real}/sessions-main.json", f"{real}/sessions-b.json"]
        assert migration.migrate_all(found).counts[outcome] == 2
    for agent in ("main", "b"):
        assert sessions(real / f"sessions-{agent}.d") == {"k": {"sessionId": agent}}


def keep_three(folder: Path) -> None:
    """How the legacy program rotates: of names with the prefix the three last in text order stay."""
    for name in sorted(names(folder, "sessions.json.bak."), reverse=True)[3:]:
        (folder / name).unlink()


def test_13_the_original_survives_rotation_and_clearing(tmp_path: Path) -> None:
    """13: neither "keep three" nor the removal of all ``.bak.`` archives takes the original away."""
    path = put_legacy(tmp_path)
    original = path.read_bytes()
    migration.migrate(path)
    migration.rollback(path)
    for number in range(4):
        (tmp_path / f"sessions.json.bak.{9_000_000_000_000 + number}").write_text("{}")
    keep_three(tmp_path)
    assert all(name.startswith("sessions.json.bak.9") for name in names(tmp_path, "sessions.json.bak."))
    for name in names(tmp_path, "sessions.json.bak."):
        (tmp_path / name).unlink()
    (kept,) = names(tmp_path, "sessions.json.migrated.")
    assert (tmp_path / kept).read_bytes() == original


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_14_root_may_work_on_a_users_store(tmp_path: Path) -> None:
    """14: root migrates, writes and rolls back, and everything it makes belongs to the user."""
    path = put_legacy(tmp_path)
    os.chown(tmp_path, 12345, 12345)
    os.chown(path, 12345, 12345)
    migration.migrate(path)
    with SessionStore.open(path) as store:
        store.put("new", {"a": 1})
        store.put("42", {"b": 1})
    owners = {item.lstat().st_uid for item in [tmp_path / "sessions.d", *(tmp_path / "sessions.d").rglob("*")]}
    assert owners == {12345}
    migration.rollback(path)
    assert path.stat().st_uid == 12345


def test_15_hashed_names_cannot_clash_with_readable_ones() -> None:
    """15: no key has a readable name that looks hashed, and a long key's name is recognised as hashed."""
    for length in range(1, 121):
        for character in ("a", "\x7f", "é", "\U0001f600"):
            key = (character * length).encode()[:120].decode("utf-8", "ignore")
            name, hashed = layout.session_file_names(key)
            assert not layout.is_hashed_name(name)
            assert layout.key_of_name(name) == key
            assert layout.key_of_name(hashed) is None
    (name,) = layout.session_file_names("k" * 400)
    assert layout.is_hashed_name(name)
    assert len(name) < 80
    assert layout.key_of_name(name) is None
