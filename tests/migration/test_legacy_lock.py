"""The lock of the legacy program: payload, staleness, contest, theft."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.processes import environment
from support.seams import LeapingClock

from migration.stores import leftovers, put_legacy
from sessiondir import SessionStore, migration
from sessiondir.errors import LockTimeout, MigrationError
from sessiondir.fs import SYSTEM_FS
from sessiondir.legacylock import LegacyLock, alone, legacy_lock

NOW_S = 1_773_964_800.0


class Clock(LeapingClock):
    """Waiting takes no time, and the time of day goes on with it."""

    def now(self) -> float:  # type: ignore[override]
        return NOW_S + self.slept_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    """A descriptor of the test's directory."""
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


@pytest.fixture
def sleeper() -> Iterator[int]:
    """The process id of another live process."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process.pid
    process.kill()
    process.wait()


def start_time(pid: int) -> int:
    text = Path(f"/proc/{pid}/stat").read_text()
    return int(text[text.rindex(")") + 2 :].split()[19])


def iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + ".250Z"


def put_lock(tmp_path: Path, payload: Any, age_s: float = 0) -> Path:
    """A lock file with ``payload``, whose own modification time is ``age_s`` before now."""
    path = tmp_path / "sessions.json.lock"
    path.write_text(payload if isinstance(payload, str) else json.dumps(payload))
    os.utime(path, (NOW_S - age_s, NOW_S - age_s))
    return path


def try_lock(clock: Clock, folder: int, tmp_path: Path, timeout_s: float = 0.0) -> None:
    with legacy_lock(SYSTEM_FS, clock, folder, str(tmp_path / "sessions.json.lock"), timeout_s):
        pass


def test_payload(tmp_path: Path, folder: int, clock: Clock) -> None:
    """While held, the lock says who holds it since when, in the legacy program's form; then it is gone."""
    path = tmp_path / "sessions.json.lock"
    with legacy_lock(SYSTEM_FS, clock, folder, str(path), 0):
        text = path.read_text()
    assert text == (
        f'{{\n  "pid": {os.getpid()},\n  "createdAt": "2026-03-20T00:00:00.000Z",\n'
        f'  "starttime": {start_time(os.getpid())}\n}}'
    )
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("case", ["dead", "recycled", "too old", "left by us", "empty and old", "no pid and old"])
def test_stale_locks_are_reclaimed_at_once(
    tmp_path: Path, folder: int, clock: Clock, sleeper: int, case: str
) -> None:
    """A lock of a dead, recycled or overlong holder, or of nobody for 30 s, stops nobody."""
    fresh = iso(NOW_S)
    payload, age_s = {
        "dead": ({"pid": 2**22 + 12345, "createdAt": fresh}, 0),
        "recycled": ({"pid": sleeper, "createdAt": fresh, "starttime": start_time(sleeper) - 1}, 0),
        "too old": ({"pid": sleeper, "createdAt": iso(NOW_S - 31), "starttime": start_time(sleeper)}, 0),
        "left by us": ({"pid": os.getpid(), "createdAt": fresh, "starttime": start_time(os.getpid())}, 0),
        "empty and old": ("", 31),
        "no pid and old": ({"createdAt": fresh}, 31),
    }[case]
    put_lock(tmp_path, payload, age_s)
    try_lock(clock, folder, tmp_path)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("case", ["live", "from the future", "no start time", "empty", "no date"])
def test_live_locks_are_respected(tmp_path: Path, folder: int, clock: Clock, sleeper: int, case: str) -> None:
    """The lock of a live holder, or one that may just be written, is waited for and left as it is."""
    payload = {
        "live": {"pid": sleeper, "createdAt": iso(NOW_S - 25), "starttime": start_time(sleeper), "maxHoldMs": 1},
        "from the future": {"pid": sleeper, "createdAt": iso(NOW_S + 900)},
        "no start time": {"pid": sleeper, "createdAt": iso(NOW_S)},
        "empty": "",
        "no date": {"pid": sleeper, "createdAt": "yesterday"},
    }[case]
    path = put_lock(tmp_path, payload)
    before = path.read_bytes()
    with pytest.raises(LockTimeout) as caught:
        try_lock(clock, folder, tmp_path, timeout_s=3.0)
    assert path.read_bytes() == before
    assert clock.slept_s > 2.999  # many small pauses add up to a little less
    assert caught.value.holder_pid == (None if case == "empty" else sleeper)


