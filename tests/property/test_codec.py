"""Random JSON: what goes in comes out, and differences are exact."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, seed
from hypothesis import strategies as st
from support.seed import SEED
from support.strategies import QUICK, any_text, entries, scalars, values

from sessiondir import Limits, codec
from sessiondir.changes import operation_for
from sessiondir.document import apply_operation, patch_document, put_document


def exactly(value: Any) -> str:
    """A text that two values share only if they are equal as JSON, whatever the order of members."""
    return json.dumps(value, sort_keys=True)


@seed(SEED)
@QUICK
@given(values)
def test_encoding_and_decoding_are_inverse(value: Any) -> None:
    """Any JSON value reads back equal and of the same types, here and with the standard library."""
    data = codec.encode(value)
    assert repr(codec.decode(data)) == repr(value)
    assert repr(json.loads(data)) == repr(value)
    assert repr(codec.decode(codec.indent(data))) == repr(value)


@seed(SEED)
@QUICK
@given(entries)
def test_fields_hold_an_entry_exactly(entry: dict[str, Any]) -> None:
    """An entry turned into fields and back, by either way, is the same entry in the same order."""
    fields = codec.to_fields(entry)
    data = codec.encode_fields(fields)
    assert repr(codec.decode(data)) == repr(entry)
    assert codec.decode_fields(data) == fields
    assert repr(put_document("k", 1, fields, None).entry()) == repr(entry)


@seed(SEED)
@QUICK
@given(entries, entries)
def test_the_difference_turns_one_entry_into_the_other(old: dict[str, Any], new: dict[str, Any]) -> None:
    """Patching an entry with its difference to another gives the other, and an equal one has none."""
    fields = codec.to_fields(old)
    set_, unset = codec.difference(fields, new)
    patched = patch_document(put_document("k", 1, fields, None), 2, set_, unset)
    assert exactly(patched.entry()) == exactly(new)
    assert (not set_ and not unset) == (exactly(old) == exactly(new))
    assert codec.difference(codec.to_fields(new), new) == ({}, ())


@seed(SEED)
@QUICK
@given(entries, st.lists(entries, max_size=4))
def test_a_chain_of_operations_ends_where_the_last_entry_says(
    first: dict[str, Any], more: list[dict[str, Any]]
) -> None:
    """Whatever came before, applying the computed operation makes the document hold the wanted entry."""
    doc = put_document("k", 1, codec.to_fields(first), None)
    for version, entry in enumerate(more, 2):
        operation = operation_for(doc, entry, Limits())
        if operation is not None:
            doc = apply_operation(doc, operation, version)
        assert exactly(doc.entry()) == exactly(entry)


@seed(SEED)
@QUICK
@given(any_text, scalars, values)
def test_unchanged_means_equal_as_json(name: str, one: Any, two: Any) -> None:
    """Two values are the same exactly if their JSON is, whatever the order of members."""
    for left, right in ((one, two), (two, one), (two, two)):
        equal = type(left) is type(right) and exactly(left) == exactly(right)
        if isinstance(left, float) and left == right == 0.0:
            continue  # zero and minus zero may count as either
        changed, removed = codec.difference(codec.to_fields({name: left}), {name: right})
        assert (changed == {}) is equal
        assert removed == ()


broken = st.sampled_from([float("nan"), float("inf"), b"", {1}, object(), 1j, {5: 1}])


@seed(SEED)
@QUICK
@given(values, broken, st.lists(st.sampled_from(["list", "dict"]), max_size=4))
def test_one_impossible_value_anywhere_is_found(value: Any, bad: Any, path: list[str]) -> None:
    """Wherever a value without exact JSON hides, encoding refuses and names its place."""
    where, hidden = "f", bad
    for step in path:
        hidden = [value, hidden] if step == "list" else {"a": value, "b": hidden}
    for step in reversed(path):
        where += "[1]" if step == "list" else ".b"
    try:
        codec.to_value("f", hidden)
    except codec.EncodeError as exc:
        assert exc.where == where
    else:
        raise AssertionError("it was encoded")
