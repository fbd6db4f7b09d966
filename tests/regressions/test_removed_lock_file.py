"""G2: somebody removes the lock file, so that two processes checkpoint at once; no commit may be lost (F15).

The process whose lock file was removed notices in the next call that takes a lock; until then
nothing but the order of its own steps protects what the other one does.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest
from harness.story import open_on
from harness.watched import QuickFs, leave
from support.acting import ActingFs

from sessiondir import CorruptFile, Limits, SessionStore, StoreError

PATIENCE_S = 20.0
ROTATING = {"limits": Limits(journal_bytes=1)}


@pytest.fixture
def others(store_path: str) -> Iterator[list[tuple[SessionStore, QuickFs]]]:
    """Handles of other processes, which end when the test does."""
    found: list[tuple[SessionStore, QuickFs]] = []
    yield found
    for store, fs in found:
        leave(store, fs)


def _other(others: list[tuple[SessionStore, QuickFs]], path: str, fs: QuickFs | None = None) -> SessionStore:
    fs = fs or QuickFs()
    others.append((open_on(fs, path, **ROTATING), fs))
    return others[-1][0]


def _fresh(path: str, key: str) -> object:
    with open_on(QuickFs(), path, read_only=True) as store:
        return store.get(key)


def _is_next_journal(name: object, flags: int, *_: object) -> bool:
    return name == "journal-2.jsonl" and flags & os.O_ACCMODE == os.O_RDWR and not flags & os.O_CREAT


def test_g2_another_process_levels_while_we_rename(store_path: str, others: list) -> None:  # type: ignore[type-arg]
    """Both rename the same session file; the later commit is found whichever came last."""
    fs = ActingFs()
    store = _other(others, store_path, fs)
    store.put("k", {"n": 0})

    def take_over() -> None:
        os.unlink(f"{store_path}/lock")
        other = _other(others, store_path)
        assert other.put("k", {"n": 99}) == 2
        other.flush()

    fs.before("rename", take_over, lambda name, *_: True)
    with pytest.raises(StoreError):
        store.flush()
    assert fs.acted
    assert _fresh(store_path, "k") == {"n": 99}
    assert store["k"] == {"n": 99}
    assert store.put("k", {"n": 100}) == 3
    store.flush()
    assert _fresh(store_path, "k") == {"n": 100}


def test_g2_another_process_begins_the_next_journal_first(store_path: str, others: list) -> None:  # type: ignore[type-arg]
    """Who prepared the same journal and comes second takes the other's, and commits behind what is there."""
    fs = ActingFs()
    store = _other(others, store_path, fs)
    store.put("k", {"n": 0})
    seen: list[SessionStore] = []

    def take_over() -> None:
        os.unlink(f"{store_path}/lock")
        other = _other(others, store_path)
        seen.append(other)
        other.put("k", {"n": 99})
        other.flush()
        assert other.put("k", {"n": 100}) == 3

    fs.after("open", take_over, _is_next_journal)
    store.flush()
    assert fs.acted
    assert store["k"] == seen[0]["k"] == _fresh(store_path, "k") == {"n": 100}
    assert store.put("k", {"n": 101}) == 4
    assert seen[0]["k"] == _fresh(store_path, "k") == {"n": 101}


def test_g2_a_prepared_journal_that_was_replaced_is_not_named(store_path: str, others: list) -> None:  # type: ignore[type-arg]
    """If the file under the next journal's name is not ours any more, the old journal goes on."""
    fs, other_fs = ActingFs(), ActingFs()
    third = _other(others, store_path)
    third.put("c", {"n": 0})
    store = _other(others, store_path, fs)
    store.put("a", {"n": 1})
    there, go_on = threading.Event(), threading.Event()
    flushing: list[threading.Thread] = []

    def wait_before_entering() -> None:
        there.set()
        assert go_on.wait(PATIENCE_S)

    def take_over() -> None:
        os.unlink(f"{store_path}/lock")
        other = _other(others, store_path, other_fs)
        other.put("b", {"n": 1})
        other_fs.before("open", wait_before_entering, _is_next_journal)
        flushing.append(threading.Thread(target=other.flush, daemon=True))
        flushing[0].start()
        assert there.wait(PATIENCE_S)
        assert third.put("c", {"n": 99}) == 4

    fs.after("open", take_over, _is_next_journal)
    with pytest.raises(CorruptFile, match="replaced"):
        store.flush()
    go_on.set()
    flushing[0].join(PATIENCE_S)
    assert third["c"] == store["c"] == _fresh(store_path, "c") == {"n": 99}
    assert third.put("c", {"n": 100}) == 5
    assert _fresh(store_path, "c") == {"n": 100}
