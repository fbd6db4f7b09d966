"""JSON5 text to values: what people write by hand. Pure; only reading.

Besides JSON: comments, trailing commas, single quotes, names without quotes, hexadecimal
numbers, a leading or trailing decimal point, a plus sign, ``Infinity`` and ``NaN``, line ends in
text behind a backslash. Numbers are doubles, except that whole ones keep all their digits.

Source: the JSON5 specification 1.0.0, https://spec.json5.org/.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final, NoReturn

from sessiondir.codec import MAX_SAFE_DEPTH, DecodeError
from sessiondir.layout import JS_BLANKS

_BLANK = re.compile(f"(?:[{JS_BLANKS}]|//[^\n\r\u2028\u2029]*|/\\*.*?\\*/)*", re.DOTALL)
_NUMBER = re.compile(
    r"(?P<sign>[+-]?)(?:(?P<hex>0[xX][0-9a-fA-F]+)"
    r"|(?P<decimal>(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<word>Infinity|NaN))"
)
_WHOLE = re.compile("[0-9]+")
_MOST_DIGITS: Final = 4200
_ESCAPE_IN_NAME = re.compile(r"\\u([0-9a-fA-F]{4})")
_PLAIN_TEXT = {'"': re.compile('[^"\\\\\n\r]*'), "'": re.compile("[^'\\\\\n\r]*")}
_ESCAPES: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_LINE_ENDS: Final = "\n\r\u2028\u2029"
_WORDS: Final = {"null": None, "true": True, "false": False}
_WORD = re.compile("[A-Za-z]+")
_AFTER_NUMBER = re.compile(r"[\w$\\]")


def decode(text: str) -> Any:
    """The value of JSON5 text. Raises ``DecodeError`` naming the place. O(len(text))."""
    reader = _Reader(text)
    value = reader.value(0)
    reader.blanks()
    if reader.at < len(text):
        reader.fail("something stands behind the value")
    return value


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def fail(self, reason: str) -> NoReturn:
        line = self.text.count("\n", 0, self.at) + 1
        raise DecodeError(f"{reason}, in line {line}")

    def blanks(self) -> str:
        """Skip blanks and comments; the character that follows, ``""`` at the end."""
        match = _BLANK.match(self.text, self.at)
        assert match is not None
        self.at = match.end()
        return self.text[self.at : self.at + 1]

    def value(self, depth: int) -> Any:
        char = self.blanks()
        if depth > MAX_SAFE_DEPTH:
            self.fail(f"nested deeper than {MAX_SAFE_DEPTH}")
        if char == "{":
            return self._object(depth)
        if char == "[":
            return self._array(depth)
        if char and char in "\"'":
            return self._string(char)
        word = _WORD.match(self.text, self.at)
        if word is not None and word[0] in _WORDS:
            self.at = word.end()
            return _WORDS[word[0]]
        return self._number()

    def _object(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        self.at += 1
        while (char := self.blanks()) != "}":
            name = self._string(char) if char and char in "\"'" else self._name()
            if self.blanks() != ":":
                self.fail("a colon is missing")
            self.at += 1
            found[name] = self.value(depth + 1)
            self._separator("}")
        self.at += 1
        return found

    def _array(self, depth: int) -> list[Any]:
        found: list[Any] = []
        self.at += 1
        while self.blanks() != "]":
            found.append(self.value(depth + 1))
            self._separator("]")
        self.at += 1
        return found

    def _separator(self, end: str) -> None:
        char = self.blanks()
        if char == ",":
            self.at += 1
        elif char != end:
            self.fail(f"a comma or {end} is missing")

    def _name(self) -> str:
        end = self.at
        while end < len(self.text):
            char = self.text[end]
            if char == "\\":
                escape = _ESCAPE_IN_NAME.match(self.text, end)
                if escape is None:
                    break
                end = escape.end()
            elif char in "$_\u200c\u200d" or f"a{char}".isidentifier():
                end += 1
            else:
                break
        name = _ESCAPE_IN_NAME.sub(lambda match: chr(int(match[1], 16)), self.text[self.at : end])
        if not name or not name.replace("$", "_").replace("\u200c", "").replace("\u200d", "").isidentifier():
            self.fail("a member's name is missing")
        self.at = end
        return name

    def _string(self, quote: str) -> str:
        parts: list[str] = []
        self.at += 1
        while True:
            plain = _PLAIN_TEXT[quote].match(self.text, self.at)
            assert plain is not None
            parts.append(plain[0])
            self.at = plain.end()
            char = self.text[self.at : self.at + 1]
            if char == quote:
                self.at += 1
                # Two halves of a character, each escaped, are one character.
                text = "".join(parts)
                return text if text.isascii() else _paired(text)
            if char != "\\":
                self.fail("a text does not end")
            parts.append(self._escape())

    def _escape(self) -> str:
        char = self.text[self.at + 1 : self.at + 2]
        self.at += 2
        if char and char in _LINE_ENDS:
            self.at += char == "\r" and self.text[self.at : self.at + 1] == "\n"
            return ""
        if char in ("x", "u"):
            digits = self.text[self.at : self.at + (2 if char == "x" else 4)]
            if re.fullmatch("[0-9a-fA-F]{2}" if char == "x" else "[0-9a-fA-F]{4}", digits) is None:
                self.fail("an escape is not finished")
            self.at += len(digits)
            return chr(int(digits, 16))
        if char == "0" and not self.text[self.at : self.at + 1].isdecimal():
            return "\0"
        if not char or char in "0123456789":
            self.fail("no such escape")
        return _ESCAPES.get(char, char)

    def _number(self) -> int | float:
        match = _NUMBER.match(self.text, self.at)
        if match is None or _AFTER_NUMBER.match(self.text, match.end()):
            self.fail("a value is missing")
        self.at = match.end()
        value: int | float
        if match["hex"]:
            value = int(match["hex"], 16)
        elif match["word"]:
            value = math.inf if match["word"] == "Infinity" else math.nan
        else:
            decimal = match["decimal"]
            # Python refuses to read longer ones; as a double they are infinite.
            whole = _WHOLE.fullmatch(decimal) and len(decimal) <= _MOST_DIGITS
            value = int(decimal) if whole else float(decimal)
        return -value if match["sign"] == "-" else value


def _paired(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
