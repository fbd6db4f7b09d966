"""Stores of real shape: over to a directory and back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from support.files import read_layout1

from migration.stores import CORPUS, DATA, expected_sessions, leftovers, names, sessions
from sessiondir import jsjson, migration


@pytest.mark.parametrize("source", CORPUS, ids=lambda path: path.stem)
def test_there_and_back(source: Path, tmp_path: Path) -> None:
    """Migrating and rolling back gives a file deeply equal to what the legacy program reads in the original."""
    path = Path(shutil.copyfile(source, tmp_path / "sessions.json"))
    wanted = expected_sessions(path)
    result = migration.migrate(path)
    assert (result.outcome, result.warnings) == ("migrated", ())
    assert sessions(path) == wanted
    assert read_layout1(tmp_path / "sessions.d") == wanted
    assert migration.rollback(path).session_count == len(wanted)
    written = path.read_bytes()
    assert json.loads(written) == wanted
    assert written == jsjson.encode({key: wanted[key] for key in sorted(wanted)})
    assert leftovers(tmp_path) == []
    assert len(names(tmp_path, "sessions.d.bak.")) == len(names(tmp_path, "sessions.json.bak.")) == 1


def test_empty_store_stays(tmp_path: Path) -> None:
    """A store that holds nothing is left as it is."""
    path = Path(shutil.copyfile(DATA / "corpus" / "empty.json", tmp_path / "sessions.json"))
    result = migration.migrate(path)
    assert (result.outcome, result.legacy_count) == ("skipped_empty", 0)
    assert names(tmp_path) == ["sessions.json"]
