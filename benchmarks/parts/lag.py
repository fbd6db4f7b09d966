"""W8, W12: how long does an event loop stand still while sessions of 2 MB are changed?

Four sessions of 2 MB each get four changes of 8 KiB, all four at once, on a new handle (so
that reading them belongs to it), then the session files are brought level and the handle is
closed. Meanwhile a task wakes up every millisecond and notes how late it is. The slow disk
is a file system whose every sync takes 200 ms.

Three ways to change: ``patch`` one field; ``update`` with a callback that sees the whole
entry and sets one field; ``append`` to the history, which is one array of 2 MB. And for
comparison the synchronous store, called on the loop and in asyncio's default threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import os
import selectors
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Any

from benchmarks.parts.base import Bench
from benchmarks.text import table
from sessiondir import AsyncSessionStore, SessionStore
from sessiondir.fs import FileSystem

TITLE = "Lag of an event loop while four sessions of 2 MB change (slow disk: syncs of 200 ms)"
SESSIONS = 4
CHANGES = 4
SESSION_BYTES = 2 << 20
CHANGE_BYTES = 8 << 10
SLOW_SYNC_S = 0.2
_PROBE_S = 0.001
_OURS = "AsyncSessionStore"


class SlowDisk(FileSystem):
    """The real file system, every sync of which takes 200 ms."""

    @staticmethod
    def fsync(fd: int) -> None:
        os.fsync(fd)
        time.sleep(SLOW_SYNC_S)

    @staticmethod
    def fdatasync(fd: int) -> None:
        os.fdatasync(fd)
        time.sleep(SLOW_SYNC_S)


def make_history() -> dict[str, Any]:
    """An entry of 2 MB: a conversation of some two thousand messages."""
    text = "The quick brown fox jumps over the lazy dog, and says why. " * 15
    count = SESSION_BYTES // (len(text) + 110)
    messages = [
        {
            "role": "user" if number % 2 else "assistant",
            "at": 1767225600000 + number,
            "text": f"{number} {text}",
            "usage": {"input": number, "output": 2 * number},
        }
        for number in range(count)
    ]
    return {"sessionId": "s", "updatedAt": 1767225600000, "messages": messages}


def _set_checkpoint(number: int) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda entry: {**entry, "checkpoint": str(number) + "x" * CHANGE_BYTES}


def _append(number: int) -> Callable[[dict[str, Any]], dict[str, Any]]:
    message = {"role": "tool", "at": number, "text": "y" * CHANGE_BYTES}
    return lambda entry: {**entry, "messages": [*entry["messages"], message]}


_CHANGES: dict[str, Callable[[Any, str, int], Any]] = {
    "patch": lambda store, key, number: store.patch(key, {"checkpoint": str(number) + "x" * CHANGE_BYTES}),
    "update": lambda store, key, number: store.update(key, _set_checkpoint(number)),
    "append": lambda store, key, number: store.update(key, _append(number)),
}


async def _asynchronous(path: str, fs: FileSystem, change: Callable[[Any, str, int], Any]) -> None:
    async with AsyncSessionStore.open(path, fs=fs) as store:

        async def change_one(key: str) -> None:
            for number in range(CHANGES):
                await change(store, key, number)

        await asyncio.gather(*(change_one(f"k{number}") for number in range(SESSIONS)))
        await store.flush()


async def _on_the_loop(path: str, fs: FileSystem, change: Callable[[Any, str, int], Any]) -> None:
    with SessionStore.open(path, fs=fs) as store:
        for number in range(CHANGES):
            for session in range(SESSIONS):
                change(store, f"k{session}", number)
                await asyncio.sleep(0)
        store.flush()


async def _in_default_threads(path: str, fs: FileSystem, change: Callable[[Any, str, int], Any]) -> None:
    store = await asyncio.to_thread(SessionStore.open, path, fs=fs)

    async def change_one(key: str) -> None:
        for number in range(CHANGES):
            await asyncio.to_thread(change, store, key, number)

    await asyncio.gather(*(change_one(f"k{number}") for number in range(SESSIONS)))
    await asyncio.to_thread(store.flush)
    await asyncio.to_thread(store.close)


WAYS: dict[str, Callable[[str, FileSystem, Callable[[Any, str, int], Any]], Awaitable[None]]] = {
    _OURS: _asynchronous,
    "SessionStore on the loop": _on_the_loop,
    "SessionStore in threads": _in_default_threads,
}


Lag = tuple[float, float]
"""How late a task was, in seconds: by the clock, and what of that can be this program's own doing."""


class _Timed(selectors.DefaultSelector):
    """Tells how long the loop has waited for something to do."""

    waited_s = 0.0

    def select(self, timeout: float | None = None) -> Any:
        began_s = time.perf_counter()
        try:
            return super().select(timeout)
        finally:
            self.waited_s += time.perf_counter() - began_s


def lags_during(work: Callable[[], Awaitable[None]]) -> list[Lag]:
    """How late a task was that wanted to run every millisecond while ``work()`` ran, on a loop of its own.

    On a machine that others use, too, the clock measures them as well. The program's own doing
    is at most what remains without the time in which the loop could have run and had no
    processor; and at most the processor time that all threads of the program used meanwhile
    or, if that is longer, the time that the loop spent in its tasks, be it waiting for a disk.
    """
    selector = _Timed()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        return runner.run(_lags_during(work, selector))


