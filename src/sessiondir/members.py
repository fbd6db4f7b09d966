"""The members of one large JSON object, one at a time, from bytes that come in parts. Pure.

Only where a member begins and ends is found out here: brackets are counted outside of
strings, no value is made. Whoever takes a member parses it and so proves that it is JSON;
if every member is, and this module does not object to what stands between them, the whole
is a JSON object. Where the text is laid out in lines the end is guessed from the margin,
and the guess is proved: that is some twenty times as quick as counting.

Memory: the member at hand and one part, whatever the length of the whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sessiondir import codec

_BLANKS = re.compile(rb"[ \t\n\r]*")
_STRING = re.compile(rb'"(?>[^"\\]+|\\.)*+"', re.DOTALL)
# Everything up to the next bracket; an incomplete string ends the match at its opening quote.
_TO_BRACKET = re.compile(rb'(?>[^"{}\[\]]+|"(?>[^"\\]+|\\.)*+")*+', re.DOTALL)
_SCALAR = re.compile(rb"[^,{}\[\]\" \t\n\r]+")
_OPENING = b"{["
_WRONG_GUESSES = 8
"""After so many the text is not laid out as was thought; each costs a look through the part at hand."""


@dataclass(frozen=True, slots=True)
class Member:
    """One member: its name, its value's text, and where that text begins in the whole (bytes)."""

    name: str
    raw: bytes
    at: int


class MemberTooLong(ValueError):
    """A member is longer than the given limit; ``name`` is its name."""

    def __init__(self, name: str, limit: int) -> None:
        super().__init__(f"longer than {limit} bytes")
        self.name = name
        self.limit = limit


def split_members(parts: Iterable[bytes], longest: int) -> Iterator[Member]:
    """The members of the object whose text is ``parts``, in their order, names as often as they come.

    Args:
        longest: bytes of one member; a longer one raises ``MemberTooLong``.

    Raises ``codec.DecodeError`` where the text cannot be an object.
    """
    window = _Window(iter(parts), longest)
    if window.peek() != b"{":
        raise codec.DecodeError("not an object")
    window.pos += 1
    if window.peek() == b"}":
        window.pos += 1
    else:
        while True:
            yield window.member()
            separator = window.peek()
            window.pos += 1
            if separator == b"}":
                break
            if separator != b",":
                raise codec.DecodeError(f"neither , nor }} behind a member, at byte {window.offset - 1}")
    if window.peek():
        raise codec.DecodeError(f"more behind the object, at byte {window.offset}")


class _Window:
    """What of the text is in memory: ``data`` from byte ``_begin`` on; ``pos`` is the place in ``data``."""

    def __init__(self, parts: Iterator[bytes], longest: int) -> None:
        self._parts = parts
        self._longest = longest
        self._begin = 0
        self._mark = 0
        self._name = ""
        self._blanks = b""
        self._guesses = _WRONG_GUESSES
        self.data = b""
        self.pos = 0

    @property
    def offset(self) -> int:
        """The place in the whole text."""
        return self._begin + self.pos

    def _more(self) -> bool:
        """Take in another part, and let go of what lies before the mark; False at the end."""
        if len(self.data) - self._mark > self._longest:
            raise MemberTooLong(self._name, self._longest)
        for part in self._parts:
            if part:
                self.data = self.data[self._mark :] + part
                self._begin += self._mark
                self.pos -= self._mark
                self._mark = 0
                return True
        return False

    def _require_more(self) -> None:
        if not self._more():
            raise codec.DecodeError(f"ends inside a member, at byte {self._begin + len(self.data)}")

    def peek(self) -> bytes:
        """The next byte that is no blank, not taken; empty at the end."""
        while True:
            match = _BLANKS.match(self.data, self.pos)
            assert match is not None
            self._blanks = match[0] or self._blanks  # whoever peeks again at the same byte meets none
            self._mark = self.pos = match.end()
            if self.pos < len(self.data):
                return self.data[self.pos : self.pos + 1]
            if not self._more():
                return b""

    def member(self) -> Member:
        """Take one member."""
        if self.peek() != b'"':
            raise codec.DecodeError(f"no name of a member at byte {self.offset}")
        margin = self._blanks[self._blanks.rfind(b"\n") :]
        self._name = ""
        name = self._text(self._end_of_string())
        if self.peek() != b":":
            raise codec.DecodeError(f"no colon behind a name, at byte {self.offset}")
        self.pos += 1
        first = self.peek()
        self._name, at = name, self.offset
        if first == b'"':
            end = self._end_of_string()
        elif first in (b"{", b"["):
            end = self._end_by_margin(margin + (b"}" if first == b"{" else b"]")) or self._end_of_nested()
        else:
            end = self._end_of_scalar()
        raw = self.data[self._mark : end]
        self.pos = self._mark = end
        return Member(name, raw, at)

    def _text(self, end: int) -> str:
        raw = self.data[self.pos : end]
        self.pos = end
        try:
            name = codec.decode(raw)
        except codec.DecodeError:
            # Bytes that are no text are the reader's to judge; here the name only has to be told apart.
            name = codec.decode(raw.decode("utf-8", "replace").encode())
        assert isinstance(name, str)
        return name

    def _end_of_string(self) -> int:
        while (match := _STRING.match(self.data, self.pos)) is None:
            self._require_more()
        return match.end()

    def _end_of_scalar(self) -> int:
        while (match := _SCALAR.match(self.data, self.pos)) is None or match.end() == len(self.data):
            self._require_more()
        return match.end()

    def _end_by_margin(self, closing: bytes) -> int:
        """The end of an array or object whose bracket closes under its name; 0 if it is not laid out so."""
        if closing[:1] != b"\n" or not self._guesses:
            return 0
        at = self.data.find(closing, self.pos)
        if at < 0 and len(self.data) - self._mark <= self._longest and self._more():
            at = self.data.find(closing, self.pos)
        # No value is the beginning of another one: if all up to here is one, it ends here.
        end = at + len(closing)
        if at >= 0 and codec.is_one_value(self.data[self.pos : end]):
            return end
        self._guesses -= 1
        return 0

    def _end_of_nested(self) -> int:
        depth, at = 0, self.pos - self._mark
        while True:
            match = _TO_BRACKET.match(self.data, self._mark + at)
            assert match is not None
            end = match.end()
            at = end - self._mark
            if end == len(self.data) or self.data[end] == 0x22:  # the quote of a string that goes on
                self._require_more()
                continue
            depth += 1 if self.data[end] in _OPENING else -1
            at += 1
            if depth == 0:
                return self._mark + at
