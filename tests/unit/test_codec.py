"""JSON text and values: exact both ways, tolerant where JavaScript is, strict about the rest."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sessiondir import codec

VALUES: list[Any] = [
    None, True, 0, -1, 2**53 + 1, 2**64, -(2**70), 1.5, 1e300, 5e-324, "", "é😀", "\ud800", "\x00\x1f\u2028",
    '"\\', [], {}, [None, [True, {"a": [1.0, "\udfff"]}]], {"": {"\ud83d": 2**70}},
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=ascii)
def test_encoding_is_compact_json_that_every_reader_takes(value: Any) -> None:
    """The text reads back equal with this package and with the standard library, without a blank."""
    data = codec.encode(value)
    assert repr(codec.decode(data)) == repr(json.loads(data)) == repr(value)
    assert b" " not in data
    assert b"\\u00e9" not in data


@pytest.mark.parametrize(
    "data",
    [
        b"", b" ", b"\0", b"{", b"[1,]", b"{'a':1}", b"nul", b"NaN", b"Infinity", b"-Infinity", b"[1e400]", b"01",
        b"1 2",
        b"{}{}", b'"\n"', b'"\xff"', b"\xef\xbb\xbf{}", b"\xff\xfe{\0}\0", b'"\\x"', b'"\\ud8"', b"[" * 100_000,
        b'{"a":' * 100_000, b"9" * 5000, b"1" + b"0" * 100_000,
    ],
    ids=lambda data: ascii(data[:20]),
)  # fmt: skip
def test_what_is_not_json_raises_the_one_documented_error(data: bytes) -> None:
    """Damaged, foreign, too deep or too large text raises DecodeError from every decoder."""
    for decode in (codec.decode, codec.split_object, codec.decode_fields):
        with pytest.raises(codec.DecodeError):
            decode(data)


@pytest.mark.parametrize("depth", [100, 500, 900, 980, 990, 995, 1000, 1500, 3000])
@pytest.mark.parametrize("shape", ['{"a":%s1%s}', '{"a":"\\ud800","b":%s1%s}'])
def test_deep_text_is_read_whole_or_refused(depth: int, shape: str) -> None:
    """At any depth, near the limits of the machine too, the answer is the value or DecodeError."""
    data = (shape % ("[" * depth, "]" * depth)).encode()
    for decode in (codec.decode, codec.split_object, codec.decode_fields):
        try:
            found = decode(data)
        except codec.DecodeError:
            continue
        assert "a" in found


@pytest.mark.parametrize("data", [b"[]", b"1", b'"{}"', b"null", b"true"])
def test_an_entry_is_an_object(data: bytes) -> None:
    """Other JSON than an object is no entry and has no members."""
    with pytest.raises(codec.DecodeError):
        codec.split_object(data)
    with pytest.raises(codec.DecodeError):
        codec.decode_fields(data)


def test_duplicate_names_resolve_to_the_last() -> None:
    """Of two members with one name the last counts, at any depth."""
    assert codec.decode_fields(b'{"a":1,"b":{"c":1,"c":2},"a":3}') == {"a": 3, "b": b'{"c":2}'}
    assert codec.split_object(b'{"a":1,"a":[2]}') == {"a": b"[2]"}


def test_fields_hold_scalars_plain_and_the_rest_as_compact_text() -> None:
    """Scalars are kept as values, arrays and objects as canonical bytes, so that equal ones compare equal."""
    assert codec.decode_fields(b'{ "n" : 1.0, "l" : [ 1 , {"x" : null} ], "t": "\\u00e9", "o": {} }') == {
        "n": 1.0, "l": b'[1,{"x":null}]', "t": "é", "o": b"{}",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("one", "two", "equal"),
    [
        (1, 1, True), (1, True, False), (1, 1.0, False), (0, False, False), (0, None, False), ("", None, False),
        ([1], [1], True), ([1], [True], False), ([1], [1.0], False), ([1], (1,), True), ([1, 2], [2, 1], False),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True), ({"a": 1}, {"a": True}, False),
        ({"a": [{}]}, {"a": [[]]}, False),
        ({}, [], False), ([], None, False), ("[]", [], False), ("\ud800", "\ud800", True),
        (["\ud800"], ["\ud801"], False),
        (2**70, 2**70, True), (2**70, float(2**70), False), ([0.1], [0.1], True),
    ],
    ids=repr,
)  # fmt: skip
def test_values_are_compared_as_json_compares(one: Any, two: Any, equal: bool) -> None:
    """Numbers of different kinds, true and 1 differ; the order of members does not count."""
    for stored, other in ((one, two), (two, one)):
        fields = codec.to_fields({"f": stored})
        assert codec.difference(fields, {"f": other}) == (({} if equal else codec.to_fields({"f": other})), ())


def test_difference_names_what_changed() -> None:
    """The difference holds new and changed fields, and the names of those that are gone."""
    fields = codec.to_fields({"a": 1, "b": [1], "c": None, "d": {"x": 1}})
    assert codec.difference(fields, {"a": 1, "b": [2], "d": {"x": 1}, "e": []}) == (
        {"b": b"[2]", "e": b"[]"},
        ("c",),
    )
    assert codec.difference(fields, {}) == ({}, ("a", "b", "c", "d"))
    assert codec.difference({}, {}) == ({}, ())


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (float("nan"), "f"), ([1, float("inf")], "f[1]"), ({"a": {"b": [0, {1}]}}, "f.a.b[1]"), (b"x", "f"),
        ({"a": {1: 2}}, "f.a"), (object(), "f"), ([[object()]], "f[0][0]"),
    ],
    ids=repr,
)  # fmt: skip
def test_what_has_no_exact_json_is_refused_with_its_place(value: Any, where: str) -> None:
    """A value that would not read back equal raises EncodeError naming where it is."""
    with pytest.raises(codec.EncodeError) as caught:
        codec.to_value("f", value)
    assert caught.value.where == where
    assert caught.value.reason


def test_indented_text_is_the_same_value() -> None:
    """Laying text out for people changes blanks only, with two spaces a level and a line feed at the end."""
    value = {"a": [1, {"b": "\ud800", "c": []}], "d": "é: [1, 2]", "e": {}}
    text = codec.indent(codec.encode(value))
    assert codec.decode(text) == value
    assert text.startswith(b'{\n  "a": [\n    1,\n    {\n      "b": "\\ud800"')
    assert text.endswith(b"}\n")
    plain = {"a": [1, {"b": None}], "c": "é"}
    assert codec.indent(codec.encode(plain)) == json.dumps(plain, indent=2, ensure_ascii=False).encode() + b"\n"


def test_a_copy_shares_nothing_that_can_change() -> None:
    """Fields made from a value do not change with it."""
    value = {"l": [1, [2]], "o": {"x": [3]}}
    fields = codec.to_fields(value)
    value["l"][1].append(0)  # type: ignore[index]
    value["o"]["x"].append(0)  # type: ignore[call-overload]
    assert json.loads(codec.encode_fields(fields)) == {"l": [1, [2]], "o": {"x": [3]}}


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":1e400,"a":[1]}',
        b'{"a":"\\ud800","b":[1,{"c":2}]}', b'{"n":123456789012345678901234567890,"l":[1e2]}',
        b'{"a":1,"l":[ ],"a":{"x" : 1.0}}', b"{}", b' {"t":"\\u00e9","o":{"p":"\\u00e9"}} ',
    ],
    ids=ascii,
)  # fmt: skip
def test_an_entry_read_at_once_is_the_entry_read_field_by_field(data: bytes) -> None:
    """A small entry is parsed in one go: values, order and what is tolerated stay the same."""
    fields = codec.fields_from_raw(codec.split_object(data))
    assert list(codec.decode_fields(data).items()) == list(fields.items())
