"""What the other processes of the stress and kill tests do; run as ``python -m harness.worker NAME PATH JSON``.

A worker writes one line for each thing it wants its parent to know, and ends when its
standard input is closed or when it is done.
"""

from __future__ import annotations

import json
import os
import random
import select
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from sessiondir import SessionStore
from sessiondir.model import Limits

Options = dict[str, Any]
_NOTABLE_S = 1e-4


def say(**facts: object) -> None:
    """Tell the parent; a line is one write, so a kill leaves whole lines only."""
    os.write(1, json.dumps(facts).encode() + b"\n")


def told_to_stop() -> bool:
    """Whether the parent closed our standard input."""
    return bool(select.select([0], [], [], 0)[0])


def _open(path: str, options: Options) -> SessionStore:
    small = options.get("journal_bytes")
    return SessionStore.open(
        path,
        durability=options.get("durability", "process"),
        checkpoint_interval=options.get("checkpoint_interval", 0.05),
        lock_timeout=options.get("lock_timeout", 30.0),
        limits=Limits(journal_bytes=small) if small else None,
    )


def _more(entry: dict[str, Any]) -> dict[str, Any]:
    return entry | {"n": entry.get("n", 0) + 1}


def increments(path: str, options: Options) -> None:
    """So many increments on one key."""
    with _open(path, options) as store:
        for _ in range(options["count"]):
            store.update(options["key"], _more, create=True)


def first_open(path: str, options: Options) -> None:
    """Wait for the signal to start, then open a store that does not exist and commit to it."""
    say(ready=True)
    sys.stdin.readline()
    with _open(path, options) as store:
        say(version=store.put(f"by {os.getpid()}", {"n": 1}))


def pairs(path: str, options: Options) -> None:
    """Transfers between pairs of keys, until told to stop; both sides of a pair are always equal."""
    rng = random.Random(options["seed"])
    done = 0
    with _open(path, options) as store:
        while not told_to_stop() and done < options.get("count", 1 << 60):
            number = rng.randrange(options["pairs"])
            left, right = f"left {number}", f"right {number}"
            with store.transaction(left, right) as txn:
                value = txn[left]["n"] + 1 if left in txn else 1
                txn[left] = {"n": value, "pad": "x" * rng.randrange(200)}
                txn[right] = {"n": value, "pad": "y" * rng.randrange(200)}
            done += 1
            if options.get("report"):
                say(pair=number, n=value, version=txn.version)
            if options.get("own"):
                store.update(options["own"], _more, create=True)
    say(done=done)


def flushing(path: str, options: Options) -> None:
    """Checkpoints and new journals, until told to stop."""
    with _open(path, options) as store:
        while not told_to_stop():
            store.flush()
            time.sleep(0.002)


def acknowledged(path: str, options: Options) -> None:
    """Commits of every kind until killed, each told to the parent after it returned."""
    rng = random.Random(options["seed"])
    me = options["name"]
    with _open(path, options) as store:
        last = max((store.get(f"{me} last") or {"n": 0})["n"], options.get("from", 0))
        say(ready=last)
        for number in range(last + 1, 1 << 60):
            _one(store, rng, me, number)
            say(n=number)
            if rng.random() < 0.02:
                store.flush()


def _one(store: SessionStore, rng: random.Random, me: str, number: int) -> None:
    """Commit number ``number``: in two sessions at once, the second one sometimes new, sometimes deleted."""
    filler = "z" * rng.randrange(3000)
    with store.transaction(f"{me} last", f"{me} twin") as txn:
        txn[f"{me} last"] = {"n": number, "filler": filler}
        if number % 10 == 0 and f"{me} twin" in txn:
            del txn[f"{me} twin"]
        else:
            txn[f"{me} twin"] = {"n": number, "filler": filler[::-1]}


def hold(path: str, options: Options) -> None:
    """Hold one session inside update until told to stop, or stop ourselves with SIGSTOP."""

    def stay(entry: dict[str, Any]) -> dict[str, Any]:
        say(holding=True)
        if options.get("stopped"):
            os.kill(os.getpid(), signal.SIGSTOP)
        sys.stdin.readline()
        return entry | {"held": True}

    with _open(path, options) as store:
        store.update(options["key"], stay, create=True)
    say(done=True)


def stop_in_commit(path: str, options: Options) -> None:
    """Stop ourselves with SIGSTOP while holding the commit lock."""
    from sessiondir.journal import JournalFile

    real = JournalFile.append

    def stopping(self: JournalFile, *args: Any, **kwargs: Any) -> None:
        say(holding=True)
        os.kill(os.getpid(), signal.SIGSTOP)
        real(self, *args, **kwargs)

    with _open(path, options) as store:
        store.put("before", {"n": 1})
        JournalFile.append = stopping  # type: ignore[method-assign]
        store.put("during", {"n": 1})
        JournalFile.append = real  # type: ignore[method-assign]
    say(done=True)


