"""A program that uses a store in every way, whatever is done to the store's files meanwhile."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from sessiondir import SessionStore, StoreError
from sessiondir import maintenance as m
from sessiondir.fs import FileSystem

_NOW_MS = int(time.time() * 1000)
QUIET = {f"session {number}": {"text": "text", "updatedAt": _NOW_MS - number} for number in range(6)}


def make(path: str, fs: FileSystem) -> None:
    """A store with something in all its parts: entries, waiting, trash, quarantine, journal."""
    with SessionStore.open(path, fs=fs, durability="process") as store:
        store.replace(
            QUIET
            | {f"old {number}": {"text": "text", "updatedAt": _NOW_MS - 40 * 86_400_000} for number in range(2)}
        )
        store.post("waiting", {"text": "text"})
        m.apply(store, m.plan(store, _policy()))
        store.put("damaged", {"text": "text"})
        store.flush()


def _policy() -> m.Policy:
    return m.Policy.from_config({"mode": "enforce", "maxEntries": len(QUIET), "grace": "0m"})


class Victim:
    """One run: every step on its own, so that one that fails does not spare the others.

    ``seen`` is all that was read, as text; ``errors`` are the kinds of ``StoreError`` that steps
    ended in. Any other exception is raised.
    """

    def __init__(self) -> None:
        self.seen = ""
        self.errors: set[str] = set()

    def run(self, path: str, fs: FileSystem) -> None:
        """Open, use in every way, close."""
        store: SessionStore | None = None
        try:
            store = SessionStore.open(path, fs=fs, durability="process", lock_timeout=2.0)
            for step in _STEPS:
                self._step(step, store)
        except StoreError as exc:
            self.errors.add(type(exc).__name__)
        finally:
            if store is not None:
                self._step(lambda store: store.close(), store)

    def _step(self, step: Callable[[SessionStore], Any], store: SessionStore) -> None:
        try:
            self.seen += json.dumps(step(store), default=str)
        except StoreError as exc:
            self.errors.add(type(exc).__name__)


def _transaction(store: SessionStore) -> Any:
    with store.transaction("session 3", "session 4") as txn:
        txn["session 3"] = {"text": "both"}
        txn["session 4"] = {"text": "both"}
    return txn.version


_STEPS: list[Callable[[SessionStore], Any]] = [
    lambda store: store.get("session 0"),
    lambda store: dict(store.snapshot()),
    lambda store: store.put("session 1", {"text": "put"}),
    lambda store: store.patch("session 2", {"more": "patch"}),
    _transaction,
    lambda store: store.delete("session 5"),
    lambda store: store.post("waiting", "another"),
    lambda store: [one.body for one in store.take("waiting")],
    lambda store: store.flush(),
    lambda store: [one.key for one in store.list().items],
    lambda store: str(m.apply(store, m.plan(store, _policy()))),
    lambda store: [str(item) for item in m.list_trash(store).items],
    lambda store: store.put("damaged", {"text": "new"}),
    lambda store: store.update("new", lambda entry: {"text": "new"}, create=True),
    lambda store: store.flush(),
    lambda store: [str(one) for one in store.check()],
    lambda store: dict(store.snapshot()),
]
