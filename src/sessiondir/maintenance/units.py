"""Durations and sizes as the legacy configuration writes them. Pure functions.

30d  1.5h  90  1h30m  "0"          a duration; a bare number counts in a unit that the setting fixes
10mb  500KB  1.5g  10485760        a size in bytes; units are powers of 1024
"""

from __future__ import annotations

import math
import re
from decimal import ROUND_HALF_UP, Decimal
from typing import Final, Literal

from sessiondir import layout
from sessiondir.errors import InvalidOption

Unit = Literal["ms", "s", "m", "h", "d"]

_MS: Final[dict[str, int]] = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_BYTES: Final[dict[str, int]] = {
    "": 1, "b": 1, "k": 1 << 10, "kb": 1 << 10, "m": 1 << 20, "mb": 1 << 20,
    "g": 1 << 30, "gb": 1 << 30, "t": 1 << 40, "tb": 1 << 40,
}  # fmt: skip
_UNITS: Final = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)", re.ASCII)
_DURATION = re.compile(rf"(?:{_PART.pattern})+\Z|([0-9]+(?:\.[0-9]+)?)\Z", re.ASCII)
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)([a-z]*)\Z", re.ASCII)
_LONGEST_TEXT = 400
"""A double written out in full has fewer characters; longer ones only cost time, up to minutes."""
_LARGEST = 2**53 - 1
"""What a JavaScript number holds exactly; nobody means more."""


def is_unset(value: object) -> bool:
    """Whether a setting counts as not given: null, or blank text."""
    return value is None or (isinstance(value, str) and not layout.js_trim(value))


def duration_ms(value: object, bare: Unit, name: str) -> int:
    """Milliseconds of a duration; a number without a unit counts in ``bare``.

    Raises ``InvalidOption`` naming the setting ``name``.
    """
    text = _text_of(value)
    match = _DURATION.match(text) if text is not None else None
    if match is None:
        raise _invalid(name, value, f"a duration such as 30d, 12h or 1h30m (a bare number counts {_UNITS[bare]})")
    if match[3] is not None:
        return _rounded(Decimal(match[3]) * _MS[bare], name, value)
    assert text is not None
    return _rounded(
        sum((Decimal(count) * _MS[unit] for count, unit in _PART.findall(text)), Decimal(0)), name, value
    )


def size_bytes(value: object, name: str) -> int:
    """Bytes of a size; a number without a unit counts in bytes. Raises ``InvalidOption``."""
    text = _text_of(value)
    match = _SIZE.match(text) if text is not None else None
    if match is None or match[2] not in _BYTES:
        raise _invalid(name, value, "a size such as 500mb, 2gb or a number of bytes")
    return _rounded(Decimal(match[1]) * _BYTES[match[2]], name, value)


def _text_of(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    if isinstance(value, float):
        return format(Decimal(repr(value)), "f") if math.isfinite(value) else None
    if isinstance(value, int):
        return str(value) if abs(value) <= _LARGEST else None
    text = layout.js_trim(value).lower()
    return text if len(text) <= _LONGEST_TEXT else None


def _rounded(amount: Decimal, name: str, value: object) -> int:
    whole = int(amount.to_integral_value(ROUND_HALF_UP))
    if whole > _LARGEST:
        raise _invalid(name, value, "a smaller number")
    return whole


def _invalid(name: str, value: object, wanted: str) -> InvalidOption:
    return InvalidOption(f"{name} must be {wanted}, not {value!r:.80}")


def duration_text(ms: float) -> str:
    """Milliseconds for people: ``30 days``, ``90 min``; the largest unit that comes out even, or nearly."""
    for unit, length in (("days", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000)):
        count = ms / length
        if count >= 2 or (count >= 1 and count == int(count)):
            shown = f"{count:.1f}".removesuffix(".0")
            return f"{shown} {'day' if (unit, shown) == ('days', '1') else unit}"
    return f"{ms:.0f} ms"


def beyond_text(ms: float, limit_ms: float) -> str:
    """A time above a limit for people, who would wonder at two times that look the same."""
    spent, limit = duration_text(ms), duration_text(limit_ms)
    return f"just over {spent}" if spent == limit else spent


def size_text(size: int) -> str:
    """Bytes for people: ``812 B``, ``1.4 MB``; 1024 to the step, as the settings count."""
    steps = min(max(size.bit_length() - 1, 0) // 10, 4)
    if not steps:
        return f"{size} B"
    return f"{size / 1024**steps:.1f} {('KB', 'MB', 'GB', 'TB')[steps - 1]}"
