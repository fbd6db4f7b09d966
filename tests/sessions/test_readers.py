"""Looking at whole stores: look-up, summary, recipients, combined view (sections 6, 7.6, 9)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.files import listing, session_path

from sessiondir import CorruptFile, SessionStore, UnreadableFile
from sessiondir.sessions import (
    choose_recipients,
    combined_entries,
    find_entry,
    find_in_stores,
    phone_number,
    read_combined,
    read_entries,
    read_summary,
    session_recipients,
)
from sessiondir.sessions.state import read_members
from sessiondir.testing import WatchedFileSystem

LOCKS = {"flock", "fcntl", "lock_range"}


def legacy(path: Path, entries: Any) -> str:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text(entries if isinstance(entries, str) else json.dumps(entries))
    path.chmod(0o600)
    return str(path)


def migrated(path: Path, entries: dict[str, Any]) -> str:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with SessionStore.open(str(path), keys="lowercase") as store:
        store.replace(entries)
    return str(path)


# -- look-up ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entries", "key", "wanted", "others"),
    [
        ({"a": {"n": 1}}, " A ", 1, []),
        ({"A": {"n": 1}}, "a", 1, ["A"]),
        ({"A": {"n": 1}}, "A", 1, ["A"]),
        # the normal spelling counts unless another is strictly newer
        ({"a": {"n": 1, "updatedAt": 5}, "A": {"n": 2, "updatedAt": 5}}, "A", 1, ["A"]),
        ({"a": {"n": 1, "updatedAt": 5}, "A": {"n": 2, "updatedAt": 6}}, "a", 2, ["A"]),
        ({"a": {"n": 1}, "A": {"n": 2, "updatedAt": 1}}, "a", 2, ["A"]),
        ({"a": {"n": 1, "updatedAt": 9}, "A": {"n": 2}}, "a", 1, ["A"]),
        # 17.20: a tie without the normal spelling goes to the one that was asked for, listed first
        ({"Ab": {"n": 1}, "AB": {"n": 2}}, "AB", 2, ["AB", "Ab"]),
        ({"Ab": {"n": 1}, "AB": {"n": 2}}, "ab", 1, ["Ab", "AB"]),
        # lower-casing alone makes a spelling, trimming does not
        ({" a": {"n": 1}}, "a", None, []),
        ({"a": None, "A": {"n": 2}}, "a", 2, ["A"]),
        ({"a": None}, "a", None, []),
        ({}, "a", None, []),
    ],
)
def test_lookup_with_aliases(entries: dict[str, Any], key: str, wanted: Any, others: list[str]) -> None:
    """6, 17.20: which of several spellings counts, and which are to be removed by a writer."""
    found = find_entry(entries, key)
    assert found.key == "ab" if "b" in key.lower() else "a"
    assert (found.entry["n"] if found.entry else None) == wanted
    assert list(found.other_keys) == others


def test_lookup_in_several_stores() -> None:
    """7.6: the newest match in the stores of one agent, by every name of its main session."""
    old = {"agent:ops:main": {"n": 1, "updatedAt": 5}, "agent:ops:work": {"n": 2}}
    new = {"Agent:Ops:Main": {"n": 3, "updatedAt": 5}}
    found = find_in_stores([old, {}, new], "work", "agent:ops:work", agent="ops", main="work")
    assert found is not None
    assert (found.store, found.key, found.entry["n"]) == (2, "Agent:Ops:Main", 3)  # a tie goes to the later store
    found = find_in_stores([old], "work", "agent:ops:work", agent="ops", main="work")
    assert found is not None
    assert found.key == "agent:ops:main"
    assert find_in_stores([{}, {"agent:ops:x": None}], "x", "agent:ops:x", agent="ops") is None


# -- reading ----------------------------------------------------------------------------------


def test_a_summary_has_three_fields_of_each_session(tmp_path: Path) -> None:
    """9, 14.3: the same of a migrated and an unmigrated store; null entries are dropped, values as stored."""
    entries: dict[str, Any] = {
        "a": {"lastChannel": "Telegram", "lastTo": {"x": 1}, "updatedAt": "7", "model": "m", "skillsSnapshot": {}},
        "b": {"lastProvider": "irc"},
        "7": {"updatedAt": 1.5, "lastTo": None},
    }
    wanted = {
        "7": {"updatedAt": 1.5, "lastTo": None},
        "a": {"lastChannel": "Telegram", "lastTo": {"x": 1}, "updatedAt": "7"},
        "b": {},
    }
    old = legacy(tmp_path / "old" / "sessions.json", entries | {"c": None, "d": 0})
    new = migrated(tmp_path / "new" / "sessions.json", entries)
    for path in (old, new):
        found = read_summary(path)
        assert found == wanted
        assert list(found) == list(wanted)
    # ... and reading an unmigrated one migrates nothing.
    assert [one.name for one in (tmp_path / "old").iterdir()] == ["sessions.json"]


def test_readers_take_no_lock_and_write_nothing(tmp_path: Path) -> None:
    """9, G5: not one call that locks or alters, on a store of either kind, also while it is written to."""
    old = legacy(tmp_path / "old" / "sessions.json", {"a": {"updatedAt": 1}})
    new = migrated(tmp_path / "new" / "sessions.json", {"a": {"updatedAt": 1}})
    with SessionStore.open(new) as store:
        store.patch("a", {"updatedAt": 2})
        before = listing(tmp_path)
        for path in (old, new):
            fs = WatchedFileSystem()
            assert read_summary(path, fs=fs)["a"]["updatedAt"] in (1, 2)
            assert read_entries(path, fs=fs, allow_json5=True)
            assert read_combined([("main", path)], fs=fs)
            assert fs.altering == []
            assert not {call for call in fs.calls if "lock" in call or call == "fcntl"}
        assert listing(tmp_path) == before
        assert read_summary(new)["a"]["updatedAt"] == 2


@pytest.mark.parametrize("text", ["", "  \n", "{}", None])
def test_nothing_to_read_is_empty(tmp_path: Path, text: str | None) -> None:
    """9: a missing, blank or empty store has no sessions."""
    path = str(tmp_path / "sessions.json")
    if text is not None:
        legacy(tmp_path / "sessions.json", text)
    assert read_summary(path) == {} == read_entries(path)


@pytest.mark.parametrize("text", ["[1]", "5", "{", '{"a": }', "{a: {}}", "x" * 9, "[" * 100_000])
@pytest.mark.parametrize("tolerant", [False, True])
@pytest.mark.expect_findings(r"error .*sessions\.json.*")
def test_what_cannot_be_understood(
    tmp_path: Path, text: str, tolerant: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """9, G8: the legacy readers take it for empty; here one has to ask for that, and a warning tells."""
    path = legacy(tmp_path / "sessions.json", text)
    if tolerant:
        assert read_summary(path, tolerant=True) == {} == read_entries(path, tolerant=True)
        assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    else:
        with pytest.raises(CorruptFile):
            read_summary(path)
        with pytest.raises(CorruptFile):
            read_entries(path)
    assert (tmp_path / "sessions.json").read_text() == text


def test_a_file_that_the_system_refuses_is_not_empty(tmp_path: Path) -> None:
    """G8: an error of the system is told, whatever the readers of the legacy program do."""
    path = legacy(tmp_path / "sessions.json", {"a": {}})

    class Refusing(WatchedFileSystem):
        def call(self, name: str, real: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if name == "open" and str(args[0]).endswith("sessions.json"):
                raise PermissionError(13, "Permission denied")
            return super().call(name, real, args, kwargs)

    with pytest.raises(UnreadableFile):
        read_summary(path, fs=Refusing())
    assert read_summary(path, fs=Refusing(), tolerant=True) == {}


@pytest.mark.expect_findings(r"error .*")
def test_one_damaged_session_costs_one_session(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """G8: it is left out with a warning; the others are there."""
    path = migrated(tmp_path / "sessions.json", {"a": {"updatedAt": 1}, "b": {"updatedAt": 2}})
    session_path(tmp_path / "sessions.d", "a").write_text("{")
    session_path(tmp_path / "sessions.d", "a").chmod(0o600)
    assert read_summary(path) == {"b": {"updatedAt": 2}}
    assert "'a'" in caplog.text


def test_only_what_is_asked_for_is_read(tmp_path: Path) -> None:
    """Members come as stored, arrays and objects too; missing ones are absent."""
    path = migrated(tmp_path / "sessions.json", {"a": {"x": [1, {"y": None}], "z": "w"}})
    assert read_members(path, ("x", "nope")) == {"a": {"x": [1, {"y": None}]}}


def test_reading_applies_old_names(tmp_path: Path) -> None:
    """12.1: in entries of both kinds of store; as they stand in the file when asked for."""
    entries = {"a": {"provider": "irc", "room": "#r"}}
    old = legacy(tmp_path / "old" / "sessions.json", entries)
    new = migrated(tmp_path / "new" / "sessions.json", entries)
    for path in (old, new):
        assert read_entries(path) == {"a": {"channel": "irc", "groupChannel": "#r"}}
        assert read_entries(path, renamed=False) == entries


# -- recipients -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        ("+1 (555) 555-0123", "+15555550123"),
        ("whatsapp:+1 555", "+1555"),
        ("1555", "+1555"),
        (" whatsapp:1", "+1"),
        ("++1202555", "++1202555"),
        ("1+2", "+1+2"),
        ("120:7@s.whatsapp.net", "+1207"),
        ("x", "+"),
        ("", "+"),
        ("１２", "+"),
        (None, "+"),
    ],
)
def test_numbers(raw: Any, wanted: str) -> None:
    """9, 17.7: digits and plus signs; further signs and a device's digits stay."""
    assert phone_number(raw) == wanted


