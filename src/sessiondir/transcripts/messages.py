"""What a record means: role, text, tools, time, tokens and cost. Pure functions.

Records come from many programs, so everything is looked at before it is believed: a
member of the wrong type counts as absent.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from sessiondir import codec

Value = dict[str, Any]

_NOT_TEXT: Final = frozenset(
    (
        *("id", "parentId", "type", "timestamp", "role", "api", "responseId", "signature", "textSignature"),
        *("thinkingSignature", "toolCallId", "firstKeptEntryId", "fromId", "targetId", "mimeType", "stopReason"),
    )
)
"""Members that hold ids and fixed words, which nobody searches for."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens and cost of one answer: counts, and US dollars."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    total: int = 0
    cost: float = 0.0


def message_of(value: Value) -> Value:
    """The message in a record; empty if there is none."""
    message = value.get("message")
    return message if value.get("type") == "message" and isinstance(message, dict) else {}


def role_of(value: Value) -> str:
    """The role of a message (``user``, ``assistant``, ``toolResult``, ...), else the record's type."""
    role = message_of(value).get("role")
    if isinstance(role, str):
        return role
    kind = value.get("type")
    return kind if isinstance(kind, str) else ""


def parts_of(value: Value) -> list[Value]:
    """The parts of a message's or custom message's content; plain text is one part."""
    holder = message_of(value) or value
    content = holder.get("content")
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []


def tool_calls_of(value: Value) -> list[str]:
    """The names of the tools that a record calls, one for each call."""
    calls = (part.get("name") for part in parts_of(value) if part.get("type") == "toolCall")
    return [name for name in calls if isinstance(name, str)]


def tools_of(value: Value) -> set[str]:
    """The names of the tools that a record calls or is the result of."""
    name = message_of(value).get("toolName")
    return {*tool_calls_of(value), *([name] if isinstance(name, str) else [])}


def text_of(value: Value) -> str:
    """A record for people to read; images and tool calls in brackets, other types as their JSON."""
    holder = message_of(value)
    if holder or value.get("type") in ("custom_message", "branch_summary", "compaction"):
        pieces = list(map(_piece, parts_of(value)))
        pieces += [
            text
            for name in ("summary", "errorMessage", "command", "output")
            if (text := _text(holder, value, name))
        ]
        return "\n".join(pieces)
    told = {name: item for name, item in value.items() if name not in ("type", "id", "parentId", "timestamp")}
    return codec.encode(told).decode() if told else ""


def _text(holder: Value, value: Value, name: str) -> str:
    text = holder.get(name, value.get(name))
    return text if isinstance(text, str) else ""


def _piece(part: Value) -> str:
    kind = part.get("type")
    for name in ("text", "thinking"):
        text = part.get(name)
        if isinstance(text, str):
            return text if kind == "text" else f"[{kind}] {text}"
    if kind == "toolCall":
        arguments = codec.encode(part.get("arguments")).decode()
        return f"[{part.get('name')} {arguments}]"
    return f"[{kind}]"


def searchable(value: object) -> Iterator[str]:
    """Every text in a record that somebody may look for; not ids, signatures and images."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, list):
            waiting.extend(reversed(one))
        elif isinstance(one, dict):
            is_image = one.get("type") == "image"
            waiting.extend(
                item
                for name, item in reversed(one.items())
                if name not in _NOT_TEXT and not (is_image and name == "data")
            )


def time_of(value: Value) -> int | None:
    """When a record was made, in epoch ms; None if it does not say."""
    for stamp in (value.get("timestamp"), message_of(value).get("timestamp")):
        if isinstance(stamp, str):
            try:
                at = datetime.datetime.fromisoformat(stamp)
            except ValueError:
                continue
            at = at if at.tzinfo is not None else at.replace(tzinfo=datetime.UTC)
            return int(at.timestamp() * 1000)
        if isinstance(stamp, int | float) and not isinstance(stamp, bool) and 0 <= stamp < 1e15:
            return int(stamp)
    return None


def model_of(value: Value) -> str:
    """``provider/model`` of an answer; empty if it does not say."""
    message = message_of(value)
    names = [name for name in (message.get("provider"), message.get("model")) if isinstance(name, str) and name]
    return "/".join(names)


def usage_of(value: Value) -> Usage | None:
    """Tokens and cost of an answer; None if the record has none."""
    told = message_of(value).get("usage")
    if not isinstance(told, dict):
        return None
    parts = [_count(told.get(name)) for name in ("input", "output", "cacheRead", "cacheWrite")]
    total = _count(told.get("totalTokens")) or sum(parts)
    cost = told.get("cost")
    if isinstance(cost, dict):
        single = [_amount(cost.get(name)) for name in ("input", "output", "cacheRead", "cacheWrite")]
        dollars = _amount(cost.get("total")) if "total" in cost else math.fsum(single)
    else:
        dollars = _amount(cost)
    return Usage(parts[0], parts[1], parts[2], parts[3], total, dollars)


def _amount(value: object) -> float:
    # NaN fails the comparison, too.
    return float(value) if isinstance(value, int | float) and value is not True and 0 < value < 1e15 else 0.0


def _count(value: object) -> int:
    return int(_amount(value))
