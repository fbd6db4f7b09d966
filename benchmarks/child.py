"""What is measured in a process of its own: ``python -m benchmarks.child JSON`` prints JSON.

The JSON names a function of this module and its arguments. Memory is that of a process which
has imported nothing but the store it uses.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import counting

_ROOT = Path(__file__).resolve().parent.parent


def run(function: Callable[..., Any], **arguments: Any) -> Any:
    """Call a function of this module in a fresh process; what it returned. ``RuntimeError`` if it failed."""
    order = json.dumps({"function": function.__name__, "arguments": arguments}, default=str)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.child", order],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    if done.returncode == -signal.SIGKILL:
        return None
    if done.returncode:
        raise RuntimeError(f"{function.__name__}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def bare() -> dict[str, int]:
    """A process that does nothing; peak memory of the interpreter and of this module."""
    return {"peak": counting.peak_memory()}


def update_one(store: str, place: str, key: str, seconds: float) -> dict[str, Any]:
    """Open a store and update one session for a while; times, bytes, memory. Bytes include the closing.

    Importing the store's code is a time of its own: it is paid once a process, not once a store.
    """
    from benchmarks.stores import open_store, store_class

    start = time.perf_counter_ns()
    store_class(store)
    import_us = (time.perf_counter_ns() - start) / 1000
    start = time.perf_counter_ns()
    before = counting.written()
    read_before = counting.bytes_read()
    handle = open_store(store, Path(place), "process")
    handle.bump(key)
    times = [time.perf_counter_ns() - start]
    read = counting.bytes_read() - read_before
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        begun = time.perf_counter_ns()
        handle.bump(key)
        times.append(time.perf_counter_ns() - begun)
    handle.close()
    bytes_ = counting.written() - before
    return {
        "import_us": import_us,
        "times_ns": times,
        "written": bytes_.calls,
        "dirtied": bytes_.dirtied,
        "first_read": read,
        "peak": counting.peak_memory(),
    }


def update_and_die(store: str, place: str, keys: list[str], count: int) -> None:
    """Make ``count`` updates and be killed, the handle open."""
    from benchmarks.stores import open_store

    handle = open_store(store, Path(place), "process")
    for number in range(count):
        handle.bump(keys[number % len(keys)])
    os.kill(os.getpid(), signal.SIGKILL)


def migrate(path: str) -> dict[str, Any]:
    """Take over a legacy file, also one above the limit that guards against taking over anything."""
    from sessiondir import Limits, migration

    limits = Limits(legacy_bytes=1 << 30)
    start = time.perf_counter()
    result = migration.migrate(path, limits=limits)
    took_s = time.perf_counter() - start
    if result.outcome != "migrated":
        raise RuntimeError(f"{result.outcome}: {result.warnings}")
    return {"seconds": took_s, "sessions": result.migrated_count, "peak": counting.peak_memory()}


def import_to_sqlite(path: str) -> dict[str, Any]:
    """Read a legacy file into SQLite, synced at the end."""
    import msgspec

    from benchmarks.stores.sqlite import Sqlite

    start = time.perf_counter()
    sessions = msgspec.json.decode(Path(path).read_bytes())
    with contextlib.closing(Sqlite(Path(path).parent, "power")) as store:
        store.fill(sessions)
    took_s = time.perf_counter() - start
    return {"seconds": took_s, "sessions": len(sessions), "peak": counting.peak_memory()}


def trace(
    store: str, place: str, keys: list[str], durability: str, operations: list[str], count: int
) -> dict[str, Any]:
    """``count`` operations of each kind, marked for strace."""
    from benchmarks.stores import open_store

    handle = open_store(store, Path(place), durability)  # type: ignore[arg-type]
    for key in keys:
        handle.bump(key)
        handle.get(key)
    step: dict[str, Callable[[str], object]] = {
        "get": handle.get,
        "updated_at": handle.updated_at,
        "update": handle.bump,
    }
    for operation in operations:
        with counting.marked(operation):
            for number in range(count):
                step[operation](keys[number % len(keys)])
    handle.close()
    return {}


def traced(**arguments: Any) -> dict[str, Counter[str]]:
    """The system calls of ``trace`` with these arguments, by operation."""
    order = json.dumps({"function": trace.__name__, "arguments": arguments}, default=str)
    return counting.system_calls("benchmarks.child", [order])


def churn(store: str, place: str, keys: int, seconds: float, alive: int) -> dict[str, Any]:
    """Put, update and delete distinct keys, ``alive`` of them there at a time; memory along the way."""
    from benchmarks.entries import SLIM, make_entry
    from benchmarks.stores import open_store

    memory, done = [], 0
    entry = make_entry(SLIM, 1)
    # A cache of 64 MB that fills up would hide a leak.
    options = {"cache_bytes": 1 << 20} if store == "sessiondir" else {}
    begun = time.monotonic()
    with contextlib.closing(open_store(store, Path(place), "process", **options)) as handle:
        for number in range(keys):
            handle.put(f"agent:main:cron:{number:09d}", entry)
            handle.bump(f"agent:main:cron:{number:09d}")
            if number >= alive:
                handle.delete(f"agent:main:cron:{number - alive:09d}")
            done += 1
            if done % max(1, keys // 40) == 0:
                gc.collect()
                memory.append((done, counting.memory()))
                if time.monotonic() - begun > seconds:
                    break
        took_s = time.monotonic() - begun
    return {"keys": done, "seconds": took_s, "memory": memory}


def tail(name: str, place: str, count: int) -> dict[str, Any]:
    """Open a transcript and read its last records."""
    from benchmarks.logs import LOGS, load

    load(name)
    begun = time.perf_counter_ns()
    before = counting.bytes_read()
    log = LOGS[name](Path(place))
    found = len(log.tail(count))
    took_us = (time.perf_counter_ns() - begun) / 1000
    read = counting.bytes_read() - before
    log.close()
    if found != count:
        raise AssertionError(f"{found} of {count} records were read")
    return {"first_us": took_us, "read": read, "peak": counting.peak_memory()}


def main() -> int:
    """Do what the argument says."""
    order = json.loads(sys.argv[1])
    function = globals()[order["function"]]
    print(json.dumps(function(**order["arguments"])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
