"""Depth: from mappings, open stores, several agents' stores, by key or session id (section 8.4)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sessiondir import SessionStore, sessions
from sessiondir.sessions import by_agent, read_entries, session_depth

A, B, C = (f"agent:main:subagent:{name}" for name in "abc")


@pytest.mark.parametrize(
    ("stored", "wanted"),
    [
        (0, 0),
        (3, 3),
        (2.0, 2),
        (" 2 ", 2),
        ("0x2", 2),
        ("0B11", 3),
        ("0o17", 15),
        ("1e0", 1),
        ("2.0", 2),
        ("+3", 3),
        (".5e1", 5),
        ("7.", 7),
        (99, 99),
        # not a whole number of 0 or more: as if it were not there
        (-1, 1),
        (1.5, 1),
        ("", 1),
        (" ", 1),
        ("two", 1),
        ("1_0", 1),
        ("-0x2", 1),
        ("Infinity", 1),
        ("1e400", 1),
        ("٣", 1),
        (True, 1),
        (None, 1),
        ([2], 1),
    ],
)
def test_a_stored_depth(stored: Any, wanted: int) -> None:
    """8.4 step 4: a whole number, or text that JavaScript reads as one; as it is, without a limit."""
    assert session_depth(A, {A: {"spawnDepth": stored}}) == wanted


@pytest.mark.parametrize(
    ("entries", "key", "wanted"),
    [
        # step 1, 6: nothing known, the key tells
        ({}, "agent:main:main", 0),
        ({}, A, 1),
        ({}, "agent:main:x:SUBAGENT:y:subagent:z", 2),
        ({}, "  ", 0),
        ({}, None, 0),
        # step 5: one more than the parent
        ({A: {"spawnedBy": "agent:main:main"}, "agent:main:main": {}}, A, 1),
        ({C: {"spawnedBy": B}, B: {"spawnedBy": A}, A: {"spawnDepth": 1}}, C, 3),
        ({C: {"spawnedBy": f" {B} "}, B: {"spawnDepth": 5}}, f" {C} ", 6),
        ({"agent:codex:acp:1": {"spawnedBy": "agent:main:main"}}, "agent:codex:acp:1", 1),
        # a missing parent is counted by its text
        ({A: {"spawnedBy": "agent:ops:subagent:gone"}}, A, 2),
        ({A: {"spawnedBy": 5}}, A, 1),
        # circles: of two, of one, of three
        ({A: {"spawnedBy": B}, B: {"spawnedBy": A}}, A, 3),
        ({A: {"spawnedBy": A}}, A, 2),
        ({A: {"spawnedBy": B}, B: {"spawnedBy": C}, C: {"spawnedBy": A}}, A, 4),
        # case counts in a mapping
        ({A.upper(): {"spawnDepth": 9}}, A, 1),
        # by session id, trimmed; the first that fits
        ({"x": {"sessionId": " id ", "spawnDepth": 4}, "y": {"sessionId": "id", "spawnDepth": 5}}, "id", 4),
        ({"x": {"sessionId": "id", "spawnedBy": A}, A: {"spawnDepth": 1}}, "id", 2),
        # 15.1: keys that are whole numbers come first
        ({"x": {"sessionId": "id", "spawnDepth": 4}, "7": {"sessionId": "id", "spawnDepth": 5}}, "id", 5),
        # an entry that is null or 0 is none; other things that are no objects are, and tell nothing
        ({A: None, "x": {"sessionId": A, "spawnDepth": 7}}, A, 7),
        ({A: 0, "x": {"sessionId": A, "spawnDepth": 7}}, A, 7),
        ({A: "text", "x": {"sessionId": A, "spawnDepth": 7}}, A, 1),
        ({A: [], "x": {"sessionId": A, "spawnDepth": 7}}, A, 1),
    ],
)
def test_the_walk(entries: dict[str, Any], key: Any, wanted: int) -> None:
    """8.4: lineage, missing parents, circles, session ids."""
    assert session_depth(key, entries) == wanted


def test_a_default_agent() -> None:
    """8.4 step 3: a bare key is also tried as the default agent's, but not ``global`` and ``unknown``."""
    entries = {"agent:ops:work": {"spawnDepth": 2}, "agent:ops:global": {"spawnDepth": 3}}
    assert session_depth("work", entries) == 0
    assert session_depth("work", entries, default_agent="Ops") == 2
    assert session_depth("global", entries, default_agent="ops") == 0
    assert session_depth("work", entries | {"work": {"spawnDepth": 7}}, default_agent="ops") == 7


