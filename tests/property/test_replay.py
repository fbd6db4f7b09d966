"""Replay is exact, however often it is done and from whatever mixture of files (F4, F28)."""

from __future__ import annotations

import itertools
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from support import soundness
from support.files import write_session, write_state
from support.seed import SEED
from support.strategies import QUICK, entries, keys

from sessiondir import UNSET, SessionStore

KEYS = ["a", 'b"q', "k" * 130]
changes = st.one_of(
    st.tuples(
        st.just("put"),
        st.sampled_from(KEYS),
        st.dictionaries(st.sampled_from("xyz"), st.integers(0, 3) | st.just([1])),
    ),
    st.tuples(
        st.just("patch"),
        st.sampled_from(KEYS),
        st.dictionaries(st.sampled_from("xyz"), st.integers(0, 3) | st.just(UNSET)),
    ),
    st.tuples(st.just("delete"), st.sampled_from(KEYS), st.just({})),
)


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    """A directory for many small stores."""
    path = Path(tempfile.mkdtemp(prefix="replay-"))
    yield path
    shutil.rmtree(path)


def play(store: SessionStore, change: tuple[str, str, dict[str, Any]]) -> None:
    """Make one change."""
    how, key, fields = change
    if how == "put":
        store.put(key, fields)
    elif how == "patch":
        store.patch(key, fields, create=True)
    else:
        store.delete(key)


def history(path: Path, made: list[tuple[str, str, dict[str, Any]]]) -> list[dict[str, tuple[int, Any]]]:
    """Play changes into a store and return its sessions with their versions after each version."""
    states: list[dict[str, tuple[int, Any]]] = [{}]
    with SessionStore.open(str(path), checkpoint_interval=3600, durability="process") as store:
        for change in [("put", "a", {"x": 0}), *made]:
            play(store, change)
            if store.version == len(states):
                found = store.snapshot()
                states.append({key: (found.version_of(key) or 0, found[key]) for key in found})
        (journal,) = path.glob("journal-*")
        kept = journal.read_bytes().rstrip(b"\0")
    for left in path.glob("journal-*"):
        left.unlink()
    journal.write_bytes(kept)
    journal.chmod(0o600)
    return states


@seed(SEED)
@settings(QUICK, max_examples=25)
@given(st.lists(changes, min_size=1, max_size=7), st.integers(0, 2**30))
def test_every_mixture_of_files_and_journal_ends_in_the_last_state(
    root: Path, made: list[tuple[str, str, dict[str, Any]]], choice: int
) -> None:
    """Session files of any mixture of ages, and a state file of any age, give the last state with the journal.

    A file that was not there yet, or not any more, counts as an age too. The state file may
    be younger than some session files, as in a copy taken while a checkpoint ran; that the
    journal is a copy shows in its inode.
    """
    path = Path(tempfile.mkdtemp(dir=root)) / "s.d"
    states = history(path, made)
    last = {key: entry for key, (_, entry) in states[-1].items()}
    ages = range(len(states))
    mixtures = list(itertools.product(ages, repeat=len(KEYS)))
    state_text = json.loads((path / "state.json").read_bytes())
    for number in range(min(len(mixtures), 8)):
        mixture = mixtures[(choice + number * 7919) % len(mixtures)]
        shutil.rmtree(path / "entries")
        (path / "entries").mkdir(mode=0o700)
        for key, age in zip(KEYS, mixture, strict=True):
            if key in states[age]:
                version, entry = states[age][key]
                write_session(path, key, entry, version=version)
        state_version = (choice + number) % len(states)
        (path / "state.json").write_text(json.dumps(state_text | {"version": state_version, "inode": "0:0"}))
        with SessionStore.open(str(path), read_only=True) as reader:
            assert dict(reader.snapshot()) == last, (mixture, state_version)
        for _ in range(2):
            with SessionStore.open(str(path), durability="process") as writer:
                assert dict(writer.snapshot()) == last, (mixture, state_version)
                writer.flush()
            assert read_files(path) == last
        assert soundness.findings(path) == []


def read_files(path: Path) -> dict[str, Any]:
    """What the session files alone say."""
    documents = [json.loads(one.read_bytes()) for one in (path / "entries").iterdir()]
    return {one["sessionKey"]: one["entry"] for one in documents}


@seed(SEED)
@settings(QUICK, max_examples=25)
@given(st.lists(changes, min_size=1, max_size=6), st.data())
def test_g1_a_journal_cut_anywhere_is_a_state_that_was(
    root: Path, made: list[tuple[str, str, dict[str, Any]]], data: st.DataObject
) -> None:
    """G1: wherever the journal is cut or ends in zeros, the store is as after one of its commits, and goes on."""
    path = Path(tempfile.mkdtemp(dir=root)) / "s.d"
    states = history(path, made)
    shutil.rmtree(path / "entries")
    known = json.loads((path / "state.json").read_bytes())
    write_state(path, 0, **{name: known[name] for name in ("storeId", "journal", "keys")})
    (journal,) = path.glob("journal-*")
    text = journal.read_bytes()
    first = text.index(b"\n") + 1
    cut = data.draw(st.integers(first, len(text)))
    padding = data.draw(st.sampled_from([b"", b"\0", b"\0" * 2000]))
    journal.write_bytes(text[:cut] + padding)
    count = text[:cut].count(b"\n") - 1
    with SessionStore.open(str(path), durability="process") as store:
        assert dict(store.snapshot()) == {key: entry for key, (_, entry) in states[count].items()}
        assert store.put("new", {"n": 1}) == count + 1
    with SessionStore.open(str(path)) as store:
        assert dict(store.snapshot()) == {key: entry for key, (_, entry) in states[count].items()} | {
            "new": {"n": 1}
        }
    assert soundness.findings(path) == []


@seed(SEED)
@settings(QUICK, max_examples=30)
@given(st.dictionaries(keys, entries, max_size=5))
def test_random_sessions_survive_reopening(root: Path, sessions: dict[str, Any]) -> None:
    """Any keys and entries come back exactly, from the journal and from the files, and are plain JSON at rest."""
    path = Path(tempfile.mkdtemp(dir=root)) / "s.d"
    with SessionStore.open(str(path), durability="process", checkpoint_interval=3600) as store:
        for key, entry in sessions.items():
            store.put(key, entry)
        with SessionStore.open(str(path), read_only=True) as reader:
            assert repr(sorted(reader.snapshot().items())) == repr(sorted(sessions.items()))
    with SessionStore.open(str(path)) as store:
        assert repr(sorted(store.snapshot().items())) == repr(sorted(sessions.items()))
    if sessions:
        assert repr(sorted(read_files(path).items())) == repr(sorted(sessions.items()))
        assert soundness.findings(path) == []
