"""A small program that follows the legacy lock protocol: waits, steals after 30 s, releases without looking.

    python legacy_program.py STORE.json KEY UPDATED_AT [CLOCK_OFFSET_S]

It takes the lock, prints ``held``, waits for a line, adds ``KEY`` to the file as the legacy program saves it
(a temporary file renamed over it), removes the lock whoever has it by then, and prints how it got the lock:
``free``, ``stale`` or ``busy``. ``CLOCK_OFFSET_S`` sets its time of day ahead, so that its 30 s pass at once.
"""

from __future__ import annotations

import calendar
import json
import os
import sys
import time
from typing import Any

STALE_S = 30.0
TIMEOUT_S = 10.0


def is_stale(path: str, now_s: float) -> bool:
    try:
        with open(path) as file:
            payload: Any = json.loads(file.read())
        created = calendar.timegm(time.strptime(payload["createdAt"][:19], "%Y-%m-%dT%H:%M:%S"))
        os.kill(payload["pid"], 0)
    except (OSError, ValueError, KeyError):
        return True
    return now_s - created > STALE_S


def take(path: str, offset_s: float, timeout_s: float = TIMEOUT_S) -> str:
    """Take the lock; how that was possible."""
    how, deadline, attempt = "free", time.monotonic() + timeout_s, 0
    while True:
        try:
            fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            if is_stale(path, time.time() + offset_s):
                os.unlink(path)
                how = "stale"
                continue
            if time.monotonic() > deadline:
                return "busy"
            attempt += 1
            time.sleep(min(1.0, 0.05 * attempt))
            continue
        now = time.gmtime(time.time() + offset_s)
        payload = {"pid": os.getpid(), "createdAt": time.strftime("%Y-%m-%dT%H:%M:%S.000Z", now)}
        os.write(fd, json.dumps(payload, indent=2).encode())
        os.close(fd)
        return how


def save(path: str, key: str, updated_at: int) -> None:
    """Add a session to the file; a file that is not there is empty to this program."""
    try:
        with open(path) as file:
            store = json.loads(file.read())
    except FileNotFoundError:
        store = {}
    store[key] = {"sessionId": key, "updatedAt": updated_at}
    with open(f"{path}.new", "w") as file:
        file.write(json.dumps(store, indent=2))
    os.rename(f"{path}.new", path)


def main(path: str, key: str, updated_at: str, offset_s: str = "0", timeout_s: str = "10") -> None:
    how = take(f"{path}.lock", float(offset_s), float(timeout_s))
    print("held", flush=True)
    sys.stdin.readline()
    if how != "busy":
        save(path, key, int(updated_at))
        try:
            os.unlink(f"{path}.lock")
        except FileNotFoundError:
            pass
    print(how, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
