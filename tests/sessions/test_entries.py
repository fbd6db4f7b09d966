"""Entries: fields, merging, runtime model, tokens, old names (sections 1 and 12.1)."""

from __future__ import annotations

import copy
import re
import uuid
from typing import Any, get_type_hints

import pytest

from sessiondir import UNSET, SessionStore, codec
from sessiondir.sessions import (
    SessionEntry,
    field,
    fresh_total_tokens,
    loaded,
    merge_entry,
    misfits,
    normal_entry,
    normal_runtime_model,
)
from sessiondir.sessions.entry import FIELDS
from sessions.data import NOW_MS, example


def merge(existing: Any, patch: dict[str, Any], *, now_ms: float = 100, preserve: bool = False) -> dict[str, Any]:
    return merge_entry(existing, patch, now_ms=now_ms, preserve_activity=preserve, new_session_id=lambda: "new")


def test_every_known_field_has_a_kind_that_its_type_tells() -> None:
    """1.2: the table that is read at run time says what the type says."""
    kinds = {str: "text", bool: "flag", int | float: "number", str | int | float: "text or number"}
    for name, hint in get_type_hints(SessionEntry).items():
        origin = getattr(hint, "__origin__", None)
        literal = hasattr(hint, "__args__") and all(isinstance(one, str) for one in hint.__args__)
        wanted = "text" if literal else kinds.get(hint, "object") if origin is not dict else "object"
        assert FIELDS[name] == wanted, name
    assert FIELDS.keys() == get_type_hints(SessionEntry).keys()


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("model", "m", 5),
        ("updatedAt", 1.5, "1"),
        ("updatedAt", 0, True),
        ("systemSent", False, 0),
        ("acp", {}, []),
        ("lastThreadId", "7", None),
        ("lastThreadId", 7, {}),
        ("origin", {"threadId": 1}, "x"),
        ("status", "done", ["done"]),
    ],
)
def test_reading_tolerates_wrong_types(name: str, good: Any, bad: Any) -> None:
    """1.1: a value of the wrong kind reads as nothing, and stays where it is."""
    assert field({name: good}, name) == good
    entry = {name: bad, "unheard": bad}
    assert field(entry, name) is None
    assert misfits(entry) == ([name] if bad is not None else [])
    assert field({}, name) is None
    assert entry == {name: bad, "unheard": bad}


def test_a_field_that_nobody_knows_is_a_mistake() -> None:
    """A misspelt name is told, not taken for absent."""
    with pytest.raises(KeyError):
        field({}, "modle")


def test_unknown_fields_and_null_round_trip(store_path: str) -> None:
    """1.1: what nobody knows is carried through a store untouched, and null is not absent."""
    entry = {"sessionId": "s", "updatedAt": 1, "label": None, "x-new": {"a": [None, 1.5]}, "": 0}
    with SessionStore.open(store_path) as store:
        store.put("k", normal_entry(dict(entry)))
        assert store["k"] == entry
        assert "label" in store["k"]
        assert "subject" not in store["k"]


# -- merge ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("existing", "patch", "wanted"),
    [
        ({"sessionId": "old"}, {"sessionId": "p"}, "p"),
        ({"sessionId": "old"}, {}, "old"),
        ({"sessionId": "old"}, {"sessionId": None}, "old"),
        ({"sessionId": "old"}, {"sessionId": UNSET}, "old"),
        ({"sessionId": "old"}, {"sessionId": ""}, ""),
        ({"sessionId": ""}, {}, ""),
        ({"sessionId": None}, {}, "new"),
        ({}, {}, "new"),
        (None, {"sessionId": "p"}, "p"),
        (None, {}, "new"),
    ],
)
@pytest.mark.parametrize("preserve", [False, True])
def test_session_id(existing: Any, patch: dict[str, Any], wanted: str, preserve: bool) -> None:
    """1.4, 17.11: the patch's, else the stored one, else a new one; null counts as absent, blank does not."""
    assert merge(existing, patch, preserve=preserve)["sessionId"] == wanted


def test_a_new_session_id_is_a_random_uuid() -> None:
    """1.4: version 4, another one each time."""
    made = [merge_entry(None, {}, now_ms=1)["sessionId"] for _ in range(2)]
    assert made[0] != made[1]
    assert {uuid.UUID(one).version for one in made} == {4}


@pytest.mark.parametrize(
    ("existing", "patch", "touched", "preserved"),
    [
        ({"updatedAt": 50}, {}, 100, 50),
        ({"updatedAt": 500}, {}, 500, 500),
        ({"updatedAt": 50}, {"updatedAt": 700}, 700, 50),
        ({"updatedAt": None}, {"updatedAt": 70}, 100, 70),
        ({}, {"updatedAt": 170}, 170, 170),
        ({}, {}, 100, 100),
        ({"updatedAt": 0}, {"updatedAt": 5}, 100, 0),
        (None, {"updatedAt": 5}, 100, 100),
        (None, {"updatedAt": 500}, 500, 500),
        (None, {"updatedAt": UNSET}, 100, 100),
        ({"updatedAt": "soon"}, {}, 100, "soon"),
        ({"updatedAt": True}, {"updatedAt": True}, 100, True),
    ],
)
def test_updated_at(existing: Any, patch: dict[str, Any], touched: Any, preserved: Any) -> None:
    """1.4: touching never moves back and keeps a future time; preserving keeps what is stored."""
    assert merge(existing, patch)["updatedAt"] == touched
    assert merge(existing, patch, preserve=True)["updatedAt"] is preserved


