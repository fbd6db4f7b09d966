"""G1, G2, G7: writers are killed at random moments (F1, F14)."""

from __future__ import annotations

import contextlib
import os
import random
import time

import pytest
from harness.files import session_files
from harness.processes import Worker
from harness.seeds import seeded, stress_seconds
from harness.story import contents, errors_of, open_on
from harness.watched import QuickFs

_QUIET = {f"quiet {number}": {"n": number, "text": "not touched"} for number in range(20)}


class _Ledger:
    """What every worker was told to have committed, kept where no kill reaches it."""

    def __init__(self, path: str, rng: random.Random) -> None:
        self._path = path
        self._rng = rng
        self.last: dict[str, int] = {}
        self.kills = 0
        with open_on(QuickFs(), path) as store:
            for key, entry in _QUIET.items():
                store.put(key, entry)
        self._quiet = session_files(path)

    def kill_some(self, workers: int, seconds: float, durability: str) -> None:
        """Start workers, kill each of them after a random while, note what they acknowledged."""
        with contextlib.ExitStack() as stack:
            started = {
                name: stack.enter_context(
                    Worker("acknowledged", self._path, name=name, seed=self._rng.random(), durability=durability,
                           journal_bytes=1 << 15, **{"from": self.last.get(name, 0)})
                )
                for name in (f"w{number}" for number in range(workers))
            }  # fmt: skip
            for name, worker in started.items():
                ready = worker.next()["ready"]
                self._note(name, [{"n": ready}])
            time.sleep(self._rng.uniform(0.0, seconds))
            for name, worker in started.items():
                self._note(name, worker.kill())
                self.kills += 1

    def _note(self, name: str, said: list[dict[str, int]]) -> None:
        for one in said:
            self.last[name] = max(self.last.get(name, 0), one["n"])

    def check(self) -> None:
        """Everything acknowledged is there, nothing is half there, and no hand is needed."""
        assert not errors_of(self._path)
        with open_on(QuickFs(), self._path, lock_timeout=0) as store:
            found = contents(store)
            for name, last in self.last.items():
                self._check_worker(name, last, found)
            assert {key: entry for key, entry in found.items() if key.startswith("quiet")} == _QUIET
            store.put("parent", {"n": self.kills})
        after = session_files(self._path)
        assert {name: after.get(name) for name in self._quiet} == self._quiet

    def _check_worker(self, name: str, last: int, found: dict[str, dict[str, object]]) -> None:
        entry = found.get(f"{name} last")
        assert entry is not None or last == 0, f"{name}: commit {last} is gone"
        if entry is None:
            return
        # The commit that was under way when the worker was killed may have happened.
        assert entry["n"] in (last, last + 1), f"{name}: acknowledged {last}, found {entry['n']}"
        twin = found.get(f"{name} twin")
        if twin is not None:
            assert twin["n"] == entry["n"], f"{name}: half a commit"
            assert str(twin["filler"]) == str(entry["filler"])[::-1]
        else:
            assert isinstance(entry["n"], int)
            assert entry["n"] % 10 == 0, f"{name}: the second half of commit {entry['n']} is gone"


def _run(path: str, seconds: float, workers: int, durability: str) -> int:
    ledger = _Ledger(path, seeded("kills"))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        ledger.kill_some(workers, 0.3, durability)
        ledger.check()
    print(f"{ledger.kills} writers killed, {sum(ledger.last.values()):,} commits acknowledged")
    assert max(ledger.last.values()) > 0, "nothing was committed"
    return ledger.kills


@pytest.mark.parametrize("durability", ["power", "process"])
def test_killed_writers_lose_nothing(store_path: str, durability: str) -> None:
    """G2: after each kill every acknowledged commit is there, transactions are whole, other sessions untouched."""
    assert _run(store_path, 3.0, 3, durability) >= 3
    assert not [name for name in os.listdir(store_path) if name.endswith(".lock")]


@pytest.mark.stress
@pytest.mark.timeout(7200)
def test_killed_writers_for_long(store_path: str) -> None:
    """G2: as above, until SESSIONDIR_STRESS_SECONDS have passed."""
    assert _run(store_path, stress_seconds(60), 4, "process") >= 4


def test_a_survivor_goes_on_while_others_are_killed(store_path: str) -> None:
    """G7: a process that stays sees every acknowledged commit of those that were killed, without reopening."""
    ledger = _Ledger(store_path, seeded("survivor"))
    with open_on(QuickFs(), store_path) as store:
        for number in range(5):
            ledger.kill_some(2, 0.1, "process")
            found = contents(store)
            for name, last in ledger.last.items():
                ledger._check_worker(name, last, found)
            store.put("survivor", {"n": number})
            assert store.get("survivor") == {"n": number}
    ledger.check()
