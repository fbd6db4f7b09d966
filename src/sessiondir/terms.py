"""How long something is held, and whether it is free again. Pure.

Elapsed time decides, measured by a clock that runs from the start of the machine and that
nobody sets (``CLOCK_BOOTTIME``; it goes on while the machine sleeps). It means something
within one boot only, so the boot is recorded with it. The wall clock counts where no boot
id can be had, and for messages that have outlived a boot.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import msgspec

from sessiondir.errors import InvalidOption

_LONGEST_S = 10 * 366 * 86_400


class Moment(msgspec.Struct, frozen=True):
    """Now: epoch milliseconds, milliseconds since the machine started, and which start that was."""

    wall_ms: int
    up_ms: int
    boot: str


class Term(
    msgspec.Struct,
    frozen=True,
    omit_defaults=True,
    rename={"ttl_ms": "ttl", "ends_ms": "ends", "until_ms": "until"},
):
    """A length of time that began: ``ttl_ms`` long, to ``until_ms`` after the start of ``boot``.

    ``ends_ms`` is the same in epoch milliseconds, by the clock of whoever began it.
    """

    ttl_ms: int
    ends_ms: int
    until_ms: int
    boot: str = ""


class Holder(Term, frozen=True, omit_defaults=True):
    """A process that holds something for a term.

    ``start`` is when the process started (clock ticks since the boot), which tells it from a
    later one of the same number; ``space`` is the process-number space (PID namespace) that
    ``pid`` counts in. Both are empty where the system does not tell.
    """

    pid: int = 0
    start: int | None = None
    space: str = ""

    @property
    def process(self) -> tuple[int, int | None, str]:
        """What tells the process from every other of this boot."""
        return self.pid, self.start, self.space


IsRunning = Callable[[Holder], bool | None]
"""Whether a holder's process still runs; None if that cannot be told."""


def term_ms(ttl: object) -> int:
    """``ttl`` seconds in milliseconds. Raises ``InvalidOption`` unless above 0 and at most ten years."""
    if isinstance(ttl, bool) or not isinstance(ttl, (int, float)) or not 0 < ttl <= _LONGEST_S:
        raise InvalidOption(f"ttl must be a number of seconds above 0, at most ten years, not {ttl!r:.80}")
    return max(1, round(ttl * 1000))


def begin_term(ttl_ms: int, now: Moment) -> Term:
    """A term that begins now."""
    return Term(ttl_ms, now.wall_ms + ttl_ms, now.up_ms + ttl_ms, now.boot)


def remaining_ms(term: Term, now: Moment) -> int:
    """Milliseconds until the term ends; negative afterwards."""
    if term.boot and term.boot == now.boot:
        return term.until_ms - now.up_ms
    return term.ends_ms - now.wall_ms


def is_over(term: Term, now: Moment) -> bool:
    """Whether the term has ended, on whichever boot."""
    return remaining_ms(term, now) <= 0


def why_free(holder: Holder, now: Moment, is_running: IsRunning) -> str | None:
    """Why nobody holds it any more (``"rebooted"``, ``"expired"``, ``"owner died"``); None while it is held."""
    if holder.boot and now.boot and holder.boot != now.boot:
        return "rebooted"  # no process outlives its boot
    if is_over(holder, now):
        return "expired"
    return "owner died" if is_running(holder) is False else None


def wait_s(timeout: object) -> float:
    """Seconds to wait, of a caller's ``timeout``: 0 if it is below, and never more than a lock takes.

    Raises ``InvalidOption``.
    """
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not (timeout >= 0 or timeout < 0):
        raise InvalidOption(f"timeout must be a number of seconds or None, not {timeout!r:.80}")
    return max(0.0, min(timeout, threading.TIMEOUT_MAX))
