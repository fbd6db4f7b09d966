"""Migrating more sessions than are written one after the other: killed, failing, without power, changing."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
from harness.seeds import seeded
from harness.watched import QuickFs
from support.seams import RuledFileSystem

from migration.stores import leftovers, legacy_bytes, names, put_legacy, sessions
from sessiondir import SessionStore, layout, migration
from sessiondir.testing import FailingFileSystem, PowerLossFileSystem, Stopped, StoppingFileSystem, write_tree

COUNT = 70


def many(word: str = "old") -> dict[str, Any]:
    """So many sessions that several threads write them."""
    return {f"agent:main:direct:{n}": {"sessionId": f"{n}", "updatedAt": n, "word": word} for n in range(COUNT)}


def calls_of_a_migration(folder: Path) -> int:
    fs = StoppingFileSystem()
    folder.mkdir()
    assert migration.migrate(put_legacy(folder, many()), fs=fs).migrated_count == COUNT
    fs.bury()
    return fs.count


@pytest.mark.parametrize("torn", [False, True], ids=["before", "half-way"])
def test_killed_anywhere(tmp_path: Path, torn: bool) -> None:
    """G11: whichever call is the last one, all sessions are there, and the next run ends cleanly."""
    total = calls_of_a_migration(tmp_path / "whole")
    seen = set()
    for number in range(seeded("many").randint(1, 11), total, 11):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        path = put_legacy(folder, many())
        fs = StoppingFileSystem(number, torn=torn)
        with pytest.raises(Stopped):
            migration.migrate(path, fs=fs)
        fs.bury()
        seen.add(fs.last)
        assert sessions(path) == many(), (number, fs.last)
        assert migration.migrate(path, fs=QuickFs()).outcome in ("migrated", "already_directory"), (
            number,
            fs.last,
        )
        assert sessions(path) == many(), (number, fs.last)
        assert leftovers(folder) == [], (number, fs.last)
    assert {"pwrite", "fsync"} <= seen


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=errno.errorcode.get)
@pytest.mark.parametrize("call", ["open", "pwrite", "fsync", "close"])
def test_one_call_fails(tmp_path: Path, call: str, number: int) -> None:
    """What fails in a thread is the outcome; the folder looks as before, and no descriptor stays open."""
    for nth in (5, COUNT // 2, COUNT):
        folder = tmp_path / f"{nth}"
        folder.mkdir()
        path = put_legacy(folder, many())
        fs = FailingFileSystem()
        names_of = {"open": lambda args: str(args[0]).startswith("session-")}.get(call, lambda args: True)
        fs.arm(nth, number, forever=True, kinds=lambda kind, args: kind == call and names_of(args))  # noqa: B023
        result = migration.migrate(path, fs=fs)
        fs.disarm()
        assert result.outcome == "failed", nth
        assert sessions(path) == many()
        assert not fs.open_fds
        assert migration.migrate(path, fs=QuickFs()).outcome == "migrated"
        assert sessions(path) == many()


def test_a_power_cut(tmp_path: Path) -> None:
    """G11: of what had returned nothing is lost, and before there is one whole store."""
    folder = tmp_path / "modelled"
    folder.mkdir()
    path = put_legacy(folder, many())
    fs = PowerLossFileSystem(str(folder))
    assert migration.migrate(path, fs=fs).outcome == "migrated"
    fs.mark("returned")
    rng = seeded("many without power")
    seen = {"returned": 0, None: 0}
    for tree, mark in fs.images("strict", rng, most=3):
        if mark is None and rng.random() > 0.1:
            continue
        seen[mark] += 1  # type: ignore[index]
        image = tmp_path / f"image-{seen[mark]}-{mark}"  # type: ignore[index]
        write_tree(str(image), tree)
        if mark == "returned":
            assert (image / "sessions.d").exists()
        assert sessions(image / "sessions.json") == many()
    assert seen["returned"] >= 1
    assert seen[None] > 5


def test_the_file_changes_meanwhile(tmp_path: Path) -> None:
    """A program that writes in place while this is staged: what it wrote last is what counts."""
    path = put_legacy(tmp_path, many())
    told: list[tuple[int, int]] = []

    def rewrite(done: int, total: int) -> None:
        told.append((done, total))
        if len(told) == 1:
            path.write_bytes(legacy_bytes(many("new") | {"another": {"sessionId": "x"}}))

    assert migration.migrate(path, progress=rewrite).outcome == "migrated"
    assert sessions(path) == many("new") | {"another": {"sessionId": "x"}}
    assert told[-1] == (COUNT + 1, COUNT + 1)
    assert leftovers(tmp_path) == []


def test_what_is_staged_already_is_not_written_again(tmp_path: Path) -> None:
    """If the file turns out to be another one half-way, only what differs is replaced."""
    path = put_legacy(tmp_path, many())
    fs = QuickFs()

    def rewrite(done: int, total: int) -> None:
        if done == COUNT - COUNT % 64:
            path.write_bytes(
                legacy_bytes(many() | {f"agent:main:direct:{COUNT - 1}": {"n": "in place of the last"}})
            )

    assert migration.migrate(path, fs=fs, progress=rewrite).outcome == "migrated"
    assert sessions(path)[f"agent:main:direct:{COUNT - 1}"] == {"n": "in place of the last"}
    assert fs.calls.count("pwrite") < 2 * COUNT


def test_two_sessions_in_one_file_stop_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Should two keys ever get one name, nothing is taken over."""
    real = layout.session_file_names
    odd = {f"agent:main:direct:{COUNT - 1}": "agent:main:direct:1"}
    monkeypatch.setattr(layout, "session_file_names", lambda key: real(odd.get(key, key)))
    path = put_legacy(tmp_path, many())
    result = migration.migrate(path)
    assert result.outcome == "failed"
    assert "two sessions" in result.warnings[0]
    assert names(tmp_path) == ["sessions.json"]


def test_a_name_that_is_too_long_is_hashed(tmp_path: Path) -> None:
    """A file system that refuses long names gets the other one, in every thread."""

    def refuse(name: str, args: tuple[Any, ...]) -> None:
        if name == "open" and layout.may_be_too_long(str(args[0]).rpartition("/")[2]):
            raise OSError(errno.ENAMETOOLONG, "too long")

    value = {f"agent:main:telegram:group:-100123456789:topic:{n:020d}": {"n": n} for n in range(COUNT)}
    path = put_legacy(tmp_path, value)
    assert migration.migrate(path, fs=RuledFileSystem(refuse)).outcome == "migrated"
    with SessionStore.open(str(path), read_only=True) as store:
        assert dict(store.snapshot()) == value
    assert all(layout.is_hashed_name(name) for name in names(tmp_path / "sessions.d" / "entries"))
    backup = tmp_path / names(tmp_path, ".bak.")[0]
    assert json.loads(backup.read_bytes()) == value
