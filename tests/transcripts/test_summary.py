"""Counting messages, tools, tokens and cost, and reading records for people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sessiondir.transcripts import summarise
from sessiondir.transcripts.messages import (
    role_of,
    searchable,
    text_of,
    time_of,
    tool_calls_of,
    tools_of,
    usage_of,
)
from sessiondir.transcripts.summary import Totals, day_of
from transcripts.folders import ID, put_bytes, quick

DATA = Path(__file__).parents[1] / "data" / "transcripts"


def answer(day: int, model: str, tokens: int, cost: float, *tools: str) -> dict[str, Any]:
    parts = [{"type": "toolCall", "id": "c", "name": name, "arguments": {}} for name in tools]
    usage = {
        "input": tokens, "output": 1, "cacheRead": 2, "cacheWrite": 3, "totalTokens": tokens + 6,
        "cost": {"input": cost, "output": 0, "cacheRead": 0, "cacheWrite": 0, "total": cost},
    }  # fmt: skip
    message = {"role": "assistant", "provider": "p", "model": model, "usage": usage, "content": parts}
    return {"type": "message", "id": "x", "timestamp": f"2026-03-{day:02d}T23:59:59.000Z", "message": message}


def test_sums(tmp_path: Path) -> None:
    """Messages per role, calls per tool, tokens and cost per day and model, and the span of time."""
    with quick(tmp_path) as folder:
        transcript = folder.transcript(ID)
        transcript.begin()
        transcript.extend(
            [
                {
                    "type": "message",
                    "timestamp": "2026-03-01T00:00:00Z",
                    "message": {"role": "user", "content": "hi"},
                },
                answer(1, "a", 10, 0.5, "read", "exec"),
                {"type": "message", "message": {"role": "toolResult", "toolName": "read", "content": []}},
                answer(2, "a", 20, 0.25, "read"),
                answer(2, "b", 30, 0.0),
                {"type": "who.knows"},
            ]
        )
        put_bytes(transcript, Path(transcript.path).read_bytes() + b"damaged\n")
        found = summarise(transcript.scan())
        later = summarise(transcript.scan(), since_ms=1772409600000)
    assert found.records == 7
    assert found.roles == {"user": 1, "assistant": 3, "toolResult": 1}
    assert found.types == {"session": 1, "message": 5, "who.knows": 1}
    assert found.tools == {"read": 2, "exec": 1}
    assert found.problems == {"damaged": 1}
    assert found.by_day() == {
        "2026-03-01": Totals(1, 10, 1, 2, 3, 16, 0.5), "2026-03-02": Totals(2, 50, 2, 4, 6, 62, 0.25),
    }  # fmt: skip
    assert found.by_model() == {"p/a": Totals(2, 30, 2, 4, 6, 42, 0.75), "p/b": Totals(1, 30, 1, 2, 3, 36, 0.0)}
    assert list(found.by_model()) == ["p/a", "p/b"]
    assert found.total() == Totals(3, 60, 3, 6, 9, 78, 0.75)
    assert day_of(found.first_ms) == "2026-03-01"
    assert list(later.by_day()) == ["2026-03-02"]
    assert later.roles == {"assistant": 2}


def plain_sum(path: Path) -> tuple[float, int, int]:
    """Cost, tokens and tool calls, counted in another way."""
    cost, tokens, calls = 0.0, 0, 0
    for line in path.read_text(encoding="utf-8").splitlines():
        message = json.loads(line).get("message") or {}
        usage = message.get("usage") or {}
        cost += (usage.get("cost") or {}).get("total", 0)
        tokens += usage.get("totalTokens", 0)
        content = message.get("content")
        calls += sum(part["type"] == "toolCall" for part in content) if isinstance(content, list) else 0
    return cost, tokens, calls


@pytest.mark.parametrize("path", sorted(DATA.glob("*.jsonl*")), ids=lambda path: path.name[:8])
def test_transcripts_of_real_shape(path: Path) -> None:
    """The sums are those that a plain loop over the file gives."""
    with quick(DATA, read_only=True) as folder:
        found = summarise(folder.file(path.name).scan())
    cost, tokens, calls = plain_sum(path)
    assert found.total().cost == pytest.approx(cost)
    assert (found.total().total_tokens, found.tools.total()) == (tokens, calls)


@pytest.mark.parametrize(
    "usage",
    [None, 5, [], {"input": "many", "output": None, "cost": "much"},
     {"input": -5, "cost": {"total": float("nan")}}, {"input": True, "totalTokens": float("inf"), "cost": True},
     {"cost": {"total": [1]}}],
)  # fmt: skip
def test_nonsense_counts_as_nothing(usage: Any) -> None:
    """A member of the wrong type is as good as none."""
    found = usage_of({"type": "message", "message": {"role": "assistant", "usage": usage}})
    assert found is None or (found.input, found.output, found.total, found.cost) == (0, 0, 0, 0.0)


def test_costs_in_their_forms() -> None:
    """A total, parts without one, a plain number; tokens without a total are added up."""

    def cost(told: Any) -> float:
        found = usage_of({"type": "message", "message": {"usage": {"input": 1, "output": 2, "cost": told}}})
        assert found is not None
        assert found.total == 3
        return found.cost

    assert cost({"input": 1.5, "output": 0.5}) == 2.0
    assert cost({"input": 1.5, "output": 0.5, "total": 3}) == 3.0
    assert cost(0.25) == 0.25


def test_times() -> None:
    """ISO texts with and without zone, numbers, the message's own time; what is none of these is None."""
    assert time_of({"timestamp": "2026-03-20T00:00:00.123Z"}) == 1773964800123
    assert time_of({"timestamp": "2026-03-20T01:00:00+01:00"}) == 1773964800000
    assert time_of({"timestamp": "2026-03-20T00:00:00"}) == 1773964800000
    assert time_of({"timestamp": 1773964800000}) == 1773964800000
    assert time_of({"type": "message", "timestamp": "soon", "message": {"timestamp": 5.5}}) == 5
    for stamp in (None, True, -1, 1e300, float("nan"), "0000", [], {}):
        assert time_of({"timestamp": stamp}) is None
    assert day_of(None) == day_of(10**20) == ""


