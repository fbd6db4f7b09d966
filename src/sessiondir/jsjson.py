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


def encode(value: Any) -> bytes:
    """The bytes of ``value``; ``EncodeError`` if it is not JSON or nested too deeply. O(result)."""
    parts: list[str] = []
    try:
        _write(value, "\n", parts.append)
    except RecursionError as exc:
        raise EncodeError("", "nested too deeply") from exc
    return "".join(parts).encode()


def encode_members(members: Iterable[tuple[str, Any]]) -> Iterator[bytes]:
    """The bytes of an object in parts, one member at a time, so that only one value is held.

    Args:
        members: name and value, already in the order of ``iteration_order``.
    """
    opening = "{\n"
    for name, value in members:
        parts = [opening, _INDENT, _text(name), ": "]
        try:
            _write(value, "\n" + _INDENT, parts.append)
        except RecursionError as exc:
            raise EncodeError(name, "nested too deeply") from exc
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
    """Hand the text of ``value`` to ``put`` in parts; ``line`` is a line feed and the indentation here."""
    kind = type(value)
    if kind is str:
        put(_text(value))
    elif kind is dict:
        _write_object(value, line, put)
    elif kind is list:
        _write_array(value, line, put)
    elif value is None or kind is bool:
        put(_LITERALS[value])
    elif kind is int or kind is float:
        put(number(value))
    else:
        raise EncodeError("", f"{kind.__name__} is not a JSON type")


def _write_object(value: dict[Any, Any], line: str, put: Any) -> None:
    if not value:
        put("{}")
        return
    inner = line + _INDENT
    separator = "{" + inner
    for name in iteration_order(value):
        put(separator)
        put(_text(name))
        put(": ")
        _write(value[name], inner, put)
        separator = "," + inner
    put(line + "}")


def _write_array(value: list[Any], line: str, put: Any) -> None:
    if not value:
        put("[]")
        return
    inner = line + _INDENT
    separator = "[" + inner
    for item in value:
        put(separator)
        _write(item, inner, put)
        separator = "," + inner
    put(line + "]")


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
