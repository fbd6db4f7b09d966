"""Counting what transcripts hold: messages, tool calls, tokens and cost."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from sessiondir.transcripts.messages import model_of, role_of, time_of, tool_calls_of, usage_of
from sessiondir.transcripts.records import Record

By = Literal["day", "model", "session"]


@dataclass(slots=True)
class Totals:
    """Sums over answers. ``cost`` is in US dollars; ``total_tokens`` is as the providers count it."""

    answers: int = 0
    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    total_tokens: int = 0
    cost: float = 0.0

    def __iadd__(self, other: Totals) -> Totals:
        """Add other sums to these."""
        self.answers += other.answers
        self.input += other.input
        self.output += other.output
        self.cache_read += other.cache_read
        self.cache_write += other.cache_write
        self.total_tokens += other.total_tokens
        self.cost += other.cost
        return self


@dataclass(slots=True)
class Summary:
    """What some records hold.

    ``roles``: messages per role. ``types``: records per type. ``tools``: calls per tool.
    ``usage``: sums per day (``YYYY-MM-DD`` in UTC, empty if a record has no time) and model
    (``provider/model``). ``first_ms`` and ``last_ms``: the earliest and latest time, epoch ms.
    ``problems``: lines that could not be counted, by problem.
    """

    records: int = 0
    roles: Counter[str] = field(default_factory=Counter)
    types: Counter[str] = field(default_factory=Counter)
    tools: Counter[str] = field(default_factory=Counter)
    usage: dict[tuple[str, str], Totals] = field(default_factory=dict)
    first_ms: int | None = None
    last_ms: int | None = None
    problems: Counter[str] = field(default_factory=Counter)

    def add(self, record: Record, since_ms: int | None = None) -> None:
        """Count one record; with ``since_ms`` only if it was made then or later."""
        value = record.value
        if record.problem:
            self.problems[record.problem] += 1
            return
        at_ms = time_of(value)
        if since_ms is not None and (at_ms is None or at_ms < since_ms):
            return
        self.records += 1
        self.types[record.type] += 1
        if record.type == "message":
            self.roles[role_of(value)] += 1
        self.tools.update(tool_calls_of(value))
        if at_ms is not None:
            self.first_ms = at_ms if self.first_ms is None else min(self.first_ms, at_ms)
            self.last_ms = at_ms if self.last_ms is None else max(self.last_ms, at_ms)
        usage = usage_of(value)
        if usage is not None:
            totals = self.usage.setdefault((day_of(at_ms), model_of(value)), Totals())
            totals += Totals(
                1, usage.input, usage.output, usage.cache_read, usage.cache_write, usage.total, usage.cost
            )

    def by_day(self) -> dict[str, Totals]:
        """Sums per day, oldest first."""
        return dict(sorted(self._grouped((day, totals) for (day, _), totals in self.usage.items()).items()))

    def by_model(self) -> dict[str, Totals]:
        """Sums per model, the dearest first."""
        found = self._grouped((model, totals) for (_, model), totals in self.usage.items())
        return dict(sorted(found.items(), key=lambda item: (-item[1].cost, -item[1].total_tokens, item[0])))

    def total(self) -> Totals:
        """The sum over everything."""
        return self._grouped(("", totals) for totals in self.usage.values()).get("", Totals())

    @staticmethod
    def _grouped(items: Iterator[tuple[str, Totals]]) -> dict[str, Totals]:
        found: dict[str, Totals] = {}
        for name, totals in items:
            found.setdefault(name, Totals())
            found[name] += totals
        return found


def summarise(records: Iterable[Record], *, since_ms: int | None = None) -> Summary:
    """Count records, such as ``transcript.scan()``; memory does not grow with their number."""
    summary = Summary()
    for record in records:
        summary.add(record, since_ms)
    return summary


def day_of(at_ms: int | None) -> str:
    """The day in UTC as ``YYYY-MM-DD``; empty for no time and for one that no calendar has."""
    if at_ms is None:
        return ""
    try:
        return datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC).strftime("%Y-%m-%d")
    except (OverflowError, ValueError, OSError):
        return ""
