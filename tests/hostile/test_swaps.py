"""G10: parts of a store are swapped between check and use (F9, F10, F15).

Links, hard links, FIFOs, devices and directories take their place: once before the n-th system
call of a program that uses the store in every way, and once by a racing process. Nothing outside
is read into the store or written, nothing blocks, and every step ends well or in a ``StoreError``.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.seeds import seeded, stress_seconds
from harness.watched import QuickFs, drop_cores
from support.files import copy_store, session_path

from hostile.lures import LURES, TARGETS, find, twin
from hostile.outside import SECRET, Outside
from hostile.victim import Victim, make

pytestmark = [
    pytest.mark.expect_findings("."),
    pytest.mark.any_modes("what was swapped in is part of what is left"),
]
TESTS = Path(__file__).parent.parent


class SwappingFs(QuickFs):
    """Swaps a part of the store for a lure before the n-th call, and back ``length`` calls later."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self._plan: tuple[int, int, Callable[[], None], Callable[[], None]] | None = None

    def arm(self, nth: int, length: int, swap: Callable[[], None], back: Callable[[], None]) -> None:
        """Count from now on, and act before call ``nth``."""
        self.count = 0
        self._plan = (nth, length, swap, back)

    def call(self, name: str, real: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.count += 1
        if self._plan is not None:
            nth, length, swap, back = self._plan
            if self.count == nth:
                swap()
            elif self.count == nth + length:
                back()
        return super().call(name, real, args, kwargs)


class Stage:
    """A prepared store, a store outside, and runs of the victim between them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._prepared = folder / "prepared.d"
        make(str(self._prepared), QuickFs())
        (self._prepared / "entries" / "session-ZGFtYWdlZA.json").write_bytes(b"damaged")
        self.outside = Outside(folder, self._prepared)
        self._numbers = itertools.count()
        self.calls = self._count_calls()

    def _count_calls(self) -> int:
        fs = SwappingFs()
        victim = Victim()
        victim.run(str(self.fresh()), fs)
        assert victim.errors == set(), "undisturbed, every step succeeds"
        assert '"both"' in victim.seen
        return fs.count

    def fresh(self) -> Path:
        """A store to be attacked."""
        return Path(copy_store(self._prepared, self._folder / f"run {next(self._numbers)}" / "sessions.d"))

    def swap_once(self, target: str, kind: str, nth: int, length: int) -> set[str]:
        """One run with one swap; the errors that its steps ended in."""
        store = self.fresh()
        aside = store.parent / "aside"
        state: dict[str, Path] = {}

        def swap() -> None:
            path = find(store, target)
            if path is not None:
                other = twin(self.outside.store, store, path)
                os.rename(path, aside)
                LURES[kind](path, other)
                state["path"] = path

        def back() -> None:
            path = state.pop("path", None)
            if path is not None:
                with contextlib.suppress(FileNotFoundError):
                    os.rename(path, store.parent / "lure")
                os.rename(aside, path)

        fs, victim = SwappingFs(), Victim()
        fs.arm(nth, length, swap, back)
        try:
            victim.run(str(store), fs)
        finally:
            drop_cores(fs)
            back()
        self.judge(victim, kind, f"{target} swapped for a {kind} at call {nth} for {length}")
        again = Victim()
        again.run(str(store), QuickFs())
        self.judge(again, kind, f"after {target} was swapped for a {kind} at call {nth}")
        return victim.errors

    def judge(self, victim: Victim, kind: str, what: str) -> None:
        """Nothing outside was touched, and nothing of it was read."""
        if kind == "hard link":
            # The file is then as much the store's as the other's; it may be read, and is never written.
            assert not self.outside.written(), what
            self.outside.begin()
            return
        assert not self.outside.touched(), what
        assert SECRET not in victim.seen, what


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    yield Stage(tmp_path)


def test_the_watch_on_what_lies_outside_notices_a_touch(stage: Stage) -> None:
    """The tests can fail: a file read, a file written, a name added are each noticed, where the mount tells."""
    session = session_path(stage.outside.store, "session 0")
    assert stage.outside.touched() == []
    assert stage.outside.tells_of_reading, "this mount keeps no access times: reading would go unseen"
    session.read_bytes()
    assert stage.outside.touched() == [str(session)]
    (stage.outside.store / "entries" / "added").touch()
    assert "names" in stage.outside.touched()


@pytest.mark.parametrize("kind", LURES)
def test_g10_swaps_before_a_call(stage: Stage, kind: str) -> None:
    """Every part of the store, swapped before calls all over the program, for a few calls or for good."""
    rng = seeded(f"swaps {kind}")
    errors: set[str] = set()
    for target in TARGETS:
        # Early and for good once, so that something is disturbed for certain; then anywhere.
        errors |= stage.swap_once(target, kind, rng.randint(1, 40), 1 << 30)
        errors |= stage.swap_once(target, kind, rng.randint(1, stage.calls), rng.choice([1, 2, 5, 1 << 30]))
    assert errors, "no swap disturbed anything"


@pytest.mark.stress
@pytest.mark.timeout(7200)
def test_swaps_before_a_call_for_long(stage: Stage) -> None:
    """As above, until SESSIONDIR_STRESS_SECONDS have passed."""
    rng = seeded("swaps for long")
    end, count = time.monotonic() + stress_seconds(60), 0
    errors: set[str] = set()
    while time.monotonic() < end:
        kind, target = rng.choice(list(LURES)), rng.choice(TARGETS)
        errors |= stage.swap_once(target, kind, rng.randint(1, stage.calls), rng.choice([1, 2, 5, 1 << 30]))
        count += 1
    print(f"{count:,} swaps at one of {stage.calls} calls; steps ended in {sorted(errors)}")
    assert count > 0


def _race(
    stage: Stage, target: str, kind: str, rounds: int, seed: float, seconds: float
) -> tuple[int, int, set[str]]:
    """Run the victim again and again while the attacker swaps; swaps, runs, errors."""
    store = stage.fresh()
    command = [sys.executable, "-m", "hostile.attacker", str(store), str(stage.outside.store), target, kind]
    paths = os.pathsep.join([str(TESTS), *(path for path in sys.path if path)])
    attacker = subprocess.Popen(
        [*command, str(rounds), str(seed), str(seconds)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": paths},
    )
    runs = 0
    errors: set[str] = set()
    try:
        while attacker.poll() is None or not runs:
            victim, fs = Victim(), QuickFs()
            try:
                victim.run(str(store), fs)
            finally:
                drop_cores(fs)
            errors |= victim.errors
            assert SECRET not in victim.seen or kind == "hard link", f"{target} swapped for a {kind}"
            runs += 1
        assert attacker.stdout is not None
        done = int(attacker.stdout.read())
    finally:
        attacker.kill()
        attacker.wait()
        if attacker.stdout is not None:
            attacker.stdout.close()
    assert attacker.returncode == 0
    stage.judge(victim, kind, f"{target} swapped for a {kind} {done} times")
    return done, runs, errors


@pytest.mark.parametrize("target", ["entries", "session", "temporary", "lock", "journal"])
def test_g10_a_racing_process(stage: Stage, target: str) -> None:
    """A process that swaps a part for a link to its twin outside, and back, a fixed number of times."""
    done, runs, _ = _race(stage, target, "link", 100, seeded(f"race {target}").random(), 2.0)
    assert runs > 0
    # A temporary file is there for so short a time that a race may miss them all; swaps before a call do not.
    assert done > 0 or target == "temporary"


@pytest.mark.stress
@pytest.mark.timeout(7200)
def test_races_for_long(stage: Stage) -> None:
    """Every part and every lure, 500 rounds each, until SESSIONDIR_STRESS_SECONDS have passed."""
    rng = seeded("races for long")
    end, swaps, runs, races = time.monotonic() + stress_seconds(60), 0, 0, 0
    while time.monotonic() < end:
        done, count, _ = _race(stage, rng.choice(TARGETS), rng.choice(list(LURES)), 500, rng.random(), 10.0)
        swaps, runs, races = swaps + done, runs + count, races + 1
    print(f"{races} races, {swaps:,} swaps, {runs:,} runs of the victim")
    assert swaps > 0