def test_a_first_change_waits_as_long_as_its_handle_says(tmp_path: Path, clock: Clock, sleeper: int) -> None:
    """Then the error names the holder; the file and the lock stay."""
    path = put_legacy(tmp_path)
    put_lock(tmp_path, {"pid": sleeper, "createdAt": iso(NOW_S)})
    before = {item.name: item.read_bytes() for item in tmp_path.iterdir()}
    with SessionStore.open(path, lock_timeout=15.0, clock=clock) as store, pytest.raises(LockTimeout) as caught:
        store.put("42", {"n": 1})
    assert 14.999 < clock.slept_s < 16.0
    assert caught.value.holder_pid == sleeper
    assert {item.name: item.read_bytes() for item in tmp_path.iterdir()} == before


def test_a_live_holder_is_robbed_after_30_s(tmp_path: Path, folder: int, clock: Clock, sleeper: int) -> None:
    """Waiting long enough makes any lock too old, as the protocol says."""
    put_lock(tmp_path, {"pid": sleeper, "createdAt": iso(NOW_S)})
    try_lock(clock, folder, tmp_path, timeout_s=60)
    assert 30 <= clock.slept_s < 32


def test_a_fresh_lock_in_place_of_the_stale_one_is_put_back(tmp_path: Path, folder: int, clock: Clock) -> None:
    """Reclaiming removes the very lock that was found stale, not one that another contender just made."""
    path = put_lock(tmp_path, {"pid": 2**22 + 12345, "createdAt": iso(NOW_S)})
    lock = LegacyLock(SYSTEM_FS, clock, folder, str(path))
    holder = lock._look()
    assert holder is not None
    kept = path.rename(tmp_path / "kept")  # still in use, so that its inode number stays taken
    put_lock(tmp_path, {"pid": os.getpid(), "createdAt": iso(NOW_S)})
    fresh = path.read_bytes()
    lock._reclaim(holder)
    assert path.read_bytes() == fresh
    kept.unlink()
    path.unlink()
    assert leftovers(tmp_path) == []


def test_theft_is_noticed_and_the_thief_is_left_alone(tmp_path: Path, folder: int, clock: Clock) -> None:
    """A holder that was robbed may not go on, and does not remove the lock of the thief."""
    path = tmp_path / "sessions.json.lock"
    with legacy_lock(SYSTEM_FS, clock, folder, str(path), 0) as lock:
        lock.require_ours()
        path.unlink()
        path.write_text("thief")
        with pytest.raises(MigrationError, match="took the legacy lock away"):
            lock.require_ours()
    assert path.read_text() == "thief"


def test_a_long_hold_is_given_up(tmp_path: Path, folder: int, clock: Clock) -> None:
    """A hold so long that others may soon take the lock away is not relied on."""
    with legacy_lock(SYSTEM_FS, clock, folder, str(tmp_path / "sessions.json.lock"), 0) as lock:
        clock.sleep(21)
        with pytest.raises(MigrationError, match="held for"):
            lock.require_ours()


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_something_else_in_its_place(tmp_path: Path, folder: int, clock: Clock, make: Any) -> None:
    """What is no lock file is reported, not waited for and not removed."""
    make(tmp_path / "sessions.json.lock")
    with pytest.raises(MigrationError, match="not a regular file"):
        try_lock(clock, folder, tmp_path)


def test_migrating_waits_for_a_running_legacy_program(tmp_path: Path) -> None:
    """A writer that holds the lock in another process finishes first, and what it wrote is migrated."""
    path = put_legacy(tmp_path)
    code = (
        "import json, os, sys, time\n"
        "path = sys.argv[1]\n"
        "fd = os.open(path + '.lock', os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)\n"
        "now = time.strftime('%Y-%m-%dT%H:%M:%S.000Z', time.gmtime())\n"
        "os.write(fd, json.dumps({'pid': os.getpid(), 'createdAt': now}).encode())\n"
        "print('held', flush=True)\n"
        "time.sleep(0.6)\n"
        "open(path + '.new', 'w').write(json.dumps({'late': {'sessionId': 'x'}}))\n"
        "os.rename(path + '.new', path)\n"
        "os.unlink(path + '.lock')\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "held\n"
        busy = migration.migrate(path, lock_timeout=0)
        assert (busy.outcome, type(busy.error)) == ("failed", LockTimeout)
        assert f"process {writer.pid}" in busy.warnings[0]
        assert migration.migrate(path).outcome == "migrated"
    names = [item.name for item in (tmp_path / "sessions.d" / "entries").iterdir()]
    assert names == ["session-bGF0ZQ.json"]


def test_the_directory_lock_keeps_us_apart(tmp_path: Path, folder: int, clock: Clock) -> None:
    """Two of our own do not even contend for the legacy lock."""
    other = os.open(tmp_path, os.O_RDONLY)
    try:
        with (
            alone(SYSTEM_FS, clock, folder, str(tmp_path), 0),
            pytest.raises(LockTimeout),
            alone(SYSTEM_FS, clock, other, str(tmp_path), 0.2),
        ):
            pytest.fail("both are in")
    finally:
        os.close(other)
