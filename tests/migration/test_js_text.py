"""Writing JSON as JavaScript does."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from migration.stores import DATA
from sessiondir import jsjson
from sessiondir.codec import EncodeError

NUMBERS = [
    (0, "0"),
    (-0.0, "0"),
    (1.0, "1"),
    (-1.5, "-1.5"),
    (0.1, "0.1"),
    (1e-06, "0.000001"),
    (1.5e-06, "0.0000015"),
    (1e-07, "1e-7"),
    (1.25e-07, "1.25e-7"),
    (5e-324, "5e-324"),
    (1e20, "100000000000000000000"),
    (1e21, "1e+21"),
    (1.7976931348623157e308, "1.7976931348623157e+308"),
    (123456789.125, "123456789.125"),
    (2**53, "9007199254740992"),
    (2**53 + 1, "9007199254740992"),
    (-(2**53) - 1, "-9007199254740992"),
    (123456789012345678901, "123456789012345680000"),
    (999999999999999999999, "1e+21"),
    (10**400, "null"),
    (float("nan"), "null"),
    (float("-inf"), "null"),
]


@pytest.mark.parametrize(("value", "text"), NUMBERS, ids=[text for _, text in NUMBERS])
def test_number(value: float, text: str) -> None:
    """A number is written as the double that JavaScript holds, in its shortest form."""
    assert jsjson.number(value) == text


def test_index_members_come_first_on_every_level() -> None:
    """Canonical array indexes below 2**32 - 1 lead, ascending; all other names keep their order."""
    value = {"b": {"10": 1, "x": 2, "9": 3}, "4294967294": 0, "4294967295": 0, "01": 0, "-1": 0, "0": 0}
    assert list(json.loads(jsjson.encode(value))) == ["0", "4294967294", "b", "4294967295", "01", "-1"]
    assert list(json.loads(jsjson.encode(value))["b"]) == ["9", "10", "x"]


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ('a"b\\', '"a\\"b\\\\"'),
        ("\b\t\n\f\r\x00\x1f", '"\\b\\t\\n\\f\\r\\u0000\\u001f"'),
        ("\x7f\u2028é☕", '"\x7f\u2028é☕"'),
        ("a\ud800b", '"a\\ud800b"'),
        ("\udfff", '"\\udfff"'),
        ("\ud83d\ude00", '"\U0001f600"'),
    ],
)
def test_text(text: str, written: str) -> None:
    """Only quotes, backslashes, controls and lone surrogates are escaped."""
    assert jsjson.encode(text) == written.encode()


def test_layout() -> None:
    """Two spaces a level, empty containers closed, no line feed at the end."""
    value = {"a": [], "b": {}, "c": [1, {"d": None}], "e": True}
    expected = b'{\n  "a": [],\n  "b": {},\n  "c": [\n    1,\n    {\n      "d": null\n    }\n  ],\n  "e": true\n}'
    assert jsjson.encode(value) == expected
    assert b"".join(jsjson.encode_members(value.items())) == expected
    assert b"".join(jsjson.encode_members([])) == b"{}"


def test_not_json() -> None:
    """A value without a JSON form is refused, and so is one nested without end."""
    with pytest.raises(EncodeError):
        jsjson.encode({"a": b"bytes"})
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(EncodeError):
        jsjson.encode(endless)


@pytest.mark.parametrize("path", sorted((DATA / "corpus").glob("*.json")), ids=lambda path: path.stem)
def test_real_files_come_back_to_the_byte(path: Any) -> None:
    """A file that the legacy program wrote is written again exactly as it was."""
    assert jsjson.encode(json.loads(path.read_bytes())) == path.read_bytes()


# -- against the real thing -------------------------------------------------------------------

NODE = shutil.which("node")
PROGRAM = (
    "const text = require('fs').readFileSync(0, 'utf8');"
    "process.stdout.write(JSON.parse(text).map(p => JSON.stringify(JSON.parse(p), null, 2)).join('\\u0000'));"
)

doubles = st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack("<d", bits.to_bytes(8, "little"))[0])
texts = st.text(st.characters(codec=None, exclude_categories=()), max_size=8)
scalars = st.none() | st.booleans() | texts | st.integers(-(2**80), 2**80) | doubles.filter(lambda x: x - x == 0)
member_names = texts | st.integers(0, 2**33).map(str) | st.sampled_from(["0", "01", "4294967294", "4294967295"])
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(member_names, inner, max_size=5),
    max_leaves=12,
)


@pytest.mark.skipif(NODE is None, reason="there is no node on PATH to compare with")
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(values.filter(lambda value: "__proto__" not in repr(value)), min_size=40, max_size=60))
def test_same_bytes_as_node(found: list[Any]) -> None:
    """Whatever JSON it is, the bytes are those of JSON.stringify(JSON.parse(text), null, 2)."""
    parts = json.dumps([json.dumps(value) for value in found])
    done = subprocess.run([NODE or "node", "-e", PROGRAM], input=parts.encode(), capture_output=True, check=True)
    assert [jsjson.encode(value) for value in found] == done.stdout.split(b"\0")
