"""What the part ``lag`` counts as a program's own doing."""

from __future__ import annotations

import asyncio
import time

from benchmarks.parts.lag import lags_during


def test_a_loop_that_waits_for_a_disk_is_late_by_its_own_doing() -> None:
    """A task that waits without giving the loop its turn counts, although it uses no processor."""

    async def block() -> None:
        time.sleep(0.05)

    late_s, own_s = max(lags_during(block))
    assert late_s >= own_s > 0.04


def test_what_is_own_is_never_more_than_the_lag() -> None:
    """A loop that does nothing has lags, too, and none of them is negative."""

    async def wait() -> None:
        await asyncio.sleep(0.05)

    assert all(late_s >= own_s >= 0 for late_s, own_s in lags_during(wait))
