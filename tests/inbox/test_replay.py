"""Replay of inboxes and leases is exact, from whatever mixture of session files and journal."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from support import soundness
from support.seed import SEED
from support.strategies import QUICK

from sessiondir import LeaseHeld, SessionStore

KEYS = ["a", 'b"q', "k" * 130]
IDS = ["x", "y", "z"]
key = st.sampled_from(KEYS)
changes = st.one_of(
    st.tuples(st.just("put"), key, st.integers(0, 9)),
    st.tuples(st.just("patch"), key, st.integers(0, 9)),
    st.tuples(st.just("delete"), key, st.none()),
    st.tuples(st.just("post"), key, st.sampled_from([*IDS, None])),
    st.tuples(st.just("post all"), key, st.sampled_from([*IDS, None])),
    st.tuples(st.just("take"), key, st.integers(1, 3)),
    st.tuples(st.just("ack"), key, st.sampled_from([*IDS, "@2", "@3"])),
    st.tuples(st.just("put back"), key, st.sampled_from(IDS)),
    st.tuples(st.just("lease"), key, st.sampled_from(["me", "you"])),
    st.tuples(st.just("release"), key, st.none()),
)
Made = list[tuple[str, str, Any]]
Files = dict[str, dict[str, bytes]]


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    """A directory for many small stores."""
    path = Path(tempfile.mkdtemp(prefix="replay-"))
    yield path
    shutil.rmtree(path)


def play(store: SessionStore, change: tuple[str, str, Any]) -> None:
    """Make one change; some come to nothing."""
    how, key, value = change
    if how == "put":
        store.put(key, {"n": value})
    elif how == "patch":
        store.patch(key, {"m": value}, create=True)
    elif how == "delete":
        store.delete(key)
    elif how == "post":
        store.post(key, {"to": key}, id=value)
    elif how == "post all":
        store.post(KEYS, "to all", id=value)
    elif how == "take":
        store.take(key, value)
    elif how == "ack":
        store.ack(key, value)
    elif how == "put back":
        store.put_back(key, value)
    elif how == "lease":
        try:
            store.lease(key, value)
        except LeaseHeld:
            pass
    elif (found := store.lease_of(key)) is not None:
        store._let_go(found)  # type: ignore[arg-type]


def whole(store: SessionStore) -> dict[str, Any]:
    """Everything that can be read of the sessions."""
    found: dict[str, Any] = {}
    for key in KEYS:
        lease = store.lease_of(key)
        messages = [(one.id, one.body, one.deliveries, one.taken_by) for one in store.peek(key, taken=True)]
        found[key] = (store.get(key), store.version_of(key), messages, lease and (lease.owner, lease.token))
    return found


def knows(store: SessionStore) -> dict[str, list[str]]:
    """Which ids each inbox would not take again."""
    asides = {key: store._document(key).aside for key in KEYS}  # type: ignore[union-attr]
    return {key: [one for one in IDS if aside is not None and aside.knows(one)] for key, aside in asides.items()}


def files_of(path: Path) -> Files:
    """The session files, by directory and name."""
    return {
        below: {one.name: one.read_bytes() for one in (path / below).iterdir()} if (path / below).exists() else {}
        for below in ("entries", "waiting")
    }


@seed(SEED)
@settings(QUICK, max_examples=40)
@given(st.lists(changes, min_size=1, max_size=9), st.data())
def test_files_of_any_age_and_the_journal_give_the_last_state(root: Path, made: Made, data: Any) -> None:
    """G1: whichever age each session's file has, or if it is not there, replay ends in the same state."""
    path = Path(tempfile.mkdtemp(dir=root)) / "s.d"
    ages: list[Files] = [{"entries": {}, "waiting": {}}]
    with SessionStore.open(str(path), checkpoint_interval=3600, durability="process") as store:
        store.put("a", {"n": 0})
        for change in made:
            play(store, change)
            store.flush()
            ages.append(files_of(path))
        last, known, version = whole(store), knows(store), store.version
    for _ in range(4):
        mixed: Files = {"entries": {}, "waiting": {}}
        for name in {name for age in ages for names in age.values() for name in names}:
            age = data.draw(st.sampled_from(ages), label=f"age of {name}")
            for below in mixed:
                if name in age[below]:
                    mixed[below][name] = age[below][name]
        copied = path.parent / "copy.d"
        shutil.copytree(path, copied)  # another inode of the journal: what the state file says is not relied on
        for below, names in mixed.items():
            shutil.rmtree(copied / below, ignore_errors=True)
            (copied / below).mkdir(mode=0o700)
            for name, text in names.items():
                (copied / below / name).write_bytes(text)
                (copied / below / name).chmod(0o600)
        with SessionStore.open(str(copied), read_only=True) as reader:
            assert (whole(reader), knows(reader)) == (last, known)
        with SessionStore.open(str(copied), durability="process") as writer:
            assert (whole(writer), knows(writer), writer.version) == (last, known, version)
        with SessionStore.open(str(copied), read_only=True) as reader:
            assert (whole(reader), knows(reader)) == (last, known)
        assert soundness.findings(copied) == []
        shutil.rmtree(copied)
