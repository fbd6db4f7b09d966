"""Finding the members of a large object in parts of its text."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from typing import Any

import pytest
from support.seed import SEED

from sessiondir import codec
from sessiondir.members import MemberTooLong, split_members

NASTY = ['a}{][",:\\', "\\", '\\"', "é\u2028", "", "x" * 60, "\n\t"]


def in_parts(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def split(data: bytes, size: int = 7, longest: int = 1 << 20) -> list[tuple[str, bytes, int]]:
    return [(one.name, one.raw, one.at) for one in split_members(in_parts(data, size), longest)]


def some_value(source: random.Random, depth: int = 0) -> Any:
    kind = source.random()
    if depth < 4 and kind < 0.3:
        return {source.choice(NASTY) + str(n): some_value(source, depth + 1) for n in range(source.randint(0, 4))}
    if depth < 4 and kind < 0.5:
        return [some_value(source, depth + 1) for _ in range(source.randint(0, 4))]
    return source.choice([1, -1.5e9, None, True, *NASTY])


def test_same_members_as_the_parser_whatever_the_parts() -> None:
    """Names, values and places are those of the whole text, however it is cut."""
    source = random.Random(SEED)
    for _ in range(1500):
        value = {f"{source.choice(NASTY)}{n}": some_value(source) for n in range(source.randint(0, 5))}
        indent = source.choice([None, 0, 2])
        data = json.dumps(value, indent=indent, ensure_ascii=source.random() < 0.5).encode()
        found = split(data, source.choice([1, 2, 3, 5, 100]))
        assert {name: json.loads(raw) for name, raw, _ in found} == value
        assert all(data[at : at + len(raw)] == raw for _, raw, at in found)


def test_a_wrong_guess_costs_nothing_but_time() -> None:
    """Lines may begin anywhere: a bracket under the name that closes something else is not taken for the end."""
    source = random.Random(SEED)

    def broken(token: re.Match[str]) -> str:
        return token[0] if token[0][0] == '"' else token[0] + source.choice(["", "\n", "\n  ", "\r\n  "])

    for _ in range(1500):
        value = {f"{n}": some_value(source) for n in range(source.randint(1, 4))}
        data = re.sub(r'"(?:[^"\\]|\\.)*"|[\[\]{}:,]', broken, json.dumps(value)).encode()
        found = split(data, source.choice([5, 50, 1000]))
        assert {name: json.loads(raw) for name, raw, _ in found} == value
        assert all(data[at : at + len(raw)] == raw for _, raw, at in found)


@pytest.mark.parametrize("indent", [1, 2, "\t"])
def test_the_margin_tells_where_a_member_ends(monkeypatch: pytest.MonkeyPatch, indent: int | str) -> None:
    """In a file as programs lay it out no bracket is counted."""
    monkeypatch.setattr("sessiondir.members._Window._end_of_nested", None)
    value = {f"k{n}": {"list": [n, {"x": "}\n"}], "empty": {}} for n in range(9)} | {"l": [[1], {}]}
    data = json.dumps(value, indent=indent).encode()
    assert {name: json.loads(raw) for name, raw, _ in split(data, 1000)} == value


def test_a_name_may_come_twice() -> None:
    """Every member is given, in its order; who wins is not decided here."""
    assert [(name, raw) for name, raw, _ in split(b'{"a":1,"b":2,"a":{}}')] == [
        ("a", b"1"),
        ("b", b"2"),
        ("a", b"{}"),
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"", b"[]", b'"a"', b"{", b'{"a"', b'{"a":', b'{"a":1', b'{"a":1,', b'{"a":1,}', b'{,"a":1}', b"{a:1}",
        b'{"a" 1}', b'{"a":1 "b":2}', b'{"a":{}', b'{"a":"', b'{"a":{}}}', b'{"a":{}} x', b'{"a":1;"b":2}',
        b'{"a":}', b'{"\\x":1}',
    ],
)  # fmt: skip
def test_what_is_no_object(data: bytes) -> None:
    """Whatever is wrong between the members is refused."""
    with pytest.raises(codec.DecodeError):
        for _, raw, _ in split(data, 3):
            codec.decode(raw)


def test_a_long_member_is_refused_before_it_is_held() -> None:
    """A member above the limit is named, and no more of it is read than the limit and one part."""
    read = 0

    def parts() -> Iterator[bytes]:
        nonlocal read
        yield b'{"long":["'
        while True:
            read += 1000
            yield b"x" * 1000

    with pytest.raises(MemberTooLong) as caught:
        list(split_members(parts(), 50_000))
    assert caught.value.name == "long"
    assert read < 60_000
