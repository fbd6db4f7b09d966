"""Large JSON piece by piece: few calls work on more than some ten thousand bytes. Pure.

A call into the JSON library keeps the interpreter from its first byte to its last, and so
does a copy of megabytes, whose memory the system has to provide first. So an array or
object is taken apart into pieces, each worked through as one step (see ``steps``).

Only JSON that is strictly so gets through; on anything else the library's errors come
out, and ``codec`` then does the work at once and more tolerantly. The same holds for one
long text, which has no pieces.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from sessiondir import steps

MANY = 64
"""Arrays and objects with more members than this, or with such a member, are looked at in pieces."""

SCAN_BYTES = 1 << 20
"""How much of a text is searched in one step: that takes a fraction of the time that parsing takes."""

_LONG_TEXT = 1 << 15
_FIRST_COUNT = 16
_CONTAINERS = frozenset((dict, list))
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder()
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items = msgspec.json.Decoder(list[msgspec.Raw])
members_of = _items.decode
"""The texts of an array's members."""

Check = Callable[[Any, bytes, int], None]
Piece = tuple[str | None, bytes, bool]
"""(name, text, whole): some members as JSON of their own, or (``whole``) one large member, in an object named."""


def may_be_large(value: Any) -> bool:
    """Whether an array or object might be of more than some ten thousand bytes; a look at its first two levels."""
    if len(value) > MANY:
        return True
    for inner in value.values() if type(value) is dict else value:
        kind = type(inner)
        if (kind is str and len(inner) > _LONG_TEXT) or (kind in _CONTAINERS and len(inner) > MANY):
            return True
    return False


def join(parts: Iterable[bytes]) -> bytes:
    """``b"".join``; a long result is a step."""
    texts = list(parts)
    return steps.step(b"".join, texts, sum(map(len, texts)))


