"""A small legacy program that goes on counting: it adds one to ``k.n`` under the legacy lock, until the file goes.

    python counting_program.py STORE.json

It prints a line when it begins, and how often it has counted when it finds no file any more. Its lock is
respected by its like: one that is just being written, too.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import sys
import time


def take(path: str) -> None:
    """Take the lock, waiting for as long as it takes; that of a dead process is removed."""
    while True:
        try:
            fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            try:
                with open(path) as file:
                    os.kill(json.loads(file.read())["pid"], 0)
            except ProcessLookupError:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
            except (OSError, ValueError, KeyError):
                pass
            time.sleep(0.01 * random.random())
            continue
        created = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
        os.write(fd, json.dumps({"pid": os.getpid(), "createdAt": created}, indent=2).encode())
        os.close(fd)
        return


def count(path: str) -> bool:
    """Add one; False if there is no file any more. The lock is held."""
    try:
        with open(path) as file:
            store = json.loads(file.read())
    except FileNotFoundError:
        return False
    entry = store["k"]
    store["k"] = entry | {"n": entry["n"] + 1, "updatedAt": entry["updatedAt"] + 1}
    with open(f"{path}.{os.getpid()}.tmp", "w") as file:
        file.write(json.dumps(store, indent=2))
    os.rename(f"{path}.{os.getpid()}.tmp", path)
    return True


def main(path: str) -> None:
    print("begun", flush=True)
    counted = 0
    while True:
        take(f"{path}.lock")
        try:
            if not count(path):
                break
        finally:
            os.unlink(f"{path}.lock")
        counted += 1
        time.sleep(0.003 * random.random())
    print(counted, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
