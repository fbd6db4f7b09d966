"""G3: a change of a legacy store that was not migrated yet, while the legacy program still writes its file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness.watched import QuickFs
from support.factories import Opener

from migration.stores import expected_sessions, legacy_bytes, put_legacy, sessions
from sessiondir import ConflictError, SessionStore, migration

BEFORE: dict[str, Any] = {
    "k": {"sessionId": "a", "updatedAt": 1, "n": 1},
    "other": {"sessionId": "b", "updatedAt": 1, "list": [1.0, {"é": None}]},
}
AFTER = BEFORE | {"k": BEFORE["k"] | {"updatedAt": 2, "n": 100}}


@pytest.fixture
def legacy(tmp_path: Path) -> Path:
    return put_legacy(tmp_path, BEFORE)


def rewrite(path: Path, value: dict[str, Any] = AFTER) -> None:
    """What the legacy program does when it saves."""
    temporary = path.parent / "sessions.json.0b7c.tmp"
    temporary.write_bytes(legacy_bytes(value))
    os.rename(temporary, path)


def once(act: Callable[[], None]) -> Callable[[], None]:
    """``act`` the first time, nothing later."""
    left = [act]

    def again() -> None:
        if left:
            left.pop()()

    return again


def test_an_update_is_computed_from_what_is_migrated(open_store: Opener, legacy: Path) -> None:
    """The callback runs again with the entry that the file had when it was taken over."""
    seen = []
    meddle = once(lambda: rewrite(legacy))

    def count(entry: dict[str, Any]) -> dict[str, Any]:
        seen.append(entry["n"])
        meddle()
        return entry | {"n": entry["n"] + 1}

    assert open_store().update("k", count)["n"] == 101
    assert seen == [1, 100]
    assert sessions(legacy)["k"] == AFTER["k"] | {"n": 101}


def test_a_session_that_appears_meanwhile_is_not_replaced(open_store: Opener, legacy: Path) -> None:
    """An update that would create a session finds the one that the legacy program has just begun."""
    meddle = once(lambda: rewrite(legacy, AFTER | {"new": {"sessionId": "c", "n": 7}}))

    def create(entry: dict[str, Any]) -> dict[str, Any]:
        meddle()
        return entry | {"n": entry.get("n", 0) + 1}

    assert open_store().update("new", create, create=True) == {"sessionId": "c", "n": 8}


def test_a_patch_tells_the_entry_that_it_changed(legacy: Path) -> None:
    """The file changes while it is being migrated: what comes back has both changes."""
    meddle = once(lambda: rewrite(legacy))

    class Meddling(QuickFs):
        """Saves when the staging directory has been made."""

        def call(self, name: str, real: Callable[..., Any], args: Any, kwargs: Any) -> Any:
            result = super().call(name, real, args, kwargs)
            if name == "mkdir":
                meddle()
            return result

    fs = Meddling()
    with SessionStore.open(legacy, fs=fs) as store:
        assert store.patch("k", {"label": "x"}) == AFTER["k"] | {"label": "x"}
        assert store["k"] == AFTER["k"] | {"label": "x"}


def test_a_whole_store_edit_is_computed_again(open_store: Opener, legacy: Path) -> None:
    """``edit(fn)`` and ``replace`` fit what was migrated, not what they saw at first."""
    meddle = once(lambda: rewrite(legacy))

    def count(sessions: Any) -> int:
        n: int = sessions["k"]["n"] + 1
        meddle()
        sessions["k"] = sessions["k"] | {"n": n}
        return n

    assert open_store().edit(count) == 101
    assert sessions(legacy)["k"]["n"] == 101


@pytest.mark.parametrize("what", ["entry", "list"])
def test_an_edit_block_conflicts(open_store: Opener, legacy: Path, what: str) -> None:
    """With an entry that changed, and with the set of sessions if it was gone through; nothing is committed."""
    changed = AFTER if what == "entry" else BEFORE | {"new": {"sessionId": "c"}}
    store = open_store()
    with pytest.raises(ConflictError), store.edit() as edit:
        if what == "list":
            assert len(list(edit)) == 2
            edit["mine"] = {}
        else:
            edit["k"] = edit["k"] | {"n": 2}
        rewrite(legacy, changed)
    assert dict(store.snapshot()) == changed
    with store.edit() as edit:
        edit["mine"] = {"all": len(list(edit))}


def test_replacing_takes_in_what_came_meanwhile(open_store: Opener, legacy: Path) -> None:
    """``replace`` means exactly its mapping, so a session that appears meanwhile goes, too."""
    rewrite(legacy, AFTER | {"new": {"sessionId": "c"}})
    store = open_store()
    store.replace({"k": {"n": 5}})
    assert dict(store.snapshot()) == {"k": {"n": 5}}


@pytest.mark.parametrize("by_another", [False, True], ids=["by this write", "by another process"])
@pytest.mark.parametrize("deleting", [False, True], ids=["put", "delete"])
def test_a_version_read_from_the_file(open_store: Opener, legacy: Path, by_another: bool, deleting: bool) -> None:
    """It holds as long as the entry is the same, also once migrated, and no longer."""
    store = open_store()
    change: Callable[..., Any] = store.delete if deleting else lambda key, v: store.put(key, {"n": 2}, v)
    versions = {key: store.version_of(key) for key in BEFORE}
    rewrite(legacy)
    if by_another:
        assert migration.migrate(legacy).outcome == "migrated"
    with pytest.raises(ConflictError, match="'k'"):
        change("k", versions["k"])
    assert sessions(legacy) == AFTER
    change("other", versions["other"])
    with pytest.raises(ConflictError, match="'other'"):
        change("other", versions["other"])


def test_versions_of_the_file_survive_migration(legacy: Path) -> None:
    """Each entry of the corpus of odd values: the number that was told before is good afterwards."""
    data = Path(__file__).parent.parent / "data"
    for file in (data / "example-sessions.json", *sorted((data / "corpus").glob("*.json"))):
        value = file.read_bytes()
        folder = legacy.parent / file.stem
        folder.mkdir()
        path = put_legacy(folder, value)
        if not expected_sessions(path):
            continue
        with SessionStore.open(path) as store:
            versions = {key: store.version_of(key) for key in store}
            assert all(versions.values())
            migration.migrate(path)
            for key, version in versions.items():
                store.put(key, {"n": 1}, version)


def test_whenever_the_file_changes(tmp_path: Path) -> None:
    """The legacy program saves, by its lock, before each call of a first update in turn: both changes are kept."""
    number, changed = 0, 0
    while True:
        number += 1
        folder = tmp_path / f"{number}"
        folder.mkdir()
        legacy = put_legacy(folder, BEFORE)

        class Meddling(QuickFs):
            """Saves before the ``number``-th call."""

            left = number
            saved = False

            def call(self, name: str, real: Callable[..., Any], args: Any, kwargs: Any) -> Any:
                self.left -= 1
                if self.left == 0 and legacy.exists() and not (folder / "sessions.json.lock").exists():  # noqa: B023
                    rewrite(legacy)  # noqa: B023
                    self.saved = True
                return super().call(name, real, args, kwargs)

        fs = Meddling()
        with SessionStore.open(legacy, fs=fs) as store:
            found = store.update("k", lambda entry: entry | {"n": entry["n"] + 1})
        assert found is not None
        changed += fs.saved
        n = found["n"]
        assert n == sessions(legacy)["k"]["n"] == (101 if fs.saved else 2), f"before call {number}"
        if fs.left > 0:
            break
    assert changed > 20


ACTS: dict[str, Callable[[SessionStore], Any]] = {
    "get": lambda store: store["k"]["n"] == 1,
    "keys": lambda store: sorted(store) == ["k", "other"],
    "list": lambda store: len(store.list()) == 2,
    "snapshot": lambda store: len(store.snapshot()) == 2,
    "version": lambda store: store.version == 1,
    "info": lambda store: store.info().sessions == 2,
    "update": lambda store: store.update("k", lambda entry: entry | {"n": 2}) is not None,
    "delete": lambda store: store.delete("k"),
    "edit": lambda store: store.edit(len) == 2,
}


@pytest.mark.parametrize("act", ACTS)
def test_while_another_process_migrates(tmp_path: Path, act: str) -> None:
    """Whichever call it migrates before: what is in the store is never taken for missing."""
    number = 0
    while True:
        number += 1
        folder = tmp_path / f"{number}"
        folder.mkdir()
        legacy = put_legacy(folder, BEFORE)

        class Meddling(QuickFs):
            """Another process migrates before the ``number``-th call."""

            left = number

            def call(self, name: str, real: Callable[..., Any], args: Any, kwargs: Any) -> Any:
                self.left -= 1
                if self.left == 0:
                    migration.migrate(legacy, fs=QuickFs(), lock_timeout=0)  # noqa: B023
                return super().call(name, real, args, kwargs)

        fs = Meddling()
        with SessionStore.open(legacy, create=False, fs=fs) as store:
            assert ACTS[act](store), f"before call {number}"
        if fs.left > 0 or number > 40:
            break
    assert number > 5


def test_where_nothing_moved_the_callback_runs_once(open_store: Opener, legacy: Path) -> None:
    """Migrating in between is no change."""
    runs = []
    open_store().update("k", lambda entry: (runs.append(1), entry | {"n": 2})[1])
    assert len(runs) == 1
    assert sessions(legacy)["k"]["n"] == 2
