"""Numbers that JavaScript cannot hold: it reads ``1e400`` as Infinity, and writes that as null. Pure.

Such a number costs its own field and nothing else: where a legacy file is read it becomes null,
and whoever reads it is told where it stood. Large integers that a double can hold, if not
exactly, keep all their digits.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Iterator
from typing import Any, Final

from sessiondir import codec

_INFINITE_FROM: Final = 2**1024 - 2**970
"""The least integer that rounds to no finite double."""

_MANY_DIGITS = re.compile(rb"[0-9]{309}")
_DIGITS_EVERY_HUNDRED = re.compile(rb"[0-9]{3}")
_MOST_DIGITS: Final = 4_000
"""Of a number that has to be looked at; longer ones, zeros in front are no JSON, are infinite."""


def may_be_infinite(text: bytes) -> bool:
    """Whether JSON text may have an integer that no double holds. Cheap; may be wrong on the safe side."""
    # So long a number covers three in a row of every hundredth byte, and these are soon looked through.
    return _DIGITS_EVERY_HUNDRED.search(text[::100]) is not None and _MANY_DIGITS.search(text) is not None


def decode(text: bytes) -> tuple[Any, list[str]]:
    """JSON text as JavaScript reads it, with null for infinite numbers, and the places of these.

    Raises ``codec.DecodeError``.
    """
    return finite(codec.decode_tolerantly(text, float, _integer))


def finite(value: Any) -> tuple[Any, list[str]]:
    """A parsed value with null for every number that JavaScript writes as null, and the places of these."""
    if _is_infinite(value):
        return None, [""]
    found: list[str] = []
    for where, number, outer, name in _inside(value):
        if _is_infinite(number):
            found.append(where)
            outer[name] = None
    return value, found


def infinite(value: Any) -> list[str]:
    """The places of numbers in an array or object that JavaScript writes as null."""
    return [where for where, number, _, _ in _inside(value) if _is_infinite(number)]


def _is_infinite(value: object) -> bool:
    if type(value) is int:
        return not -_INFINITE_FROM < value < _INFINITE_FROM
    return type(value) is float and not math.isfinite(value)


def _inside(value: Any) -> Iterator[tuple[str, Any, Any, Any]]:
    """The numbers in an array or object: the place, the number, and what holds it under which name or index."""
    left = deque([("", value)])
    while left:
        place, outer = left.popleft()
        is_object = type(outer) is dict
        if not is_object and type(outer) is not list:
            continue
        for name, inner in list(outer.items() if is_object else enumerate(outer)):
            where = f"{place}.{name}" if is_object and place else f"{name}" if is_object else f"{place}[{name}]"
            if type(inner) is int or type(inner) is float:
                yield where, inner, outer, name
            else:
                left.append((where, inner))


def _integer(text: str) -> int | float:
    return int(text) if len(text) <= _MOST_DIGITS else math.inf
