"""Random operations on a few sessions, and a record of what each of them saw."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from history.checker import Operation
from sessiondir import SessionStore
from sessiondir.core import Core
from sessiondir.errors import ConflictError

KEYS = ["a", "b", "c", "agent:main:d", "e"]

_committed = threading.local()


def record_versions(set_: Callable[[type, str, Any], None] = setattr) -> None:
    """From now on note the version of every commit of this process, by thread: most calls do not return it."""
    real = Core.append

    def append(self: Core, *args: Any, **kwargs: Any) -> Any:
        done = real(self, *args, **kwargs)
        _committed.version = done.version
        return done

    set_(Core, "append", append)


class Recorder:
    """One thread's operations on a store, each written down as the checker wants it."""

    def __init__(self, store: SessionStore, name: str, seed: object) -> None:
        self._store = store
        self._name = name
        self._rng = random.Random(str(seed))
        self._number = 0
        self.history: list[Operation] = []

    def step(self) -> None:
        """One operation, whichever."""
        self._number += 1
        work = self._rng.choices(_WORK, _WEIGHTS)[0]
        work(self)

    def _token(self) -> str:
        return f"{self._name}.{self._number}"

    def _key(self) -> str:
        return self._rng.choice(KEYS)

    def _record(self, kind: str, work: Callable[[], dict[str, dict[str, Any]]], **more: Any) -> Operation:
        _committed.version = None
        called = time.monotonic_ns()
        sessions = work()
        returned = time.monotonic_ns()
        one = Operation(self._name, kind, called, returned, _committed.version, sessions)
        self.history.append(one)
        return one

    def put(self) -> None:
        key, entry = self._key(), {"t": self._token(), "pad": "x" * self._rng.choice([0, 10, 2000])}

        def work() -> dict[str, dict[str, Any]]:
            self._store.put(key, entry)
            return {key: {"put": entry}}

        self._record("put", work)

    def patch(self) -> None:
        key, fields = self._key(), {"p": self._token()}

        def work() -> dict[str, dict[str, Any]]:
            after = self._store.patch(key, fields)
            return {key: {"set": fields, "after": after} if after is not None else {}}

        self._record("patch", work)

    def update(self) -> None:
        key, token, create = self._key(), self._token(), self._rng.random() < 0.5
        seen: list[dict[str, Any]] = []

        def change(entry: dict[str, Any]) -> dict[str, Any]:
            seen.append(dict(entry))
            return entry | {"u": token, "count": entry.get("count", 0) + 1}

        def work() -> dict[str, dict[str, Any]]:
            after = self._store.update(key, change, create=create)
            if after is None:
                return {key: {}}
            before = seen[-1]
            # No entry here is ever empty, so an empty one is that of a session that was not there.
            return {key: {"before": before or None, "put": change(before), "after": after}}

        self._record("update", work)

    def delete(self) -> None:
        key = self._key()

        def work() -> dict[str, dict[str, Any]]:
            self._store.delete(key)
            return {key: {}}

        self._record("delete", work)

    def transaction(self) -> None:
        keys = self._rng.sample(KEYS, self._rng.choice([2, 3]))
        drop = self._rng.random() < 0.2

        def work() -> dict[str, dict[str, Any]]:
            facts: dict[str, dict[str, Any]] = {}
            with self._store.transaction(*keys) as txn:
                for key in keys:
                    facts[key] = {"before": txn.get(key)}
                for key in keys[:2]:
                    facts[key]["put"] = {"t": self._token(), "n": len(keys)}
                    txn[key] = facts[key]["put"]
                if drop and keys[2:] and facts[keys[2]]["before"] is not None:
                    del txn[keys[2]]
                    facts[keys[2]]["put"] = None
            return facts

        try:
            self._record("transaction", work)
        except ConflictError:
            pass  # nothing was committed

    def edit(self) -> None:
        keys = self._rng.sample(KEYS, 2)
        token = self._token()
        facts: dict[str, dict[str, Any]] = {}

        def change(sessions: Any) -> None:
            facts.clear()
            for key in keys:
                facts[key] = {"before": sessions.get(key)}
            facts[keys[0]]["put"] = {"t": token, "from": (facts[keys[1]]["before"] or {}).get("t")}
            sessions[keys[0]] = facts[keys[0]]["put"]

        def work() -> dict[str, dict[str, Any]]:
            self._store.edit(change)
            return json.loads(json.dumps(facts))  # type: ignore[no-any-return]

        self._record("edit", work)

    def get(self) -> None:
        key = self._key()
        self._record("get", lambda: {key: {"after": self._store.get(key)}})

    def snapshot(self) -> None:
        found: dict[str, Any] = {}

        def work() -> dict[str, dict[str, Any]]:
            found["it"] = self._store.snapshot()
            return {}

        one = self._record("snapshot", work)
        one.version = found["it"].version
        one.sessions = {key: {"after": entry} for key, entry in found["it"].items()}

    def version(self) -> None:
        found: list[int] = []

        def work() -> dict[str, dict[str, Any]]:
            found.append(self._store.version)
            return {}

        one = self._record("version", work)
        one.version = found[0]

    def post(self) -> None:
        keys, token = self._rng.sample(KEYS, self._rng.choice([1, 1, 2])), self._token()

        def work() -> dict[str, dict[str, Any]]:
            self._store.post(keys, token, id=token)
            return {key: {"post": token} for key in keys}

        self._record("post", work)

    def take(self) -> None:
        key, limit = self._key(), self._rng.choice([1, 2, 3])
        taken: list[Any] = []

        def work() -> dict[str, dict[str, Any]]:
            taken.extend(self._store.take(key, limit))
            return {key: {"limit": limit, "after": [message.id for message in taken]}}

        self._record("take", work)
        if taken:

            def forget() -> dict[str, dict[str, Any]]:
                self._store.ack(key, taken)
                return {key: {}}

            self._record("ack", forget)

    def peek(self) -> None:
        key = self._key()
        self._record("peek", lambda: {key: {"after": [message.id for message in self._store.peek(key)]}})

    def flush(self) -> None:
        """A checkpoint in between, and perhaps another journal; it sees nothing."""
        self._store.flush()


