"""Leases: granted once, free at the right time, and a fence for changes (F14)."""

from __future__ import annotations

import os
import pickle
import threading
import time
from typing import Any

import pytest
from harness.seeds import seeded
from support.factories import Opener
from support.processes import Peer

from sessiondir import InvalidOption, Lease, LeaseHeld, LeaseLost, ReadOnlyStore, SessionStore, procfs
from sessiondir.clock import Clock

KEY = "agent:main:main"


class SetClock(Clock):
    """A clock whose time of day and time since the boot are set by hand; waiting is real."""

    def __init__(self) -> None:
        self.now_s = 1_700_000_000.0
        self.up_s = 1000.0

    def now(self) -> float:  # type: ignore[override]
        return self.now_s

    def up(self) -> float:  # type: ignore[override]
        return self.up_s


def take_once(store: SessionStore, **options: Any) -> LeaseHeld | Lease:
    """The lease, or the error that names its holder."""
    try:
        return store.lease(KEY, "other", **options)
    except LeaseHeld as exc:
        return exc


def test_a_lease_names_its_owner_until_it_is_let_go(open_directory: Opener) -> None:
    """Everybody who asks is told who holds it; afterwards nobody does."""
    store = open_directory()
    other = open_directory.elsewhere()
    with store.lease(KEY, "gateway-1/run-42", ttl=60) as lease:
        for handle in (store, other):
            found = handle.lease_of(KEY)
            assert (found.key, found.owner, found.token, found.pid) == (KEY, "gateway-1/run-42", 1, os.getpid())
            assert (found.ttl_s, found.free) == (60.0, None)
            assert 55 < found.ends_in_s <= 60
            assert handle.leases() == [pytest.approx(found)] or handle.leases()[0].token == found.token
        assert lease.is_held
        with pytest.raises(LeaseHeld) as caught:
            other.lease(KEY, "other")
        exc = pickle.loads(pickle.dumps(caught.value))
        assert (exc.session, exc.owner, exc.token, exc.pid) == (KEY, "gateway-1/run-42", 1, os.getpid())
    assert store.lease_of(KEY) is None
    assert other.lease_of(KEY) is None
    assert store.leases(free=True) == []
    assert not lease.is_held


def test_the_token_is_the_version_of_the_commit_that_granted_it(open_directory: Opener) -> None:
    """Tokens grow with every grant, and renewing changes none."""
    store = open_directory()
    store.put(KEY, {"n": 1})
    first = store.lease(KEY, "a")
    assert first.token == store.version == 2
    first.renew()
    assert store.lease_of(KEY).token == 2
    first.release()
    assert store.lease(KEY, "b").token == store.version > first.token


def test_neither_lease_nor_entry_disturbs_the_other(open_directory: Opener) -> None:
    """A lease moves no entry version, stops nobody, and survives whatever is done to the entry."""
    store = open_directory()
    version = store.put(KEY, {"n": 1})
    lease = store.lease(KEY, "a")
    assert store.version_of(KEY) == version
    assert store.put(KEY, {"n": 2}, if_version=version) == store.version
    store.update(KEY, lambda entry: {"n": 3})
    assert store.delete(KEY)
    assert lease.is_held
    assert KEY not in store
    assert store.keys() == []
    store.put(KEY, {"n": 4})
    lease.renew()
    assert store[KEY] == {"n": 4}


def test_a_lease_outlives_checkpoint_and_reopening(open_directory: Opener) -> None:
    """With an entry and without, it is in the files at rest and goes on counting."""
    store = open_directory(clock=(clock := SetClock()))
    store.put(KEY, {"n": 1})
    tokens = {key: store.lease(key, "a", ttl=100).token for key in (KEY, "no entry")}
    store.close()
    clock.up_s += 40
    store = open_directory(clock=clock)
    assert {one.key: one.token for one in store.leases()} == tokens
    assert store.lease_of(KEY).ends_in_s == 60
    assert store.check() == []
    assert store.keys() == [KEY]
    clock.up_s += 60
    assert store.leases() == []
    assert {one.free for one in store.leases(free=True)} == {"expired"}


