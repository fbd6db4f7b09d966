"""Is there an order of commits that explains what every process saw?

A history is a list of operations, each with when it was called and when it returned (nanoseconds
of a clock that all processes share) and what it saw. Those that committed carry the version of
their commit: it is the order that the store claims. The checker replays it:

1. the versions are 1, 2, 3 ... N, each of one operation, so no commit was lost or made up;
2. at its version each operation saw exactly what the commits before it left (no lost update,
   no half of a commit, no message twice, none skipped);
3. operations that changed nothing, and snapshots, saw the state at one version;
4. an operation that was called after another had returned comes after it, over all sessions
   and processes: a read sees every commit acknowledged before it, and nothing goes back;
5. nothing is seen before it was called.

So each session is linearizable, and as the order is one for all of them, so is the store. For
reads the earliest version that explains them is taken; if any choice works, this one does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Entry = dict[str, Any] | None
Session = tuple[Entry, tuple[str, ...]]
"""A session's entry (None: there is none) and the ids of the messages that wait."""

NOTHING: Session = (None, ())
WRITING = frozenset({"put", "patch", "update", "delete", "transaction", "edit", "post", "take", "ack"})
READING = frozenset({"get", "peek", "snapshot", "version"})


@dataclass
class Operation:
    """One call. ``called`` and ``returned`` are nanoseconds; ``version`` is None where nothing was committed.

    ``sessions`` maps each session that it touched to what it saw there (``before``: what a
    callback was given; ``after``: what the call gave back or, for a read, the value) and what it
    asked for (``put``, ``set``, ``post``, ``limit``).
    """

    process: str
    kind: str
    called: int
    returned: int
    version: int | None
    sessions: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.kind} by {self.process} at version {self.version} ({self.called}..{self.returned})"


class NotExplained(AssertionError):
    """No order of commits explains the history; the text says which operation breaks it."""


def explain(history: Sequence[Operation]) -> int:
    """The number of commits, if there is an order that explains the history. Raises ``NotExplained``.

    O(operations x log(versions)), and for reads the distance between what they saw and the newest.
    """
    commits = _in_order(history)
    states = _replay(commits)
    earliest: dict[int, int] = {}
    newest = 0
    waiting = sorted(range(len(history)), key=lambda number: history[number].returned)
    at = 0
    for number in sorted(range(len(history)), key=lambda one: history[one].called):
        one = history[number]
        while at < len(waiting) and history[waiting[at]].returned < one.called:
            newest = max(newest, earliest[waiting[at]])
            at += 1
        earliest[number] = _place(one, newest, commits, states)
    return len(commits)


def _in_order(history: Sequence[Operation]) -> list[Operation]:
    """The commits by version, which are 1 to N."""
    by_version: dict[int, Operation] = {}
    for one in history:
        if one.kind not in WRITING | READING:
            raise ValueError(f"unknown operation {one.kind!r}")
        if one.returned < one.called:
            raise NotExplained(f"{one} returned before it was called")
        if one.version is None or one.kind in READING:
            continue
        if one.version in by_version:
            raise NotExplained(f"version {one.version} twice: {one} and {by_version[one.version]}")
        by_version[one.version] = one
    missing = sorted(set(range(1, len(by_version) + 1)) - set(by_version))
    if missing:
        raise NotExplained(f"nobody made commit {missing[0]}, and there are later ones")
    return [by_version[version] for version in range(1, len(by_version) + 1)]


class _States:
    """Every state of every session: (first version, state), oldest first."""

    def __init__(self) -> None:
        self._of: dict[str, list[tuple[int, Session]]] = {}

    def now(self, key: str) -> Session:
        """The newest state."""
        found = self._of.get(key)
        return found[-1][1] if found else NOTHING

    def put(self, key: str, version: int, state: Session) -> None:
        """The state from ``version`` on."""
        self._of.setdefault(key, [(0, NOTHING)]).append((version, state))

    def since(self, key: str, version: int) -> list[tuple[int, Session]]:
        """The states from the one at ``version`` on, each with the version from which it holds."""
        found = self._of.get(key, [(0, NOTHING)])
        at = len(found) - 1
        while found[at][0] > version:
            at -= 1
        return [(max(version, found[at][0]), found[at][1]), *found[at + 1 :]]

    def at(self, key: str, version: int) -> Session:
        """The state at ``version``."""
        return self.since(key, version)[0][1]

    @property
    def keys(self) -> list[str]:
        """Every session that there ever was."""
        return list(self._of)


