"""JSON: bytes to values and back, exactly. Pure functions.

msgspec does the work; the standard library takes over for what JavaScript accepts and
msgspec refuses (lone surrogates). What is written always reads back equal: that is
checked for every array and object, because msgspec would silently turn NaN into null,
bytes into base64 text and sets into arrays.

Entries are held as *fields*: a dict from field name to value in which scalars are plain
Python values and arrays and objects are their compact JSON as ``bytes`` (a JSON value is
never ``bytes``, so the type tells them apart).
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NoReturn

import msgspec

from sessiondir import pieces, steps
from sessiondir.lazyentry import LazyEntry, raw_items

Fields = dict[str, Any]
"""Field name to scalar, or to the compact JSON (``bytes``) of an array or object."""

MAX_SAFE_DEPTH = 200
"""Nesting that is written; every reader this project knows of can follow it."""

MAX_GROWTH = 4
_MAX_INT_BITS = 14_000
"""Just below what Python parses by default (4,300 digits)."""

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder()
_Raw = msgspec.Raw
_skipper = msgspec.json.Decoder(msgspec.Raw)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_NESTING = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[{]|[\]}]', re.DOTALL)
_LONE_SURROGATE = re.compile(f"[{chr(0xD800)}-{chr(0xDFFF)}]")
_CONTAINERS = frozenset((dict, list))
_PLAIN_SCALARS = frozenset((str, bool, type(None)))


class DecodeError(ValueError):
    """The bytes are not the JSON they should be."""


class EncodeError(ValueError):
    """The value has no JSON form that reads back equal; ``where`` is the place inside it."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where or 'value'}: {reason}")
        self.where = where
        self.reason = reason


def decode(data: bytes) -> Any:
    """Parse JSON text. Raises ``DecodeError``, or ``RecursionError`` if the caller left no room; O(len(data))."""
    try:
        return _decoder.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return decode_tolerantly(data)


def decode_in_steps(data: bytes) -> Any:
    """As ``decode``; large arrays and objects are parsed piece by piece (see ``pieces``)."""
    try:
        return pieces.decode(data, decode)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return steps.step(decode, data, len(data))  # told, or read more tolerantly, here


def is_one_value(data: bytes) -> bool:
    """Whether the quotes and brackets of ``data`` are those of one JSON value; makes none. O(len), but quick."""
    try:
        _skipper.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False
    return True


def _refuse_constant(name: str) -> NoReturn:
    raise DecodeError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise DecodeError(f"number {text[:40]} is out of range")
    return value


def decode_tolerantly(
    data: bytes, parse_float: Callable[[str], float] = _finite, parse_int: Callable[[str], float] = int
) -> Any:
    """As ``decode``, by the standard library, which takes more; the functions read the numbers."""
    try:
        return json.loads(
            data.decode(), parse_constant=_refuse_constant, parse_float=parse_float, parse_int=parse_int
        )
    except DecodeError:
        raise
    except RecursionError as exc:
        if not is_nested_too_deeply(data):
            raise
        raise DecodeError("nested too deeply") from exc
    except ValueError as exc:
        raise DecodeError(str(exc)) from exc


def is_nested_too_deeply(data: bytes) -> bool:
    """Whether a ``RecursionError`` came of these bytes: else of a caller whose stack was all but full.

    Sound data must never count as damaged because of who reads it.
    """
    readable = max(sys.getrecursionlimit() // 2, 2 * MAX_SAFE_DEPTH)
    depth = 0
    for part in _NESTING.finditer(data):
        if part[0] in (b"[", b"{"):
            depth += 1
            if depth > readable:
                return True
        elif part[0] in (b"]", b"}"):
            depth -= 1
    return False


def encode(value: Any, where: str = "") -> bytes:
    """Compact JSON text that reads back equal to ``value``. Raises ``EncodeError``."""
    try:
        if type(value) in _CONTAINERS and pieces.may_be_large(value):
            return pieces.join(pieces.encode(value, _require_same))
        data = _encoder.encode(value)
        _require_same(value, data, 0)
        return data
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError):
        return _encode_plain(to_plain(value, where))