@pytest.mark.parametrize("jump_s", [-400 * 86_400, -1, 0, 1, 400 * 86_400])
def test_only_elapsed_time_ends_a_lease(open_directory: Opener, jump_s: float) -> None:
    """However the clock on the wall is set (F11), a lease ends when its time has passed, not before nor later."""
    store = open_directory(clock=(clock := SetClock()))
    store.lease(KEY, "a", ttl=60)
    clock.now_s += jump_s
    clock.up_s += 59.9
    assert isinstance(take_once(store), LeaseHeld)
    clock.up_s += 0.2
    assert isinstance(take_once(store), Lease)


def test_renewing_begins_the_term_anew(open_directory: Opener) -> None:
    """As long as before, or as long as told."""
    store = open_directory(clock=(clock := SetClock()))
    lease = store.lease(KEY, "a", ttl=60)
    clock.up_s += 50
    lease.renew()
    clock.up_s += 50
    assert store.lease_of(KEY).ends_in_s == 10
    lease.renew(5)
    assert store.lease_of(KEY).ends_in_s == 5
    assert lease.ttl_s == 5


def test_an_expired_lease_is_its_owners_until_somebody_takes_it(open_directory: Opener) -> None:
    """Being late loses nothing: renewing and fenced changes work; after a takeover neither does."""
    store = open_directory(clock=(clock := SetClock()))
    store.put(KEY, {"n": 1})
    lease = store.lease(KEY, "a", ttl=60)
    clock.up_s += 100
    assert not lease.is_held
    store.patch(KEY, {"n": 2}, fence=lease)
    lease.renew()
    assert lease.is_held
    clock.up_s += 100
    taken = store.lease(KEY, "b")
    with pytest.raises(LeaseLost) as caught:
        lease.renew()
    exc = pickle.loads(pickle.dumps(caught.value))
    assert (exc.session, exc.owner, exc.token) == (KEY, "a", lease.token)
    assert (exc.holder, exc.holder_token) == ("b", taken.token)
    assert lease.release() is False
    assert taken.is_held


def test_a_fenced_change_is_refused_once_the_lease_is_lost(open_directory: Opener) -> None:
    """Every kind of change; nothing is changed, no callback is run, and without a fence all goes on."""
    store = open_directory(clock=(clock := SetClock()))
    store.put(KEY, {"n": 1})
    lease = store.lease(KEY, "a", ttl=1)
    store.update(KEY, lambda entry: {"n": 2}, fence=lease)
    assert store.put(KEY, {"n": 3}, fence=lease) == store.version
    clock.up_s += 2
    store.lease(KEY, "b")
    version = store.version

    def never(entry: dict[str, Any]) -> dict[str, Any]:
        raise AssertionError("called although the lease is lost")

    for change in (
        lambda: store.update(KEY, never, fence=lease),
        lambda: store.put(KEY, {"n": 9}, fence=lease),
        lambda: store.put(KEY, {"n": 3}, fence=lease),
        lambda: store.patch(KEY, {"n": 9}, fence=lease),
        lambda: store.delete(KEY, fence=lease),
        lambda: store.put("another", {"n": 9}, fence=lease),
    ):
        with pytest.raises(LeaseLost):
            change()
    assert store.version == version
    assert store.update(KEY, lambda entry: {"n": 4}) == {"n": 4}


def test_a_lease_lost_while_the_callback_runs_fences_its_commit(open_directory: Opener) -> None:
    """The fence is looked at under the commit lock, although a lease moves no entry version."""
    store = open_directory(clock=(clock := SetClock()))
    other = open_directory.elsewhere(clock=clock)
    store.put(KEY, {"n": 1})
    lease = store.lease(KEY, "a", ttl=1)

    def slow(entry: dict[str, Any]) -> dict[str, Any]:
        clock.up_s += 2
        other.lease(KEY, "b")
        return {"n": 2}

    with pytest.raises(LeaseLost):
        store.update(KEY, slow, fence=lease)
    assert store[KEY] == other[KEY] == {"n": 1}


def test_a_fence_without_a_store_is_lost(open_directory: Opener, store_path: str) -> None:
    """Nothing is created for a change that rests on a lease which cannot be."""
    store = open_directory()
    lease = Lease(store, KEY, "a", 5, 1000)
    with pytest.raises(LeaseLost):
        store.put(KEY, {"n": 1}, fence=lease)
    assert not os.path.exists(store_path)


