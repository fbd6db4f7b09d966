"""The state file: what is read, what is kept, what is refused (F24)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.places import Place

from sessiondir import CorruptFile, FormatTooNew
from sessiondir.state import State, parse_state, read_state, write_state

PLAIN: dict[str, Any] = {
    "kind": "openclaw-session-store-directory",
    "layoutVersion": 1,
    "version": 7,
    "updatedAt": 1700000000000,
}


def parse(**members: Any) -> State:
    """Parse a state file with these members beside the plain ones; None leaves one out."""
    value = {name: item for name, item in (PLAIN | members).items() if item is not ...}
    return parse_state(json.dumps(value).encode(), "state.json")


def test_a_state_reads_back(place: Place) -> None:
    """What is written is read, unknown members included, and the file is readable JSON."""
    state = State(
        7, 5, "id", "journal-3.jsonl", "exact", {"path": "x", "at": 1}, extra={"later": [1, {"a": None}]}
    )
    write_state(place.directory, state)
    assert read_state(place.directory) == state
    text = (place.path / "state.json").read_text(encoding="utf-8")
    assert text.startswith(
        '{\n  "kind": "openclaw-session-store-directory",\n  "layoutVersion": 1,\n  "version": 7,'
    )
    assert json.loads(text)["later"] == [1, {"a": None}]
    assert json.loads(text)["migratedFrom"] == {"path": "x", "at": 1}


def test_a_layout_1_state_is_read() -> None:
    """A state file with the four members of layout 1 is a lowercase store without a journal."""
    state = parse()
    assert (state.version, state.updated_at, state.keys) == (7, 1700000000000, "lowercase")
    assert (state.store_id, state.journal, state.migrated_from, state.extra) == (None, None, None, {})


def test_a_missing_state_is_none(place: Place) -> None:
    """No state file is no state, which is told apart from an unreadable one."""
    assert read_state(place.directory) is None


@pytest.mark.parametrize(
    "members",
    [{"layoutVersion": 2}, {"layoutVersion": 10**30}, {"requires": ["leases"]}, {"requires": "x"}],
    ids=str,
)
def test_g8_a_newer_format_is_refused_untouched(place: Place, members: dict[str, Any]) -> None:
    """A newer layout, or a requirement that is not known, is refused, and the file is left as it is."""
    data = json.dumps(PLAIN | members).encode()
    path = place.write("state.json", data)
    with pytest.raises(FormatTooNew) as caught:
        read_state(place.directory)
    assert caught.value.path == str(path)
    assert caught.value.supported == 1
    assert path.read_bytes() == data


def test_an_empty_list_of_requirements_is_none_at_all() -> None:
    """Requiring nothing is as good as not saying so."""
    assert parse(requires=[]).version == 7


@pytest.mark.parametrize(
    "members",
    [
        {"kind": ...}, {"kind": "other"}, {"kind": 5}, {"layoutVersion": ...}, {"layoutVersion": 0},
        {"layoutVersion": True},
        {"layoutVersion": "1"}, {"layoutVersion": 1.0}, {"version": ...}, {"version": -1}, {"version": True},
        {"version": 1.5}, {"version": "7"}, {"version": None}, {"keys": "upper"}, {"keys": None}, {"keys": []},
        {"journal": "journal-0.jsonl"}, {"journal": "../journal-1.jsonl"}, {"journal": 5}, {"journal": ""},
        {"storeId": 5},
    ],
    ids=str,
)  # fmt: skip
def test_g8_other_content_is_corrupt(members: dict[str, Any]) -> None:
    """Members with impossible values make the file corrupt; the reason names the member."""
    with pytest.raises(CorruptFile) as caught:
        parse(**members)
    (name,) = members
    assert name in caught.value.reason or name == "kind"


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 40, b"[]", b"null", b"{", b"\xff", b"{}", b"[" * 10_000, b"9" * 5000]
)
def test_g8_damaged_bytes_are_corrupt(data: bytes) -> None:
    """Anything that is no JSON object is corrupt, never empty and never another error."""
    with pytest.raises(CorruptFile):
        parse_state(data, "state.json")


@pytest.mark.parametrize("value", [None, "text", [1], {}, -5, 1.5, True])
def test_an_odd_time_does_not_spoil_the_state(value: Any) -> None:
    """updatedAt is for people; whatever stands there, the state is usable."""
    assert parse(updatedAt=value).version == 7


def test_a_huge_state_file_is_not_read(place: Place) -> None:
    """A state file beyond reason is corrupt, without being read into memory."""
    place.write("state.json", json.dumps(PLAIN).encode() + b" " * (2 << 20))
    with pytest.raises(CorruptFile, match="limit"):
        read_state(place.directory)


def test_a_failed_replacement_leaves_the_old_state(place: Place) -> None:
    """If the state file cannot be replaced, the old one stands and nothing temporary is left."""
    write_state(place.directory, State(1))
    before = (place.path / "state.json").read_bytes()
    for call in ("open", "pwrite", "fsync", "rename"):
        failing = Place(place.path, _failing(call))
        with pytest.raises(OSError, match="Input/output"):
            write_state(failing.directory, State(2))
        failing.close()
        assert {path.name: path.read_bytes() for path in place.path.iterdir()} == {"state.json": before}


def _failing(call: str) -> Any:
    import errno

    from support.seams import RuledFileSystem

    fs = RuledFileSystem()
    fs.fail(call, errno.EIO, lambda *args: call != "open" or str(args[0]).startswith(".tmp"))
    return fs
