"""G2, G7: senders and consumers are killed at random moments; what was promised is delivered (F1, F14)."""

from __future__ import annotations

import contextlib
import random
import time
from collections import Counter
from typing import Any

import pytest
from harness.processes import Worker
from harness.seeds import seeded, stress_seconds
from harness.story import errors_of, open_on
from harness.watched import QuickFs

KEYS = ["agent:main:main", "agent:main:nobody"]


class _Ledger:
    """What senders and consumers said before they were killed."""

    def __init__(self, path: str, rng: random.Random) -> None:
        self._path = path
        self._rng = rng
        self.posted: set[str] = set()
        self.got: dict[str, Counter[str]] = {key: Counter() for key in KEYS}
        self.acked: dict[str, set[str]] = {key: set() for key in KEYS}
        self._next = 0

    def round(self, seconds: float) -> None:
        """Start two senders and two consumers, and kill each after a random while."""
        self._next += 100_000
        with contextlib.ExitStack() as stack:
            workers = [
                stack.enter_context(
                    Worker(work, self._path, name=f"{work} {number}", keys=KEYS, seed=self._rng.random(),
                           journal_bytes=1 << 15, **{"from": self._next})
                )
                for work in ("poster", "consumer")
                for number in range(2)
            ]  # fmt: skip
            for worker in workers:
                assert worker.next() == {"ready": True}
            self._rng.shuffle(workers)
            for worker in workers:
                time.sleep(self._rng.uniform(0, seconds))
                self._note(worker.kill())

    def _note(self, said: list[dict[str, Any]]) -> None:
        for one in said:
            if "posted" in one:
                self.posted.add(one["posted"])
            elif "got" in one:
                self.got[one["key"]][one["got"]] += 1
            else:
                self.acked[one["key"]].update(one["acked"])

    def check(self) -> None:
        """Everything acknowledged by the store is delivered or waits; nothing acknowledged to it comes again."""
        assert not errors_of(self._path)
        with open_on(QuickFs(), self._path) as store:
            for key in KEYS:
                assert [one.taken_by for one in store.peek(key, taken=True) if one.taken_by is not None] == []
                waiting = [one.id for one in store.peek(key)]
                assert len(waiting) == len(set(waiting)), "an id twice"
                assert self.posted <= {*self.got[key], *waiting}, "lost"
                assert not self.acked[key] & {*waiting}, "delivered although acknowledged"

    def drain(self) -> None:
        """Take what is left, as a consumer that lives."""
        with open_on(QuickFs(), self._path) as store:
            for key in KEYS:
                with store.taking(key) as messages:
                    self.got[key].update(one.id for one in messages)
                    self.acked[key].update(one.id for one in messages)
        self.check()


def _kill(path: str, rounds: int, seconds: float, name: str) -> _Ledger:
    ledger = _Ledger(path, seeded(name))
    for _ in range(rounds):
        ledger.round(seconds)
        ledger.check()
    ledger.drain()
    assert len(ledger.posted) > rounds, "too little was posted to mean anything"
    for key in KEYS:
        assert ledger.posted <= set(ledger.got[key])
    return ledger


def test_senders_and_consumers_are_killed(store_path: str) -> None:
    """G2, G7: at least once, and after an acknowledgement never again."""
    _kill(store_path, 3, 0.3, "killed inbox")


@pytest.mark.stress
@pytest.mark.timeout(3600)
def test_senders_and_consumers_are_killed_for_long(store_path: str) -> None:
    """As above, for as long as asked."""
    deadline = time.monotonic() + stress_seconds(60)
    rounds = 0
    ledger = _Ledger(store_path, seeded("killed inbox for long"))
    while time.monotonic() < deadline:
        ledger.round(0.5)
        ledger.check()
        rounds += 1
    ledger.drain()
    again = sum(count - 1 for counts in ledger.got.values() for count in counts.values() if count > 1)
    print(f"\n{rounds} rounds, {len(ledger.posted)} messages posted, {again} delivered again")
    assert rounds
