"""The mode "warn" tells of a write before it returns, whichever call it was, at a cost that does not grow."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from sessiondir import AsyncSessionStore, SessionStore
from sessiondir.maintenance import Keeper, Notice, Policy
from sessiondir.maintenance import telling as telling_module
from sessiondir.maintenance import warning as warning_module
from sessiondir.testing import WatchedFileSystem

from .stores import DAY, HOUR, NOW, Going, Today, enforce, entry, fill, open_store

Sync = Callable[[SessionStore, dict[str, Any]], object]
Async = Callable[[AsyncSessionStore, dict[str, Any]], Awaitable[object]]


@pytest.fixture
def store(store_path: str) -> Iterator[SessionStore]:
    with open_store(store_path, Going()) as opened:
        yield opened


@contextmanager
def watched(store: SessionStore, policy: Policy | None = None, **options: Any) -> Iterator[Keeper]:
    """A keeper that has made one round and makes no other by itself."""
    keeper = Keeper(store, policy or Policy(), **options)
    keeper.round()
    yield keeper
    keeper.close()


def _transaction(store: SessionStore, value: dict[str, Any]) -> None:
    with store.transaction("k", "l") as txn:
        txn["k"] = value
        txn["l"] = entry(0)


def _edit_block(store: SessionStore, value: dict[str, Any]) -> None:
    with store.edit() as sessions:
        sessions["k"] = value


async def _async_transaction(store: AsyncSessionStore, value: dict[str, Any]) -> None:
    async with store.transaction("k", "l") as txn:
        txn["k"] = value


WRITES: dict[str, Sync] = {
    "put": lambda s, e: s.put("k", e),
    "put, if_version": lambda s, e: s.put("k", e, if_version=s.version_of("k") or 0),
    "setitem": lambda s, e: s.__setitem__("k", e),
    "patch": lambda s, e: s.patch("k", e, create=True),
    "update": lambda s, e: s.update("k", lambda _: e, create=True),
    "transaction": _transaction,
    "edit": lambda s, e: s.edit(lambda sessions: sessions.update({"k": e})),
    "edit block": _edit_block,
    "replace": lambda s, e: s.replace({**{key: s[key] for key in s}, "k": e}),
}
ASYNC_WRITES: dict[str, Async] = {
    "put": lambda s, e: s.put("k", e),
    "patch": lambda s, e: s.patch("k", e, create=True),
    "update": lambda s, e: s.update("k", lambda _: e, create=True),
    "transaction": _async_transaction,
    "edit": lambda s, e: s.edit(lambda sessions: sessions.update({"k": e})),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_every_write_path_tells_before_it_returns(store: SessionStore, write: Sync) -> None:
    """G9: no round in between; told once until it no longer holds; nothing goes."""
    told: list[Notice] = []
    store.put("other", entry(0))
    with watched(store, on_notice=told.append):
        write(store, entry(31 * DAY))
        assert [(one.kind, one.key, one.rule) for one in told] == [("session", "k", "prune-stale")]
        assert "not updated for 31 days" in told[0].message
        write(store, entry(32 * DAY))
        assert len(told) == 1
        write(store, entry(0))
        write(store, entry(33 * DAY))
        assert [one.key for one in told] == ["k", "k"]
    write(store, entry(0))
    write(store, entry(34 * DAY))
    assert len(told) == 2, "a closed keeper tells nothing"
    assert "k" in store


@pytest.mark.parametrize("durability", ["process", "power"])
@pytest.mark.parametrize("write", ASYNC_WRITES.values(), ids=ASYNC_WRITES)
def test_asynchronous_writes_tell_too(store: SessionStore, write: Async, durability: Any) -> None:
    """G9: what is committed on the loop at once, and what by a worker."""
    told: list[str | None] = []
    store.put("k", entry(0))

    async def work() -> None:
        clock = Going()
        async with await AsyncSessionStore.open(store.path, durability=durability, clock=clock) as tasks:
            await write(tasks, entry(31 * DAY))
            assert told == ["k"]
            await write(tasks, entry(0))
            await write(tasks, entry(33 * DAY))
            assert told == ["k", "k"]

    with watched(store, on_notice=lambda one: told.append(one.key)):
        asyncio.run(work())


def test_from_the_start_on(store: SessionStore) -> None:
    """G9: a started keeper tells of writes before its first round has ended, and goes by their age."""
    told: list[Notice] = []
    store.put("before", entry(40 * DAY))
    keeper = Keeper(store, Policy(), on_notice=told.append)
    with keeper._round_lock:
        keeper.start()
        store.put("k", entry(40 * DAY))
        assert [one.key for one in told] == ["k"]
        keeper._stop.set()
    keeper.close()


def test_messages_and_leases_tell_too(store: SessionStore) -> None:
    """G9: a commit that leaves the entry alone is a write all the same; a leased session would not go."""
    told: list[str] = []
    store.put("k", entry(40 * DAY))
    store.put("l", entry(40 * DAY))

    def note(one: Notice) -> None:
        if one.kind == "session":
            told.append(str(one.key))

    with watched(store, on_notice=note):
        store.post("k", {"text": "hello"})
        assert told == ["k"]
        with store.lease("l", owner="me", ttl=60):
            assert told == ["k"]
        assert told == ["k", "l"]


def test_protected_sessions_and_deletions_are_not_told_of(store: SessionStore) -> None:
    """What may not go would not go; what is deleted is gone."""
    told: list[Notice] = []
    policy = Policy(pinned=("pin:*",))
    store.put("other", entry(0))
    with watched(store, policy, active=["busy"], on_notice=told.append):
        for key in ("pin:1", "busy"):
            store.put(key, entry(400 * DAY))
        store.put("running", entry(40 * HOUR, status="running"))
        store.put("no time", {"sessionId": "s"})
        store.delete("busy")
        assert told == []


def test_the_place_among_the_others_counts(store: SessionStore) -> None:
    """G9: whoever is written beyond ``maxEntries`` is told, as of the last round; who is within is not."""
    told: list[Notice] = []
    fill(store, {f"k{n}": entry((2 + n) * HOUR) for n in range(10)})
    keeper = Keeper(store, Policy(max_entries=10), on_notice=told.append)
    keeper.round()
    store.put("k3", entry(0))
    store.put("k3", entry(20 * HOUR))  # now the last of ten
    store.put("k4", entry(30 * HOUR))
    assert told == []
    keeper.round()
    store.put("new", entry(40 * HOUR))  # the eleventh
    assert [(one.key, one.rule) for one in told] == [("new", "cap-overflow")]
    assert "more than 10 sessions" in told[0].message
    store.put("recent", entry(HOUR / 2))
    keeper.round()
    assert [one.kind for one in told] == ["session", "store"], "k4 goes, too, but was not written since"
    # It is beyond the edge that the plan showed, so the place need not be looked up.
    store.put("older still", entry(50 * HOUR))
    assert [one.key for one in told if one.kind == "session"] == ["new", "older still"]
    keeper.close()


def test_the_disk_budget_counts(store: SessionStore) -> None:
    """G9: a session older than the last that the budget would take is told of."""
    told: list[Notice] = []
    fill(store, {f"k{n}": entry((2 + n) * HOUR, pad="x" * 2000) for n in range(40)})
    store.flush()
    keeper = Keeper(store, Policy(max_disk_bytes=60_000), on_notice=told.append)
    keeper.round()
    assert [one.rule for one in told] == ["evict-budget"]
    store.put("old", entry(48 * HOUR))
    assert [(one.key, one.rule) for one in told[1:]] == [("old", "evict-budget")]
    keeper.close()


def test_however_many_are_told_none_is_silent(store: SessionStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was told is remembered within bounds; beyond them a session is told again, not left out."""
    monkeypatch.setattr(telling_module, "_TOLD", 3)
    told: list[str | None] = []
    store.put("other", entry(0))
    with watched(store, on_notice=lambda one: told.append(one.key)):
        for number in range(5):
            store.put(f"k{number}", entry(40 * DAY))
        store.put("k4", entry(41 * DAY))
        assert told == [f"k{number}" for number in range(5)]
        store.put("k0", entry(41 * DAY))
        assert told[5:] == ["k0"]
        store.put("k0", entry(0))
        store.put("k0", entry(40 * DAY))
        assert told[5:] == ["k0", "k0"]


