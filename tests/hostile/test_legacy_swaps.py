"""G10, G11: the legacy file is swapped while it is migrated or written again (F9, F24)."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.seeds import seeded
from harness.watched import QuickFs
from migration.stores import SMALL_SESSIONS, put_legacy, sessions

from hostile.lures import LURES
from hostile.outside import SECRET
from hostile.test_swaps import TESTS, SwappingFs
from sessiondir import StoreError, migration
from sessiondir.fs import FileSystem

pytestmark = [
    pytest.mark.expect_findings("."),
    pytest.mark.any_modes("what was swapped in is part of what is left"),
]
_LONG_AGO_NS = 1_000_000_000 * 10**9


class Elsewhere:
    """A legacy file that somebody would like to see read or written."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.path = folder / "sessions.json"
        self.path.write_bytes(json.dumps({"agent:main:main": {"sessionId": SECRET, "updatedAt": 10**12}}).encode())
        self.path.chmod(0o600)
        self._data = self.path.read_bytes()
        self.begin()

    def begin(self) -> None:
        """Watch from now on."""
        os.utime(self.path, ns=(_LONG_AGO_NS, self.path.stat().st_mtime_ns))
        self._before = self._facts()

    def _facts(self) -> tuple[object, ...]:
        status = self.path.lstat()
        names = os.listdir(self.path.parent)
        return status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, names, status.st_atime_ns

    def judge(self, folder: Path, kind: str, what: str) -> None:
        """It was not written; nor read, unless it was made one of the store's own by a hard link."""
        now = self._facts()
        assert now[:-1] == self._before[:-1], f"{what}: written outside"
        if kind != "hard link":
            assert now == self._before, f"{what}: read outside"
            inside = [name for name, data in _files(folder) if SECRET.encode() in data]
            assert inside == [], f"{what}: taken in"
        fd = os.open(self.path, os.O_RDONLY | os.O_NOATIME)
        try:
            assert os.read(fd, 1 << 16) == self._data, f"{what}: changed"
        finally:
            os.close(fd)
        self.begin()


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Regular files alone, links not followed: reading a FIFO would block, and a device never end."""
    for path in folder.rglob("*"):
        if stat.S_ISREG(path.lstat().st_mode):
            yield str(path.relative_to(folder)), path.read_bytes()


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Elsewhere]:
    yield Elsewhere(tmp_path / "elsewhere")


def migrate(path: Path, fs: FileSystem) -> None:
    """Take the legacy file over."""
    result = migration.migrate(path, fs=fs, lock_timeout=0.2)
    assert (result.outcome == "failed") == (result.error is not None), result


def roll_back(path: Path, fs: FileSystem) -> None:
    """Write the legacy file again."""
    try:
        migration.rollback(path, fs=fs, lock_timeout=0.2)
    except StoreError:
        pass


def legacy(folder: Path) -> Path:
    """A legacy store."""
    return put_legacy(folder)


def directory(folder: Path) -> Path:
    """A store that was migrated."""
    path = put_legacy(folder)
    migration.migrate(path, fs=QuickFs())
    return path


PARTS: dict[str, Callable[[Path], Path | None]] = {
    "the file": lambda path: path if path.exists() else None,
    "its lock": lambda path: next(iter(path.parent.glob("sessions.json.lock")), None),
    "the store being built": lambda path: next(iter(path.parent.glob("*.staging-*")), None),
    "a temporary file": lambda path: next(iter(path.parent.glob("**/.tmp-*")), None),
}
ACTS: dict[str, tuple[Callable[[Path], Path], Callable[[Path, FileSystem], None]]] = {
    "migrate": (legacy, migrate), "roll back": (directory, roll_back),
}  # fmt: skip


def _swapped_once(
    folder: Path, elsewhere: Elsewhere, act: str, part: str, kind: str, nth: int, length: int
) -> int:
    """One run with a swap before call ``nth``; how many calls it made, negative if nothing was there to swap."""
    folder.mkdir()
    aside, state = folder / "aside", dict[str, Path]()
    prepare, do = ACTS[act]
    path = prepare(folder)

    def swap() -> None:
        found = PARTS[part](path)
        if found is not None:
            os.rename(found, aside)
            LURES[kind](found, elsewhere.path)
            state["path"] = found

    def back() -> None:
        found = state.get("path")
        if found is not None and aside.exists() and os.path.lexists(found):
            os.rename(found, folder / "lure")
            os.rename(aside, found)

    fs = SwappingFs()
    fs.arm(nth, length, swap, back)
    elsewhere.begin()
    do(path, fs)
    what = f"{act}: {part} swapped for a {kind} before call {nth} for {length}"
    elsewhere.judge(folder, kind, what)
    if not state:
        return -fs.count
    back()
    if (
        part == "the file"
        and aside.exists()
        and not os.path.lexists(path)
        and not (folder / "sessions.d").exists()
    ):
        os.rename(aside, path)  # the lure was put away in its place
    if kind != "hard link":
        _judge_kept(path, what)
    return fs.count


def _judge_kept(path: Path, what: str) -> None:
    """All sessions are there: in the store, or in the original under one of its names."""
    try:
        found: Any = sessions(path)
    except StoreError as exc:
        found = exc
    originals = [data for name, data in _files(path.parent) if "/" not in name]
    kept = any(all(one["sessionId"].encode() in data for one in SMALL_SESSIONS.values()) for data in originals)
    assert found == SMALL_SESSIONS or kept, f"{what}: {found!r}"


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("kind", LURES)
def test_swaps_before_a_call(tmp_path: Path, elsewhere: Elsewhere, act: str, kind: str) -> None:
    """The file, its lock, the store that is built: nothing outside is touched, and no session is lost."""
    rng = seeded(f"legacy swaps {act} {kind}")
    (tmp_path / "0").mkdir()
    fs = SwappingFs()
    ACTS[act][1](ACTS[act][0](tmp_path / "0"), fs)
    met = number = 0
    for number in range(1, 301):  # thirty, or until one of them met something to swap
        part = rng.choice(list(PARTS))
        nth, length = rng.randint(1, fs.count), rng.choice([1, 2, 5, 1 << 30])
        met += _swapped_once(tmp_path / str(number), elsewhere, act, part, kind, nth, length) > 0
        if met and number >= 30:
            break
    print(f"{act}, {kind}: {number} runs, {met} met something to swap")
    assert met > 0


class _LinkingFs(QuickFs):
    """Puts a symbolic link in place of what is about to get a second name."""

    def __init__(self, folder: Path, other: Path) -> None:
        super().__init__()
        self.met = 0
        real = self.link

        def link(source: str, target: str, **more: Any) -> None:
            self.met += 1
            os.rename(folder / source, folder / "aside")
            LURES["link"](folder / source, other)
            try:
                real(source, target, **more)
            finally:
                os.unlink(folder / source)
                os.rename(folder / "aside", folder / source)

        self.link = link


@pytest.mark.parametrize("act", ACTS)
def test_no_second_name_goes_through_a_link(tmp_path: Path, elsewhere: Elsewhere, act: str) -> None:
    """Swapped in at the last moment, a link gives the file that it leads to no name in the folder."""
    folder = tmp_path / "store"
    folder.mkdir()
    path = ACTS[act][0](folder)
    fs = _LinkingFs(folder, elsewhere.path)
    ACTS[act][1](path, fs)
    assert fs.met > 0
    assert elsewhere.path.stat().st_nlink == 1
    elsewhere.judge(folder, "link", act)


_RACER = """
import os, sys, time
from pathlib import Path
from hostile.lures import LURES, exchange
path, other, rounds = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
done, end = 0, time.monotonic() + float(sys.argv[4])
while done < rounds and time.monotonic() < end:
    lure = path.parent.parent / "lures" / f"{done}"
    if not os.path.lexists(lure):
        LURES["link"](lure, other)
    if exchange(lure, path):
        time.sleep(1e-5 * (done % 7) ** 3)
        exchange(lure, path)
        done += 1
os.write(1, b"%d" % done)
"""


def test_a_racing_process(tmp_path: Path, elsewhere: Elsewhere) -> None:
    """While a process swaps the file for a link, it is migrated and rolled back; nothing outside is touched."""
    folder = tmp_path / "raced"
    folder.mkdir()
    (tmp_path / "lures").mkdir()
    path = put_legacy(folder)
    paths = os.pathsep.join([str(TESTS), *(one for one in sys.path if one)])
    racer = subprocess.Popen(
        [sys.executable, "-c", _RACER, str(path), str(elsewhere.path), "300", "8"],
        stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": paths},
    )  # fmt: skip
    runs = 0
    try:
        while racer.poll() is None:
            if not os.path.lexists(path) and not (folder / "sessions.d").exists():
                put_legacy(folder)  # the swap took it away
            migrate(path, QuickFs())
            roll_back(path, QuickFs())
            runs += 1
    finally:
        racer.kill()
        said = racer.communicate()[0]
    assert racer.returncode == 0
    assert int(said) > 0
    assert runs > 0
    print(f"{int(said)} swaps in {runs} runs")
    elsewhere.judge(folder, "link", f"{int(said)} swaps in {runs} runs")
