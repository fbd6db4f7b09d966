"""Migrating and rolling back when the power is cut: every image that the disk may hold (F3)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.seeds import seeded
from harness.watched import QuickFs, drop_cores

from migration.stores import SMALL_SESSIONS, leftovers, put_legacy, sessions
from sessiondir import SessionStore, migration
from sessiondir.testing import PowerLossFileSystem, Rule, write_tree

WANTED = SMALL_SESSIONS | {"more": {"sessionId": "in the journal"}}


def migrating(folder: Path) -> tuple[PowerLossFileSystem, dict[str, object]]:
    """A migration from its beginning to its end."""
    path = put_legacy(folder)
    fs = PowerLossFileSystem(str(folder))
    assert migration.migrate(path, fs=fs).outcome == "migrated"
    return fs, SMALL_SESSIONS


def rolling_back(folder: Path) -> tuple[PowerLossFileSystem, dict[str, object]]:
    """A rollback of a store with commits since its migration."""
    path = put_legacy(folder)
    migration.migrate(path, fs=QuickFs())
    with SessionStore.open(str(path), fs=QuickFs()) as store:
        store.put("more", {"sessionId": "in the journal"})
    fs = PowerLossFileSystem(str(folder))
    assert migration.rollback(path, fs=fs).outcome == "rolled_back"
    drop_cores(fs)
    return fs, WANTED


@pytest.mark.parametrize("rule", ["ordered", "strict"])
@pytest.mark.parametrize("act", [migrating, rolling_back])
def test_one_whole_store_after_a_power_cut(
    tmp_path: Path, act: Callable[[Path], tuple[PowerLossFileSystem, dict[str, object]]], rule: Rule
) -> None:
    """G11: in every image all sessions are readable, what had returned stands, and both ways are open then."""
    folder = tmp_path / "modelled"
    folder.mkdir()
    fs, wanted = act(folder)
    fs.mark("returned")
    seen = 0
    for seen, (tree, mark) in enumerate(fs.images(rule, seeded("migration"), most=12), 1):
        for finish in (migration.migrate, migration.rollback):
            image = tmp_path / "image"
            write_tree(str(image), tree)
            path = image / "sessions.json"
            here = f"image {seen}, {mark}"
            if mark == "returned":
                assert (image / "sessions.d").exists() == (act is migrating), here
            assert sessions(path) == wanted, here
            result = finish(path, fs=QuickFs())
            assert result.outcome in ("migrated", "already_directory", "rolled_back", "already_legacy"), here
            assert sessions(path) == wanted, here
            if finish is migration.migrate:
                assert leftovers(image) == [], here
            else:
                assert {key.lower() for key in json.loads(path.read_bytes())} == wanted.keys(), here
            shutil.rmtree(image)
    assert seen > 30
