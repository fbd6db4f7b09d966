"""Rows of ``sessiondir sessions``: what is known of a session, for programs and for people."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final

from sessiondir.sessions.entry import fresh_total_tokens
from sessiondir.sessions.keys import list_kind, parse_key
from sessiondir.sessions.values import number, trimmed, truthy, utf16_length, utf16_slice

_SHOWN: Final = (
    "sessionId", "systemSent", "abortedLastRun", "thinkingLevel", "verboseLevel", "reasoningLevel",
    "elevatedLevel", "responseUsage", "groupActivation", "inputTokens", "outputTokens", "totalTokens",
    "totalTokensFresh", "model", "modelProvider", "providerOverride", "modelOverride", "contextTokens",
)  # fmt: skip
MEMBERS: Final = ("updatedAt", "chatType", *_SHOWN)
"""The fields of an entry that a row is made of."""

_FLAGS: Final = (
    ("think", "thinkingLevel"),
    ("verbose", "verboseLevel"),
    ("reasoning", "reasoningLevel"),
    ("elev", "elevatedLevel"),
    ("usage", "responseUsage"),
    ("activation", "groupActivation"),
)
_LONGEST_KEY: Final = 26
_MOST_PER_CENT: Final = 999

Row = dict[str, Any]


def row_of(key: str, entry: Mapping[str, Any], agent: str, now_ms: float) -> Row:
    """A session as programs get it; fields that are not stored are absent."""
    parsed = parse_key(key)
    updated_at = entry.get("updatedAt")
    at_ms = number(updated_at)
    row: Row = {"key": key, "updatedAt": updated_at, "ageMs": now_ms - at_ms if at_ms else None}
    row.update((name, entry[name]) for name in _SHOWN if name in entry)
    row["agentId"] = parsed.agent_id if parsed is not None else agent
    row["kind"] = list_kind(key, entry)
    return row


def finished(row: Row, default_model: str | None, context_tokens: int | None) -> Row:
    """``row`` with its model and token fields as they are told: what is not fresh is null."""
    total = number(row.get("totalTokens"))
    window = row.get("contextTokens")
    return {
        **row,
        "totalTokens": fresh_total_tokens(row),
        "totalTokensFresh": total is not None and row.get("totalTokensFresh") is not False,
        "contextTokens": context_tokens if window is None else window,
        "model": trimmed(row.get("model")) or trimmed(row.get("modelOverride")) or default_model,
    }


def updated_at_of(row: Row) -> int | float:
    """``updatedAt`` for sorting; 0 if it is no number."""
    return number(row["updatedAt"]) or 0


def is_active(row: Row, minutes: int) -> bool:
    """Whether the session was updated in the last ``minutes``."""
    age_ms = row["ageMs"]
    return age_ms is not None and age_ms <= minutes * 60_000


def short_key(key: str) -> str:
    """A key for a narrow column: beginning and end of a long one."""
    if utf16_length(key) <= _LONGEST_KEY:
        return key
    return f"{utf16_slice(key, 0, 16)}...{utf16_slice(key, -6)}"


def _rounded(value: float) -> int:
    return math.floor(value + 0.5)


def age_text(age_ms: float | None) -> str:
    """``just now``, ``5m ago``, ``3h ago``, ``2d ago``; ``unknown`` for no age and for the future."""
    if age_ms is None or age_ms < 0:
        return "unknown"
    minutes = _rounded(_rounded(age_ms / 1000) / 60)
    if minutes < 1:
        return "just now"
    if minutes < 60:
        return f"{minutes}m ago"
    hours = _rounded(minutes / 60)
    return f"{hours}h ago" if hours < 48 else f"{_rounded(hours / 24)}d ago"


def _thousands(tokens: float) -> str:
    digits = Decimal("1" if tokens >= 10_000 else "0.1")
    return f"{Decimal(tokens / 1000).quantize(digits, ROUND_HALF_UP)}k"


def tokens_text(total: float | None, window: object) -> str:
    """``total/window (per cent)`` in thousands; ``unknown`` and ``?`` for what is not known."""
    size = number(window)
    label = _thousands(size) if size else "?"
    if total is None:
        return f"unknown/{label} (?%)"
    share = str(min(_MOST_PER_CENT, _rounded(total / size * 100))) if size else "?"
    return f"{_thousands(total)}/{label} ({share}%)"


def flags_text(row: Row) -> str:
    """What is set on the session, for people."""
    flags = [f"{label}:{row[name]}" for label, name in _FLAGS if truthy(row.get(name))]
    flags += [
        label for label, name in (("system", "systemSent"), ("aborted", "abortedLastRun")) if truthy(row.get(name))
    ]
    if truthy(row.get("sessionId")):
        flags.append(f"id:{row['sessionId']}")
    return " ".join(flags)
