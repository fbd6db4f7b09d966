"""What an entry may hold, and that it comes back exactly (F13)."""

from __future__ import annotations

import datetime
import decimal
import enum
import json
import types
import uuid
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import pytest
from support.factories import Opener
from support.files import session_path

from sessiondir import InvalidEntry

EXACT: dict[str, Any] = {
    "null, true and false": [None, True, False],
    "small numbers": [0, -1, 1.5, -0.0, 5e-324, 1e308, 0.1 + 0.2],
    "large integers": [2**53 + 1, 2**63, 2**64, 2**70, -(2**70), 10**300],
    "text": ["", "\x00\x1f\x7f", '"\\/', "Grüße 世界 😀", "\u2028\u2029", "é vs e\u0301"],
    "lone surrogates": ["\ud800", "a\udfffb", "\udc00\ud800", {"\ud9ab": "\ud83d"}],
    "empty containers": [{}, [], [[]], {"": {}}],
    "odd names": {"": 1, "__proto__": 2, "constructor": {"a": 3}, "a.b": 4, "\n": 5},
    "nested": {"a": [{"b": [{"c": [1, [2, [3]]]}]}]},
}


class Colour(enum.StrEnum):
    """Text that is more than text."""

    RED = "red"


class Level(enum.IntEnum):
    """A number that is more than a number."""

    HIGH = 3


class Half(float):
    """A number with a class of its own."""


@pytest.mark.parametrize("name", EXACT)
def test_a_value_comes_back_exactly(open_store: Opener, name: str) -> None:
    """Every JSON value reads back equal and of the same type: cached, from the journal, from its file."""
    entry = {"value": EXACT[name], "again": [EXACT[name]]}
    store, other = open_store(), open_store.elsewhere()
    store.put("a", entry)
    store.put("b", {"value": 0})
    store.patch("b", {"value": EXACT[name]})
    for reader in (store, other):
        assert repr(reader["a"]) == repr(entry)
        assert repr(reader["b"]) == repr({"value": EXACT[name]})
    store.flush()
    store.close()
    other.close()
    assert repr(open_store()["a"]) == repr(entry)


@pytest.mark.parametrize("name", EXACT)
def test_top_level_scalars_come_back_exactly(open_store: Opener, name: str) -> None:
    """The same values stand as fields of their own, under names as odd."""
    value = EXACT[name]
    entry = value if isinstance(value, dict) else {f"f{n}": item for n, item in enumerate(value)}
    store = open_store()
    store.put("a", entry)
    before = store.version
    store.put("a", json.loads(json.dumps(entry)))
    assert store.version == before
    store.close()
    assert repr(open_store()["a"]) == repr(entry)


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ((1, (2, 3)), [1, [2, 3]]),
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        (Half(0.5), 0.5),
        ([Colour.RED, Level.HIGH, Half(0.5)], ["red", 3, 0.5]),
        ({Colour.RED: Level.HIGH}, {"red": 3}),
        (OrderedDict(a=1), {"a": 1}),
        (defaultdict(list, a=[1]), {"a": [1]}),
        (types.MappingProxyType({"a": (1,)}), {"a": [1]}),
    ],
    ids=repr,
)
def test_relatives_of_json_types_are_stored_as_those(open_store: Opener, value: Any, stored: Any) -> None:
    """Tuples, enums of text and numbers, and other mappings are stored as the JSON type they stand for."""
    store = open_store()
    store.put("a", types.MappingProxyType({"v": value, "w": [value]}))
    assert repr(store["a"]) == repr({"v": stored, "w": [stored]})
    before = store.version
    store.put("a", {"v": value, "w": [value]})
    store.patch("a", {"v": value})
    assert store.version == before, "an equal value was committed again"
    store.close()
    assert repr(open_store()["a"]) == repr({"v": stored, "w": [stored]})