def test_a_clock_that_is_not_believed_silences_it(store: SessionStore) -> None:
    """With a doubt about the time no age is told as a fact."""
    told: list[Notice] = []
    store.put("future", {"updatedAt": NOW + 2 * DAY})
    keeper = Keeper(store, Policy(), on_notice=told.append)
    keeper.round()
    store.put("k", entry(40 * DAY))
    assert [one.kind for one in told] == ["stopped"]
    keeper.close()


def test_what_the_listener_does_cannot_fail_a_write(store: SessionStore, caplog: pytest.LogCaptureFixture) -> None:
    """Neither an exception nor a write of its own, not even to the session that is held."""
    told: list[str | None] = []
    store.put("k", {"n": 0})

    def listen(notice: Notice) -> None:
        told.append(notice.key)
        store.put("seen", {"key": notice.key})
        store.put("k", {"n": 1})

    with watched(store, on_notice=listen):
        assert store.update("k", lambda e: {**e, "updatedAt": NOW - 40 * DAY}, create=True) is not None
    assert told == ["k"]
    assert store["seen"] == {"key": "k"}
    assert store["k"] == {"n": 0, "updatedAt": NOW - 40 * DAY}
    assert "on_notice raised ReentrantUpdate" in caplog.text


def test_a_defect_in_judging_cannot_fail_a_write(store: SessionStore, caplog: pytest.LogCaptureFixture) -> None:
    """The commit stands, and the defect is logged."""
    store.put("k", entry(0))

    def defective() -> list[str]:
        return [str(1 // len(told))]

    told = [1]
    with watched(store, active=defective, on_notice=lambda one: None):
        told.clear()
        store.put("k", entry(40 * DAY))
    assert "ZeroDivisionError" in caplog.text
    assert "k" in store


def test_enforcing_hangs_nothing_on_the_write_path(store: SessionStore) -> None:
    """Only telling needs it; and each keeper takes away its own."""
    store.put("k", entry(0))
    assert store._core is not None
    view = store._core.view
    with watched(store, enforce()):
        assert view.on_commit == ()
    told: list[int] = []
    with watched(store, on_notice=lambda one: told.append(1)):
        with watched(store, on_notice=lambda one: told.append(2)):
            store.put("k", entry(40 * DAY))
        store.put("l", entry(40 * DAY))
    assert view.on_commit == ()
    assert told == [1, 2, 1]


@pytest.mark.parametrize("legacy", [False, True], ids=["new", "unmigrated"])
def test_the_first_write_of_all_is_told_by_the_next_round(tmp_path: Any, legacy: bool) -> None:
    """G9: there was no store to watch, but what made it is not overlooked; what was migrated is not told of."""
    path = tmp_path / "sessions.json"
    if legacy:
        path.write_text(f'{{"before":{{"updatedAt":{NOW - 50 * DAY}}}}}')
        path.chmod(0o600)
    told: list[Notice] = []
    with open_store(str(path), Going()) as store:
        keeper = Keeper(store, Policy(), on_notice=told.append)
        keeper.round()
        store.put("k", entry(31 * DAY))
        keeper.round()
        assert [one.key for one in told if one.kind == "session"] == ["k"]
        store.put("l", entry(31 * DAY))
        assert [one.key for one in told if one.kind == "session"] == ["k", "l"]
        keeper.close()


@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "another-process"])
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_rounds_tell_what_others_wrote(
    store: SessionStore, open_directory: Any, write: Sync, elsewhere: bool
) -> None:
    """G9: whichever call changed a session, in whichever process, it is told once, and how many would go."""
    told: list[Notice] = []
    store.put("other", entry(0))
    keeper = Keeper(store, Policy(), on_notice=told.append)
    keeper.round()
    assert told == []
    writer = open_directory.elsewhere(clock=Today()) if elsewhere else store
    for age in (31 * DAY, 32 * DAY, 0, 33 * DAY):
        write(writer, entry(age))
        keeper.round()
    sessions = [(one.kind, one.key, one.rule) for one in told if one.kind == "session"]
    assert sessions == [("session", "k", "prune-stale")] * 2
    assert [one.rule for one in told if one.kind == "store"] == ["prune-stale"] * 2
    assert "k" in store
    keeper.close()


