"""A contest for the legacy lock with a program that takes it away from a live holder after 30 s."""

from __future__ import annotations

import errno
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from harness.watched import QuickFs

from migration import legacy_program
from migration.stores import SMALL_SESSIONS, leftovers, names, put_legacy, sessions
from sessiondir import migration
from sessiondir.errors import MigrationError

PROGRAM = Path(legacy_program.__file__)


class PausingFs(QuickFs):
    """Calls ``act`` once, before the ``nth`` call that is made while the legacy lock stands."""

    def __init__(self, folder: Path, nth: int, act: Callable[[], None]) -> None:
        super().__init__()
        self.reached = 0
        self._lock = folder / "sessions.json.lock"
        self._nth = nth
        self._act = act

    def call(self, name: str, real: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._lock.exists():
            self.reached += 1
            if self.reached == self._nth:
                self._act()
        return super().call(name, real, args, kwargs)


@contextmanager
def legacy_process(path: Path, *args: str) -> Iterator[Callable[[], str]]:
    """The legacy program in a process of its own; the value makes it go on and tells how it got the lock."""
    command = [sys.executable, str(PROGRAM), str(path), *args]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def finish() -> str:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            return process.stdout.readline().strip()

        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield finish


def steal(path: Path) -> None:
    """Another process whose clock is 31 s ahead robs us, writes, and lets go of whatever lock there is."""
    with legacy_process(path, "thief", "99", "31") as finish:
        assert finish() == "stale"


def fresh(folder: Path) -> Path:
    return put_legacy(folder)


def directory(folder: Path) -> Path:
    path = put_legacy(folder)
    migration.migrate(path, fs=QuickFs())
    return path


WITH_THIEF = SMALL_SESSIONS | {"thief": {"sessionId": "thief", "updatedAt": 99}}


def test_robbed_before_the_moment_of_change(tmp_path: Path) -> None:
    """The migration notices, stops, and leaves the file with what the thief wrote; the next run has it all."""
    path = fresh(tmp_path)
    result = migration.migrate(path, fs=PausingFs(tmp_path, 2, lambda: steal(path)))
    assert (result.outcome, type(result.error)) == ("failed", MigrationError)
    assert "took the legacy lock away" in result.warnings[0]
    assert not (tmp_path / "sessions.d").exists()
    assert migration.migrate(path).outcome == "migrated"
    assert sessions(path) == WITH_THIEF
    assert leftovers(tmp_path) == []


def test_robbed_at_every_call(tmp_path: Path) -> None:
    """Wherever in the locked part of a migration the thief writes, nothing that anybody wrote is lost."""
    number = 0
    while True:
        number += 1
        folder = tmp_path / f"{number}"
        folder.mkdir()
        path = fresh(folder)
        newer = int(time.time() * 1000) + 60_000

        def thief(path: Path = path, newer: int = newer) -> None:
            legacy_program.take(f"{path}.lock", 31)
            legacy_program.save(str(path), "thief", newer)
            Path(f"{path}.lock").unlink(missing_ok=True)

        fs = PausingFs(folder, number, thief)
        result = migration.migrate(path, fs=fs)
        here = f"robbed at call {number} under the lock"
        if fs.reached < number:
            break
        assert result.outcome in ("migrated", "already_directory", "failed"), (here, result)
        assert "setting the store up" not in str(result.warnings), here  # by ourselves, that is
        again = migration.migrate(path, fs=QuickFs())
        assert again.outcome in ("migrated", "already_directory"), (here, again)
        found = sessions(path)
        assert found.pop("thief") == {"sessionId": "thief", "updatedAt": newer}, here
        assert found == SMALL_SESSIONS, here
        assert not path.exists(), here
        assert [name for name in leftovers(folder) if not name.endswith(".lock")] == [], here
    assert number > 8


def test_rollback_robbed_at_every_call(tmp_path: Path) -> None:
    """Going back, robbed: the store is whole, and the thief's file is neither overwritten nor taken for ours."""
    number = 0
    while True:
        number += 1
        folder = tmp_path / f"{number}"
        folder.mkdir()
        path = directory(folder)
        fs = PausingFs(folder, number, lambda path=path: legacy_write(path))  # type: ignore[misc]
        try:
            migration.rollback(path, fs=fs)
        except MigrationError:
            pass
        here = f"robbed at call {number} under the lock"
        if fs.reached < number:
            break
        if (folder / "sessions.d").exists():
            assert sessions(path) == SMALL_SESSIONS, here
            migration.rollback(path, overwrite=True, fs=QuickFs())
            assert sessions(path) == SMALL_SESSIONS, here
        else:
            found = sessions(path)
            assert {key: found[key] for key in SMALL_SESSIONS} == SMALL_SESSIONS, here
        assert len(names(folder, "sessions.d.bak.")) == 1, here
    assert number > 8


def legacy_write(path: Path) -> None:
    legacy_program.take(f"{path}.lock", 31)
    legacy_program.save(str(path), "thief", 99)
    Path(f"{path}.lock").unlink(missing_ok=True)


def test_a_live_legacy_process_is_waited_for(tmp_path: Path) -> None:
    """While it has the lock nothing changes hands; what it wrote meanwhile is migrated."""
    path = fresh(tmp_path)
    with legacy_process(path, "late", "7") as finish:
        busy = migration.migrate(path, lock_timeout=0.2)
        assert busy.outcome == "failed"
        assert "is held by process" in busy.warnings[0]
        assert finish() == "free"
    assert migration.migrate(path).outcome == "migrated"
    assert sessions(path)["late"] == {"sessionId": "late", "updatedAt": 7}


def test_our_lock_is_respected_by_the_legacy_process(tmp_path: Path) -> None:
    """A fresh lock of ours makes it wait until it gives up."""
    path = fresh(tmp_path)
    told: list[str] = []

    def contend() -> None:
        with legacy_process(path, "thief", "99", "0", "0.3") as finish:
            told.append(finish())

    assert migration.migrate(path, fs=PausingFs(tmp_path, 2, contend)).outcome == "migrated"
    assert told == ["busy"]
    assert sessions(path) == SMALL_SESSIONS


@pytest.mark.stress
@pytest.mark.timeout(180)
def test_robbed_in_real_time(tmp_path: Path) -> None:
    """The same with real clocks: held for 31 s, robbed, noticed, nothing lost."""
    path = fresh(tmp_path)

    def stalled() -> None:
        with legacy_process(path, "thief", "99", "0", "40") as finish:
            assert finish() == "stale"

    started = time.monotonic()
    result = migration.migrate(path, fs=PausingFs(tmp_path, 2, stalled))
    assert time.monotonic() - started > 29
    assert result.outcome == "failed"
    assert migration.migrate(path).outcome == "migrated"
    assert sessions(path) == WITH_THIEF


@pytest.mark.parametrize("has_links", [True, False], ids=["links", "no links"])
def test_a_save_that_takes_no_notice_of_the_lock(tmp_path: Path, has_links: bool) -> None:
    """A file that is saved in the moment in which the one before is moved away is put back and taken in."""
    path = put_legacy(tmp_path)

    class Careless(QuickFs):
        saved = False

        def call(self, name: str, real: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if name == "link" and not has_links:
                raise PermissionError(errno.EPERM, "no hard links")
            if name == "rename" and args[0] == "sessions.json" and not self.saved:
                self.saved = True
                put_legacy(tmp_path, SMALL_SESSIONS | {"thief": {"sessionId": "thief", "updatedAt": 10**13}})
            return super().call(name, real, args, kwargs)

    fs = Careless()
    result = migration.migrate(path, fs=fs)
    assert fs.saved
    assert (result.outcome, result.late) == ("migrated", True)
    assert sessions(path) == SMALL_SESSIONS | {"thief": {"sessionId": "thief", "updatedAt": 10**13}}
    assert leftovers(tmp_path) == []
