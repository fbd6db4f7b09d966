"""G1, G2, G7: child, consumer and parent die at every call and between any two steps (F1, F14).

Each of them is a list of steps. In one test it dies at every single call to the system, in
place of the call or in the middle of a write; in the other a process is killed between any
two steps. What is left is judged in the same way, and then somebody else goes on with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from harness.powerloss import scratch
from harness.story import open_on
from harness.watched import QuickFs
from support.processes import Peer

from sessiondir import LeaseLost, SessionStore, procfs
from sessiondir.model import Limits
from sessiondir.testing import Stopped, StoppingFileSystem, Tree, digest, read_tree, write_tree

PARENT, OTHER, CHILD = "agent:main:main", "agent:other", "agent:child:1"
WAITING = ["m1", "m2", "m3"]
_ROTATE = Limits(journal_bytes=1)
_TAKE = f"""
batch = store.take({PARENT!r}, 2)
tell(["got", [one.id for one in batch]])
"""
_ACK = f"""
store.ack({PARENT!r}, batch)
tell(["acked", [one.id for one in batch]])
"""
_NOTE = f"""
def note(entry):
    return {{"results": sorted({{*entry.get("results", []), *(one.id for one in batch)}})}}
store.update({PARENT!r}, note, create=True, fence=lease)
tell(["noted", [one.id for one in batch]])
"""
_POST = 'store.post([{keys}], {body!r}, id={id!r}); tell(["posted", [{id!r}]])'
_FLUSH = 'store.flush(); tell(["flushed", []])'


@dataclass(frozen=True)
class Fence:
    """A lease as a process that is gone knew it."""

    key: str
    token: int
    owner: str


ROLES: dict[str, list[str]] = {
    "child": [
        f"store.update({CHILD!r}, lambda entry: {{'n': 1}}, create=True); tell(['updated', [1]])",
        _POST.format(keys=f"{PARENT!r}, {OTHER!r}", body={"n": 1}, id="c1"),
        _FLUSH,
        f"store.update({CHILD!r}, lambda entry: {{'n': 2}}, create=True); tell(['updated', [2]])",
        _POST.format(keys=repr(PARENT), body="bye", id="c2"),
        _POST.format(keys=f"{OTHER!r}, {PARENT!r}", body="again", id="c1"),
    ],
    "consumer": [_TAKE, _ACK, _FLUSH, _TAKE, _ACK, _FLUSH],
    "parent": [
        f"lease = store.lease({PARENT!r}, 'run-1', ttl=3600); tell(['leased', [lease.token]])",
        _TAKE,
        _NOTE,
        _FLUSH,
        _ACK,
        "lease.renew(); tell(['renewed', []])",
        _TAKE,
        _NOTE,
        _ACK,
        _FLUSH,
        "lease.release(); tell(['released', []])",
    ],
}  # fmt: skip


class Told(dict[str, list[Any]]):
    """What somebody said of its steps, each after it had returned; values in order, by kind."""

    def __missing__(self, kind: str) -> list[Any]:
        return []

    def add(self, fact: list[Any]) -> None:
        """Note what was said."""
        self.setdefault(fact[0], []).extend(fact[1])


def play(store: SessionStore, role: str) -> Told:
    """Let somebody who lives go through all steps."""
    told = Told()
    run_steps(store, role, told)
    return told


def run_steps(store: SessionStore, role: str, told: Told) -> None:
    """Go through the steps as far as one gets."""
    space: dict[str, Any] = {"store": store, "tell": told.add}
    for step in ROLES[role]:
        exec(step, space)


def prepare(path: str) -> None:
    """Three messages wait for a session that exists: two in its file, one in the journal."""
    with open_on(QuickFs(), path) as store:
        store.put(PARENT, {"results": []})
        for name in WAITING:
            store.post(PARENT, {"name": name}, id=name)
            if name == "m2":
                store.flush()


# -- what has to be true -----------------------------------------------------------------------


def ids(store: SessionStore, key: str = PARENT) -> list[str]:
    """What waits, oldest first."""
    return [one.id for one in store.peek(key)]


def judge_child(store: SessionStore, told: Told) -> None:
    """What it posted is there once and in order, in both inboxes or in none; done again nothing comes twice."""
    found, wanted = ids(store), [*WAITING, "c1", "c2"]
    assert found == wanted[: len(found)] and len(found) >= len(WAITING)
    assert {*told["posted"]} <= {*found}
    assert ids(store, OTHER) == (["c1"] if "c1" in found else [])
    assert (store.get(CHILD) or {"n": 0})["n"] >= max(told["updated"], default=0)
    play(store, "child")
    assert (ids(store), ids(store, OTHER), store[CHILD]) == (wanted, ["c1"], {"n": 2})


def judge_consumer(store: SessionStore, told: Told) -> None:
    """What is not acknowledged waits, in order, for the next one; what is acknowledged never comes again."""
    found = ids(store)
    assert found == WAITING[len(WAITING) - len(found) :], "out of order, or a gap"
    assert not {*told["acked"]} & {*found}
    assert {*WAITING} - {*told["got"]} <= {*found}, "lost"
    again = {one.id: one.deliveries for one in store.peek(PARENT)}
    assert all(count <= 1 for count in again.values()), "delivered more often than taken"
    counts = Counter(told["got"])
    counts.update(play(store, "consumer")["got"])
    assert all(counts[name] == 1 for name in told["acked"])
    assert all(counts[name] <= 2 for name in WAITING)
    assert ids(store) == []


def judge_parent(store: SessionStore, told: Told) -> None:
    """Its lease is free at once, the next one takes it in one commit, and all results get noted."""
    assert store.lease_of(PARENT) is None
    before = store.version
    assert {*told["noted"]} <= {*store[PARENT]["results"]}
    with store.lease(PARENT, "run-2") as lease:
        assert lease.token == store.version == before + 1
        for token in told["leased"]:
            assert token < lease.token
            entry = store[PARENT]
            with pytest.raises(LeaseLost):
                store.put(PARENT, {"late": True}, fence=Fence(PARENT, token, "run-1"))
            assert store[PARENT] == entry
        assert store.lease_of(PARENT).owner == "run-2"
    play(store, "parent")
    assert store[PARENT]["results"] == WAITING
    assert ids(store) == []
    assert store.leases(free=True) == []


JUDGES: dict[str, Callable[[SessionStore, Told], None]] = {
    "child": judge_child,
    "consumer": judge_consumer,
    "parent": judge_parent,
}


def judge(path: str, role: str, told: Told, where: str) -> None:
    """Open what is left and look at it; the failure names where the death was."""
    try:
        with open_on(QuickFs(), path, limits=_ROTATE) as store:
            JUDGES[role](store, told)
            assert [one for one in store.check() if one.level != "note"] == []
    except AssertionError as exc:
        raise AssertionError(f"{where}, after it said {dict(told)}: {exc}") from exc


# -- the deaths --------------------------------------------------------------------------------


class Table:
    """The processes of a machine, as far as leases and inboxes ask for them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._alive = {1}
        self._current = 1
        monkeypatch.setattr(procfs, "process_identity", lambda: (self._current, self._current, "space"))
        monkeypatch.setattr(procfs, "is_running", lambda pid, _start, _space: pid in self._alive)

    def start(self) -> None:
        """From now on a new process is running."""
        self._current += 1
        self._alive.add(self._current)

    def end(self) -> None:
        """It died; the next one is running now."""
        self._alive.remove(self._current)
        self.start()


