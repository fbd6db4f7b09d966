"""Freeing large entries in a worker, in steps.

An entry of megabytes is thousands of objects, and whoever lets go of it last frees them all
at once: some milliseconds, which a task would spend on the loop. So a handle goes on
referring to the arrays and objects of each large entry that it hands out, looks now and then
whether anybody else still does, and if not has a worker free them.

Nothing that was handed out is changed, and nothing is looked into that somebody else refers
to: a caller may have put anything there, also what refers to itself. Reference counts tell.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sessiondir import steps
from sessiondir.errors import StoreClosed
from sessiondir.lazyentry import own_values

T = TypeVar("T")
_LOOK_S = 0.01
_LONGEST_PAUSE_S = 0.16
"""Looked at as seldom as this while nothing new is handed out."""
_LATE_S = 1.0
"""Whoever was to look, and is as late as this, does so no more."""
_LONGEST_S = 10.0
"""Who keeps an entry for longer frees it, too."""
_AT_ONCE = 100
"""So many messages, or the like, are freed as one step."""
_CONTAINERS = frozenset((dict, list))
_getrefcount: Callable[[object], int] | None = getattr(sys, "getrefcount", None)


class Freeing:
    """What a handle has handed out and may have to free. ``submit`` has a worker do a job for a loop."""

    def __init__(self, submit: Callable[[asyncio.AbstractEventLoop, Callable[[], None]], None]) -> None:
        self._submit = submit
        self._mutexes: dict[int, threading.Lock] = {}
        """By process: a thread of the parent may have held it when a child was forked."""
        self._lent: dict[int, tuple[Any, float]] = {}
        """By identity: an array or object, and until when to look after it."""
        self._due_s = 0.0
        self._pause_s = _LOOK_S

    def lend(self, entry: dict[str, Any]) -> None:
        """Look after what a large entry, just handed out, refers to. On the loop."""
        if _getrefcount is None:
            return
        now = time.monotonic()
        with self._mutex():
            for value in own_values(entry):
                if type(value) in _CONTAINERS and len(value) > 0:
                    self._lent[id(value)] = (value, now + _LONGEST_S)
            # Overdue means that the loop that was to look is gone.
            overdue = now > self._due_s + _LATE_S
            self._pause_s = _LOOK_S
        if overdue:
            self._look_later(asyncio.get_running_loop())

    def _look_later(self, loop: asyncio.AbstractEventLoop) -> None:
        pause_s = self._pause_s
        self._pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        self._due_s = time.monotonic() + pause_s
        loop.call_later(pause_s, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            self._submit(loop, self.free_unused)
        except StoreClosed:
            return  # which sees to the rest
        with self._mutex():
            if not self._lent:
                self._due_s = 0.0
                return
        self._look_later(loop)

    def before(self, job: Callable[[], T]) -> Callable[[], T]:
        """``job`` for a worker, which first frees what it can: the last entry need not wait for the next."""

        def work() -> T:
            if self._lent:
                self.free_unused()
            return job()

        return work

    def _mutex(self) -> threading.Lock:
        pid = os.getpid()
        return self._mutexes.get(pid) or self._mutexes.setdefault(pid, threading.Lock())

    def free_unused(self) -> None:
        """Free what nobody else refers to, and forget what has been in use for long. In a worker."""
        now = time.monotonic()
        unused: list[Any] = []
        with self._mutex():
            for name in list(self._lent):
                if _references(self._lent[name], 0) <= _ALONE or self._lent[name][1] < now:
                    unused.append(self._lent.pop(name)[0])
        _free(unused)

    def free_all(self) -> None:
        """Let go of everything. In a worker."""
        with self._mutex():
            lent, self._lent = self._lent, {}
        rest = [value for value, _ in lent.values()]
        del lent
        _free(rest)


def _references(holder: Sequence[Any], index: int) -> int:
    assert _getrefcount is not None
    return _getrefcount(holder[index])


_ALONE = _references([[]], 0) if _getrefcount is not None else 0
"""What ``_references`` is for a value that nobody else refers to."""


def _free(values: list[Any]) -> None:
    """Let go of values and of what is in them alone, a few at a time. ``values`` is empty afterwards."""
    while values:
        steps.step(_free_some, values, steps.LARGE_BYTES + 1)


def _free_some(values: list[Any]) -> None:
    for _ in range(_AT_ONCE):
        if not values:
            return
        alone = _references(values, -1) <= _ALONE
        value = values.pop()
        kind = type(value)
        if alone and kind in _CONTAINERS:
            # From here on these members stand in ``values``; the last reference to what held them goes.
            inner = value.values() if kind is dict else value
            if any(type(one) in _CONTAINERS for one in inner):
                values.extend(inner)
            del inner
        del value  # or the next one would not be alone, if it is the same again
