"""File systems and clocks for tests: failing on demand, telling what was called, standing still."""

from __future__ import annotations

import asyncio
import functools
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from sessiondir.clock import Clock
from sessiondir.fs import SYSTEM_FS, FileSystem

CALLS = tuple(name for name, value in vars(FileSystem).items() if isinstance(value, staticmethod))
"""Every call that the package makes to the operating system."""

Rule = Callable[[str, tuple[Any, ...]], None]


class WaitingDisk(FileSystem):
    """A disk whose syncs, while it is ``armed``, set ``syncing`` and then wait for ``go_on``."""

    def __init__(self) -> None:
        self.armed = False
        self.syncing = threading.Event()
        self.go_on = threading.Event()

    def fdatasync(self, fd: int) -> None:  # type: ignore[override]
        if self.armed:
            self.syncing.set()
            self.go_on.wait()


class RuledFileSystem(FileSystem):
    """The real file system, with rules that see every call first and may raise."""

    def __init__(self, *rules: Rule) -> None:
        self.rules = list(rules)
        for name in CALLS:
            setattr(self, name, functools.partial(self._call, name, getattr(SYSTEM_FS, name)))

    def _call(self, name: str, real: Callable[..., Any], *args: Any, **options: Any) -> Any:
        for rule in list(self.rules):
            rule(name, args)
        return real(*args, **options)

    def fail(self, call: str, number: int, when: Callable[..., bool] = lambda *args: True) -> Rule:
        """From now on ``call`` fails with errno ``number``; the rule, to be given to ``mend``."""

        def rule(name: str, args: tuple[Any, ...]) -> None:
            if name == call and when(*args):
                raise OSError(number, os.strerror(number))

        self.rules.append(rule)
        return rule

    def mend(self, rule: Rule) -> None:
        """Take a rule away."""
        self.rules.remove(rule)


class Recorder:
    """A rule that only writes down the names of the calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __call__(self, name: str, args: tuple[Any, ...]) -> None:
        self.calls.append(name)


class FixedClock(Clock):
    """A clock whose time of day stands at ``at_ms`` until it is set; waiting is real."""

    def __init__(self, at_ms: int = 1_700_000_000_000) -> None:
        self.at_ms = at_ms

    def now(self) -> float:  # type: ignore[override]
        return self.at_ms / 1000


class LeapingClock(Clock):
    """A clock on which sleeping takes no real time, so that time-outs pass at once."""

    def __init__(self) -> None:
        self.slept_s = 0.0
        self._started = time.monotonic()

    def sleep(self, seconds: float) -> None:  # type: ignore[override]
        self.slept_s += seconds

    async def pause(self, seconds: float) -> None:
        self.slept_s += seconds
        await asyncio.sleep(0)

    def monotonic(self) -> float:  # type: ignore[override]
        return self._started + self.slept_s