def test_death_of_the_owner_frees_a_lease_at_once(open_directory: Opener, store_path: str) -> None:
    """G7: kill -9 of the holder; the next one takes it over with one commit and a higher token."""
    store = open_directory()
    with Peer(store_path) as peer:
        token = peer.do(f"tell(store.lease({KEY!r}, 'run', ttl=3600).token)")
        assert store.lease_of(KEY).pid == peer.pid
        assert isinstance(take_once(store), LeaseHeld)
        before = store.version
        peer.kill()
        assert store.lease_of(KEY) is None
        assert [one.free for one in store.leases(free=True)] == ["owner died"]
        taken = take_once(store)
    assert isinstance(taken, Lease)
    assert taken.token == store.version == before + 1 > token


def test_a_dead_owner_that_nobody_waited_for_is_dead(open_directory: Opener) -> None:
    """G7: where process 1 of a container reaps nobody, the dead stay in the process table."""
    store = open_directory()
    store.put(KEY, {"n": 1})
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            store.lease(KEY, "child", ttl=3600)
            os.write(told, b"x")
        finally:
            os._exit(0)
    os.close(told)
    assert os.read(ready, 1) == b"x"
    os.close(ready)
    deadline = time.monotonic() + 30
    while store.lease_of(KEY) is not None:
        assert time.monotonic() < deadline, "a zombie holds the lease"
        time.sleep(0.01)
    os.waitpid(child, 0)


