"""G12: programs that know only layout 1, and this package, on one directory in turn (F23, F24)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.factories import Opener
from support.files import listing, make_layout1, read_layout1, session_path, write_session, write_state

from sessiondir import FormatTooNew

LONG = "agent:main:" + "x" * 130
ENTRIES: dict[str, Any] = {
    "agent:main:main": {"sessionId": "s1", "updatedAt": 5, "label": "Grüße, 世界 😀"},
    LONG: {"n": 1},
    "gone": {"n": 2},
}


@pytest.fixture
def layout1(store_path: str) -> str:
    """A store as another program left it, at version 7."""
    make_layout1(store_path, ENTRIES, version=7)
    return store_path


def test_g12_it_opens_as_it_is(layout1: str, open_directory: Opener) -> None:
    """A store without a journal reads whole, under the lowercase rule, at the version it names."""
    store = open_directory()
    assert dict(store.snapshot()) == ENTRIES
    assert (store.version, store.info().key_rule) == (7, "lowercase")
    assert {store.version_of(key) for key in ENTRIES} == {7}
    assert store["AGENT:Main:main "] == ENTRIES["agent:main:main"]
    assert store.check() == []


def test_g12_after_our_last_close_the_other_program_reads_everything(layout1: str, open_directory: Opener) -> None:
    """Changed, created and deleted sessions, long keys and all alphabets are plain files after close."""
    store = open_directory()
    store.patch("agent:main:main", {"model": "m", "label": "naïve ☃"})
    store.update(LONG, lambda entry: {"n": entry["n"] + 1, "half": "\ud800"})
    store.delete("gone")
    store.put("new:é", {"list": [1, {"a": None}]})
    store.put("short-lived", {})
    store.delete("short-lived")
    store.close()
    assert read_layout1(layout1) == {
        "agent:main:main": {"sessionId": "s1", "updatedAt": 5, "label": "naïve ☃", "model": "m"},
        LONG: {"n": 2, "half": "\ud800"},
        "new:é": {"list": [1, {"a": None}]},
    }
    assert json.loads(Path(layout1, "state.json").read_bytes())["version"] == 13


@pytest.mark.expect_findings("set aside earlier")
def test_the_other_programs_files_win_when_it_replaced_the_state(layout1: str, open_directory: Opener) -> None:
    """If a layout-1 program wrote after us, its state and files count and our journal is set aside."""
    store = open_directory()
    store.put("agent:main:main", {"by": "us"})
    store.close()
    write_session(layout1, "agent:main:main", {"by": "them"})
    session_path(layout1, LONG).unlink()
    write_session(layout1, "theirs", {"n": 1})
    write_state(layout1, 20)
    store = open_directory()
    wanted = {"agent:main:main": {"by": "them"}, "gone": {"n": 2}, "theirs": {"n": 1}}
    assert dict(store.snapshot()) == wanted
    assert store.version == 20
    assert store.put("ours", {"n": 3}) == 21
    store.close()
    assert read_layout1(layout1) == {**wanted, "ours": {"n": 3}}
    assert open_directory().version_of("ours") == 21


def test_turns_between_the_programs_lose_nothing(
    store_path: str, open_directory: Opener, expect_findings: list[str]
) -> None:
    """Several rounds of both programs, each changing what the other wrote, keep every change."""
    expect_findings += ["set aside earlier", "before a layout-1 program replaced the state file"]
    make_layout1(store_path, {"a": {"n": 0}}, version=1)
    for turn in range(4):
        store = open_directory()
        store.update("a", lambda entry: {"n": entry["n"] + 1})
        store.close()
        found = read_layout1(store_path)
        version = json.loads(Path(store_path, "state.json").read_bytes())["version"]
        write_session(store_path, "a", {"n": found["a"]["n"] + 10})
        write_state(store_path, version + 1)
        assert read_layout1(store_path)["a"] == {"n": 11 * (turn + 1)}
    assert open_directory()["a"] == {"n": 44}


def test_versions_of_untouched_sessions_do_not_move(layout1: str, open_directory: Opener) -> None:
    """A session keeps its version while others change, over reopening, so that compare-and-set goes on working."""
    store = open_directory()
    version = store.version_of(LONG)
    store.put("new", {})
    store.close()
    store = open_directory()
    assert store.version_of(LONG) == version
    assert store.put(LONG, {"n": 5}, if_version=version) == 9


def test_a_session_file_edited_by_hand_at_rest_counts(layout1: str, open_directory: Opener) -> None:
    """While nobody has the store open, a session file may be edited; the edit is read and survives."""
    store = open_directory()
    store.put("agent:main:main", {"n": 1})
    store.put("big", {"x": "y" * 100_000})  # so that the journal is replaced at close
    store.close()
    path = session_path(layout1, "agent:main:main")
    path.write_text(path.read_text().replace('"n": 1', '"n": 2'))
    store = open_directory()
    assert store["agent:main:main"] == {"n": 2}
    store.patch("agent:main:main", {"m": 3})
    store.close()
    assert read_layout1(layout1)["agent:main:main"] == {"n": 2, "m": 3}


@pytest.mark.expect_findings("check raised FormatTooNew")
@pytest.mark.parametrize("members", [{"layoutVersion": 2}, {"requires": ["something"]}], ids=str)
def test_g8_a_newer_store_is_refused_untouched(
    layout1: str, open_directory: Opener, members: dict[str, Any]
) -> None:
    """A store of a newer format is refused for reading and writing, and no byte of it changes."""
    write_state(layout1, 7, **members)
    before = listing(layout1)
    for options in ({}, {"read_only": True}, {"keys": "lowercase"}):
        with pytest.raises(FormatTooNew) as caught:
            open_directory(**options)
        assert caught.value.path == f"{layout1}/state.json"
    assert listing(layout1) == before


def test_a_copy_whose_state_file_is_younger_than_its_sessions_loses_nothing(
    layout1: str, open_directory: Opener, tmp_path: Path
) -> None:
    """G2: in a copy of a live store the session files may be older than the state; the journal makes up for it."""
    store = open_directory(checkpoint_interval=3600)
    copied = tmp_path / "copy.d"
    (copied / "entries").mkdir(parents=True, mode=0o700)
    copied.chmod(0o700)
    for path in Path(layout1, "entries").iterdir():
        write_bytes(copied / "entries" / path.name, path.read_bytes())
    store.patch("agent:main:main", {"model": "m"})
    store.put("new", {"n": 1})
    store.flush()
    for path in Path(layout1).iterdir():
        if path.is_file():
            write_bytes(copied / path.name, path.read_bytes())
    assert dict(open_directory(str(copied)).snapshot()) == dict(store.snapshot())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file with the mode that files of a store have."""
    path.write_bytes(data)
    path.chmod(0o600)
