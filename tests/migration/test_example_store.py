"""The example store against what the legacy program makes of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from migration.stores import DATA, sessions
from sessiondir import layout, migration
from sessiondir.fs import SYSTEM_FS
from sessiondir.legacy import LegacyFile, read_legacy
from sessiondir.model import Limits

EXPECTED: dict[str, Any] = json.loads((DATA / "example-sessions.expected.json").read_bytes())


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A copy of the example store."""
    return Path(shutil.copyfile(DATA / "example-sessions.json", tmp_path / "sessions.json"))


@pytest.fixture
def legacy(store: Path) -> LegacyFile:
    """The example store as read."""
    return read_legacy(SYSTEM_FS, str(store), Limits())


def test_same_sessions_and_winners(legacy: LegacyFile) -> None:
    """File names, the spelling that won, session id and time of all 23 sessions are the expected ones.

    The expected file tells nothing of an entry beyond its id and time, so whether old field
    names were kept there cannot be seen in it; ``test_load_time_renames`` looks at those.
    """
    found = {
        key: {
            "fileName": layout.session_file_names(key)[0],
            "wonBySourceKey": legacy.sessions[key].name,
            "sessionId": doc.fields.get("sessionId") if doc.fields is not None else None,
            "updatedAt": doc.updated_at(),
        }
        for key, doc in legacy.documents.items()
    }
    assert found == EXPECTED["directoryMigration"]["entries"]


def test_order_is_that_of_javascript(store: Path) -> None:
    """The members are visited in the order in which the legacy program visits them."""
    from sessiondir.jsjson import iteration_order

    assert iteration_order(json.loads(store.read_bytes())) == EXPECTED["keyOrderAfterParse"]


def test_load_time_renames(legacy: LegacyFile) -> None:
    """Entries get the field names that the legacy program gives them on every load."""
    for source, wanted in EXPECTED["loadMigratedFields"].items():
        (key,) = (key for key, place in legacy.sessions.items() if place.name == source)
        fields = legacy.documents[key].fields or {}
        found = {
            "channel": fields.get("channel"),
            "lastChannel": fields.get("lastChannel"),
            "groupChannel": fields.get("groupChannel"),
            "hasRoom": "room" in fields,
            "hasProvider": "provider" in fields,
        }
        assert found == wanted


def test_files_on_disk(store: Path) -> None:
    """Migrating gives exactly the expected files, and keeps the original to the byte."""
    original = store.read_bytes()
    result = migration.migrate(store)
    counts = EXPECTED["directoryMigration"]
    assert result.outcome == "migrated"
    assert (result.legacy_count, result.migrated_count) == (counts["legacyEntries"], counts["migratedEntries"])
    files = {path.name for path in (store.parent / "sessions.d" / "entries").iterdir()}
    assert files == {entry["fileName"] for entry in counts["entries"].values()}
    assert result.backup_path is not None
    assert Path(result.backup_path).read_bytes() == original
    assert "'agent:main:dangling' was left out" in result.warnings[0]


def test_every_entry_survives(store: Path, legacy: LegacyFile) -> None:
    """What is read from the directory, and from the file written by a rollback, is what was read before."""
    wanted = {key: doc.entry() for key, doc in legacy.documents.items()}
    migration.migrate(store)
    assert sessions(store) == wanted
    migration.rollback(store)
    assert json.loads(store.read_bytes()) == wanted
