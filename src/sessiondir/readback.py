"""Reading back a large array of which most is as it was. Pure.

A callback that appends a message to a history of megabytes gets the whole of it back. Parsing
it all again makes thousands of objects, for which every garbage collection takes longer. So
what the callback left as it was is taken from its own array.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import msgspec

from sessiondir import codec, pieces, steps
from sessiondir.document import Document

_BLOCK = 1 << 16
_MANY = 500

HandedOut = Mapping[str, list[Any]]
"""By field name the members of large arrays, as a callback was given them."""


def handed_out(doc: Document, entry: Mapping[str, Any]) -> HandedOut | None:
    """What is to be remembered of an entry before a callback may change it; O(members of large arrays)."""
    if doc.fields is None:
        return None
    found: dict[str, list[Any]] = {}
    for name, stored in doc.fields.items():
        if type(stored) is bytes and len(stored) > steps.LARGE_BYTES:
            value = entry[name]
            if type(value) is list:
                found[name] = value.copy()
    return found


def read_back(text: bytes, value: Any, before: list[Any] | None, text_before: bytes) -> Any:
    """The value of ``text``, which is the JSON of ``value``, and takes the place of ``text_before``.

    The first members of ``value`` that are those of ``before``, and have the same JSON as then, stay. So does what
    a callback put into one of them in place of its equal in JSON, such as a tuple for a list.
    """
    count = _same_objects(value, before) if before is not None and type(value) is list else 0
    if count:
        count, at = _same_texts(text, text_before, count)
        if count:
            rest = b"[" + text[at:] if at < len(text) else b"[]"
            members: list[Any] = value[:count]
            members += codec.decode_in_steps(rest)
            return members
    return codec.decode_in_steps(text)


def _same_objects(value: list[Any], before: list[Any]) -> int:
    """How many members at the beginning are the same objects."""
    same = list(map(operator.is_, value, before))
    return same.index(False) if False in same else len(same)


def _same_texts(text: bytes, text_before: bytes, most: int) -> tuple[int, int]:
    """How many of the ``most`` first members have the same text as before, and where the next one begins."""
    try:
        members = steps.step(pieces.members_of, text, len(text))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return 0, 1  # what only the more tolerant reader takes
    common = _common_bytes(text, text_before)
    at = 1
    for number, raw in enumerate(members[:most]):
        if number % _MANY == 0:
            steps.breathe()
        end = at + pieces.length(raw)
        if end >= common:  # the comma or bracket behind it has to be the same, too: 12 is no 123
            return number, at
        at = end + 1
    return min(most, len(members)), at


def _common_bytes(left: bytes, right: bytes) -> int:
    """How many bytes at the beginning are the same."""
    shorter = min(len(left), len(right))
    at = 0
    size = _BLOCK
    while at < shorter and size:
        if left[at : at + size] == right[at : at + size]:
            at += size
        else:
            size //= 2
    return min(at, shorter)
