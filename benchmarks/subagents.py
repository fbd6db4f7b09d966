"""Part four: children announce themselves to a busy parent, and a chat goes on during a burst of cron jobs.

*Children.* A parent holds its session inside ``update``. So many children, each a process,
create a session, update it 20 times and post to the parent's inbox; once as fast as they
can, once with their updates spread over a second. Measured: the longest wait of any call,
and how long after its post the parent had the message in hand.

*Cron.* One session is updated every 10 ms by a process of its own, first with nothing else
going on, then while 114 jobs begin at once in four other processes, each of which creates a
session at that moment and updates it ten times before the measurement ends.
"""

from __future__ import annotations

import multiprocessing
import shutil
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.contention import percentile
from benchmarks.entries import SMALL, make_entry
from sessiondir import SessionStore

PARENT = "agent:main:main"
_UPDATES = 20
_SPREAD_S = 1.0
_JOBS = 114
_JOB_PROCESSES = 4
_JOB_UPDATES = 10
_PACE_S = 0.01
_START = multiprocessing.get_context("spawn")


def measure_children(
    place: Path, counts: tuple[int, ...], held_s: float, progress: Callable[[str], None]
) -> list[dict[str, Any]]:
    """One row for each number of children and each pace; waits in milliseconds."""
    rows = []
    for count in counts:
        for spread_s in (0.0, _SPREAD_S):
            progress(f"{count} children, {'spread over a second' if spread_s else 'all at once'}")
            rows.append(
                {"children": count, "spread_s": spread_s}
                | _children(place / "children.d", count, spread_s, held_s)
            )
    return rows


def _children(path: Path, count: int, spread_s: float, held_s: float) -> dict[str, Any]:
    hold, told = threading.Event(), threading.Event()
    seen: dict[str, float] = {}

    def stay(entry: dict[str, Any]) -> dict[str, Any]:
        told.set()
        hold.wait()
        return entry | {"held": True}

    with SessionStore.open(str(path)) as store:
        turn = threading.Thread(target=store.update, args=(PARENT, stay, True))
        turn.start()
        told.wait()
        begun = time.monotonic()
        pipes, children = [], []
        for number in range(count):
            ours, theirs = _START.Pipe()
            children.append(_START.Process(target=_child, args=(theirs, str(path), f"child {number}", spread_s)))
            children[-1].start()
            pipes.append(ours)
        for pipe in pipes:
            pipe.recv()
        for pipe in pipes:
            pipe.send("go")
        while len(seen) < count:
            if store.wait_inbox(PARENT, timeout=60):
                messages = store.take(PARENT)
                now = time.monotonic()
                seen |= {one.body["child"]: now - one.body["at"] for one in messages}
                store.ack(PARENT, messages)
        waits = [pipe.recv() for pipe in pipes]
        for child in children:
            child.join()
        time.sleep(max(0.0, held_s - (time.monotonic() - begun)))
        assert PARENT not in store, "the parent was not held all the while"
        hold.set()
        turn.join()
        found = {key: entry for key, entry in store.snapshot().items() if key != PARENT}
        assert len(found) == count and all(entry["n"] == _UPDATES for entry in found.values()), "an update is lost"
        assert store.peek(PARENT, taken=True) == [], "an announcement came twice"
    shutil.rmtree(path)
    return {
        "held_s": round(time.monotonic() - begun, 1),
        "update_ms": 1000 * max(one["update"] for one in waits),
        "post_ms": 1000 * max(one["post"] for one in waits),
        "seen_ms": 1000 * max(seen.values()),
    }


def _child(pipe: Connection, path: str, name: str, spread_s: float) -> None:
    entry = make_entry(SMALL, 1)
    longest = 0.0
    with SessionStore.open(path) as store:
        store.get(name)
        pipe.send("ready")
        pipe.recv()
        for number in range(1, _UPDATES + 1):
            if spread_s:
                time.sleep(spread_s / _UPDATES)
            begun = time.monotonic()
            store.update(name, lambda old, number=number: {**(old or entry), "n": number}, create=True)
            longest = max(longest, time.monotonic() - begun)
        begun = time.monotonic()
        store.post(PARENT, {"child": name, "at": begun}, id=name)
        pipe.send({"update": longest, "post": time.monotonic() - begun})


def measure_cron(place: Path, seconds: float, progress: Callable[[str], None]) -> list[dict[str, Any]]:
    """The chat's update latencies in microseconds, alone and during the burst."""
    path = place / "cron.d"
    ours, theirs = _START.Pipe()
    chat = _START.Process(target=_chat, args=(theirs, str(path)))
    chat.start()
    pairs = [_START.Pipe() for _ in range(_JOB_PROCESSES)]
    jobs = [_START.Process(target=_cron, args=(pair[1], str(path), n)) for n, pair in enumerate(pairs)]
    for job in jobs:
        job.start()
    for pipe in (ours, *(pair[0] for pair in pairs)):
        pipe.recv()
    rows = []
    for burst in (False, True):
        progress(f"chat {'during a burst of cron jobs' if burst else 'alone'}")
        ours.send(seconds)
        if burst:
            for pair in pairs:
                pair[0].send(seconds)
        waits = sorted(ours.recv())
        rows.append(
            {
                "burst": burst,
                "updates": len(waits),
                "p50_us": percentile(waits, 0.50),
                "p99_us": percentile(waits, 0.99),
                "max_us": waits[-1] / 1000,
            }
        )
    ours.send(None)
    for process in (chat, *jobs):
        process.join()
    with SessionStore.open(str(path)) as store:
        assert sum(store[key]["n"] == _JOB_UPDATES for key in store if key.startswith("cron")) == _JOBS
    shutil.rmtree(path)
    return rows


def _chat(pipe: Connection, path: str) -> None:
    with SessionStore.open(path) as store:
        store.put("chat", make_entry(SMALL, 2))
        pipe.send("ready")
        while (seconds := pipe.recv()) is not None:
            waits = []
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                begun = time.perf_counter_ns()
                store.update("chat", lambda entry: {**entry, "turns": entry.get("turns", 0) + 1})
                waits.append(time.perf_counter_ns() - begun)
                time.sleep(_PACE_S)
            pipe.send(waits)


def _cron(pipe: Connection, path: str, process: int) -> None:
    def job(store: SessionStore, name: str, seconds: float) -> None:
        store.put(name, make_entry(SMALL, 3) | {"n": 0})
        for number in range(1, _JOB_UPDATES + 1):
            time.sleep(seconds / (_JOB_UPDATES + 1))
            store.patch(name, {"n": number})

    with SessionStore.open(path) as store:
        store.get("chat")
        pipe.send("ready")
        seconds = pipe.recv()
        threads = [
            threading.Thread(target=job, args=(store, f"cron {number}", seconds))
            for number in range(process, _JOBS, _JOB_PROCESSES)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
