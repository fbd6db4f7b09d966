"""Letting go for sure, although a signal handler may raise after any call.

CPython runs the handlers of signals after a call has returned, at the start of a function
and on backward jumps. So an exception may come between taking a lock and noting that it
was taken, and again before the first line of what would let go. Against the first, a lock is
taken in the name of a call, which is made before; against the second, letting go is done
again when an exception came out of it. For that it must be possible any number of times.

``with`` is safe as it is for locks that are written in C (before 3.14, and again in its
later releases).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class OwnedMutex:
    """A mutex between threads that knows which call holds it."""

    __slots__ = ("by", "lock")

    def __init__(self) -> None:
        self.lock = threading.RLock()
        """The lock itself: reentrant, because such a lock lets nobody but its thread let go."""
        self.by: object = None
        """The call that holds it."""

    def acquire(self, mine: object, timeout_s: float) -> bool:
        """Take it for the call ``mine`` within ``timeout_s`` seconds (0: one try); False if it stayed busy.

        To be followed by ``release(mine)`` whatever comes of it.
        """
        lock = self.lock
        if not lock.acquire(False) and not (timeout_s > 0 and lock.acquire(timeout=timeout_s)):
            return False
        if self.by is not None:
            lock.release()  # a signal handler got here, in the middle of the call that it interrupted
            return False
        self.by = mine
        return True

    def release(self, mine: object) -> None:
        """Let go if ``mine`` holds it; any number of times."""
        if self.by is not None and self.by is not mine:
            return
        self.by = None
        try:
            self.lock.release()
        except RuntimeError:
            pass  # not ours


def finally_release(work: Callable[[], T], release: Callable[[], None]) -> T:
    """What ``work()`` gives, after ``release()``, which is called again if an exception came out of it."""
    try:
        try:
            return work()
        finally:
            release()
    except BaseException:
        release()
        raise
