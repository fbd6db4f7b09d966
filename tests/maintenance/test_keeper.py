"""Maintenance in the background: telling, removing in slices, and leaving everybody else alone (F11)."""

from __future__ import annotations

import errno
import os
import random
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from harness.seeds import seeded

from sessiondir import InvalidOption, SessionStore
from sessiondir.maintenance import Keeper, Notice, Policy, Report, list_trash
from sessiondir.testing import FailingFileSystem, WatchedFileSystem

from .month import a_month_of_cron, a_month_within_bytes
from .stores import DAY, HOUR, Going, Today, enforce, entry, fill, names, open_store, trashed


@pytest.fixture
def store(store_path: str) -> Iterator[SessionStore]:
    with open_store(store_path, Going()) as opened:
        yield opened


def test_off_by_default(store: SessionStore) -> None:
    """G9: without a keeper nothing is told or removed, whatever there is."""
    fill(store, {f"k{n}": entry(400 * DAY) for n in range(600)})
    store.put("x", {})
    assert len(store) == 601
    assert not os.path.exists(f"{store.path}/trash")


def test_warnings_are_logged_by_default(store: SessionStore, caplog: pytest.LogCaptureFixture) -> None:
    """Without a function they go to the log."""
    fill(store, {f"k{n}": entry(2 * HOUR) for n in range(12)})
    with_cap = Policy(max_entries=10)
    keeper = Keeper(store, with_cap)
    keeper.round()
    keeper.close()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "2 sessions would be removed (cap-overflow)" in caplog.text


