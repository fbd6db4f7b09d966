"""The example store and what the legacy program makes of it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from sessiondir import SessionStore, jsjson, sessions
from sessiondir.sessions.state import read_entries
from sessions.data import EXAMPLE, NOW_MS, example, expected

KEYS = sorted(expected()["perKey"])


@pytest.fixture
def entries(tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / "sessions.json"
    path.write_bytes(EXAMPLE.read_bytes())
    path.chmod(0o600)
    return read_entries(str(path))


def test_keys_in_javascripts_order(entries: dict[str, Any]) -> None:
    """15.1: canonical whole numbers first, then in the file's order; null entries included."""
    assert list(entries) == expected()["keyOrderAfterParse"]


def test_saving_it_gives_the_same_bytes() -> None:
    """12.1, 1.5, 2.5, 2.6: load, normalise, write; equal to the byte."""
    text = jsjson.encode(sessions.normal_entries(example()))
    assert len(text) == expected()["savedBytes"] == expected()["storeBytesMeasure"]
    assert hashlib.sha256(text).hexdigest() == expected()["savedSha256"]


@pytest.mark.parametrize("key", expected()["resaveChangesByKey"])
def test_what_saving_changes(key: str) -> None:
    """2.6: exactly these fields of these entries differ after a save, and nothing else."""
    loaded = sessions.loaded(example()[key])
    saved = sessions.normal_entry(loaded)
    absent = "<absent>"
    changes = {
        name: {"before": loaded.get(name, absent), "after": saved.get(name, absent)}
        for name in {**loaded, **saved}
        if loaded.get(name, absent) != saved.get(name, absent)
    }
    if key == "agent:main:Discord:Channel:112233445566778899":
        # The recorded comparison was made with names renamed already, as here.
        assert "lastChannel" not in changes
    assert changes == expected()["resaveChangesByKey"][key]


def test_other_entries_are_left_as_they_are() -> None:
    """2.6: an entry that is in order comes back as the same object."""
    changed = expected()["resaveChangesByKey"].keys()
    for key, entry in example().items():
        if isinstance(entry, dict) and key not in changed:
            loaded = sessions.loaded(entry)
            assert sessions.normal_entry(loaded) is loaded


def test_old_field_names(entries: dict[str, Any]) -> None:
    """12.1: the renamed fields of the one entry that has old ones."""
    for key, wanted in expected()["loadMigratedFields"].items():
        entry = entries[key]
        assert {name: entry[name] for name in ("channel", "lastChannel", "groupChannel")} == {
            name: wanted[name] for name in ("channel", "lastChannel", "groupChannel")
        }
        assert ("room" in entry, "provider" in entry) == (wanted["hasRoom"], wanted["hasProvider"])


def test_lookup_with_aliases(entries: dict[str, Any]) -> None:
    """6: the spelling asked for does not matter; the newer entry counts."""
    wanted = expected()["lookupAGENTMAINMAIN"]
    found = sessions.find_entry(entries, "AGENT:MAIN:MAIN")
    assert (found.key, found.entry["sessionId"]) == (wanted["normalizedKey"], wanted["sessionId"])
    assert list(found.other_keys) == wanted["legacyKeys"]


def test_heartbeat_recipients(entries: dict[str, Any]) -> None:
    """9: one number of two sessions, the newer one named."""
    found = sessions.session_recipients(entries)
    assert [{"key": one.key, "to": one.to, "updatedAt": one.updated_at} for one in found] == expected()[
        "heartbeatRecipientsFromSessions"
    ]


@pytest.mark.parametrize("key", KEYS)
def test_what_a_key_tells(key: str, entries: dict[str, Any]) -> None:
    """8.2, 8.4, 12.2, 2.5: parsing, kinds, thread parent, depth, imported key and route of every entry."""
    wanted = expected()["perKey"][key]
    parsed = sessions.parse_key(key)
    found = {
        "kind": sessions.list_kind(key, entries[key]),
        "agentId": parsed and parsed.agent_id,
        "rest": parsed and parsed.rest,
        "chatTypeFromKey": sessions.chat_kind(key),
        "isCron": sessions.is_cron_key(key),
        "isCronRun": sessions.is_cron_run_key(key),
        "isSubagent": sessions.is_subagent_key(key),
        "isAcp": sessions.is_acp_key(key),
        "threadParent": sessions.thread_parent(key),
        "depthFromStore": sessions.session_depth(key, entries),
        "depthFromKeyText": sessions.subagent_marks(key),
        "doctorCanonicalKey": sessions.imported_key(key, "main"),
        "deliveryContext": sessions.route_of(entries[key]),
    }
    assert found == {name: wanted[name] for name in found}


def test_a_migrated_store_tells_the_same(tmp_path: Path, entries: dict[str, Any]) -> None:
    """8.4, 9: depth and recipients are those of the legacy file after migration, by store and by path."""
    path = str(tmp_path / "sessions.json")
    with SessionStore.open(path) as store:
        sessions.update_entry(store, "agent:main:main", {"label": "x"}, now_ms=NOW_MS)
        assert (tmp_path / "sessions.d").is_dir()
        for key, wanted in expected()["perKey"].items():
            if key in store:
                assert sessions.session_depth(key, store) == wanted["depthFromStore"]
    summary = sessions.read_summary(path)
    assert summary.keys() == {sessions.store_key(key) for key, entry in entries.items() if entry is not None}
    assert [one.to for one in sessions.session_recipients(summary)] == ["+15555550123"]
