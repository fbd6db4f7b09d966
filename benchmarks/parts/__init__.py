"""The parts of the benchmark, in the order in which they run.

Every part is a module with a ``TITLE``, ``measure(bench)``, whose result goes into the JSON, and
``render(result)``, which makes text of it.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Protocol

WORKLOADS = {
    "contention": "many writers, own sessions and a shared one (W5)",
    "writers": "throughput against writers, slow disk (W12)",
    "sizes": "cost against the number of sessions, hot reads (W1)",
    "full_store": "one update in a full store (W1)",
    "written": "bytes written, unchanged values (W13)",
    "holder": "one session held (W4)",
    "same_session": "exact counts in one session (W5)",
    "hot": "what a gateway does at a message",
    "burst": "sub-agents report to one parent (W2)",
    "cron": "scheduled jobs beside a chat (W3)",
    "listing": "pages of the newest sessions (W9)",
    "opening": "opening, also after kill -9 (W10)",
    "importing": "taking over a legacy file (W16)",
    "readers": "reader storm (W19)",
    "churn": "very many keys through one process (W22)",
    "transcripts": "appending, contention, tails (W7, W11, W17)",
    "lag": "lag of an event loop (W8, W12)",
    "syscalls": "system calls of an operation",
    "command": "starting the command",
}


class Part(Protocol):
    """What a part's module offers."""

    TITLE: str

    def measure(self, bench: Any) -> Any:
        """Do the work; what it returns can be written as JSON."""

    def render(self, found: Any) -> str:
        """The result as text."""


def part(name: str) -> Part:
    """The module of a part."""
    found: Part = import_module(f"benchmarks.parts.{name}")
    return found