@pytest.mark.parametrize(
    "value",
    [
        float("nan"), float("inf"), -float("inf"), b"bytes", bytearray(b"1"), {1, 2}, frozenset(), 1j, object(),
        datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), uuid.UUID(int=1), decimal.Decimal("1.5"), Path("/x"),
        {1: "number"}, {None: 1}, {("a",): 1}, {b"a": 1}, enum.Enum("Plain", "ONE").ONE, range(3), 10**5000,
    ],
    ids=lambda value: f"{type(value).__name__}",
)  # fmt: skip
@pytest.mark.parametrize("where", ["v", "v.deep[1]"])
def test_what_json_cannot_say_is_refused_with_its_place(open_store: Opener, value: Any, where: str) -> None:
    """A value without an exact JSON form is refused by every write, the place is named, nothing is changed."""
    store = open_store()
    store.put("a", {"v": 1})
    entry = {"ok": 1, "v": value if where == "v" else {"deep": [0, value]}}
    for write in (
        lambda: store.put("a", entry),
        lambda: store.put("new", entry),
        lambda: store.patch("a", entry),
        lambda: store.patch("new", entry, create=True),
        lambda: store.update("a", lambda old: entry),
        lambda: store.replace({"a": entry}),
    ):
        with pytest.raises(InvalidEntry) as caught:
            write()
        assert caught.value.where.startswith(where)
        assert where in str(caught.value)
    assert dict(store.snapshot()) == {"a": {"v": 1}}
    assert store.version == 1


@pytest.mark.parametrize("entry", [None, [], "text", 5, [("a", 1)], object()], ids=repr)
def test_an_entry_is_a_mapping(open_store: Opener, entry: Any) -> None:
    """Anything but a mapping is refused as an entry."""
    with pytest.raises(InvalidEntry):
        open_store().put("a", entry)


def test_a_field_name_is_text(open_store: Opener) -> None:
    """A field name that is no text is refused."""
    store = open_store()
    for entry in ({1: 2}, {None: 2}, {b"a": 1}):
        with pytest.raises(InvalidEntry):
            store.put("a", entry)
    store.put("a", {Colour.RED: 1})
    assert list(map(type, store["a"])) == [str]


def nested(depth: int) -> Any:
    """Arrays and objects in turn, ``depth`` deep."""
    value: Any = 1
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


@pytest.mark.parametrize("depth", [1, 50, 150, 190])
def test_deep_nesting_that_is_stored_can_be_read(open_store: Opener, depth: int) -> None:
    """Nesting up to the documented depth is stored and read, also by a plain JSON reader."""
    store = open_store()
    store.put("a", {"v": nested(depth)})
    store.patch("a", {"w": 1})
    store.close()
    assert open_store()["a"] == {"v": nested(depth), "w": 1}
    assert json.loads(session_path(store.path, "a").read_bytes())["entry"]["v"] == nested(depth)


@pytest.mark.parametrize("depth", [202, 300, 500, 900, 5_000, 100_000])
def test_nesting_that_readers_may_not_follow_is_refused(open_store: Opener, depth: int) -> None:
    """Deeper nesting is refused: once stored, a reader deep in its own stack could not get it back."""
    store = open_store()
    store.put("a", {"v": 1})
    value = nested(depth)
    for write in (store.put, store.patch):
        with pytest.raises(InvalidEntry) as caught:
            write("a", {"v": value})
        assert caught.value.where.startswith("v")
    assert store["a"] == {"v": 1}


def test_entries_are_the_callers_own_copies(open_store: Opener) -> None:
    """Changing what was given in or handed out never changes the store or another reader's copy."""
    store = open_store()
    mine: dict[str, Any] = {"list": [1, {"x": [2]}], "map": {"y": {"z": 3}}}
    kept = json.loads(json.dumps(mine))
    store.put("a", mine)
    mine["list"][1]["x"].append(0)
    mine["map"]["y"]["z"] = 0
    for read in (
        lambda: store.get("a"),
        lambda: store["a"],
        lambda: store.snapshot()["a"],
        lambda: store.patch("a", {}),
        lambda: store.update("a", lambda entry: None),
        lambda: store.update("a", lambda entry: entry),
    ):
        found = read()
        assert found == kept
        found["list"][1]["x"].append(0)
        found["map"]["y"]["z"] = 0
        found.clear()
    store.close()
    assert open_store()["a"] == kept


def test_duplicate_names_in_a_file_resolve_to_the_last(open_directory: Opener, store_path: str) -> None:
    """A hand-written file with one name twice reads as JavaScript reads it: the last one counts."""
    store = open_directory()
    store.put("a", {"n": 1})
    store.flush()
    store.close()
    path = session_path(store_path, "a")
    path.write_bytes(b'{"sessionKey":"a","version":1,"entry":{"n":1,"l":[{"x":1,"x":2}],"n":3}}')
    assert open_directory(read_only=True)["a"] == {"n": 3, "l": [{"x": 2}]}