def test_text_for_people() -> None:
    """Text, thinking, tool calls and images of messages; summaries; other records as their JSON."""
    call = {"type": "toolCall", "id": "1", "name": "read", "arguments": {"path": "a"}}
    parts = [
        {"type": "thinking", "thinking": "hm"},
        {"type": "text", "text": "ok"},
        call,
        {"type": "image", "data": "AA"},
        5,
    ]
    record = {"type": "message", "message": {"role": "assistant", "content": parts, "errorMessage": "late"}}
    assert text_of(record) == '[thinking] hm\nok\n[read {"path":"a"}]\n[image]\nlate'
    assert (role_of(record), tool_calls_of(record), tools_of(record)) == ("assistant", ["read"], {"read"})
    assert text_of({"type": "message", "message": {"role": "user", "content": "hi"}}) == "hi"
    assert text_of({"type": "compaction", "summary": "short"}) == "short"
    assert text_of({"type": "custom_message", "content": "note"}) == "note"
    assert text_of({"type": "model_change", "id": "1", "modelId": "m"}) == '{"modelId":"m"}'
    assert text_of({"type": "message", "message": 5}) == '{"message":5}'
    assert text_of({}) == ""
    result = {"type": "message", "message": {"role": "toolResult", "toolName": "exec", "content": None}}
    assert (text_of(result), role_of(result), tools_of(result)) == ("", "toolResult", {"exec"})
    assert (role_of({"type": "custom"}), role_of({})) == ("custom", "")


def test_what_can_be_searched() -> None:
    """Every text wherever it stands, in order; no ids, no signatures, no image data."""
    record = {
        "type": "message", "id": "id", "parentId": "pid", "more": [["deep"], {"a": {"b": "deeper"}}],
        "message": {"role": "user", "content": [{"type": "text", "text": "one"},
                                                {"type": "image", "data": "BASE64"},
                                                {"type": "toolCall", "name": "tool", "arguments": {"q": "two"}}]},
    }  # fmt: skip
    assert list(searchable(record)) == ["deep", "deeper", "one", "tool", "two"]
