"""G4: tasks wait for session files that lag, the event loop does not."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from sessiondir import AsyncSessionStore, pacing
from sessiondir.clock import Clock

_NEVER_S = 3600.0


class NotHere(Clock):
    """Refuses to sleep in one thread."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.longest_s = 0.0

    def sleep(self, seconds: float) -> None:  # type: ignore[override]
        if threading.get_ident() == self.thread:
            assert seconds == 0, "the event loop was blocked"
        self.longest_s = max(self.longest_s, seconds)
        time.sleep(seconds)


def test_g4_the_loop_goes_on_while_commits_of_tasks_are_held_back(
    store_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G4: with many sessions lagging a worker waits in place of the loop, and every commit succeeds."""
    monkeypatch.setattr(pacing, "MANY_SESSIONS", 10)
    monkeypatch.setattr(pacing, "_LOOK_S", _NEVER_S)
    clock = NotHere()

    async def run() -> None:
        async with AsyncSessionStore.open(
            store_path, durability="process", checkpoint_interval=_NEVER_S, clock=clock
        ) as store:
            for number in range(40):
                await store.put(f"s{number}", {"n": number})
            for number in range(40):
                await store.update(f"s{number}", lambda entry: {"n": entry["n"] + 1})
            assert [(await store[f"s{number}"])["n"] for number in range(40)] == list(range(1, 41))

    asyncio.run(run())
    assert clock.longest_s > 0.002