async def _lags_during(work: Callable[[], Awaitable[None]], selector: _Timed) -> list[Lag]:
    lags: list[Lag] = []

    async def probe() -> None:
        with _queueing() as queued_s:
            while True:
                began, used, queued, waited = (
                    time.perf_counter(),
                    time.process_time(),
                    queued_s(),
                    selector.waited_s,
                )
                await asyncio.sleep(_PROBE_S)
                now = time.perf_counter()
                late_s = max(0.0, now - began - _PROBE_S)
                busy_s = now - began - (selector.waited_s - waited)
                own_s = min(late_s - (queued_s() - queued), max(time.process_time() - used, busy_s))
                lags.append((late_s, max(0.0, own_s)))

    probing = asyncio.create_task(probe())
    await asyncio.sleep(0.02)
    await work()
    await asyncio.sleep(_PROBE_S)
    probing.cancel()
    return lags


@contextlib.contextmanager
def _queueing() -> Iterator[Callable[[], float]]:
    """Tells for how long this thread has waited for a processor, in seconds; 0 where the system does not say."""
    try:
        fd = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
    except FileNotFoundError:
        yield lambda: 0.0
        return
    try:
        yield lambda: int(os.pread(fd, 100, 0).split()[1]) / 1e9
    finally:
        os.close(fd)


async def _idle(seconds: float) -> None:
    await asyncio.sleep(seconds)


def prepare(path: str) -> None:
    """A store with the large sessions, at rest."""
    with SessionStore.open(path) as store:
        for number in range(SESSIONS):
            store.put(f"k{number}", make_history())


def measure(bench: Bench) -> list[dict[str, Any]]:
    """One row for each way, disk and change: lags in milliseconds over all rounds."""
    gc.collect()
    gc.freeze()
    try:
        idle_s = 0.2 if bench.quick else 2.0
        idle = lags_during(partial(_idle, idle_s))
        rows = [{"way": "idle", "disk": "", "change": "", **_figures(idle, idle_s, 0.0)}]
        for way, disk, change in itertools.product(WAYS, ("real", "slow"), _CHANGES):
            if not _takes_part(way, disk, change, quick=bench.quick):
                continue
            bench.say(f"loop lag: {way}, {disk} disk, {change}")
            with bench.excused(f"loop lag: {way}, {disk} disk, {change}"):
                rows.append({"way": way, "disk": disk, "change": change} | _run(bench, way, disk, change))
        return rows
    finally:
        gc.unfreeze()


def _takes_part(way: str, disk: str, change: str, *, quick: bool) -> bool:
    """What is slow in any case is shown once: a blocked loop is blocked by every change."""
    if change == "patch":
        return not quick or way == _OURS or disk == "real"
    return not quick and (way == _OURS or disk == "real")


def _run(bench: Bench, way: str, disk: str, change: str) -> dict[str, Any]:
    fs = SlowDisk() if disk == "slow" else FileSystem()
    rounds = bench.rounds if way == _OURS and disk == "real" else 1
    lags: list[Lag] = []
    started = time.perf_counter()
    with _watching_gc() as pauses_s:
        for _ in range(rounds):
            with bench.directory() as here:
                path = str(here / "sessions.d")
                prepare(path)
                lags += lags_during(partial(WAYS[way], path, fs, _CHANGES[change]))
    seconds = (time.perf_counter() - started) / rounds
    return {"rounds": rounds} | _figures(lags, seconds, max(pauses_s, default=0.0))


@contextlib.contextmanager
def _watching_gc() -> Iterator[list[float]]:
    """How long each garbage collection takes, in seconds."""
    pauses_s: list[float] = []
    began = 0.0

    def note(phase: str, _info: dict[str, int]) -> None:
        nonlocal began
        if phase == "start":
            began = time.perf_counter()
        else:
            pauses_s.append(time.perf_counter() - began)

    gc.callbacks.append(note)
    try:
        yield pauses_s
    finally:
        gc.callbacks.remove(note)


def _figures(lags: list[Lag], seconds: float, longest_gc_s: float) -> dict[str, Any]:
    figures: dict[str, Any] = {"probes": len(lags)}
    for name, kind in (("", 0), ("own_", 1)):
        ordered = sorted(lag[kind] for lag in lags)
        for label, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0)):
            place = min(len(ordered) - 1, int(share * len(ordered)))
            figures[f"{name}{label}_ms"] = round(ordered[place] * 1000, 2)
    return figures | {
        "longest_gc_ms": round(longest_gc_s * 1000, 2),
        "seconds": round(seconds, 2),
    }


def render(rows: Sequence[dict[str, Any]]) -> str:
    """A line for each row."""
    # Earlier results told the processor time alone.
    own = "own_" if "own_max_ms" in rows[0] else "cpu_"
    names = [f"{kind}{share}_ms" for kind in ("", own) for share in ("p95", "p99", "max")]
    lines = [
        [
            f"{row['way']}, {row['disk']} disk, {row['change']}" if row["disk"] else row["way"],
            *(f"{row[name]:,.1f}" for name in (*names, "longest_gc_ms")),
            f"{row['probes']:,}",
            f"{row['seconds']:.2f}",
        ]
        for row in rows
    ]
    notes = """\
Milliseconds, over all rounds. Idle: a loop that does nothing, on this machine just before.
Own: what of the lag can be the program's own doing: its threads used a processor, or a task of the loop waited for
a disk. The rest is the machine's: the loop waited for a processor, or its timer came late. GC: the longest garbage
collection, which stops every thread of a program; objects made before the rounds were frozen (gc.freeze), as
round, with its set-up."""
    header = ["", "P95", "P99", "max", "own P95", "own P99", "own max", "GC", "probes", "seconds"]
    return f"{table(header, lines)}\n\n{notes}"