def test_a_reboot_frees_every_lease(open_directory: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    """G7: after a reboot no process that held anything can be there, whatever its number."""
    store = open_directory(clock=(clock := SetClock()))
    store.lease(KEY, "a", ttl=3600)
    monkeypatch.setattr(procfs, "boot_id", lambda: "another boot")
    clock.up_s = 5
    assert [one.free for one in store.leases(free=True)] == ["rebooted"]
    assert isinstance(take_once(store), Lease)


@pytest.mark.parametrize("start", [0, 1])
def test_a_recycled_process_number_is_not_the_owner(
    open_directory: Opener, monkeypatch: pytest.MonkeyPatch, start: int
) -> None:
    """P3: a later process of the same number started at another time."""
    store = open_directory()
    pid, _, space = procfs.process_identity()
    monkeypatch.setattr(procfs, "process_identity", lambda: (pid, start, space))
    store.lease(KEY, "a", ttl=3600)
    monkeypatch.undo()
    assert store.lease_of(KEY) is None
    assert isinstance(take_once(store), Lease)


def test_a_process_of_another_container_is_not_taken_for_dead(
    open_directory: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P3: process numbers of another space say nothing here; such a lease ends with its term."""
    store = open_directory(clock=(clock := SetClock()))
    monkeypatch.setattr(procfs, "process_identity", lambda: (999_999_999, 5, "another space"))
    store.lease(KEY, "container", ttl=60)
    monkeypatch.undo()
    assert isinstance(take_once(store), LeaseHeld)
    clock.up_s += 61
    assert isinstance(take_once(store), Lease)


def test_without_proc_the_term_decides(open_directory: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system tells nothing about processes and boots, the clock on the wall has to do."""
    monkeypatch.setattr(procfs, "boot_id", lambda: "")
    monkeypatch.setattr(procfs, "process_identity", lambda: (1, None, ""))
    store = open_directory(clock=(clock := SetClock()))
    store.lease(KEY, "a", ttl=60)
    assert isinstance(take_once(store), LeaseHeld)
    clock.now_s += 61
    assert isinstance(take_once(store), Lease)


def test_of_many_who_want_it_one_gets_it(open_directory: Opener) -> None:
    """Threads and handles that share nothing: one grant, the others are told who has it."""
    handles = [open_directory.elsewhere() for _ in range(4)]
    got: list[Lease | LeaseHeld] = []
    threads = [
        threading.Thread(target=lambda handle=handle: got.append(take_once(handle)))
        for handle in handles
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (lease,) = [one for one in got if isinstance(one, Lease)]
    assert {one.token for one in got if isinstance(one, LeaseHeld)} == {lease.token}
    assert len(got) == 16


def test_waiting_for_a_lease(open_directory: Opener) -> None:
    """With a timeout the call waits for the holder, and tells in the end who it was."""
    store = open_directory()
    other = open_directory.elsewhere()
    lease = store.lease(KEY, "a")
    started = time.monotonic()
    with pytest.raises(LeaseHeld):
        other.lease(KEY, "b", timeout=0.1)
    assert time.monotonic() - started >= 0.1
    timer = threading.Timer(0.1, lease.release)
    timer.start()
    assert other.lease(KEY, "b", timeout=30).is_held
    timer.join()


def test_keep_renews_until_it_is_let_go(open_directory: Opener) -> None:
    """The background thread keeps a short lease alive, and ends with it."""
    store = open_directory()
    with store.lease(KEY, "a", ttl=0.3, keep=True) as lease:
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            found = store.lease_of(KEY)
            assert found is None or found.token == lease.token
            time.sleep(0.01)
        lease.renew()
        assert lease.lost is None
    assert store.lease_of(KEY) is None
    assert not [one for one in threading.enumerate() if one.name == "sessiondir-lease"]


def test_keep_ends_when_the_lease_is_lost(open_directory: Opener) -> None:
    """Who was stopped for too long is told, and takes nothing back."""
    store = open_directory(clock=(clock := SetClock()))
    lease = store.lease(KEY, "a", ttl=0.3)
    clock.up_s += 1
    taken = store.lease(KEY, "b")
    lease.keep()
    deadline = time.monotonic() + 30
    while lease.lost is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert isinstance(lease.lost, LeaseLost)
    assert lease.release() is False
    assert taken.is_held


def test_what_cannot_be_a_lease(open_directory: Opener, store_path: str) -> None:
    """Wrong owners and terms are refused before anything is created; a read-only handle takes none."""
    store = open_directory()
    for owner in ("", " ", "x" * 201, None, 5):
        with pytest.raises(InvalidOption):
            store.lease(KEY, owner)
    for ttl in (0, -1, True, "60", float("nan"), float("inf"), 1e12):
        with pytest.raises(InvalidOption):
            store.lease(KEY, "a", ttl=ttl)
    assert not os.path.exists(store_path)
    assert store.lease_of(KEY) is None
    assert store.leases() == []
    reader = open_directory.elsewhere(read_only=True)
    with pytest.raises(ReadOnlyStore):
        reader.lease(KEY, "a")


def test_a_forked_child_may_renew_what_it_inherited(open_directory: Opener) -> None:
    """The process that renewed last is the holder; the token, and with it the fence, stays."""
    store = open_directory()
    store.put(KEY, {"n": 1})
    lease = store.lease(KEY, "a", ttl=3600)
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            lease.renew()
            store.patch(KEY, {"n": 2}, fence=lease)
            os.write(tell, str(os.getpid()).encode())
        finally:
            os._exit(0)
    os.close(tell)
    assert int(os.read(told, 20)) == child
    os.close(told)
    os.waitpid(child, 0)
    assert store[KEY] == {"n": 2}
    (found,) = store.leases(free=True)
    assert (found.pid, found.token, found.free) == (child, lease.token, "owner died")
    lease.renew()
    assert lease.is_held


def test_no_fenced_change_lands_under_a_later_lease(open_directory: Opener) -> None:
    """G3: runs that are always late; what a run finds when it begins nobody else changes until it is lost."""
    rng = seeded("late runs")
    handles = [open_directory.elsewhere(durability="process") for _ in range(4)]
    handles[0].put(KEY, {"tokens": []})
    lost: list[int] = []
    wrong: list[tuple[int, Any, Any]] = []

    def run(store: SessionStore, pauses_s: list[float]) -> None:
        for pause_s in pauses_s:
            try:
                lease = store.lease(KEY, "late", ttl=0.002, timeout=5.0)
            except LeaseHeld:
                continue
            found = store[KEY]["tokens"]
            based: list[Any] = []

            def note(entry: dict[str, Any], token: int = lease.token, pause_s: float = pause_s) -> dict[str, Any]:
                based[:] = entry["tokens"]  # noqa: B023 - called before the next turn of the loop
                time.sleep(pause_s)
                return {"tokens": [*entry["tokens"], token]}

            try:
                for _ in range(3):
                    time.sleep(pause_s)
                    store.update(KEY, note, fence=lease)
                    if based != found:
                        wrong.append((lease.token, found, list(based)))
                    found = [*based, lease.token]
            except LeaseLost:
                lost.append(lease.token)

    threads = [
        threading.Thread(target=run, args=(store, [rng.uniform(0, 0.004) for _ in range(15)])) for store in handles
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, wrong[0]
    tokens = handles[0][KEY]["tokens"]
    assert tokens == sorted(tokens)
    assert lost, "nobody was late enough to mean anything"
