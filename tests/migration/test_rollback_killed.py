"""Rolling back, killed at every system call (F1)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.watched import QuickFs

from migration.stores import SMALL_SESSIONS, leftovers, names, put_legacy, sessions
from sessiondir import SessionStore, migration
from sessiondir.model import Limits
from sessiondir.testing import Stopped, StoppingFileSystem

WANTED: dict[str, Any] = SMALL_SESSIONS | {"42": {"sessionId": "n", "updatedAt": 6, "channel": "x"}}
WANTED.update(new={"sessionId": "later", "updatedAt": 7})


def prepare(folder: Path) -> Path:
    """A store whose last commits are in the journal only, as after the death of a writer."""
    path = put_legacy(folder)
    migration.migrate(path, fs=QuickFs())
    with SessionStore.open(str(path), checkpoint_interval=60, durability="process", fs=QuickFs()) as store:
        store.put("gone", {"sessionId": "deleted"})
        store.flush()
        store.put("new", WANTED["new"])
        store.put("42", WANTED["42"])
        store.delete("gone")
        shutil.copytree(folder / "sessions.d", folder / "copy")
    shutil.rmtree(folder / "sessions.d")
    (folder / "copy").rename(folder / "sessions.d")
    return path


def killed_at(path: Path, number: int) -> StoppingFileSystem:
    """Roll back with a process that dies in place of its ``number``-th call (0: never)."""
    fs = StoppingFileSystem(number)
    try:
        migration.rollback(path, fs=fs)
    except Stopped:
        pass
    fs.bury()
    return fs


@pytest.fixture
def remains(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """What each possible death leaves: a text about it, and the store's path."""

    def deaths() -> Iterator[tuple[str, Path]]:
        first = prepare_in(tmp_path / "0")
        total = killed_at(first, 0).count
        assert total > 80
        for number in range(1, total + 1):
            path = prepare_in(tmp_path / f"{number}")
            fs = killed_at(path, number)
            yield f"killed at call {number} ({fs.last})", path

    return deaths()  # type: ignore[return-value]


def prepare_in(folder: Path) -> Path:
    folder.mkdir()
    return prepare(folder)


def test_rolling_back_again_finishes(remains: Iterator[tuple[str, Path]]) -> None:
    """All sessions are there at once, and the next rollback ends with the legacy file alone."""
    states = set()
    for here, path in remains:
        states.add(((path.parent / "sessions.d").exists(), path.exists()))
        assert sessions(path) == WANTED, here
        again = migration.rollback(path, fs=QuickFs())
        assert again.outcome in ("rolled_back", "already_legacy"), here
        assert json.loads(path.read_bytes()) == WANTED, here
        assert not (path.parent / "sessions.d").exists(), here
        assert migration.inspect(path).rolled_back, here
        assert len(names(path.parent, "sessions.d.bak.")) == 1, here
        assert leftovers(path.parent) == [], here
    assert states == {(True, False), (True, True), (False, True)}


def test_a_file_above_the_limits_is_known_again(tmp_path: Path) -> None:
    """A store that was migrated with higher limits is rolled back without them, also when killed half-way."""
    small = Limits(legacy_bytes=100, entry_bytes=100)
    first = prepare_in(tmp_path / "0")
    total = killed_at(first, 0).count
    seen = 0
    for number in range(1, total + 1):
        path = prepare_in(tmp_path / f"{number}")
        fs = killed_at(path, number)
        if not (path.exists() and (path.parent / "sessions.d").exists()):
            continue
        seen += 1
        planned = migration.rollback(path, limits=small, dry_run=True)
        assert planned.outcome == "would_roll_back", fs.last
        assert migration.rollback(path, limits=small, fs=QuickFs()).outcome == "rolled_back", fs.last
        assert json.loads(path.read_bytes()) == WANTED, fs.last
    assert seen


# A journal that was finished for good is mended by the first writer, and nobody writes here.
@pytest.mark.expect_findings("finished, and the journal that it names is not there")
def test_migrating_instead_returns_to_the_directory(remains: Iterator[tuple[str, Path]]) -> None:
    """After a killed rollback the directory may be chosen again; nothing is lost or reported as foreign."""
    for here, path in remains:
        result = migration.migrate(path, fs=QuickFs())
        assert result.outcome in ("migrated", "already_directory"), (here, result)
        assert not any("was written after" in text for text in result.warnings), (here, result)
        assert sessions(path) == WANTED, here
        assert not path.exists(), here
        assert not migration.inspect(path).rolled_back, here


def test_going_on_with_the_store(remains: Iterator[tuple[str, Path]]) -> None:
    """A store whose rollback was killed can be written to, and a later rollback has that too."""
    more = WANTED | {"after": {"sessionId": "written after the death"}}
    for here, path in remains:
        if not (path.parent / "sessions.d").exists():
            continue
        with SessionStore.open(str(path), fs=QuickFs()) as store:
            store.put("after", more["after"])
        assert sessions(path) == more, here
        assert migration.rollback(path, fs=QuickFs()).outcome == "rolled_back", here
        assert json.loads(path.read_bytes()) == more, here