def test_a_defective_listener_does_not_end_it(store: SessionStore, caplog: pytest.LogCaptureFixture) -> None:
    """What ``on_notice`` raises is logged."""
    store.put("k", entry(99 * DAY))
    keeper = Keeper(store, Policy(), on_notice=lambda notice: 1 // 0)
    keeper.round()
    keeper.close()
    assert "ZeroDivisionError" in caplog.text


def test_a_write_costs_the_same_with_a_keeper_as_without(store_path: str) -> None:
    """G4: a commit makes the same system calls with a keeper as without, however large the store is."""
    fs = WatchedFileSystem()
    with open_store(store_path, Going(), fs=fs) as store:
        fill(store, {f"k{n}": entry(n * HOUR) for n in range(1200)})
        store.patch("k1", {"n": 0})

        def calls() -> list[str]:
            del fs.calls[:]
            store.patch("k1", {"n": store["k1"]["n"] + 1})
            return list(fs.calls)

        without = calls()
        keeper = Keeper(store, Policy(), on_notice=lambda notice: None)
        keeper.round()
        # Now and then the lock file is looked at, with a keeper or without.
        assert without in [calls() for _ in range(5)]
        assert store._core is not None
        assert store._core.view.cache.listeners == []
        del fs.calls[:]
        keeper.round()
        assert len(fs.calls) < 40, "a round costs what changed, not what is there"
        keeper.close()


def test_the_thread_does_what_is_due_and_ends(store_path: str) -> None:
    """G9: started and closed like any handle; removes soon, tells what it did, keeps what is active."""
    done: list[Report] = []
    with open_store(store_path, Going()) as store:
        fill(store, {f"k{n}": entry(40 * DAY) for n in range(20)})
        with Keeper(store, enforce(), active=lambda: ["k3"], interval=0.05, on_report=done.append):
            end = time.monotonic() + 30
            while len(store) > 1 and time.monotonic() < end:
                time.sleep(0.02)
            store.put("late", entry(50 * DAY))
            while "late" in store and time.monotonic() < end:
                time.sleep(0.02)
        assert store.keys() == ["k3"]
        assert len(trashed(store)) == 20
        assert sum(len(report.removed) for report in done) == 20
    assert not [thread for thread in threading.enumerate() if thread.name == "sessiondir-maintenance"]


def test_a_closed_store_ends_the_thread(store_path: str) -> None:
    """A keeper that outlives its store does no harm."""
    store = open_store(store_path, Going())
    store.put("k", entry(0))
    keeper = Keeper(store, enforce(), interval=0.01).start()
    time.sleep(0.05)
    store.close()
    assert keeper._thread is not None
    keeper._thread.join(30)
    assert not keeper._thread.is_alive()
    keeper.close()


def test_a_failure_is_told_once_and_tried_again(store_path: str) -> None:
    """What keeps a round from being done is told, not every second; when it is gone the round is done."""
    told: list[Notice] = []
    fs = FailingFileSystem()
    with open_store(store_path, Going(), fs) as store:
        store.put("old", entry(40 * DAY))
        fs.arm(1, errno.ENOSPC, forever=True, kinds=lambda kind, args: kind == "mkdir")
        with Keeper(store, enforce(), interval=0.02, on_notice=told.append):
            end = time.monotonic() + 30
            while fs.failed < 5 and time.monotonic() < end:
                time.sleep(0.01)
            fs.disarm()
            while "old" in store and time.monotonic() < end:
                time.sleep(0.01)
        assert len(store) == 0
    assert [one.kind for one in told].count("failed") <= 2
    assert "No space left" in told[0].message


def test_two_keepers(store: SessionStore, open_directory: Any) -> None:
    """F20: each session is removed once, whoever comes first."""
    fill(store, {f"k{n}": entry(40 * DAY) for n in range(200)})
    clock = Going()
    keepers = [Keeper(store, enforce()), Keeper(open_directory.elsewhere(clock=clock), enforce())]
    threads = [threading.Thread(target=keeper.round) for keeper in keepers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for keeper in keepers:
        keeper.round()
        keeper.close()
    assert len(store) == 0
    assert trashed(store) == sorted(f"k{n}" for n in range(200))


def test_a_clock_that_jumps_under_the_keeper(store_path: str) -> None:
    """F20: elapsed time says otherwise, so nothing is deleted until somebody says that the clock is right."""

    class Jumping(Today):
        def up(self) -> float:  # type: ignore[override]
            return 1000.0

    clock = Jumping()
    told: list[Notice] = []
    with open_store(store_path, clock) as store:
        store.put("k", entry(0))
        keeper = Keeper(store, enforce(), on_notice=told.append)
        keeper.round()
        clock.at_ms += 90 * DAY
        store.put("new", {"updatedAt": clock.at_ms})
        keeper.round()
        assert (sorted(store), [one.kind for one in told]) == (["k", "new"], ["stopped"])
        assert "90 days ahead" in told[0].message
        keeper.trust_clock()
        store.put("new", {"updatedAt": clock.at_ms, "n": 1})
        keeper.round()
        assert store.keys() == ["new"]
        keeper.close()


def test_a_forked_store_gets_a_fresh_index(store: SessionStore) -> None:
    """What a keeper knows belongs to one core; after the core began anew it reads again."""
    store.put("k", entry(40 * DAY))
    keeper = Keeper(store, enforce())
    core = store._core
    assert core is not None
    keeper.round()
    assert len(store) == 0
    store.put("k2", entry(40 * DAY))
    with core.view.mutex:
        core.view.forget()
    keeper.round()
    assert len(store) == 0
    keeper.close()


@pytest.mark.parametrize("options", [{"interval": 0}, {"slice_ms": 0}, {"active": "k"}])
def test_options(store: SessionStore, options: dict[str, Any]) -> None:
    """Senseless ones are refused."""
    with pytest.raises(InvalidOption):
        Keeper(store, Policy(), **options)


def test_an_unmigrated_store_is_left_alone(tmp_path: Any) -> None:
    """A keeper is not what migrates a legacy file."""
    path = tmp_path / "sessions.json"
    path.write_text('{"k":{"updatedAt":1}}')
    path.chmod(0o600)
    with open_store(str(path), Going()) as store:
        keeper = Keeper(store, enforce())
        assert keeper.round() == Report()
        keeper.close()
    assert names(str(tmp_path)) == ["sessions.json"]


# -- the workloads --------------------------------------------------------------------------


@pytest.mark.timeout(600)
def test_cron_sessions_of_a_month(store_path: str) -> None:
    """W14: 2,703 cron sessions and 378 more a day for thirty days: exactly the rules, running ones untouched."""
    a_month_of_cron(store_path)


@pytest.mark.timeout(600)
def test_the_disk_budget_over_a_month(store_path: str) -> None:
    """W14: with a bound on bytes the store never stays above it, and the newest sessions are left."""
    a_month_within_bytes(store_path)


def test_no_eviction_ping_pong(store_path: str) -> None:
    """W15: a cap of 500, 507 sessions of which most may not go, eight conversations in turn: none goes."""
    clock = Going()
    told: list[Notice] = []
    dms = [f"agent:main:telegram:direct:{n}" for n in range(8)]
    with open_store(store_path, clock) as store:
        fill(store, {f"agent:main:slack:channel:c:thread:{n}": entry(5 * DAY, f"t{n}") for n in range(499)})
        policy = enforce(maxEntries=500, pinned=["agent:main:slack:*"])
        keeper = Keeper(store, policy, on_notice=told.append)
        for turn in range(64):
            key = dms[turn % 8]
            store.update(
                key, lambda e: {**e, "updatedAt": clock.at_ms, "turns": e.get("turns", 0) + 1}, create=True
            )
            assert keeper.round().removed == ()
            clock.at_ms += 60_000
        assert [store[key]["turns"] for key in dms] == [8] * 8
        assert len(store) == 507
        assert [one.kind for one in told] == ["unmet"]
        assert "there would be 501" in told[0].message
        # Once they are silent, the bound holds again, and those that spoke last are left.
        clock.at_ms += 2 * HOUR
        store.patch(dms[0], {"updatedAt": clock.at_ms})
        assert sorted(keeper.round().removed) == dms[1:]
        assert len(store) == 500
        keeper.close()


def test_no_ping_pong_among_sessions_that_may_go(store_path: str) -> None:
    """W15: 507 sessions, 8 of them spoken to in turn: the silent ones go, once, and the eight stay for ever."""
    clock = Going()
    dms = [f"agent:main:telegram:direct:{n}" for n in range(8)]
    with open_store(store_path, clock) as store:
        fill(store, {f"agent:main:cron:j:run:{n}": entry(2 * HOUR + n * 60_000) for n in range(499)})
        keeper = Keeper(store, enforce(maxEntries=500))
        removed: list[str] = []
        for turn in range(40):
            store.update(dms[turn % 8], lambda e: {**e, "updatedAt": clock.at_ms}, create=True)
            removed += keeper.round().removed
            clock.at_ms += 10 * 60_000
        assert sorted(removed) == sorted(f"agent:main:cron:j:run:{n}" for n in range(492, 499))
        assert set(dms) <= set(store)
        keeper.close()


def test_beside_writers(store_path: str) -> None:
    """G3, G9, F20: threads go on creating and updating while a keeper removes; no acknowledged change is lost."""
    rng = seeded("keeper beside writers")
    with SessionStore.open(store_path, durability="process", checkpoint_interval=0.05) as store:
        stop = threading.Event()
        last: list[dict[str, int]] = [{} for _ in range(3)]

        def write(mine: int) -> None:
            own = random.Random(rng.random() + mine)
            count = 0
            while not stop.is_set():
                key = f"w{mine}:{own.randrange(40)}"
                old = own.random() < 0.3
                count += 1
                now = int(time.time() * 1000)
                value = {"updatedAt": now - 40 * DAY if old else now, "n": count}
                store.update(key, lambda e, value=value: {**e, **value}, create=True)
                last[mine][key] = count
                time.sleep(0.004)

        threads = [threading.Thread(target=write, args=(mine,)) for mine in range(3)]
        with Keeper(store, enforce(), interval=0.02):
            for thread in threads:
                thread.start()
            time.sleep(2.0)
            stop.set()
            for thread in threads:
                thread.join()
        there: dict[str, list[int]] = {}
        for item in list_trash(store).items:
            import json

            with open(f"{store_path}/trash/{item.name}", encoding="utf-8") as file:
                there.setdefault(item.key, []).append(json.load(file)["entry"]["n"])
        for mine in last:
            for key, count in mine.items():
                live = store.get(key)
                assert count == (live["n"] if live is not None else max(there[key])), key
        assert there
