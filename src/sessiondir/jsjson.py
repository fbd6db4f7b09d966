"""JSON text as JavaScript's ``JSON.stringify(value, null, 2)`` writes it. Pure functions.

A program written in JavaScript compares the text of the file with what it would write
itself, so a file handed back to it must be the same to the byte: members whose names are
array indexes come first and ascending, every number is a double in its shortest form,
non-ASCII text stands as it is, lone surrogates are escaped, and no line feed ends the text.

Not done here: ``toJSON``, replacer functions, and values that are not JSON.

Source: ECMA-262, ``SerializeJSONProperty``, ``Number::toString`` and ``OrdinaryOwnPropertyKeys``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from json.encoder import encode_basestring
from typing import Any

from sessiondir.codec import EncodeError

_INDENT = "  "
_INDEX = re.compile(r"(?:0|[1-9][0-9]{0,9})\Z", re.ASCII)
_LARGEST_INDEX = 2**32 - 2
_SURROGATE = re.compile("[\ud800-\udfff]")
_LARGEST_EXACT = 2**53
_LITERALS = {None: "null", True: "true", False: "false"}


_DEPTH = 2_000
"""Twice as deep as any text that is read here; only a value that holds itself is deeper."""


def encode(value: Any) -> bytes:
    """The bytes of ``value``; ``EncodeError`` if it is not JSON or holds itself. O(result)."""
    parts: list[str] = []
    _write(value, "\n", parts.append)
    return "".join(parts).encode()


def encode_members(members: Iterable[tuple[str, Any]]) -> Iterator[bytes]:
    """The bytes of an object in parts, one member at a time, so that only one value is held.

    Args:
        members: name and value, already in the order of ``iteration_order``.
    """
    opening = "{\n"
    for name, value in members:
        parts = [opening, _INDENT, _text(name), ": "]
        _write(value, "\n" + _INDENT, parts.append)
        yield "".join(parts).encode()
        opening = ",\n"
    yield b"\n}" if opening == ",\n" else b"{}"


def iteration_order(names: Iterable[str]) -> list[str]:
    """The order in which JavaScript visits members that were added in the order of ``names``."""
    names = list(names)
    indexes = [name for name in names if _is_index(name)]
    if not indexes:
        return names
    return sorted(indexes, key=int) + [name for name in names if not _is_index(name)]


def _is_index(name: str) -> bool:
    return _INDEX.match(name) is not None and int(name) <= _LARGEST_INDEX


def _write(value: Any, line: str, put: Any) -> None:
    """Hand the text of ``value`` to ``put`` in parts; ``line`` is a line feed and the indentation here.

    Without recursion: what was read nested deeply must be written, too.
    """
    begun: list[tuple[Iterator[tuple[str | None, Any]], str, str]] = []
    """Of each array and object around ``value``: what is left of it, the line of its items, its end."""
    while True:
        kind = type(value)
        separator = ","
        if (kind is dict or kind is list) and value:
            if len(begun) >= _DEPTH:
                raise EncodeError("", "nested too deeply")
            begun.append((_items(value), line + _INDENT, line + ("}" if kind is dict else "]")))
            separator = "{" if kind is dict else "["
        else:
            put(_plain(value))
        while begun:
            items, inner, end = begun[-1]
            item = next(items, None)
            if item is not None:
                break
            begun.pop()
            put(end)
        else:
            return
        name, value = item
        line = inner
        put(separator + line)
        if name is not None:
            put(_text(name) + ": ")


def _items(value: dict[str, Any] | list[Any]) -> Iterator[tuple[str | None, Any]]:
    if isinstance(value, dict):
        return ((name, value[name]) for name in iteration_order(value))
    return ((None, item) for item in value)


def _plain(value: Any) -> str:
    """The text of a value that holds no others."""
    kind = type(value)
    if kind is str:
        return _text(value)
    if value is None or kind is bool:
        return _LITERALS[value]
    if kind is int or kind is float:
        return number(value)
    if kind is dict or kind is list:
        return "{}" if kind is dict else "[]"
    raise EncodeError("", f"{kind.__name__} is not a JSON type")


def _text(text: str) -> str:
    quoted = encode_basestring(text)
    if _SURROGATE.search(quoted) is None:
        return quoted
    # Python keeps the halves of a pair apart if two pieces brought them; JavaScript sees one character.
    paired = quoted.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    return _SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", paired)


def number(value: float) -> str:
    """A number as JavaScript prints it: as a double, ``null`` when that is not finite."""
    if type(value) is int and -_LARGEST_EXACT <= value <= _LARGEST_EXACT:
        return str(value)
    try:
        value = float(value)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        return "null"
    if value == 0:
        return "0"  # minus zero loses its sign
    return ("-" if value < 0 else "") + _positive(*_shortest_digits(abs(value)))


def _positive(digits: str, point: int) -> str:
    if len(digits) <= point <= 21:
        return digits.ljust(point, "0")
    if 0 < point <= 21:
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"0.{'0' * -point}{digits}"
    fraction = "." + digits[1:] if len(digits) > 1 else ""
    return f"{digits[0]}{fraction}e{point - 1:+d}"


def _shortest_digits(value: float) -> tuple[str, int]:
    """The shortest digits that read back as ``value``, and where the decimal point stands among them."""
    # repr() finds the same digits as JavaScript (both: shortest, nearest); only the notation differs.
    mantissa, _, exponent = repr(value).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = whole + fraction
    point = len(whole) + int(exponent or 0)
    stripped = digits.lstrip("0")
    return stripped.rstrip("0"), point - (len(digits) - len(stripped))
