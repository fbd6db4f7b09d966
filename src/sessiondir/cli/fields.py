"""Fields of an entry as they are named on the command line.

``label`` is a field; ``deliveryContext.channel`` is a field within an object, ``items.0`` an
element of an array. A field whose whole name has the dots in it comes first.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import click

from sessiondir import codec
from sessiondir.errors import NotFoundError


@dataclass(frozen=True, slots=True)
class Assignment:
    """``FIELD=JSON`` of the command line."""

    field: str
    value: Any


def parse_assignment(text: str) -> Assignment:
    """Take ``FIELD=JSON`` apart; the value as ``parse_value``. Raises ``click.UsageError``."""
    field, equals, value = text.partition("=")
    if not equals or not field:
        raise click.UsageError(f"{text!r} is not FIELD=JSON")
    return Assignment(field, parse_value(field, value))


def parse_value(name: str, text: str) -> Any:
    """A JSON value as it was typed.

    What is not JSON is text, so that ``label=Monday`` needs no quotes within quotes; but what
    begins like an array, an object or quoted text is a mistyped value, and refused.
    Raises ``click.UsageError``, which names ``name``.
    """
    try:
        return codec.decode(text.encode("utf-8", "surrogatepass"))
    except codec.DecodeError:
        pass
    if text.lstrip()[:1] in ("[", "{", '"'):
        raise click.UsageError(f"{name}: {_what_is_wrong(text)}")
    return text


def _what_is_wrong(value: str) -> str:
    # The standard library's messages tell the place in words that people understand.
    try:
        json.loads(value)
    except json.JSONDecodeError as exc:
        return f"the value is not JSON: {exc.msg} at character {exc.pos + 1}"
    return "the value is not JSON"


def look_up(entry: dict[str, Any], field: str, key: str) -> Any:
    """The value of ``field``. Raises ``NotFoundError`` naming how far the path led."""
    if field in entry:
        return entry[field]
    value: Any = entry
    names = field.split(".")
    for depth, name in enumerate(names):
        if isinstance(value, dict) and name in value:
            value = value[name]
        elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            reached = ".".join(names[:depth])
            where = f"; {reached} has no {name!r}" if reached else ""
            raise NotFoundError(f"session {key!r} has no field {field!r}{where}", session=key, field=field)
    return value


def assign(entry: dict[str, Any], field: str, value: Any) -> Any:
    """Set ``field`` in place; objects on the way are made.

    Returns what stood there, None if nothing did. Raises ``click.UsageError``.
    """
    parent, name = _parent(entry, field, make=True)
    if isinstance(parent, list):
        if not name.isdecimal() or int(name) >= len(parent):
            raise click.UsageError(f"{field}: the array has {len(parent)} elements, and no {name!r}")
        before, parent[int(name)] = parent[int(name)], value
    else:
        before, parent[name] = parent.get(name), value
    return before


def remove(entry: dict[str, Any], field: str) -> None:
    """Remove ``field`` in place if it is there. Raises ``click.UsageError`` for array elements."""
    parent, name = _parent(entry, field, make=False)
    if isinstance(parent, list):
        raise click.UsageError(f"{field}: elements of an array cannot be removed; set the whole array")
    if parent is not None:
        parent.pop(name, None)


def _parent(entry: dict[str, Any], field: str, *, make: bool) -> tuple[Any, str]:
    if field in entry:
        return entry, field
    *path, last = field.split(".")
    if not all((*path, last)):
        raise click.UsageError(f"{field!r} is not a field: there is nothing between two dots, or beside one")
    value: Any = entry
    for depth, name in enumerate(path):
        if isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        elif isinstance(value, dict) and (make or name in value):
            value = value.setdefault(name, {})
        elif not make:
            return None, last
        if not isinstance(value, dict | list):
            raise click.UsageError(f"{field}: {'.'.join(path[: depth + 1])} is neither an object nor an array")
    return value, last


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[dict[str, Any]]:
    """What changed, by top-level field: ``[{"field": str, "before": ..., "after": ...}]``.

    ``before`` is missing in an item for a new field, ``after`` for a removed one.
    """
    found = []
    for name in dict.fromkeys((*before, *after)):
        item: dict[str, Any] = {"field": name}
        if name in before:
            item["before"] = before[name]
        if name in after:
            item["after"] = after[name]
        # As JSON text, because Python holds 1, 1.0 and True to be equal and JSON does not.
        if "before" in item and "after" in item and json.dumps(item["before"]) == json.dumps(item["after"]):
            continue
        found.append(item)
    return found
