"""Setting and removing single fields."""

from __future__ import annotations

import pickle

import pytest
from support.factories import Opener

from sessiondir import UNSET, InvalidEntry


def test_patch_sets_fields_and_returns_the_entry(open_store: Opener) -> None:
    """Patch changes the given fields alone and returns the whole entry."""
    store = open_store()
    store.put("a", {"model": "m", "n": 1})
    assert store.patch("a", {"n": 2, "label": "x"}) == {"model": "m", "n": 2, "label": "x"}
    assert store["a"] == {"model": "m", "n": 2, "label": "x"}


def test_unset_removes_a_field_and_none_is_null(open_store: Opener) -> None:
    """UNSET removes a field; None is stored as null."""
    store = open_store()
    store.put("a", {"model": "m", "n": 1, "k": 2})
    assert store.patch("a", {"model": UNSET, "n": None, "missing": UNSET}) == {"n": None, "k": 2}
    store.close()
    assert open_store()["a"] == {"n": None, "k": 2}


def test_patch_of_a_missing_session_is_none(open_store: Opener) -> None:
    """Patching a missing session returns None and creates nothing, unless create is asked for."""
    store = open_store()
    assert store.patch("a", {"n": 1}) is None
    assert "a" not in store
    assert store.patch("a", {"n": 1, "x": UNSET}, create=True) == {"n": 1}
    assert store["a"] == {"n": 1}


def test_an_equal_patch_is_no_commit(open_store: Opener) -> None:
    """A patch that changes nothing commits nothing and returns the entry."""
    store = open_store()
    store.put("a", {"n": 1, "l": [1, {"x": 2}]})
    before = store.version
    assert store.patch("a", {"n": 1, "l": [1, {"x": 2}], "gone": UNSET}) == {"n": 1, "l": [1, {"x": 2}]}
    assert store.patch("a", {}) == {"n": 1, "l": [1, {"x": 2}]}
    assert store.version == before


def test_true_one_and_one_point_zero_are_three_values(open_store: Opener) -> None:
    """True, 1 and 1.0 are different values, so changing one into another is a commit."""
    store = open_store()
    store.put("a", {"v": 1})
    for value in (True, 1.0, 1, False, 0, 0.5):
        before = store.version
        assert repr(store.patch("a", {"v": value})) == repr({"v": value})
        assert repr(store["a"]) == repr({"v": value})
        assert store.version == before + 1
    store.put("a", {"v": [1]})
    store.patch("a", {"v": [True]})
    assert repr(store["a"]) == "{'v': [True]}"


def test_patch_leaves_its_argument_alone(open_store: Opener) -> None:
    """The caller's mapping and its values are not changed and not kept."""
    store = open_store()
    store.put("a", {"n": 1})
    fields = {"list": [1], "n": UNSET}
    store.patch("a", fields)
    assert fields == {"list": [1], "n": UNSET}
    fields["list"].append(2)  # type: ignore[union-attr]
    assert store["a"] == {"list": [1]}


@pytest.mark.parametrize("fields", [{"a": {"b": UNSET}}, {"a": [UNSET]}])
def test_unset_inside_a_value_is_refused(open_store: Opener, fields: dict[str, object]) -> None:
    """UNSET stands for a whole field only; deeper in a value it is an error that names the place."""
    store = open_store()
    store.put("a", {"n": 1})
    with pytest.raises(InvalidEntry) as caught:
        store.patch("a", fields)
    assert caught.value.where.startswith("a")
    with pytest.raises(InvalidEntry):
        store.put("a", {"n": UNSET})
    assert store["a"] == {"n": 1}


def test_patch_of_something_else_than_a_mapping_is_refused(open_store: Opener) -> None:
    """Patch takes a mapping; anything else is an error that changes nothing."""
    store = open_store()
    store.put("a", {"n": 1})
    with pytest.raises(InvalidEntry):
        store.patch("a", [("n", 2)])
    with pytest.raises(InvalidEntry):
        store.patch("a", {5: 2})
    assert store["a"] == {"n": 1}


def test_unset_stays_itself() -> None:
    """UNSET is one object, also after pickling, and says its name."""
    assert pickle.loads(pickle.dumps(UNSET)) is UNSET
    assert repr(UNSET) == "UNSET"


def test_g3_patches_of_different_fields_all_count(open_store: Opener) -> None:
    """G3: patches of one session by two processes do not undo each other."""
    store, other = open_store(), open_store.elsewhere()
    store.put("a", {})
    for number in range(10):
        (store if number % 2 else other).patch("a", {f"f{number}": number})
    assert store["a"] == other["a"] == {f"f{number}": number for number in range(10)}
