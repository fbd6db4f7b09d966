"""G3, G6, G7: stopped processes, exec after fork, process numbers that come again, two paths (F14, F16, F17)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from harness.processes import PATIENCE_S, Worker
from harness.story import errors_of

from programs.mounts import mounted
from sessiondir import LockTimeout, SessionStore


def _stopped(path: str, seconds: float) -> int:
    """Work on while the holder of a session is stopped for so long; how many commits there were."""
    with SessionStore.open(path, durability="process") as store:
        store.put("free", {"n": 0})  # where there is no store yet, nothing can be held in it
        commits = _beside_the_stopped(store, path, seconds)
        assert store["held"] == {"held": True}
    assert not errors_of(path)
    return commits


def _beside_the_stopped(store: SessionStore, path: str, seconds: float) -> int:
    with Worker("hold", path, key="held") as worker:
        assert worker.next() == {"holding": True}
        os.kill(worker.pid, signal.SIGSTOP)
        end, commits = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            store.put(f"free {commits % 50}", {"n": commits})
            commits += 1
        with pytest.raises(LockTimeout) as caught:
            store.update("held", lambda entry: entry, create=True, timeout=0.05)
        assert caught.value.holder_pid == worker.pid
        os.kill(worker.pid, signal.SIGCONT)
        worker.go()
        assert worker.finish()[-1] == {"done": True}
    return commits


def test_g7_a_holder_stopped_for_three_seconds(store_path: str) -> None:
    """G4, G7: the others go on all the while, its session is told to be held by it, and it finishes its commit."""
    assert _stopped(store_path, 3.0) > 100


@pytest.mark.stress
@pytest.mark.timeout(600)
def test_a_holder_stopped_for_a_minute(store_path: str) -> None:
    """As above for a minute, which is longer than the legacy program respects a lock."""
    print(f"{_stopped(store_path, 60.0):,} commits beside a process that was stopped for a minute")


_LOOK = """
import os, sys
paths = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
names = [os.readlink(path) for path in paths if os.path.lexists(path)]
print([name for name in names if name.startswith(sys.argv[1])])
sys.stdin.read()
"""


def test_g7_a_program_started_by_exec_inherits_no_lock(store_path: str) -> None:
    """A child that execs another program, with all descriptors left open, holds nothing of the store."""
    with SessionStore.open(store_path, durability="process") as store:
        store.put("a", {"n": 0})

        def start(entry: dict[str, int]) -> dict[str, int]:
            command = [sys.executable, "-c", _LOOK, store_path]
            child = subprocess.Popen(command, close_fds=False, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            children.append(child)
            return entry | {"n": 1}

        children: list[subprocess.Popen[bytes]] = []
        store.update("a", start)
        (child,) = children
        assert child.stdout is not None
        assert child.stdout.readline() == b"[]\n"
        assert store.update("a", lambda entry: entry | {"n": 2}, timeout=0) == {"n": 2}
        store.close()
        with SessionStore.open(store_path, durability="process", lock_timeout=0) as again:
            again.put("a", {"n": 3})
        child.communicate(timeout=PATIENCE_S)


def test_g7_a_process_number_that_comes_again_is_somebody_else(store_path: str) -> None:
    """A lease of a process that died is free although another process has its number by now."""
    child = os.fork()
    if child == 0:
        try:
            store = SessionStore.open(store_path, durability="process")
            store.lease("a", owner="dead", ttl=3600)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    heir = _with_number(child)
    try:
        with SessionStore.open(store_path, durability="process") as store:
            assert os.path.exists(f"/proc/{child}")
            lease = store.lease("a", owner="next", ttl=5)
            lease.release()
            store.update("a", lambda entry: {"n": 1}, create=True, timeout=0)
    finally:
        os.kill(heir, signal.SIGKILL)
        os.waitpid(heir, 0)
    assert not errors_of(store_path)


def _with_number(wanted: int) -> int:
    """A process that sleeps and has this number."""
    for _ in range(200):
        try:
            Path("/proc/sys/kernel/ns_last_pid").write_text(str(wanted - 1), encoding="ascii")
        except OSError as exc:
            pytest.skip(f"this machine does not let us choose process numbers: {exc}")
        pid = os.fork()
        if pid == 0:
            time.sleep(PATIENCE_S)
            os._exit(0)
        if pid == wanted:
            return pid
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    pytest.skip("process numbers are taken too fast here to get one again")


def _count_both(one: str, two: str) -> None:
    """Two handles of this process and a worker on either path count to exactly what they did."""
    each = 100
    with (
        SessionStore.open(one, durability="process") as first,
        SessionStore.open(two, durability="process") as second,
    ):
        with (
            Worker("increments", one, key="n", count=each) as left,
            Worker("increments", two, key="n", count=each) as right,
        ):
            for _ in range(each):
                first.update("n", lambda entry: {"n": entry.get("n", 0) + 1}, create=True)
                second.update("n", lambda entry: {"n": entry.get("n", 0) + 1}, create=True)
            left.finish()
            right.finish()
        assert first["n"] == second["n"] == {"n": 4 * each}
        assert first.version == second.version


def test_g3_two_paths_through_a_linked_parent(tmp_path: Path) -> None:
    """A parent directory reached through a symbolic link leads to the same store, and the same queue."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    _count_both(str(tmp_path / "real" / "sessions.d"), str(tmp_path / "link" / "sessions.json"))


def test_g3_two_paths_through_a_bind_mount(tmp_path: Path) -> None:
    """The same directory mounted a second time is the same store."""
    (tmp_path / "real").mkdir()
    with mounted(tmp_path / "bound", "--bind", str(tmp_path / "real")) as bound:
        _count_both(str(tmp_path / "real" / "sessions.d"), str(bound / "sessions.d"))
