"""Sharing the interpreter in steps while large data is worked through.

CPython lets a thread keep the interpreter for 5 ms before another one may ask for it, and
then any thread may get it. An event loop in one thread would stand still for tens of
milliseconds while others decode sessions of megabytes. So the work on large data is done
in steps of a fraction of a millisecond, one thread at a time, and about every half
millisecond the others have a turn. Small data takes none of this; thousands of small things
have pauses between them (``breathe``).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import TypeVar

A = TypeVar("A")
T = TypeVar("T")
LARGE_BYTES = 1 << 18
"""What is larger than this is worked through in steps."""
STEP_BYTES = 1 << 16
"""About as much is parsed or encoded in one step: some tenths of a millisecond."""
_NAP_S = 1e-4
_TURN_S = 5e-4
"""A thread keeps on for so long; giving way after each step would cost more than the steps."""
_BREATH_S = 1e-3
_LONG_TURN_S = 4e-3
"""The same as ``_TURN_S`` in a program that has no event loop to serve."""


class _Mine(threading.local):
    """What gives the others their turn in this thread, and when it did so last."""

    given_s = 0.0
    turn_s = _LONG_TURN_S
    runs_loop = False
    beside_loop = False
    """For all threads: whether the process has a loop whose workers work through large data."""

    def offer(self) -> None:
        time.sleep(_NAP_S)

    def offer_when_due(self, turn_s: float) -> None:
        if time.monotonic() - self.given_s >= turn_s:
            self.offer()
            self.given_s = time.monotonic()


_mine = _Mine()
_large = threading.RLock()
"""Reentrant: a signal handler may use a store in the middle of a step."""


def step(work: Callable[[A], T], value: A, size: int) -> T:
    """``work(value)``, as one step if ``size``, in bytes, is large."""
    if size <= LARGE_BYTES or _mine.runs_loop:
        return work(value)
    with _large:
        result = work(value)
        _mine.offer_when_due(_Mine.turn_s)
    return result


def give_way(size: int) -> None:
    """Let others have a turn after work on ``size`` bytes, if that is large."""
    if size > LARGE_BYTES and not _mine.runs_loop:
        with _large:
            _mine.offer_when_due(_Mine.turn_s)


def breathe() -> None:
    """To be called between one small piece of work and the next, where there may be thousands.

    Beside an event loop others have a turn after a while.
    """
    if _Mine.beside_loop and not _mine.runs_loop:
        _mine.offer_when_due(_BREATH_S)


def offer_with(offer: Callable[[], None]) -> None:
    """From now on this thread calls ``offer`` to give others their turn; it must return within milliseconds."""
    _mine.offer = offer  # type: ignore[method-assign]
    _Mine.turn_s = _TURN_S
    _Mine.beside_loop = True


def run_loop_here() -> None:
    """From now on this thread waits for nobody: it runs an event loop, for which the others wait."""
    _mine.runs_loop = True


def _after_fork_in_child() -> None:
    global _large  # noqa: PLW0603 - another thread may have held it at the fork
    _large = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
