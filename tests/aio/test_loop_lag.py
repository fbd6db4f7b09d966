"""W8 and W12: the event loop goes on while large sessions are changed on a slow disk (F31).

The figures are printed and not asserted, because the machine may be busy; what is asserted is who
syncs and that the loop runs meanwhile. The benchmark part ``lag`` measures them.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from benchmarks.parts.lag import Lag, lags_during
from sessiondir import AsyncSessionStore, SessionStore
from sessiondir.fs import FileSystem

SYNC_S = 0.2


class SlowDisk(FileSystem):
    """Every sync takes 200 ms."""

    def __init__(self) -> None:
        self.threads: list[int] = []
        """Which thread made each sync."""
        self.fsync = self.fdatasync = self._sync

    def _sync(self, fd: int) -> None:
        self.threads.append(threading.get_ident())
        os.fdatasync(fd)
        time.sleep(SYNC_S)


def history() -> dict[str, Any]:
    """An entry of 2 MB: two thousand messages."""
    return {"messages": [{"role": "user", "at": number, "text": "lorem ipsum " * 80} for number in range(2000)]}


def append(number: int) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """What adds a message of 8 KiB."""
    return lambda entry: {**entry, "messages": [*entry["messages"], {"at": number, "text": "x" * 8192}]}


def told(name: str, lags: list[Lag]) -> None:
    """Print lags, by the clock and what can be the program's own doing."""
    for kind, number in (("by the clock", 0), ("own", 1)):
        ordered = sorted(lag[number] * 1000 for lag in lags)
        p95, p99 = (ordered[int(share * len(ordered))] for share in (0.95, 0.99))
        print(f"{name}: loop lag {kind}: P95 {p95:.1f} ms, P99 {p99:.1f} ms, max {ordered[-1]:.1f} ms")


CHANGES: dict[str, Callable[[AsyncSessionStore, str, int], Any]] = {
    "patch": lambda store, key, number: store.patch(key, {"checkpoint": f"{number} " + "x" * 8192}),
    "append": lambda store, key, number: store.update(key, append(number)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_loop_does_not_wait_for_the_disk(store_path: str, name: str) -> None:
    """W8, W12: four sessions of 2 MB, four changes of 8 KiB each, syncs of 200 ms: no sync stops the loop."""
    with SessionStore.open(store_path) as store:
        store.replace({f"k{session}": history() for session in range(4)})
    disk = SlowDisk()

    async def change(store: AsyncSessionStore, key: str) -> None:
        for number in range(4):
            await CHANGES[name](store, key, number)

    async def run() -> None:
        async with AsyncSessionStore.open(store_path, fs=disk) as store:
            await asyncio.gather(*(change(store, f"k{session}") for session in range(4)))
            await store.flush()

    told("an idle loop", lags_during(partial(asyncio.sleep, 0.5)))
    lags = lags_during(run)
    told(f"{name}, {len(disk.threads)} syncs", lags)
    assert len(disk.threads) >= 4
    assert threading.get_ident() not in disk.threads
    assert len(lags) > len(disk.threads)  # the loop came round between, and so during, the syncs
    with SessionStore.open(store_path) as store:
        for session in range(4):
            entry = store[f"k{session}"]
            assert "checkpoint" in entry or len(entry["messages"]) == 2004
