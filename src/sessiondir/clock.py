"""Time, injected everywhere so that tests decide what it is."""

from __future__ import annotations

import time

_COARSE: int | None = getattr(time, "CLOCK_REALTIME_COARSE", None)  # what file systems take their times from
_UP = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def _up() -> float:
    return time.clock_gettime(_UP)


class Clock:
    """The machine's clocks; tests replace it by a subclass."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)
    sleep = staticmethod(time.sleep)
    tick_s = time.clock_getres(_COARSE) if _COARSE is not None else 0.01
    """How long the times of files may stand still, in seconds."""
    up = staticmethod(_up)
    """Seconds since the machine started, time asleep included; the same for all its processes."""

    async def pause(self, seconds: float) -> None:
        """As ``sleep`` for an asyncio task: the other tasks go on meanwhile."""
        import asyncio  # noqa: PLC0415 - a program without an event loop need not load it

        await asyncio.sleep(seconds)


SYSTEM_CLOCK = Clock()