def _require_same(value: Any, data: bytes, depth: int) -> None:
    """``ValueError`` if ``data``, to stand ``depth`` levels deep, does not read back equal or is too deep."""
    plain = decode(data)
    if plain != value or _is_too_deep(plain, data, MAX_SAFE_DEPTH - depth):
        raise ValueError("not plain JSON")


def _is_too_deep(plain: Any, data: bytes, levels: int) -> bool:
    """Whether a parsed value nests deeper than ``levels``; cheap if ``data`` has few brackets."""
    if data.count(b"[") + data.count(b"{") <= levels:
        return False
    level = [plain]
    for _ in range(levels):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) in _CONTAINERS
        ]
        if not level:
            return False
    return True


def _encode_plain(value: Any) -> bytes:
    try:
        return _encoder.encode(value)
    except (UnicodeEncodeError, RecursionError):
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return _escape_surrogates(text)


def _escape_surrogates(text: str) -> bytes:
    return _LONE_SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", text).encode()


def to_plain(value: Any, where: str = "", depth: int = 0) -> Any:
    """``value`` as plain dict, list, str, int, float, bool and None.

    Tuples become lists and subclasses their base type, as the standard library writes them;
    anything else raises ``EncodeError`` naming its place.
    """
    if depth > MAX_SAFE_DEPTH:
        raise EncodeError(where, f"nested deeper than {MAX_SAFE_DEPTH}")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        if value.bit_length() > _MAX_INT_BITS:
            raise EncodeError(where, f"an integer of {value.bit_length()} bits; readers take {_MAX_INT_BITS}")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise EncodeError(where, f"{value!r} is not JSON")
        return float(value)
    if isinstance(value, (list, tuple)):
        return [to_plain(item, f"{where}[{number}]", depth + 1) for number, item in enumerate(value)]
    if isinstance(value, Mapping):
        plain = {}
        for name, item in value.items():
            if not isinstance(name, str):
                raise EncodeError(where, f"member name {name!r} is not text")
            plain[str.__str__(name)] = to_plain(item, f"{where}.{name}" if where else name, depth + 1)
        return plain
    raise EncodeError(where, f"{type(value).__name__} is not a JSON type")


def to_value(name: str, value: Any) -> Any:
    """One field's value in the form that fields hold; raises ``EncodeError``."""
    kind = type(value)
    if kind in _PLAIN_SCALARS:
        return value
    if (kind is int and is_short(value)) or (kind is float and math.isfinite(value)):
        return value
    data = encode(value, name)
    return data if data[:1] in b"{[" else decode(data)


def members(entry: Mapping[Any, Any]) -> Iterable[tuple[Any, Any]]:
    """Names and values of an entry, to be looked at only: those of a ``LazyEntry`` are not the caller's own."""
    if type(entry) is LazyEntry:
        return raw_items(entry)
    return entry.items() if type(entry) is dict else dict(entry).items()


def to_fields(entry: Mapping[Any, Any]) -> Fields:
    """An entry in the form that documents hold. Raises ``EncodeError``; O(entry)."""
    fields: Fields = {}
    for name, value in members(entry):
        if type(name) is not str:
            if not isinstance(name, str):
                raise EncodeError("", f"field name {name!r} is not text")
            name = str.__str__(name)  # noqa: PLW2901 - a str subclass becomes plain text
        fields[name] = to_value(name, value)
    return fields


def _is_encoded(value: Any, stored: bytes) -> bool:
    """Whether ``value`` is certainly what ``stored`` is the JSON of."""
    if type(value) not in _CONTAINERS:
        return False
    try:
        if len(stored) > steps.LARGE_BYTES:
            return pieces.is_encoded(value, stored)
        return _encoder.encode(value) == stored
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError):
        return False


def _same_json(left: bytes, right: bytes) -> bool:
    """Whether two JSON texts, both written here, are the same value: the order of members carries no meaning."""
    if len(left) != len(right):
        return False  # another order is as long
    values = decode_in_steps(left), decode_in_steps(right)
    # Values that differ do so here; the slow comparison minds the types of those that do not.
    return steps.step(_are_equal, values, len(left)) and _same_value(*values)