def test_fields_are_replaced_erased_and_nulled() -> None:
    """1.4, 15.1: shallow; "undefined" erases and null is stored; places are kept and new fields go last."""
    existing = {"a": {"x": 1}, "sessionId": "s", "cacheRead": 5, "b": 1, "updatedAt": 1}
    merged = merge(existing, {"c": 2, "a": {"y": 2}, "cacheRead": UNSET, "b": None, "gone": UNSET})
    assert merged == {"a": {"y": 2}, "sessionId": "s", "b": None, "updatedAt": 100, "c": 2}
    assert list(merged) == ["a", "sessionId", "b", "updatedAt", "c"]
    assert existing["cacheRead"] == 5


@pytest.mark.parametrize(
    ("patch", "wanted"),
    [
        ({"model": "new"}, None),
        ({"model": " old "}, "p"),
        ({"model": "new", "modelProvider": "q"}, "q"),
        ({"model": "new", "modelProvider": UNSET}, None),
        ({"label": "x"}, "p"),
        ({"model": 5}, "p"),
        ({"model": "  "}, None),
        ({"model": None}, None),
    ],
)
def test_a_new_model_drops_the_provider_of_the_old_one(patch: dict[str, Any], wanted: str | None) -> None:
    """1.4: only if the patch has a model, another one, and no provider of its own."""
    existing = {"sessionId": "s", "updatedAt": 1, "model": "old", "modelProvider": "p"}
    assert merge(existing, patch).get("modelProvider") == wanted


def test_a_new_entrys_provider_is_kept() -> None:
    """1.4: the rule needs an entry that was there."""
    assert merge(None, {"model": "m", "modelProvider": "p"})["modelProvider"] == "p"


# -- runtime model, tokens, old names ------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"model": " m ", "modelProvider": "\ufeffp"}, {"model": "m", "modelProvider": "p"}),
        ({"model": "  ", "modelProvider": "p"}, {}),
        ({"modelProvider": "p"}, {}),
        ({"model": None, "modelProvider": None}, {}),
        ({"model": "m", "modelProvider": " "}, {"model": "m"}),
        ({"model": "m", "modelProvider": None}, {"model": "m"}),
        ({"model": "\x1cm"}, {"model": "\x1cm"}),
    ],
)
def test_runtime_model(before: dict[str, Any], after: dict[str, Any]) -> None:
    """1.5: trimmed as JavaScript trims; without a model both go, without a provider that one."""
    assert normal_runtime_model({"a": 1, **before, "b": 2}) == {"a": 1, **after, "b": 2}


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"model": "m"},
        {"model": "m", "modelProvider": "p"},
        {"model": 5, "modelProvider": " p "},
        {"model": " m ", "modelProvider": ["p"]},
    ],
)
def test_an_unchanged_runtime_model_is_the_same_object(entry: dict[str, Any]) -> None:
    """1.5: identity says "nothing to do"; values of other types are left alone."""
    assert normal_runtime_model(entry) is entry


@pytest.mark.parametrize(
    ("entry", "wanted"),
    [
        ({"totalTokens": 5}, 5),
        ({"totalTokens": 0, "totalTokensFresh": True}, 0),
        ({"totalTokens": 5, "totalTokensFresh": None}, 5),
        ({"totalTokens": 5, "totalTokensFresh": 0}, 5),
        ({"totalTokens": 5, "totalTokensFresh": False}, None),
        ({"totalTokens": -1}, None),
        ({"totalTokens": "5"}, None),
        ({"totalTokens": True}, None),
        ({"totalTokens": float("inf")}, None),
        ({}, None),
        (None, None),
    ],
)
def test_fresh_total(entry: Any, wanted: Any) -> None:
    """1.6: a finite number of 0 or more that is not marked as stale; no mark means fresh."""
    assert fresh_total_tokens(entry) == wanted


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"provider": "p"}, {"channel": "p"}),
        ({"channel": "c", "provider": "p"}, {"channel": "c", "provider": "p"}),
        ({"channel": 5, "provider": "p"}, {"channel": "p"}),
        ({"channel": "", "provider": "p"}, {"channel": "", "provider": "p"}),
        ({"provider": 5}, {"provider": 5}),
        ({"lastProvider": "p"}, {"lastChannel": "p"}),
        ({"lastChannel": "c", "lastProvider": "p"}, {"lastChannel": "c", "lastProvider": "p"}),
        ({"room": "#r"}, {"groupChannel": "#r"}),
        ({"room": "#r", "groupChannel": "#g"}, {"groupChannel": "#g"}),
        ({"room": 5}, {}),
        ({"room": None}, {}),
    ],
)
def test_old_names(before: dict[str, Any], after: dict[str, Any]) -> None:
    """12.1: renamed where today's name holds no text; ``room`` is dropped in any case."""
    given = copy.deepcopy(before)
    assert loaded(given) == after
    assert given == before
    if before == after:
        assert loaded(given) is given


def test_the_fields_of_the_example_store_are_known_and_fit() -> None:
    """1.2: of a store that the legacy program wrote, only old names and one odd value stand out."""
    odd = {name for entry in example().values() if entry for name in entry if name not in FIELDS}
    assert odd == {"provider", "lastProvider", "room"}
    wrong = {name for entry in example().values() if entry for name in misfits(entry)}
    assert wrong == {"spawnDepth"}


def test_normalising_an_entry_costs_no_copy_of_what_is_in_order() -> None:
    """2.6: an entry in order comes back as the same object, however large."""
    entry = merge_entry(None, {"model": "m", "skillsSnapshot": {"prompt": "x" * 10}}, now_ms=NOW_MS)
    assert normal_entry(entry) is entry
    assert re.fullmatch(r"[0-9a-f-]{36}", entry["sessionId"])
    assert codec.encode(entry)
