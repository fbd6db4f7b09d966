"""G2, G4, G5: a slow disk, and one that stands still: who waits for it, who goes on, what is said (F31).

Nothing is timed here: a call that hangs does so until the test lets it go on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from harness.story import BASE, LONG_KEY, QUIET, A, B, at_rest, contents, errors_of, open_on
from harness.watched import QuickFs
from support.seams import RuledFileSystem
from transcripts.folders import ID, both_ways, numbered, quick

from sessiondir import SessionStore
from sessiondir.errors import LockTimeout
from sessiondir.model import Limits
from sessiondir.transcripts import TranscriptFolder

SYNCS = ("fsync", "fdatasync")
OTHERS = (B, QUIET, LONG_KEY)


class HangingDisk(RuledFileSystem):
    """The ``nth`` of some calls of one thread does not come back before ``go_on``; all others are as usual."""

    def __init__(self) -> None:
        super().__init__(self._rule)
        self.hangs = threading.Event()
        self.seen: list[str] = []
        self._on = threading.Event()
        self._left = 0
        self._kinds: tuple[str, ...] = ()
        self.thread = 0

    def hang(self, *kinds: str, nth: int = 1) -> None:
        self.seen.clear()
        self._kinds, self._left = kinds, nth

    def go_on(self) -> None:
        self._on.set()

    def _rule(self, name: str, args: tuple[Any, ...]) -> None:
        if name in self._kinds:
            self.seen.append(name)
            if threading.get_ident() == self.thread:
                self._left -= 1
                if self._left == 0:
                    self.hangs.set()
                    self._on.wait()


@contextmanager
def hanging(disk: HangingDisk, call: Callable[[], object]) -> Iterator[Future[object]]:
    """Make a call in a thread and wait until it hangs, or has returned; it goes on at the end of the block."""

    def begin() -> object:
        disk.thread = threading.get_ident()
        return call()

    with ThreadPoolExecutor(1) as pool:
        begun = pool.submit(begin)
        try:
            while not disk.hangs.wait(0.001) and not begun.done():
                pass  # the suite's time-out is the bound
            yield begun
        finally:
            disk.go_on()


def others_go_on(store: SessionStore, number: int) -> None:
    """Reads of everything, and commits to other sessions that need no sync."""
    assert store[A]
    assert len(store.snapshot()) == len(BASE)
    assert sorted(store.keys()) == sorted(BASE)
    assert len(store.list().items) == len(BASE)
    for key in OTHERS:
        before = store.version
        store.patch(key, {"by": number}, durability="process")
        assert store.version > before
        store.update(key, lambda entry: entry | {"up": number}, durability="process")
        assert store[key]["by"] == store[key]["up"] == number


def is_whole(path: str, a: dict[str, Any], number: int) -> None:
    """What a new handle finds: everything that was acknowledged."""
    assert not errors_of(path)
    with open_on(QuickFs(), path) as store:
        found = contents(store)
        changed = {key: BASE[key] | {"by": number, "up": number} for key in OTHERS}
        assert found == changed | {A: a}
        store.put("after", {"n": 1})


def test_g4_a_commit_whose_sync_hangs_stops_nobody(store_path: str) -> None:
    """G2, G4: it alone waits; meanwhile it is visible, its session can be changed, other processes sync."""
    at_rest(store_path)
    disk = HangingDisk()
    with open_on(disk, store_path) as store, open_on(QuickFs(), store_path) as elsewhere:
        elsewhere.put(B, BASE[B] | {"warm": 1})
        disk.hang("fdatasync")
        with hanging(disk, lambda: store.put(A, {"n": 1})) as slow:
            for number, one in enumerate((store, elsewhere), 1):
                assert one[A] == {"n": number}
                others_go_on(one, number)
                one.update(A, lambda entry: {"n": entry["n"] + 1}, durability="process", timeout=0)
            assert elsewhere.put(B, BASE[B] | {"by": 2, "up": 2}) == store.version, "its own sync is enough"
            assert not slow.done(), "acknowledged before it was durable"
        assert slow.result() is not None
    is_whole(store_path, {"n": 3}, 2)


def test_g2_those_who_wait_for_a_slow_disk_share_its_next_sync(store_path: str) -> None:
    """G2: eight commits come while a sync hangs: none is acknowledged before, and one sync more is enough."""
    at_rest(store_path)
    disk = HangingDisk()
    with open_on(disk, store_path) as store:
        store.patch(A, {"n": 1})
        disk.hang("fdatasync")
        with ThreadPoolExecutor(8) as pool, hanging(disk, lambda: store.patch(A, {"n": 2})):
            before = store.version
            waiting = [pool.submit(store.put, f"w{number}", {"n": number}) for number in range(8)]
            while store.version < before + 8:
                pass  # the suite's time-out is the bound
            assert not any(one.done() for one in waiting), "acknowledged before it was durable"
            disk.go_on()
            assert sorted(one.result() for one in waiting) == list(range(before + 1, before + 9))
        assert disk.seen == ["fdatasync"] * 2
    with open_on(QuickFs(), store_path) as store:
        assert [store[f"w{number}"] for number in range(8)] == [{"n": number} for number in range(8)]


def test_g4_while_an_append_hangs_reads_go_on_and_commits_give_up_in_time(store_path: str) -> None:
    """G4, G5: nobody else can append then; a commit gives up after two seconds or more; nothing is changed."""
    at_rest(store_path)
    disk = HangingDisk()
    with open_on(disk, store_path, lock_timeout=0.05) as store:
        store.patch(A, {"n": 1})
        with open_on(QuickFs(), store_path, lock_timeout=0.05) as elsewhere:
            elsewhere.patch(A, {"n": 2})
            disk.hang("pwrite")
            with hanging(disk, lambda: store.put(A, {"n": 3})) as slow, ThreadPoolExecutor(8) as pool:
                waiting = []
                for one in (store, elsewhere):
                    assert contents(one)[A] == BASE[A] | {"n": 2}
                    waiting += [
                        pool.submit(one.put, B, {"n": 4}),
                        pool.submit(one.update, LONG_KEY, lambda entry: {"n": 4}, timeout=0),
                        pool.submit(one.delete, QUIET),
                        pool.submit(one.edit, lambda sessions: sessions.clear()),
                    ]
                errors = [call.exception() for call in waiting]
                assert all(isinstance(error, LockTimeout) for error in errors), errors
                assert all("nothing was changed" in str(error) for error in errors), errors
                assert not slow.done()
            slow.result()
            assert contents(store) == contents(elsewhere) == BASE | {A: {"n": 3}}
            others_go_on(store, 4)
            others_go_on(elsewhere, 5)
    is_whole(store_path, {"n": 3}, 5)


@pytest.mark.parametrize("rotating", [False, True], ids=["files", "new-journal"])
@pytest.mark.parametrize("kinds", [SYNCS, ("pwrite",), ("rename",)], ids="-".join)
def test_g4_a_checkpoint_that_hangs_anywhere_stops_no_reader(
    tmp_path: Path, kinds: tuple[str, ...], rotating: bool
) -> None:
    """G4, G5: at each such call in turn; commits go on, too, but for the moment when journals change."""
    options: dict[str, Any] = {"limits": Limits(journal_bytes=1)} if rotating else {}
    refused = nth = 0
    while True:
        nth += 1
        path = str(tmp_path / f"{nth}.d")
        at_rest(path)
        disk = HangingDisk()
        with (
            open_on(disk, path, lock_timeout=0.05, **options) as store,
            open_on(QuickFs(), path, lock_timeout=0.05) as elsewhere,
        ):
            store.patch(A, {"n": 1}, durability="process")
            disk.hang(*kinds, nth=nth)
            with hanging(disk, store.flush) as slow:
                hung = disk.hangs.is_set()
                for number, one in enumerate((store, elsewhere), 1):
                    assert contents(one)[A] == BASE[A] | {"n": 1}
                    try:
                        others_go_on(one, number)
                    except LockTimeout:
                        refused += 1
                assert slow.done() != hung
            slow.result()
            others_go_on(elsewhere, 3)
        is_whole(path, BASE[A] | {"n": 1}, 3)
        if not hung:
            break
    assert nth > 1, "nothing of the kind was called"
    assert refused <= (4 if rotating else 0), "more than the moment of change stops commits"


def test_g4_a_session_that_cannot_be_read_for_long_costs_that_session(store_path: str) -> None:
    """G4: while reading one session file hangs, all other sessions are read and changed."""
    at_rest(store_path)
    disk = HangingDisk()
    with open_on(disk, store_path) as store:
        store.put(B, BASE[B])
        disk.hang("open")
        with hanging(disk, lambda: store.get(A)) as slow:
            assert disk.hangs.is_set()
            for key in OTHERS:
                store.put(key, BASE[key] | {"by": 1, "up": 1}, durability="process")
                assert store[key]["by"] == 1
            assert not slow.done()
        assert slow.result() == BASE[A]
    is_whole(store_path, BASE[A], 1)


def test_g4_a_transcript_whose_sync_hangs_costs_that_transcript(tmp_path: Path) -> None:
    """G2, G4: others are appended to, all are read, and who wants the same one gives up in time."""
    disk = HangingDisk()
    with TranscriptFolder.open(tmp_path, fs=disk, lock_timeout=0.05) as folder:
        folder.transcript(ID).extend(numbered(1, 2))
        folder.transcript("other").extend(numbered(1))
        disk.hang("fdatasync")
        with hanging(disk, lambda: folder.transcript(ID).append(numbered(3)[0])) as slow:
            folder.transcript("other").extend(numbered(2))
            assert both_ways(folder.transcript("other")) == numbered(1, 2)
            assert both_ways(folder.transcript(ID))[:2] == numbered(1, 2)
            with quick(tmp_path, lock_timeout=0.05) as elsewhere:
                elsewhere.transcript("other").extend(numbered(3))
                try:
                    elsewhere.transcript(ID).append(numbered(4)[0])
                    appended = [4]
                except LockTimeout:
                    appended = []
            assert not slow.done(), "acknowledged before it was durable"
        slow.result()
        folder.transcript(ID).append(numbered(5)[0])
    with quick(tmp_path) as folder:
        assert both_ways(folder.transcript(ID)) == numbered(1, 2, 3, *appended, 5)
        assert both_ways(folder.transcript("other")) == numbered(1, 2, 3)


class SlowDisk(RuledFileSystem):
    """Syncs of 200 ms, writes of 10 ms, and every tenth sync takes a second."""

    def __init__(self) -> None:
        super().__init__(self._rule)
        self.syncs = 0

    def _rule(self, name: str, args: tuple[Any, ...]) -> None:
        if name in SYNCS:
            self.syncs += 1
            time.sleep(1.0 if self.syncs % 10 == 0 else 0.2)
        elif name == "pwrite":
            time.sleep(0.01)


def test_g2_work_on_a_slow_disk_loses_nothing(store_path: str) -> None:
    """G1, G2, G3: six threads on two cores count, with checkpoints and new journals meanwhile."""
    options: dict[str, Any] = {"limits": Limits(journal_bytes=1 << 12), "lock_timeout": 60.0}
    disks = (SlowDisk(), SlowDisk())
    with (
        SessionStore.open(store_path, fs=disks[0], checkpoint_interval=0.3, **options) as one,
        SessionStore.open(store_path, fs=disks[1], checkpoint_interval=0.3, **options) as two,
        ThreadPoolExecutor(6) as pool,
    ):

        def count(store: SessionStore, key: str) -> None:
            for _ in range(4):
                store.update("n", lambda entry: {"n": entry.get("n", 0) + 1}, create=True)
                with store.transaction("n", key) as txn:
                    txn[key] = {"of": txn["n"]["n"], "pad": "x" * 500}
                assert store[key]["of"] <= store["n"]["n"]

        for done in [pool.submit(count, store, f"{n}") for n in range(3) for store in (one, two)]:
            done.result()
        assert one["n"] == two["n"] == {"n": 24}
    assert min(disk.syncs for disk in disks) > 0
    assert not errors_of(store_path)
    with open_on(QuickFs(), store_path) as store:
        assert store["n"] == {"n": 24}
        assert max(store[f"{n}"]["of"] for n in range(3)) <= 24