_CHOICE: dict[Callable[[Recorder], None], int] = {
    Recorder.put: 8, Recorder.patch: 8, Recorder.update: 12, Recorder.delete: 4, Recorder.transaction: 6,
    Recorder.edit: 3, Recorder.get: 14, Recorder.snapshot: 4, Recorder.version: 4, Recorder.post: 8,
    Recorder.take: 6, Recorder.peek: 4, Recorder.flush: 1,
}  # fmt: skip
_WORK, _WEIGHTS = list(_CHOICE), list(_CHOICE.values())


def record(store: SessionStore, name: str, seed: object, seconds: float, threads: int) -> list[Operation]:
    """What ``threads`` threads of this process did on one handle in so many seconds."""
    record_versions()
    recorders = [Recorder(store, f"{name}.{number}", f"{seed}/{number}") for number in range(threads)]
    end = time.monotonic() + seconds
    failures: list[BaseException] = []

    def run(recorder: Recorder) -> None:
        try:
            while time.monotonic() < end:
                recorder.step()
        except BaseException as exc:
            failures.append(exc)

    running = [threading.Thread(target=run, args=(recorder,)) for recorder in recorders]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    if failures:
        raise failures[0]
    return [one for recorder in recorders for one in recorder.history]


def write(path: str, history: list[Operation]) -> None:
    """One operation a line."""
    with open(path, "w", encoding="utf-8") as file:
        for one in history:
            file.write(json.dumps(asdict(one)) + "\n")


def read(path: str) -> list[Operation]:
    """What ``write`` wrote."""
    with open(path, encoding="utf-8") as file:
        return [Operation(**json.loads(line)) for line in file]
