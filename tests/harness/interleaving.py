"""Two processes, one after the other, with the second let in at a chosen call of the first.

A core belongs to a file system, so two file systems in one process are as two processes:
their locks exclude each other, and neither knows what the other one has cached.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.watched import QuickFs
from sessiondir.clock import Clock


class HurriedClock(Clock):
    """A clock on which waiting takes no time, so that a lock that stays busy times out at once."""

    def __init__(self) -> None:
        self._ahead = 0.0
        self.monotonic = self._monotonic
        self.sleep = self._sleep

    def _monotonic(self) -> float:
        self._ahead += 0.01
        return self._ahead

    def _sleep(self, seconds: Any) -> None:
        self._ahead += max(seconds, 0.05)


class InterruptedFs(QuickFs):
    """Runs ``other`` before call number ``at`` (1 is the next one after ``interrupt``)."""

    def __init__(self) -> None:
        super().__init__()
        self._other: Callable[[], None] | None = None
        self.reached = ""

    def interrupt(self, at: int, other: Callable[[], None]) -> None:
        """Count calls from here."""
        self._at = at
        self._count = 0
        self._other = other

    def let_be(self) -> None:
        """Interrupt nothing any more."""
        self._other = None

    def call(self, name: str, real: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._other is not None:
            self._count += 1
            if self._count == self._at:
                other, self._other = self._other, None
                self.reached = name
                other()
        return super().call(name, real, args, kwargs)