def _die(root: str, role: str, number: int, *, torn: bool) -> tuple[StoppingFileSystem, Told]:
    fs, told = StoppingFileSystem(number, torn=torn), Told()
    store: SessionStore | None = None
    try:
        store = open_on(fs, f"{root}/sessions.d", limits=_ROTATE)
        run_steps(store, role, told)
        store.close()
    except Stopped:
        pass
    finally:
        fs.bury(store)
    return fs, told


@pytest.mark.parametrize("torn", [False, True], ids=["before a call", "within a write"])
@pytest.mark.parametrize("role", list(ROLES))
def test_dying_at_every_call(role: str, torn: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """At least once, never after an acknowledgement, in order; leases free at once; a dead run stays fenced."""
    table = Table(monkeypatch)
    seen: set[tuple[bytes, str]] = set()
    with scratch() as folder:
        prepare(f"{folder}/begin/sessions.d")
        begin: Tree = read_tree(f"{folder}/begin")
        number, deaths = 0, 0
        while True:
            number += 1
            table.start()
            root = f"{folder}/{number}"
            write_tree(root, begin)
            fs, told = _die(root, role, number, torn=torn)
            table.end()
            if not fs.last:
                break
            if torn and fs.last != "pwrite":
                continue
            deaths += 1
            left = digest(read_tree(root)), repr(told)
            if left not in seen:
                seen.add(left)
                judge(f"{root}/sessions.d", role, told, f"{role} died at call {number}, {fs.last}")
    assert deaths >= len(ROLES[role]), "it died too seldom to mean anything"
    assert len(seen) >= len(ROLES[role]) // 2


@pytest.mark.parametrize("role", list(ROLES))
def test_killed_between_any_two_steps(role: str) -> None:
    """As above with real processes and SIGKILL."""
    for count in range(1, len(ROLES[role]) + 1):
        with scratch() as folder:
            path, told = f"{folder}/sessions.d", Told()
            prepare(path)
            with Peer(path) as peer:
                for step in ROLES[role][:count]:
                    told.add(peer.do(step))
                peer.kill()
            judge(path, role, told, f"{role} killed after step {count}")