def session(to: Any, at: Any = 1, channel: Any = "whatsapp") -> dict[str, Any]:
    return {"lastChannel": channel, "lastTo": to, "updatedAt": at}


def test_who_has_a_session() -> None:
    """9: WhatsApp alone, no groups and no bare cron keys; the latest first, each number once, ties in order."""
    entries = {
        "global": session("+1"),
        "unknown": session("+1"),
        "agent:main:whatsapp:group:1@g.us": session("+1"),
        "a:group:b": session("+1"),
        "a:channel:b": session("+1"),
        "cron:x": session("+1"),
        "agent:main:cron:x": session("+20", 5),
        "b": session("+30", 9, " WhatsApp "),
        "c": session("30", 7),
        "d": session("+40", None),
        "e": session("+50", "9"),
        "f": session("+60", 5),
        "g": session("", 9),
        "h": session("x", 9),
        "i": session(5, 9),
        "j": session("+70", 9, "telegram"),
        "k": session("+70", 9, "constructor"),
        "l": None,
        "2": session("+80", 5),
    }
    found = session_recipients(entries)
    assert [(one.key, one.to, one.updated_at) for one in found] == [
        ("b", "+30", 9),
        ("2", "+80", 5),
        ("agent:main:cron:x", "+20", 5),
        ("f", "+60", 5),
        ("d", "+40", 0),
        ("e", "+50", 0),
    ]
    assert session_recipients(entries, scope="global") == []


