"""G8, G12: a copy of a live store mixes moments, and is a store all the same (F28)."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from harness.powerloss import scratch
from harness.seeds import seeded
from harness.story import NEVER, A, B, Sessions, at_rest, contents, errors_of, open_on
from harness.watched import QuickFs, leave

from sessiondir.model import Limits
from sessiondir.testing import Tree, read_tree, write_tree
from sessiondir.view import View

_STEPS = 13
_TRIES = 220


def _history(folder: str, rotate: bool) -> tuple[list[Tree], list[Sessions]]:
    """What a busy store's directory and its sessions were, moment after moment; sessions are never deleted."""
    path = f"{folder}/sessions.d"
    at_rest(path)
    fs = QuickFs()
    store = open_on(fs, path, checkpoint_interval=NEVER, limits=Limits(journal_bytes=1 if rotate else 1 << 20))
    trees, states = [read_tree(folder)], [contents(store)]
    for number in range(1, _STEPS):
        if number % 4 == 0:
            store.flush()
        elif number % 4 == 1:
            store.patch(A, {"n": number})
        elif number % 4 == 2:
            store.patch(A, {"m": number, "list": [number]})
            store.put(B, {"n": number, "only": {str(number): 1}})
        else:
            store.put(f"new {number}", {"n": number})
        trees.append(read_tree(folder))
        states.append(contents(store))
    leave(store, fs)
    return trees, states


def _mixed(trees: list[Tree], journal: int, state: int, entries: int) -> Tree:
    """The journals of one moment, the state file of a second, the session files of a third."""

    def part(name: str) -> int:
        name = name.removeprefix("sessions.d/")
        return entries if name.startswith("entries") else state if name == "state.json" else journal

    names = {name for tree in (trees[journal], trees[state], trees[entries]) for name in tree}
    return {name: trees[part(name)][name] for name in names if name in trees[part(name)]}


def _complaint(tree: Tree, states: list[Sessions], since: int, until: int = _STEPS) -> str | None:
    """What is wrong with a copy; a session must be one that existed from moment ``since`` to before ``until``."""
    with scratch() as folder:
        write_tree(f"{folder}/copy", tree)
        path = f"{folder}/copy/sessions.d"
        try:
            if errors := errors_of(path):
                return f"check says {errors}"
            with open_on(QuickFs(), path) as store:
                found = contents(store)
                for key in {*states[since], *found}:
                    allowed: list[Any] = [state.get(key) for state in states[since:until]]
                    if found.get(key) not in allowed:
                        return f"session {key!r} is {found.get(key)}, which it never was since moment {since}"
                store.put("copy", {"n": 1})
                assert contents(store) == found | {"copy": {"n": 1}}
            with open_on(QuickFs(), path) as store:
                assert contents(store) == found | {"copy": {"n": 1}}
            if errors := errors_of(path):
                return f"after a commit, check says {errors}"
        except Exception as exc:
            return f"{type(exc).__name__}: {exc}"
    return None


def _complaints(rotate: bool, *, fresh: bool) -> tuple[int, list[str]]:
    """Copies tried, and complaints; with ``fresh`` a session may not be older than the copy's oldest part."""
    wrong, tried = [], 0
    with scratch() as folder:
        trees, states = _history(folder, rotate)
    triples = list(itertools.product(range(_STEPS), repeat=3))
    for moments in seeded("copies").sample(triples, _TRIES):
        journal, state, entries = moments
        tree = _mixed(trees, journal, state, entries)
        if not _chain_is_there(tree):
            continue  # a copying program reports a file that vanished
        tried += 1
        complaint = _complaint(tree, states, min(moments) if fresh else 0)
        if complaint is not None:
            wrong.append(f"journal of {journal}, state of {state}, entries of {entries}: {complaint}")
    return tried, wrong


def _chain_is_there(tree: Tree) -> bool:
    state = tree["sessions.d/state.json"]
    assert state is not None
    return any(name.encode() in state for name in _journals(tree))


def _journals(tree: Tree) -> list[str]:
    return [name.removeprefix("sessions.d/") for name in tree if "/journal-" in name]


@pytest.mark.parametrize("rotate", [False, True], ids=["one-journal", "rotations"])
def test_every_mixture_of_moments_has_whole_sessions(rotate: bool) -> None:
    """G8, G12: journal, state file and session files of different moments never give a session that never was."""
    tried, wrong = _complaints(rotate, fresh=False)
    assert tried > 50
    assert not wrong, f"{len(wrong)} of {tried}\n" + "\n".join(wrong[:6])


_ROTATIONS = pytest.param(
    True,
    id="rotations",
    marks=pytest.mark.xfail(strict=True, reason="known limit: docs/design/0004"),
)


@pytest.mark.parametrize("rotate", [pytest.param(False, id="one-journal"), _ROTATIONS])
def test_a_copy_is_not_older_than_its_beginning(rotate: bool) -> None:
    """G12: what was committed before a copy began is in the copy."""
    tried, wrong = _complaints(rotate, fresh=True)
    assert tried > 50
    assert not wrong, f"{len(wrong)} of {tried}\n" + "\n".join(wrong[:6])


def _inexact() -> list[str]:
    """Complaints about copies without a new journal: they must show the newer of journal and files."""
    wrong = []
    with scratch() as folder:
        trees, states = _history(folder, rotate=False)
    for journal, entries in itertools.product(range(_STEPS), repeat=2):
        newest = max(journal, entries - entries % 4)  # every fourth step brought the files level
        complaint = _complaint(_mixed(trees, journal, entries, entries), states, newest, newest + 1)
        if complaint is not None:
            wrong.append(f"journal of {journal}, the rest of {entries}: {complaint}")
    return wrong


def test_replay_over_newer_files_is_exact() -> None:
    """G12: session files ahead of the journal stay ahead, and files behind it are brought level."""
    wrong = _inexact()
    assert not wrong, "\n".join(wrong[:6])


def test_replay_without_the_version_rule_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """G12: the test above would notice a replay that applies commits the session file already holds."""
    real = View._replay

    def forgetful(self: View, key: str, stored: Any, problem: Any) -> Any:
        if stored is not None:
            stored.version = 0
        return real(self, key, stored, problem)

    monkeypatch.setattr(View, "_replay", forgetful)
    assert _inexact()