def test_several_agents_stores() -> None:
    """8.4 step 3: the chain goes on in the store of the agent that each key names; each is opened once."""
    stores: dict[str, Any] = {
        "main": {
            "agent:main:subagent:a": {"spawnedBy": "agent:ops:subagent:b"},
            "agent:main:work": {"spawnDepth": 4},
        },
        "ops": {
            "agent:ops:subagent:b": {"spawnedBy": "agent:ops:main"},
            "x": {"sessionId": "id", "spawnDepth": 8},
        },
    }
    opened: list[str] = []

    def open_agent(agent: str) -> Any:
        opened.append(agent)
        return stores.get(agent, {})

    assert session_depth(A, open_agent=open_agent) == 2
    assert opened == ["main", "ops"]
    assert session_depth("work", open_agent=open_agent) == 4
    assert session_depth("id", default_agent="ops", open_agent=open_agent) == 8
    assert session_depth("id", default_agent="main", open_agent=open_agent) == 0
    assert session_depth("global", open_agent=by_agent(stores)) == 0
    assert session_depth("agent:nobody:subagent:x", open_agent=by_agent(stores)) == 1


def test_an_open_store(store_path: str) -> None:
    """8.4: by key and by session id; a store's own key rule holds, and nothing is listed for a key."""
    with SessionStore.open(store_path, keys="lowercase") as store:
        store.put("agent:main:main", {"sessionId": "m"})
        store.put(A, {"sessionId": "a", "spawnedBy": "agent:main:main"})
        store.put(B, {"sessionId": "b", "spawnedBy": A.upper()})
        for number in range(5):
            store.put(f"agent:main:cron:{number}", {"sessionId": f"c{number}"})
        assert [session_depth(key, store) for key in ("agent:main:main", A, B, "b", " a ", "nope")] == [
            0,
            1,
            2,
            2,
            1,
            0,
        ]
        store.patch(A, {"sessionId": "moved"})
        assert session_depth("moved", store) == 1
        store.patch(A, {"spawnDepth": 6})
        # A snapshot is a plain mapping: it knows no other spelling, so the parent is missing there.
        assert (session_depth(B, store), session_depth(B, store.snapshot())) == (7, 2)


def test_a_legacy_file_in_json5(tmp_path: Path) -> None:
    """8.4, 14.5: comments, single quotes and trailing commas have depth, in a file nobody migrated."""
    path = tmp_path / "sessions.json"
    path.write_text(
        "// by hand\n{ 'agent:main:subagent:a': { spawnedBy: 'agent:main:main', /* x */ },\n"
        '"agent:main:main": {}, }'
    )
    before = path.read_bytes()
    entries = read_entries(str(path), allow_json5=True)
    assert session_depth(A, entries) == 1
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["sessions.json"]


def test_depth_survives_migration(tmp_path: Path) -> None:
    """14.5: the same before and after, by path and through the store."""
    path = tmp_path / "sessions.json"
    path.write_text(
        '{"agent:main:subagent:b": {"sessionId": "b", "spawnedBy": "agent:main:subagent:a"},\n'
        '"x": {"sessionId": "y"}}'
    )
    path.chmod(0o600)
    before = session_depth(B, read_entries(str(path)))
    with SessionStore.open(str(path)) as store:
        sessions.update_entry(store, "x", {"label": "l"})
        assert session_depth(B, store) == before == 2
    assert session_depth(B, read_entries(str(path))) == before


def test_a_long_chain(store_path: str) -> None:
    """A chain of thousands needs no recursion; a number beyond 2**53 grows no further, as in JavaScript."""
    entries: dict[str, Any] = {f"s{n}": {"spawnedBy": f"s{n + 1}"} for n in range(5000)}
    assert session_depth("s0", entries) == 5000
    assert session_depth("a", {"a": {"spawnedBy": "b"}, "b": {"spawnDepth": 2**53}}) == 2**53