ONE = {"a": session("+1")}
TWO = ONE | {"b": session("+2", 2)}


@pytest.mark.parametrize(
    ("entries", "options", "wanted", "source"),
    [
        (TWO, {"to": "whatsapp:9 9"}, ["+99"], "flag"),
        (TWO, {"to": "9", "everyone": True}, ["+9"], "flag"),
        (
            TWO,
            {"everyone": True, "configured": ["3", "+1", "*"], "paired": ["+4"]},
            ["+2", "+1", "+3", "+4"],
            "all",
        ),
        (ONE, {}, ["+1"], "session-single"),
        (TWO, {}, ["+2", "+1"], "session-ambiguous"),
        ({}, {}, [], "allowFrom"),
        (TWO, {"configured": ["1"]}, ["+1"], "session-single"),
        (TWO, {"configured": ["1"], "paired": ["2"]}, ["+2", "+1"], "session-ambiguous"),
        (TWO, {"configured": ["+3", "3"], "paired": ["+4"]}, ["+3", "+4"], "allowFrom"),
        (TWO, {"configured": ["*"]}, ["+2", "+1"], "session-ambiguous"),
        (TWO, {"scope": "global", "configured": ["5"]}, ["+5"], "allowFrom"),
        (TWO, {"to": ""}, ["+2", "+1"], "session-ambiguous"),
    ],
)
def test_choosing(entries: Any, options: dict[str, Any], wanted: list[str], source: str) -> None:
    """9: which sessions and allowed numbers are chosen, and what is said of the choice."""
    chosen = choose_recipients(entries, **options)
    assert (list(chosen.numbers), chosen.source) == (wanted, source)


# -- combined view ----------------------------------------------------------------------------


def test_several_agents_seen_as_one() -> None:
    """7.6: keys name the agent; the newer entry over the older, ties to the later; parents get an agent, too."""
    main = {
        "Main": {"n": 1, "updatedAt": 5, "old": True, "spawnedBy": "x"},
        "global": {"n": 2},
        "agent:OPS:main": {"n": 3, "updatedAt": 5, "mine": 1},
        "gone": None,
    }
    ops = {"main": {"n": 4, "updatedAt": 5, "theirs": 1}, "MAIN": {"n": 5, "updatedAt": 1, "older": 1}}
    found = combined_entries(
        [("main", main), ("Ops", ops), ("main", {"agent:main:main": {"n": 6, "updatedAt": 9}})]
    )
    assert found == {
        "agent:main:main": {"n": 6, "updatedAt": 9, "old": True, "spawnedBy": "agent:main:x"},
        "global": {"n": 2},
        "agent:ops:main": {"n": 4, "updatedAt": 5, "mine": 1, "theirs": 1, "older": 1},
    }
    assert main["Main"]["spawnedBy"] == "x"


@pytest.mark.parametrize(
    ("parent", "wanted"),
    [
        ("Main", "agent:ops:work"),
        ("agent:A:main", "agent:a:work"),
        ("Agent:X:y", "agent:x:y"),
        (" GLOBAL ", "global"),
        ("", None),
        (5, None),
        (None, None),
    ],
)
def test_parents_in_the_combined_view(parent: Any, wanted: str | None) -> None:
    """7.6: lower case, with an agent, and the main session by its configured name."""
    found = combined_entries([("ops", {"x": {"spawnedBy": parent}})], main="work")
    assert found["agent:ops:x"].get("spawnedBy") == wanted


def test_the_combined_view_of_stores_on_disk(tmp_path: Path) -> None:
    """7.6: migrated and unmigrated stores together; one that is not there has nothing."""
    old = legacy(tmp_path / "a" / "sessions.json", {"main": {"n": 1}, "x": {"room": "#r"}})
    new = migrated(tmp_path / "b" / "sessions.json", {"main": {"n": 2}})
    found = read_combined([("a", old), ("b", new), ("c", str(tmp_path / "c" / "sessions.json"))])
    assert found == {"agent:a:main": {"n": 1}, "agent:a:x": {"groupChannel": "#r"}, "agent:b:main": {"n": 2}}
