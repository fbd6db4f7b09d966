"""Scenarios: a store to begin with, what is done to it, and what must be true of it afterwards."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from harness.watched import QuickFs, leave
from sessiondir import SessionStore
from sessiondir.fs import FileSystem
from sessiondir.model import Limits

Sessions = dict[str, dict[str, Any]]
NEVER = 3600.0
"""A checkpoint interval that no test reaches, so that nothing happens in the background."""

LONG_KEY = "agent:main:" + "long " * 30 + "end"
BASE: Sessions = {
    "agent:main:a": {"sessionId": "a-1", "updatedAt": 1000, "n": 0, "pad": "x" * 40},
    "agent:main:b": {"sessionId": "b-1", "updatedAt": 2000, "n": 0, "tags": ["one", "two"]},
    "agent:quiet:1": {"sessionId": "q-1", "updatedAt": 3000, "text": "nobody touches this"},
    LONG_KEY: {"sessionId": "l-1", "updatedAt": 4000, "text": "\u00e4\u00f6\u00fc " * 5},
}
A, B, QUIET = "agent:main:a", "agent:main:b", "agent:quiet:1"


@dataclass(frozen=True)
class Step:
    """One call, and what it does to the sessions.

    ``synced``: when it has returned, a power cut cannot take it, nor anything before it.
    """

    name: str
    run: Callable[[SessionStore], object]
    effect: Callable[[Sessions], Sessions] = field(default=dict)
    synced: bool = True


@dataclass(frozen=True)
class Scenario:
    """A beginning and the steps after it; ``options`` go to ``SessionStore.open``."""

    name: str
    prepare: Callable[[str], Sessions]
    steps: tuple[Step, ...]
    options: dict[str, Any] = field(default_factory=dict)

    def states(self, start: Sessions) -> list[Sessions]:
        """The sessions before the first step, after it, and so on."""
        found = [start]
        for step in self.steps:
            found.append(step.effect(found[-1]))
        return found


def open_on(fs: FileSystem, path: str, **options: Any) -> SessionStore:
    """A handle whose background thread never does anything."""
    return SessionStore.open(path, fs=fs, **{"checkpoint_interval": NEVER, "lock_timeout": 2.0} | options)


# -- beginnings -------------------------------------------------------------------------------


def absent(path: str) -> Sessions:
    """No store."""
    return {}


def at_rest(path: str) -> Sessions:
    """A store that was closed."""
    with open_on(QuickFs(), path) as store:
        for key, entry in BASE.items():
            store.put(key, entry)
    return dict(BASE)


def running(path: str) -> Sessions:
    """A store whose only writer died with commits that no session file has yet."""
    at_rest(path)
    fs = QuickFs()
    store = open_on(fs, path)
    store.patch(A, {"n": 7})
    store.put("agent:main:new", {"sessionId": "n-1", "n": 1})
    store.delete(B)
    leave(store, fs)
    return {A: BASE[A] | {"n": 7}, "agent:main:new": {"sessionId": "n-1", "n": 1}} | {
        key: BASE[key] for key in (QUIET, LONG_KEY)
    }


def torn(path: str) -> Sessions:
    """A store whose writer died in the middle of an append."""
    sessions = running(path)
    name = current_journal(path)
    with open(f"{path}/{name}", "r+b") as file:
        end = file.read().find(b"\0")
        file.seek(end if end >= 0 else os.path.getsize(file.name))
        file.write(b'{"v":99,"t":1,"ops":[{"op":"put","key":"agent:main:a","ent')
    return sessions


def with_messages(path: str) -> Sessions:
    """A store that was closed while messages waited: two for a session, one for none."""
    at_rest(path)
    with open_on(QuickFs(), path) as store:
        store.post(A, {"n": 1}, id="m1")
        store.post([A, NOBODY], "two", id="m2")
    return BASE | _inbox(A, ["m1", {"n": 1}, False], ["m2", "two", False]) | _inbox(NOBODY, ["m2", "two", False])


def leased(path: str) -> Sessions:
    """A store that was closed while one session was leased."""
    at_rest(path)
    with open_on(QuickFs(), path) as store:
        store.lease(A, "run", 3600)
    return BASE | {f"{_LEASE}{A}": {"owner": "run"}}


def current_journal(path: str) -> str:
    """The name of the newest journal."""
    names = [name for name in os.listdir(path) if name.startswith("journal-")]
    return max(names, key=lambda name: int(name[len("journal-") : -len(".jsonl")]))


# -- steps ------------------------------------------------------------------------------------


def _transaction(store: SessionStore) -> None:
    with store.transaction(A, QUIET) as txn:
        txn[A] = txn[A] | {"n": 5, "pair": 1}
        txn[QUIET] = txn[QUIET] | {"pair": 1}


def _edit(sessions: Any) -> None:
    sessions["agent:main:e"] = {"n": 1}
    sessions[A] = sessions[A] | {"n": 6}
    del sessions[QUIET]


def _edited(sessions: Sessions) -> Sessions:
    kept = {key: entry for key, entry in sessions.items() if key != QUIET}
    return kept | {"agent:main:e": {"n": 1}, A: sessions[A] | {"n": 6}}


_WHOLE: Sessions = {A: {"n": 100}, "agent:main:z": {"n": 101}}

put_new = Step("put new", lambda s: s.put("agent:main:p", {"n": 1}), lambda d: d | {"agent:main:p": {"n": 1}})
put_again = Step("put again", lambda s: s.put(A, {"n": 2, "s": "t"}), lambda d: d | {A: {"n": 2, "s": "t"}})
patch = Step("patch", lambda s: s.patch(A, {"n": 3}), lambda d: d | {A: d[A] | {"n": 3}})
update = Step("update", lambda s: s.update(A, lambda e: e | {"n": 4}), lambda d: d | {A: d[A] | {"n": 4}})
delete = Step("delete", lambda s: s.delete(A), lambda d: {key: entry for key, entry in d.items() if key != A})
pair = Step(
    "transaction",
    _transaction,
    lambda d: d | {A: d[A] | {"n": 5, "pair": 1}, QUIET: d[QUIET] | {"pair": 1}},
)
edit = Step("edit", lambda s: s.edit(_edit), _edited)
whole = Step("replace", lambda s: s.replace(_WHOLE), lambda d: dict(_WHOLE))
flush = Step("flush", lambda s: s.flush())

NOBODY = "agent:main:nobody"
"""A session without an entry."""

_INBOX, _LEASE = "inbox of ", "lease of "


def _inbox(key: str, *messages: list[Any]) -> Sessions:
    """An inbox in the form in which ``contents`` has it; each message as id, body, whether it is taken."""
    return {f"{_INBOX}{key}": {"messages": list(messages)}} if messages else {}


def _posted(key: str, *more: list[Any]) -> Callable[[Sessions], Sessions]:
    def effect(sessions: Sessions) -> Sessions:
        before = sessions.get(f"{_INBOX}{key}", {"messages": []})["messages"]
        return sessions | _inbox(key, *before, *more)

    return effect


def _changed_inbox(key: str, change: Callable[[list[Any]], list[Any] | None]) -> Callable[[Sessions], Sessions]:
    def effect(sessions: Sessions) -> Sessions:
        messages = [new for one in sessions[f"{_INBOX}{key}"]["messages"] if (new := change(one)) is not None]
        others = {name: entry for name, entry in sessions.items() if name != f"{_INBOX}{key}"}
        return others | _inbox(key, *messages)

    return effect


def _unleased(sessions: Sessions) -> Sessions:
    return {name: entry for name, entry in sessions.items() if name != f"{_LEASE}{A}"}


post_a = Step("post", lambda s: s.post(A, {"n": 3}, id="p1"), _posted(A, ["p1", {"n": 3}, False]))
post_again = Step("post again", lambda s: s.post(A, {"n": 3}, id="p1"))
post_nobody = Step(
    "post to nobody", lambda s: s.post(NOBODY, "early", id="p2"), _posted(NOBODY, ["p2", "early", False])
)
post_both = Step(
    "post to two",
    lambda s: s.post([A, NOBODY], [1], id="p3"),
    lambda d: _posted(NOBODY, ["p3", [1], False])(_posted(A, ["p3", [1], False])(d)),
)
create_nobody = Step("create", lambda s: s.put(NOBODY, {"n": 1}), lambda d: d | {NOBODY: {"n": 1}})
take_one = Step(
    "take",
    lambda s: s.take(A, 1),
    _changed_inbox(A, lambda one: [*one[:2], True] if one[0] == "m1" else one),
    synced=False,
)
put_one_back = Step(
    "put back", lambda s: s.put_back(A, "m1"), _changed_inbox(A, lambda one: [*one[:2], False]), synced=False
)
ack_one = Step("ack", lambda s: s.ack(A, "m1"), _changed_inbox(A, lambda one: None if one[0] == "m1" else one))
ack_nobody = Step("ack", lambda s: s.ack(NOBODY, ["m2", "p2"]), _changed_inbox(NOBODY, lambda one: None))
take_all = Step("take for good", lambda s: s.take(A, ack=True), _changed_inbox(A, lambda one: None))
lease_a = Step("lease", lambda s: s.lease(A, "run", 3600), lambda d: d | {f"{_LEASE}{A}": {"owner": "run"}}, False)
lease_new = Step(
    "lease nobody",
    lambda s: s.lease(NOBODY, "run", 60),
    lambda d: d | {f"{_LEASE}{NOBODY}": {"owner": "run"}},
    False,
)
fenced = Step(
    "fenced patch", lambda s: s.patch(A, {"n": 9}, fence=s.lease_of(A)), lambda d: d | {A: d[A] | {"n": 9}}
)
release = Step("release", lambda s: s._let_go(s.lease_of(A)), _unleased, False)

ROTATING = {"limits": Limits(journal_bytes=1)}

SCENARIOS = (
    Scenario("create", absent, (put_new,)),
    Scenario("put new", at_rest, (put_new,)),
    Scenario("put again", at_rest, (put_again,)),
    Scenario("patch", at_rest, (patch,)),
    Scenario("update", at_rest, (update,)),
    Scenario("delete", at_rest, (delete,)),
    Scenario("transaction", at_rest, (pair,)),
    Scenario("edit", at_rest, (edit,)),
    Scenario("replace", at_rest, (whole,)),
    Scenario("checkpoint", running, (flush,)),
    Scenario("delete and checkpoint", running, (delete, flush)),
    Scenario("rotation", at_rest, (patch, put_new, flush, pair), ROTATING),
    Scenario("delete and rotation", at_rest, (delete, flush, put_again, flush), ROTATING),
    Scenario("recovery", torn, (put_new,)),
    Scenario("write through", at_rest, (patch, delete), {"checkpoint_interval": 0}),
    Scenario("post", at_rest, (post_a, post_again, patch)),
    Scenario("post into nothing", absent, (post_nobody, flush, create_nobody, flush)),
    Scenario("post to two", with_messages, (post_both, flush)),
    Scenario("take and acknowledge", with_messages, (take_one, ack_one, take_all)),
    Scenario("take and put back", with_messages, (take_one, flush, put_one_back)),
    Scenario("acknowledge the last", with_messages, (ack_nobody, flush)),
    Scenario("delete beside messages", with_messages, (delete, flush, put_again, flush, ack_one), ROTATING),
    Scenario("lease", at_rest, (lease_a, fenced, release)),
    Scenario("lease and rotation", at_rest, (lease_a, flush, lease_new, flush, release), ROTATING),
    Scenario("delete beside a lease", leased, (delete, flush, put_again, release, flush)),
)


# -- what must be true ------------------------------------------------------------------------


def contents(store: SessionStore) -> Sessions:
    """All sessions, read in one go; beside them inboxes and leases, under names of their own."""
    snapshot = store.snapshot()
    assert not snapshot.damaged, snapshot.damaged
    found = {key: dict(entry) for key, entry in snapshot.items()}
    for info in store.inboxes():
        messages = store.peek(info.key, taken=True)
        found |= _inbox(info.key, *([one.id, one.body, one.taken_by is not None] for one in messages))
    return found | {f"{_LEASE}{one.key}": {"owner": one.owner} for one in store.leases()}


def entries_of(found: Sessions) -> Sessions:
    """What of ``contents`` are entries."""
    return {key: entry for key, entry in found.items() if not key.startswith((_INBOX, _LEASE))}


def errors_of(path: str, fs: FileSystem | None = None) -> list[str]:
    """What ``check`` calls an error, as text."""
    with open_on(fs or QuickFs(), path, read_only=True) as store:
        return [f"{finding.path}: {finding.reason}" for finding in store.check() if finding.level == "error"]


def judge(path: str, allowed: list[Sessions], why: str) -> Sessions:
    """Open a store after a mishap and see that it is one of ``allowed`` and goes on; what it was.

    It must be without errors before anything is written, be read the same in every way,
    take a commit, and still be the same after closing and opening.
    """
    if not os.path.isdir(path):
        assert {} in allowed, f"{why}: the store is gone"
        found: Sessions = {}
    else:
        assert not errors_of(path), f"{why}: check says {errors_of(path)}"
        with open_on(QuickFs(), path, read_only=True) as store:
            found = contents(store)
            assert found in allowed, f"{why}: {found}\nis none of\n" + "\n".join(map(str, allowed))
            assert sorted(store.keys()) == sorted(entries_of(found)), why
            assert {key: store.get(key) for key in store} == entries_of(found), why
    with open_on(QuickFs(), path) as store:
        assert contents(store) == found, f"{why}: getting ready to write changed something"
        before = store.version
        assert store.put("judge", {"ok": True}) > before, f"{why}: versions must grow"
        after = found | {"judge": {"ok": True}}
        assert contents(store) == after, f"{why}: after a commit"
    assert not errors_of(path), f"{why}: after a commit, check says {errors_of(path)}"
    with open_on(QuickFs(), path) as store:
        assert contents(store) == after, f"{why}: after closing and opening"
    return found