def test_the_cost_does_not_grow_with_the_store(store_path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """G4: the same system calls, and one session's facts, whether there are 50 sessions or 1,500."""
    fs = WatchedFileSystem()
    looked_at: list[str] = []
    monkeypatch.setattr(
        warning_module,
        "facts_of",
        lambda doc, real=warning_module.facts_of: looked_at.append(doc.key) or real(doc),
    )
    costs = []
    with open_store(store_path, Going(), fs=fs) as store:
        for count in (50, 1500):
            fill(store, {f"k{n}": entry(n * HOUR / 10) for n in range(count)})
            keeper = Keeper(store, Policy(max_entries=2000), on_notice=lambda one: None)
            keeper.round()
            for key, age in (("k1", 0), ("k2", 40 * DAY), ("k3", 100 * HOUR)):
                del fs.calls[:], looked_at[:]
                store.patch(key, {"updatedAt": NOW - age})
                # Now and then the lock file is looked at, with a keeper or without.
                costs.append(([call for call in fs.calls if call != "fstat"], list(looked_at)))
            keeper.close()
    fresh, stale, within = costs[:3]
    assert (fresh[1], stale[1]) == ([], ["k2"])
    assert within[1] in ([], ["k3"])
    assert [calls for calls, _ in costs[3:]] == [fresh[0]] * 3
    assert [facts for _, facts in costs[3:]] == [facts for _, facts in costs[:3]]
