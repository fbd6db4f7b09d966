"""How a JavaScript program sees JSON values: blanks, truth, text positions, numbers. Pure functions.

Entries are written by programs of both languages, so a value of a type that nobody expects
must not stop anything: these functions take any JSON value.

Sources: ECMA-262, ``ToBoolean``, ``IsStrictlyEqual``, ``StringToNumber``, ``String.prototype``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final

from sessiondir import jsjson
from sessiondir.layout import js_trim

_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_OTHER_BASES: Final = {"0x": 16, "0o": 8, "0b": 2}
_BASE_DIGITS: Final = {
    16: re.compile("[0-9a-fA-F]+"),
    8: re.compile("[0-7]+"),
    2: re.compile("[01]+"),
}
_LARGEST_EXACT: Final = 2**53
_LARGEST_PLAIN: Final = 10**21


def trimmed(value: object) -> str:
    """Text without the blanks that JavaScript trims; ``""`` for what is not text."""
    return js_trim(value) if isinstance(value, str) else ""


def lowered(value: object) -> str:
    """``trimmed`` and in lower case, by the rules of all of Unicode as in JavaScript."""
    return trimmed(value).lower()


def number(value: object) -> int | float | None:
    """A finite number; None for anything else, ``True`` and ``False`` included."""
    if type(value) is int:
        return value
    return value if isinstance(value, float) and math.isfinite(value) else None


def truthy(value: object) -> bool:
    """Whether JavaScript takes a JSON value for true: empty arrays and objects are."""
    return True if isinstance(value, (Mapping, list)) else bool(value)


def same(left: object, right: object) -> bool:
    """Whether two scalars are strictly equal: ``1`` and ``1.0`` are, ``1`` and ``True`` are not."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, (int, float)) and isinstance(right, (int, float)):
        return left == right
    return type(left) is type(right) and left == right and not isinstance(left, (dict, list))


def member(value: object, name: str) -> Any:
    """A member of an object; None if it is missing or null, or ``value`` is no object."""
    return value.get(name) if isinstance(value, Mapping) else None


def number_text(value: float) -> str:
    """A number as JavaScript prints it; whole numbers keep all their digits."""
    if isinstance(value, int) and abs(value) < _LARGEST_PLAIN:
        return str(value)
    return jsjson.number(value)


def truncated(value: float) -> int | float:
    """A finite number without its fraction. Above 2**53 a float has none and stays a float."""
    return math.trunc(value) if abs(value) < _LARGEST_EXACT else value


def number_of_text(text: str) -> float | None:
    """What ``Number(text)`` makes of text that is not blank; None for "not a number"."""
    body = js_trim(text)
    base = _OTHER_BASES.get(body[:2].lower())
    if base is not None:
        return _large_float(int(body[2:], base)) if _BASE_DIGITS[base].fullmatch(body[2:]) else None
    if body in ("Infinity", "+Infinity", "-Infinity"):
        return float(body.replace("Infinity", "inf"))
    return float(body) if _DECIMAL.fullmatch(body) else None


def _large_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def whole_number(value: object) -> int | None:
    """A whole number of 0 or more, given as a number or as JavaScript number text; else None."""
    if isinstance(value, str):
        value = number_of_text(value) if js_trim(value) else None
    found = number(value)
    if found is None or found < 0 or found != math.trunc(found):
        return None
    return int(found) if isinstance(found, float) or math.isfinite(_large_float(found)) else None


def utf16_length(text: str) -> int:
    """The length as JavaScript counts: a character beyond U+FFFF is two."""
    return len(text) + sum(1 for char in text if char > "\uffff")


def utf16_slice(text: str, start: int, end: int | None = None) -> str:
    """``text.slice(start, end)`` in JavaScript's units; half a character comes out as a lone surrogate."""
    if text.isascii():
        return text[start:end]
    units = text.encode("utf-16-le", "surrogatepass")
    cut = (
        units[start * 2 : None if end is None else end * 2]
        if start >= 0
        else units[max(len(units) + start * 2, 0) :]
    )
    return cut.decode("utf-16-le", "surrogatepass")