def gathered(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in fewer parts, of about a step's worth each."""
    some: list[bytes] = []
    size = 0
    for part in parts:
        some.append(part)
        size += len(part)
        if size >= steps.LARGE_BYTES:
            yield b"".join(some)
            some, size = [], 0
    if some:
        yield b"".join(some)


def part_of(data: Any, start: int, end: int) -> bytes:
    """``data[start:end]`` of any bytes, copied in steps if long."""
    if end - start <= steps.LARGE_BYTES or (start == 0 and end == len(data) and type(data) is bytes):
        return bytes(data[start:end])
    view = memoryview(data)
    cuts = range(start, end, steps.LARGE_BYTES)
    return join([steps.step(bytes, view[at : min(at + steps.LARGE_BYTES, end)], end - start) for at in cuts])


def find(data: bytes, wanted: bytes, start: int = 0) -> int:
    """``data.find(wanted, start)``, in steps."""
    while start + SCAN_BYTES < len(data):
        window = start, start + SCAN_BYTES + len(wanted) - 1
        hit = steps.step(lambda ends: data.find(wanted, *ends), window, SCAN_BYTES)
        if hit >= 0:
            return hit
        start += SCAN_BYTES
    return data.find(wanted, start)


def require_text(data: bytes) -> None:
    """``UnicodeDecodeError`` if ``data`` is not UTF-8."""
    if data.isascii():
        return
    if len(data) <= steps.LARGE_BYTES:
        data.decode()
        return
    decoder = codecs.getincrementaldecoder("utf-8")()
    view = memoryview(data)
    for at in range(0, len(data), steps.LARGE_BYTES):
        last = at + steps.LARGE_BYTES >= len(data)
        steps.step(lambda part: len(decoder.decode(part, last)), view[at : at + steps.LARGE_BYTES], len(data))  # noqa: B023


def split(data: bytes) -> Iterator[Piece]:
    """The pieces of a large array or object, in order."""
    size = len(data)
    if data[:1] == b"[":
        unnamed = steps.step(_items.decode, data, size)
        for batch in _batches(unnamed, length):
            if len(batch) == 1:
                yield None, own(batch[0]), True
            else:
                yield None, b"[" + b",".join(batch) + b"]", False
    else:
        members = steps.step(_members.decode, data, size)
        for some in _batches(members.items(), lambda member: length(member[1])):
            if len(some) == 1:
                yield some[0][0], own(some[0][1]), True
            else:
                yield None, _encoder.encode(dict(some)), False


def own(raw: bytes | msgspec.Raw) -> bytes:
    """JSON text that stands for itself, not for a part of a larger one."""
    if type(raw) is bytes:
        return raw
    view = memoryview(raw)
    return part_of(view, 0, view.nbytes)


def length(raw: msgspec.Raw) -> int:
    """Bytes of a member's text."""
    return memoryview(raw).nbytes


def _batches(items: Iterable[Any], size_of: Callable[[Any], int]) -> Iterator[list[Any]]:
    """Groups that make up a step's worth of bytes; what is large by itself stands alone."""
    batch: list[Any] = []
    total = 0
    for item in items:
        size = size_of(item)
        if batch and total + size > steps.STEP_BYTES:
            yield batch
            batch, total = [], 0
        batch.append(item)
        total += size
    if batch:
        yield batch


def decode(data: bytes, decode_one: Callable[[bytes], Any]) -> Any:
    """Parse JSON; ``decode_one`` parses what is not large."""
    size = len(data)
    if size <= steps.LARGE_BYTES or data[:1] not in (b"[", b"{"):
        return steps.step(decode_one, data, size)
    if data[:1] == b"[":
        items: list[Any] = []
        for _, text, whole in split(data):
            if whole:
                items.append(decode(text, decode_one))
            else:
                items += steps.step(decode_one, text, size)
        return items
    members: dict[str, Any] = {}
    for name, text, whole in split(data):
        if whole:
            members[name] = decode(text, decode_one)  # type: ignore[index] # a whole member has its name
        else:
            members.update(steps.step(decode_one, text, size))
    return members


def canonical(data: bytes) -> bytes:
    """Parse JSON and write it again, compactly, without ever holding all of its values."""
    return join(_rewritten(data))


def _rewrite(data: bytes) -> bytes:
    return _encoder.encode(_decoder.decode(data))


def _rewritten(data: bytes) -> Iterator[bytes]:
    size = len(data)
    if size <= steps.LARGE_BYTES or data[:1] not in (b"[", b"{"):
        yield steps.step(_rewrite, data, size)
        return
    yield data[:1]
    comma = b""
    for name, text, whole in split(data):
        yield comma
        comma = b","
        if whole:
            if name is not None:
                yield _encoder.encode(name) + b":"
            yield from _rewritten(text)
        else:
            yield steps.step(_rewrite, text, size)[1:-1]
    yield b"]" if data[:1] == b"[" else b"}"


def laid_out(data: bytes, depth: int) -> Iterator[bytes]:
    """Compact JSON with two spaces a level, as it is to stand ``depth`` levels deep, in parts."""
    size = len(data)
    margin = b"\n" + b"  " * depth

    def lay_out(text: bytes) -> bytes:
        # A text has no line feeds of its own: JSON escapes them.
        return msgspec.json.format(text, indent=2).replace(b"\n", margin)

    if size <= steps.LARGE_BYTES or data[:1] not in (b"[", b"{"):
        yield steps.step(lay_out, data, size)
        return
    yield data[:1]
    comma = b""
    for name, text, whole in split(data):
        yield comma + margin + b"  "
        comma = b","
        if whole:
            if name is not None:
                yield _encoder.encode(name) + b": "
            yield from laid_out(text, depth + 1)
        else:
            yield steps.step(lay_out, text, size)[1:-1].strip()
    yield margin + (b"]" if data[:1] == b"[" else b"}")


def encode(value: Any, check: Check | None = None) -> Iterator[bytes]:
    """The parts of the compact JSON of an array or object that ``may_be_large``.

    ``check(some, text, depth)`` is called with each piece, its JSON and how deep it stands.
    """
    return _Encoding(check).parts(value, 0)


class _Encoding:
    def __init__(self, check: Check | None) -> None:
        self._check = check
        self._since = 0
        """Bytes since the last step."""

    def parts(self, value: Any, depth: int) -> Iterator[bytes]:
        is_object = type(value) is dict
        yield b"{" if is_object else b"["
        comma = b""
        count = _FIRST_COUNT
        batch: list[Any] = []
        for member in value.items() if is_object else value:
            inner = member[1] if is_object else member
            if type(inner) in _CONTAINERS and may_be_large(inner):
                if batch:
                    yield comma + self._piece(batch, is_object, depth)
                    batch, comma = [], b","
                yield comma + (_name(member[0]) + b":" if is_object else b"")
                yield from self.parts(inner, depth + 1)
                comma = b","
                continue
            batch.append(member)
            if len(batch) >= count:
                text = self._piece(batch, is_object, depth)
                # As many more next time as make up a step's worth, but not suddenly very many.
                count = max(1, min(2 * count, count * steps.STEP_BYTES // (len(text) + 1)))
                yield comma + text
                batch, comma = [], b","
        if batch:
            yield comma + self._piece(batch, is_object, depth)
        yield b"}" if is_object else b"]"

    def _piece(self, batch: list[Any], is_object: bool, depth: int) -> bytes:
        def work(some: Any) -> bytes:
            text = _encoder.encode(some)
            if self._check is not None:
                self._check(some, text, depth)
            return text

        enough = self._since > steps.STEP_BYTES // 2
        text = steps.step(work, dict(batch) if is_object else batch, steps.LARGE_BYTES + 1 if enough else 0)
        self._since = 0 if enough else self._since + len(text)
        return text[1:-1]


def _name(name: Any) -> bytes:
    if not isinstance(name, str):
        raise TypeError(f"member name {name!r} is not text")
    return _encoder.encode(name)


def is_encoded(value: Any, stored: bytes) -> bool:
    """Whether ``stored`` is the compact JSON of ``value``; ends at the first difference."""
    at = 0
    for part in encode(value):
        if not stored.startswith(part, at):
            return False
        at += len(part)
    return at == len(stored)
