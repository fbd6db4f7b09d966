"""Time, injected everywhere so that tests decide what it is."""

from __future__ import annotations

import time


class Clock:
    """The machine's clocks; tests replace it by a subclass."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)
    sleep = staticmethod(time.sleep)


SYSTEM_CLOCK = Clock()
