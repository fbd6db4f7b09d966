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
from typing import Any

import pytest

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
    lags: list[float] = []

    async def probe() -> None:
        while True:
            due = time.perf_counter() + 0.001
            await asyncio.sleep(0.001)
            lags.append(time.perf_counter() - due)

    async def change(store: AsyncSessionStore, key: str) -> None:
        for number in range(4):
            await CHANGES[name](store, key, number)

    async def run() -> None:
        probing = asyncio.create_task(probe())
        async with AsyncSessionStore.open(store_path, fs=disk) as store:
            await asyncio.gather(*(change(store, f"k{session}") for session in range(4)))
            await store.flush()
        probing.cancel()

    asyncio.run(run())
    lags.sort()
    p95, p99 = (lags[int(share * len(lags))] * 1000 for share in (0.95, 0.99))
    worst = lags[-1] * 1000
    print(f"{name}: loop lag P95 {p95:.1f} ms, P99 {p99:.1f} ms, max {worst:.1f} ms; {len(disk.threads)} syncs")
    assert len(disk.threads) >= 4
    assert threading.get_ident() not in disk.threads
    assert len(lags) > len(disk.threads)  # the loop came round between, and so during, the syncs
    with SessionStore.open(store_path) as store:
        for session in range(4):
            entry = store[f"k{session}"]
            assert "checkpoint" in entry or len(entry["messages"]) == 2004