def parent(path: str, options: Options) -> None:
    """Hold our session, leased and inside update, until told to stop; say which child announced itself, and when.

    At the end say the ``looks`` at which our own wait for a processor had grown: when, and the seconds until then.
    """
    key = options["key"]
    stop = threading.Event()
    looks = [(0.0, 0.0)]

    def stay(entry: dict[str, Any]) -> dict[str, Any]:
        say(holding=True)
        stop.wait()
        return entry | {"held": True}

    def look() -> float:
        queued, now = _queued_s(), time.monotonic()
        if queued - looks[-1][1] > _NOTABLE_S:
            looks.append((now, queued))
        return now

    with _open(path, options) as store, store.lease(key, "parent", ttl=5, keep=True) as lease:
        thread = threading.Thread(target=store.update, args=(key, stay, True), kwargs={"fence": lease})
        thread.start()
        while not told_to_stop():
            if store.wait_inbox(key, timeout=0.05):
                messages = store.take(key)
                now = look()
                for message in messages:
                    say(seen=message.body["child"], at=now)
                store.ack(key, messages)
            look()
        stop.set()
        thread.join()
    say(done=True, looks=looks)


def _queued_s() -> float:
    """Seconds that this thread could have run and no processor was free; 0 where Linux does not tell."""
    try:
        with open("/proc/thread-self/schedstat", encoding="utf-8") as file:
            return int(file.read().split()[1]) / 1e9
    except OSError:
        return 0.0


def _announce(options: Options, update: Callable[[], object], post: Callable[[], object]) -> None:
    """Wait for the signal, update so often, announce; say the longest update in seconds, and of the announcement:

    when it ``begun`` and ``ended`` (``time.monotonic``), the part of that in which no
    processor was free for us (``queued``), and the processor time it took (``worked``).
    """
    longest = 0.0
    say(ready=True)
    sys.stdin.readline()
    for _ in range(options["updates"]):
        begun = time.monotonic()
        update()
        longest = max(longest, time.monotonic() - begun)
    queued, worked, begun = _queued_s(), time.thread_time(), time.monotonic()
    post()
    ended = time.monotonic()
    worked, queued = time.thread_time() - worked, min(ended - begun, _queued_s() - queued)
    say(update=longest, begun=begun, ended=ended, queued=queued, worked=worked)


def child(path: str, options: Options) -> None:
    """Make a session, update it, and announce it to the parent."""
    name = options["name"]
    with _open(path, options) as store:
        _announce(
            options,
            lambda: store.update(name, _more, create=True),
            lambda: store.post(options["parent"], {"child": name}, id=name),
        )


def appender(path: str, options: Options) -> None:
    """As ``child`` without a store: each step is a synced line at the end of one plain file."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def append() -> None:
        os.write(fd, b"x" * 120 + b"\n")
        os.fdatasync(fd)

    _announce(options, append, append)


def poster(path: str, options: Options) -> None:
    """Post numbered messages until killed, each told to the parent after it returned; some of them twice."""
    rng = random.Random(options["seed"])
    with _open(path, options) as store:
        say(ready=True)
        for number in range(options["from"], 1 << 60):
            given = f"{options['name']} {number}"
            for _ in range(1 + (rng.random() < 0.2)):
                store.post(options["keys"], number, id=given)
            say(posted=given)
            if rng.random() < 0.05:
                store.flush()


def consumer(path: str, options: Options) -> None:
    """Take, tell the parent, acknowledge, tell it again, until killed."""
    rng = random.Random(options["seed"])
    with _open(path, options) as store:
        say(ready=True)
        while True:
            for key in options["keys"]:
                messages = store.take(key, rng.randrange(1, 6))
                for message in messages:
                    say(key=key, got=message.id, deliveries=message.deliveries)
                if messages and rng.random() < 0.1:
                    store.put_back(key, messages)
                elif messages:
                    store.ack(key, messages)
                    say(key=key, acked=[message.id for message in messages])


def copy_once(source: str, target: str) -> bool:
    """Copy a live store as ``cp -r`` does; False if a file that was listed had vanished."""
    try:
        shutil.copytree(source, target)
    except (shutil.Error, FileNotFoundError):
        return False
    return True


def maintenance(path: str, options: Options) -> None:
    """Remove what is old and bring it back, again and again."""
    from sessiondir import maintenance as m

    policy = m.Policy.from_config({"mode": "enforce"})
    with _open(path, options) as store:
        say(ready=True)
        while not told_to_stop():
            m.apply(store, m.plan(store, policy))
            for item in m.list_trash(store).items[::2]:
                m.restore(store, item.name, overwrite=True)
            say(round=True)


def history(path: str, options: Options) -> None:
    """Random operations for some seconds; what each of them saw goes to a file."""
    from history import workload

    with _open(path, options) as store:
        say(ready=True)
        sys.stdin.readline()
        done = workload.record(store, options["name"], options["seed"], options["seconds"], options["threads"])
    workload.write(options["out"], done)
    say(done=len(done))


_WORK: dict[str, Callable[[str, Options], None]] = {
    work.__name__: work
    for work in (
        increments, first_open, pairs, flushing, acknowledged, hold, stop_in_commit, parent, child, appender,
        poster, consumer, maintenance, history,
    )
}  # fmt: skip

if __name__ == "__main__":
    _WORK[sys.argv[1]](sys.argv[2], json.loads(sys.argv[3]))