def _are_equal(pair: tuple[Any, Any]) -> bool:
    return bool(pair[0] == pair[1])


def _same_value(left: Any, right: Any) -> bool:
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(_same_value(left[name], right[name]) for name in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(_same_value, left, right))
    return bool(left == right)


def difference(
    fields: Fields, entry: Mapping[Any, Any], parsed: Mapping[str, Any] | None = None
) -> tuple[Fields, tuple[str, ...]]:
    """What turns ``fields`` into ``entry``: fields to set, names to remove. Raises ``EncodeError``.

    ``parsed`` are arrays and objects of ``fields`` as values: the same object in ``entry`` is no change.
    """
    set_: Fields = {}
    added = 0
    for name, value in members(entry):
        try:
            stored = fields[name]
        except KeyError:
            added += 1
            set_.update(to_fields({name: value}))
            continue
        # Scalars are shared with the copy that the caller was given, so most are told by identity.
        if value is not stored:
            _compare(set_, name, value, stored, parsed)
    if len(entry) - added == len(fields):
        return set_, ()
    return set_, tuple([name for name in fields if name not in entry])


def _compare(set_: Fields, name: str, value: Any, stored: Any, parsed: Mapping[str, Any] | None) -> None:
    """Add ``value`` to ``set_`` if it is not what is ``stored``."""
    if type(stored) is bytes and (
        (parsed is not None and name in parsed and parsed[name] is value) or _is_encoded(value, stored)
    ):
        return
    new = to_value(name, value)
    if type(new) is type(stored) and (new == stored or (type(new) is bytes and _same_json(new, stored))):
        return
    set_[name] = new


def weight(value: Any) -> int:
    """Roughly the memory of a field's value, in bytes; at least a sixth of its JSON. Cheap."""
    kind = type(value)
    if kind is str:
        return len(value) + 8
    if kind is bytes:
        return 4 * len(value)  # an array or object is kept parsed, too
    if kind is int and not is_short(value):
        return 8 + int(value.bit_length()) // 3  # as many digits, nearly
    return 8


def is_short(number: int) -> bool:
    """Whether an integer takes no more room than any other scalar."""
    # Bounds that compiled code compares with as it does with a machine's integer.
    return -(1 << 60) < number < (1 << 60)


def fields_weight(fields: Fields) -> int:
    """Roughly the memory of an entry's values and names, in bytes."""
    total = 0
    for name, value in fields.items():
        total += len(name) + weight(value)
    return total


def encode_fields(fields: Fields) -> bytes:
    """An entry as one compact JSON object; O(len of the result)."""
    members: Fields = fields
    longest = -1
    for value in fields.values():
        if type(value) is bytes and len(value) > longest:
            longest = len(value)
    try:
        if longest > steps.LARGE_BYTES:
            return pieces.join(_field_parts(fields))
        if longest >= 0:
            members = {name: _Raw(item) if type(item) is bytes else item for name, item in fields.items()}
        return _encoder.encode(members)
    except UnicodeEncodeError:
        return _encode_plain(
            {name: decode(item) if type(item) is bytes else item for name, item in fields.items()}
        )


def _field_parts(fields: Fields) -> Iterator[bytes]:
    opening = b"{"
    for name, value in fields.items():
        yield opening + _encoder.encode(name) + b":"
        yield value if type(value) is bytes else _encoder.encode(value)
        opening = b","
    yield b"}"


def encoded_size(fields: Fields) -> int:
    """Bytes of ``encode_fields``, without building it."""
    long = sum(len(value) - 1 for value in fields.values() if type(value) is bytes)
    return long + len(
        encode_fields({name: 0 if type(value) is bytes else value for name, value in fields.items()})
    )


def encode_text(text: str) -> bytes:
    """A JSON string."""
    return _encode_plain(text)


