"""JavaScript's view of values, and JSON5 text (sections 15.1 and 8.4)."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from support.strategies import QUICK, values

from sessiondir import json5
from sessiondir.codec import DecodeError
from sessiondir.sessions.values import (
    lowered,
    member,
    number,
    number_of_text,
    number_text,
    same,
    trimmed,
    truncated,
    truthy,
    utf16_length,
    utf16_slice,
    whole_number,
)


def test_trimming() -> None:
    """15.1: Unicode blanks, line ends and U+FEFF go; 0x1C-0x1F and 0x85 stay."""
    assert trimmed("\ufeff\u00a0\u2028\t x\u3000\u2003\v") == "x"
    for kept in "\x1c\x1d\x1e\x1f\x85\u200b\u180e":
        assert trimmed(f" {kept}x{kept} ") == f"{kept}x{kept}"
    assert [trimmed(value) for value in (None, 5, ["x"], True)] == [""] * 4


def test_lower_case() -> None:
    """15.1: all of Unicode, whatever the locale; one letter may become two."""
    assert lowered("ÀÉ ΑΣ İ \u212a") == "àé ας i\u0307 k"


@pytest.mark.parametrize("value", [True, 1, -1, 0.5, "0", " ", [], {}, float("inf")])
def test_true_values(value: Any) -> None:
    """15.1: empty arrays and objects are true."""
    assert truthy(value)


@pytest.mark.parametrize("value", [None, False, 0, 0.0, -0.0, ""])
def test_false_values(value: Any) -> None:
    """15.1: as for ``||``."""
    assert not truthy(value)


@pytest.mark.parametrize(
    ("left", "right", "wanted"),
    [
        (1, 1.0, True),
        (0.0, -0.0, True),
        (1, True, False),
        (True, True, True),
        ("1", 1, False),
        ("a", "a", True),
        (None, None, True),
        (None, False, False),
        ([], [], False),
        ({}, {}, False),
    ],
)
def test_strict_equality(left: Any, right: Any, wanted: bool) -> None:
    """2.6: objects are equal to nothing, numbers by value, true is no number."""
    assert same(left, right) is wanted
    assert same(right, left) is wanted


@pytest.mark.parametrize(
    ("value", "wanted"),
    [(5, 5), (5.5, 5.5), (True, None), ("5", None), (None, None), (math.inf, None), (math.nan, None)],
)
def test_numbers(value: Any, wanted: Any) -> None:
    """1.6: finite numbers alone."""
    assert number(value) == wanted


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (0, "0"),
        (-0.0, "0"),
        (77, "77"),
        (1.5, "1.5"),
        (123456789012345680000, "123456789012345680000"),
        (10**21, "1e+21"),
        (1e-7, "1e-7"),
        (0.000001, "0.000001"),
        (12345678901234567891, "12345678901234567891"),
    ],
)
def test_printing_numbers(value: float, wanted: str) -> None:
    """15.1, 17.18: as JavaScript prints them; digits are never lost."""
    assert number_text(value) == wanted


@pytest.mark.parametrize(
    ("value", "wanted"), [(7.9, 7), (-7.9, -7), (-0.5, 0), (5, 5), (1e300, 1e300), (2.0**53, 2.0**53)]
)
def test_truncating(value: float, wanted: float) -> None:
    """2.1: toward zero."""
    assert truncated(value) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("10", 10),
        (" 1e2\ufeff", 100),
        ("0x1F", 31),
        ("0b101", 5),
        ("0O17", 15),
        ("-1.5", -1.5),
        ("+.5", 0.5),
        ("5.", 5),
        ("Infinity", math.inf),
        ("-Infinity", -math.inf),
        ("1e400", math.inf),
        ("0x" + "f" * 300, math.inf),
        ("infinity", None),
        ("nan", None),
        ("1_000", None),
        ("0x", None),
        ("+0x1", None),
        ("0b2", None),
        ("1e", None),
        (".", None),
        ("1 2", None),
        ("١", None),
    ],
)
def test_reading_numbers_from_text(text: str, wanted: float | None) -> None:
    """8.4 step 4: JavaScript's syntax, which is not Python's."""
    assert number_of_text(text) == wanted


def test_whole_numbers() -> None:
    """8.4 step 4: of 0 and more, from numbers and text; a number that no double holds is none."""
    assert [whole_number(value) for value in (2, 2.0, "2", " 0x2 ", "-0")] == [2, 2, 2, 2, 0]
    for value in (-1, 1.5, "1.5", "", " ", True, None, [], math.inf, 10**400):
        assert whole_number(value) is None


def test_positions_in_text() -> None:
    """15.1: a character beyond U+FFFF counts as two; half of one is a lone surrogate."""
    assert utf16_length("a😀") == 3
    assert utf16_slice("a😀b", 0, 2) == "a\ud83d"
    assert utf16_slice("a😀b", -2) == "\ude00b"
    assert utf16_slice("é", -4) == "é"
    assert utf16_slice("abc", 1, 2) == "b"


def test_members() -> None:
    """Reading from what is no object gives nothing."""
    assert [member(value, "a") for value in ({"a": 1}, {"a": None}, {}, [], "a", None)] == [1, *[None] * 5]


# -- JSON5 ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("{}", {}),
        (" // c\n[1, /* x\n*/ 2,]\u2028", [1, 2]),
        ("{a: 1, $b_ć: 2, 'c d': 3, \"e\": 4,}", {"a": 1, "$b_ć": 2, "c d": 3, "e": 4}),
        ("{\\u0061b: 1}", {"ab": 1}),
        ("{null: 1, true: 2, Infinity: 3}", {"null": 1, "true": 2, "Infinity": 3}),
        ("{a: 1, a: 2}", {"a": 2}),
        ("'it'", "it"),
        ("'a\"b'", 'a"b'),
        ('"a\'b"', "a'b"),
        (r"'\x41B\n\t\v\0\'\"\\\/\q'", "AB\n\t\v\0'\"\\/q"),
        ("'a\\\nb\\\r\nc\\\u2028d'", "abcd"),
        ("'\u2028'", "\u2028"),
        ("'\\ud83d\\ude00 \\ud83d'", "😀 \ud83d"),
        ("[.5, 5., +1, -2, 0x1F, -0xa, 1e3, 5e-1]", [0.5, 5.0, 1, -2, 31, -10, 1000.0, 0.5]),
        ("[Infinity, -Infinity]", [math.inf, -math.inf]),
        ("123456789012345678901", 123456789012345678901),
        ("true", True),
        ("\ufeffnull ", None),
    ],
)
def test_json5(text: str, wanted: Any) -> None:
    """8.4: what people write by hand."""
    found = json5.decode(text)
    assert found == wanted
    assert type(found) is type(wanted)


def test_json5_not_a_number() -> None:
    """``NaN`` is a value there."""
    assert math.isnan(json5.decode("+NaN"))


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[1", "{a}", "{a:}", "{a 1}", "{,}", "[,]", "[1,,2]", "[1 2]", "'a", "'a\nb'", "'\\x4'",
        "'\\u12'", "'\\1'", "'\\01'", "01", "0x", "1a", "- 1", "nul", "True", "/*", "1 2", "{1a: 2}", "{a-b: 1}",
        "{\\u0031: 1}", "{\\x: 1}", "[" * 1000, "undefined", "+", "'\\",
    ],
)  # fmt: skip
def test_what_is_no_json5(text: str) -> None:
    """8.4: told with the line, never a crash."""
    with pytest.raises(DecodeError, match="in line 1"):
        json5.decode(text)


def test_where_json5_goes_wrong() -> None:
    """The line counts from one."""
    with pytest.raises(DecodeError, match="in line 3"):
        json5.decode("{\n  a: 1,\n  b 2\n}")


@given(values)
@QUICK
def test_all_json_is_json5(value: Any) -> None:
    """JSON text means the same in JSON5."""
    assert json5.decode(json.dumps(value)) == json.loads(json.dumps(value))
    assert json5.decode(json.dumps(value, indent=2, ensure_ascii=False)) == value