def _replay(commits: Sequence[Operation]) -> _States:
    states = _States()
    for version, one in enumerate(commits, 1):
        for key, facts in one.sessions.items():
            before = states.now(key)
            wrong = _contradiction(one.kind, before, facts)
            if wrong:
                raise NotExplained(f"{one}: session {key!r} {wrong}")
            after = _after(one.kind, before, facts)
            if after != before:
                states.put(key, version, after)
    return states


def _contradiction(kind: str, before: Session, facts: Mapping[str, Any]) -> str:
    """What a committing operation saw that was not so; empty if there is nothing."""
    entry, waiting = before
    if "before" in facts and facts["before"] != entry:
        return f"was {entry} before it, not {facts['before']}"
    if kind == "patch" and entry is None:
        return "was not there, and nothing can be set in it"
    if kind == "delete" and entry is None:
        return "was not there, and cannot be deleted"
    if kind == "take":
        expected = list(waiting[: facts["limit"]])
        if facts["after"] != expected or not expected:
            return f"had {list(waiting)} waiting, so {facts['after']} could not be taken"
    after = _after(kind, before, facts)[0]
    if kind in ("put", "patch", "update") and facts.get("after", after) != after:
        return f"became {after}, not {facts['after']}"
    return ""


def _after(kind: str, before: Session, facts: Mapping[str, Any]) -> Session:
    entry, waiting = before
    if kind == "post":
        return entry, (*waiting, facts["post"])
    if kind == "take":
        return entry, waiting[len(facts["after"]) :]
    if kind == "ack":
        return before
    if kind == "delete":
        return None, waiting
    if "set" in facts:
        return {**(entry or {}), **facts["set"]}, waiting
    if "put" in facts:
        return facts["put"], waiting
    return before  # read in the same commit, not changed


def _place(one: Operation, newest: int, commits: Sequence[Operation], states: _States) -> int:
    """The earliest version at which ``one`` can stand, not before ``newest``."""
    if one.version is not None:
        version = one.version
        if version < newest or (version == newest and one.kind in WRITING):
            raise NotExplained(f"{one} was called after version {newest} had been seen")
        if version > len(commits):
            raise NotExplained(f"{one}: there is no such commit")
        if one.kind == "snapshot":
            _check_snapshot(one, version, states)
    else:
        version = _version_of_read(one, newest, states)
    if version and commits[version - 1].called > one.returned:
        raise NotExplained(f"{one} saw {commits[version - 1]}, which was called later")
    return version


def _check_snapshot(one: Operation, version: int, states: _States) -> None:
    for key in {*states.keys, *one.sessions}:
        found = one.sessions.get(key, {}).get("after")
        if found != states.at(key, version)[0]:
            raise NotExplained(
                f"{one}: session {key!r} was {states.at(key, version)[0]} at that version, not {found}"
            )


def _version_of_read(one: Operation, newest: int, states: _States) -> int:
    """The first version from ``newest`` on at which every session was as ``one`` saw it."""
    fits = _FITS[one.kind]
    (key, facts), *more = one.sessions.items()
    assert not more, "a read of several sessions tells its version"
    for version, state in states.since(key, newest):
        if fits(state, facts):
            return version
    raise NotExplained(
        f"{one}: from version {newest} on, acknowledged before, session {key!r} was never as seen: {facts}"
    )


_Fits = Callable[[Session, Mapping[str, Any]], bool]
_FITS: dict[str, _Fits] = {
    "get": lambda state, facts: state[0] == facts["after"],
    "peek": lambda state, facts: list(state[1]) == facts["after"],
    # What changed nothing because there was nothing:
    "patch": lambda state, facts: state[0] is None,
    "update": lambda state, facts: state[0] is None,
    "delete": lambda state, facts: state[0] is None,
    "take": lambda state, facts: not state[1],
}