def split_object(data: bytes) -> dict[str, bytes]:
    """The members of a JSON object, their values not parsed. Raises ``DecodeError``."""
    try:
        members = steps.step(_members.decode, data, len(data))
        return {name: pieces.own(raw) for name, raw in members.items()}
    except (msgspec.MsgspecError, ValueError, RecursionError):
        value = decode_tolerantly(data)
        if not isinstance(value, dict):
            raise DecodeError("not an object") from None
        return {name: _encode_plain(item) for name, item in value.items()}


def decode_fields(data: bytes) -> Fields:
    """Parse an entry into fields; arrays and objects become canonical compact JSON.

    Raises ``DecodeError`` when ``data`` is not one JSON object; O(len(data)).
    """
    if len(data) <= steps.LARGE_BYTES:
        try:
            value = _decoder.decode(data)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            value = None  # told, or read more tolerantly, below
        if type(value) is dict:
            return {name: _stored(item) for name, item in value.items()}
    return fields_from_raw(split_object(data))


def fields_from_raw(members: Mapping[str, bytes | msgspec.Raw]) -> Fields:
    """Fields from the JSON text of each value."""
    fields: Fields = {}
    for name, raw in members.items():
        data = pieces.own(raw)
        fields[name] = _field(data) if len(data) <= steps.LARGE_BYTES else _large_field(data)
    return fields


def _field(data: bytes) -> Any:
    return _stored(decode(data))


def _stored(value: Any) -> Any:
    return _encode_plain(value) if type(value) in _CONTAINERS else value


def _large_field(data: bytes) -> Any:
    try:
        if data[:1] in (b"[", b"{"):
            return pieces.canonical(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        pass
    return steps.step(_field, data, len(data))


def compact(data: bytes) -> bytes:
    """The same JSON text without blanks between its parts. Raises ``DecodeError``."""
    try:
        return msgspec.json.format(data, indent=-1)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        pass
    try:
        return encode(decode(data))
    except EncodeError as exc:
        raise DecodeError(exc.reason) from exc


def indent(data: bytes) -> bytes:
    """The same JSON text laid out for people, two spaces a level, with a final line feed.

    Left as it is where that would make it more than ``MAX_GROWTH`` times as long: deeply
    nested data can grow a hundredfold, and nobody reads it.
    """
    try:
        laid_out = steps.step(lambda text: msgspec.json.format(text, indent=2), data, len(data))
    except msgspec.MsgspecError:
        text = json.dumps(decode_tolerantly(data), ensure_ascii=False, allow_nan=False, indent=2)
        laid_out = _escape_surrogates(text)
    return (laid_out if len(laid_out) <= _longest_layout(len(data)) else data) + b"\n"


def indented_parts(members: list[tuple[str, bytes | Fields]]) -> Iterator[bytes]:
    """``indent`` of a large object of JSON texts and fields, in parts of about a step's worth each."""
    try:
        parts = [*_laid_out_object(members, 1), b"\n"]
    except msgspec.MsgspecError:
        parts = []
    sizes = (len(value) if isinstance(value, bytes) else encoded_size(value) for _, value in members)
    size = 1 + sum(sizes) + sum(len(encode_text(name)) + 2 for name, _ in members)
    if not parts or sum(map(len, parts)) - 1 > _longest_layout(size):
        whole = {name: value if isinstance(value, bytes) else encode_fields(value) for name, value in members}
        return iter((indent(encode_fields(whole)),))
    return pieces.gathered(parts)


def _laid_out_object(members: Iterable[tuple[str, Any]], depth: int) -> Iterator[bytes]:
    margin = b"\n" + b"  " * depth
    opening = b"{" + margin
    for name, value in members:
        yield opening + encode_text(name) + b": "
        if type(value) is bytes:
            yield from pieces.laid_out(value, depth)
        elif type(value) is dict:
            yield from _laid_out_object(value.items(), depth + 1)
        else:
            yield _encode_plain(value)
        opening = b"," + margin
    yield margin[:-2] + b"}" if opening[:1] == b"," else b"{}"


def _longest_layout(size: int) -> int:
    return MAX_GROWTH * size + 1024
