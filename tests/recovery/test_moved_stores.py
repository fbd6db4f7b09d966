"""G2, G8, G10: a store that is renamed, removed, replaced or put back while handles are open on it (F10)."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable

import pytest
from harness.story import BASE, A, B, at_rest, contents, errors_of, open_on
from harness.watched import QuickFs

from sessiondir.errors import StorageError
from sessiondir.testing import digest, read_tree


def _rename(path: str) -> None:
    os.rename(path, f"{path[:-2]}-away.d")


def _replace(path: str) -> None:
    _rename(path)
    with open_on(QuickFs(), path) as other:
        other.put(A, {"other": 1})


def _restore(path: str) -> None:
    _rename(path)
    os.rename(f"{path[:-2]}-backup.d", path)


MOVES = [_rename, _replace, _restore]


@pytest.mark.parametrize("move", MOVES, ids=lambda move: move.__name__[1:])
def test_g2_an_open_handle_stays_with_its_store_until_it_notices(
    store_path: str, move: Callable[[str], None]
) -> None:
    """What it acknowledged is in its own store; what stands in its place now is never touched by it."""
    away = f"{store_path[:-2]}-away.d"
    at_rest(store_path)
    shutil.copytree(store_path, f"{store_path[:-2]}-backup.d")
    fs = QuickFs()
    store = open_on(fs, store_path)
    store.put(A, {"n": 1})
    move(store_path)
    there = digest(read_tree(store_path)) if os.path.isdir(store_path) else None
    store.put(B, {"n": 2})
    assert contents(store) == BASE | {A: {"n": 1}, B: {"n": 2}}
    with pytest.raises(StorageError, match="moved or replaced while open"):
        store.flush()
    for write in (
        lambda: store.put("c", {"n": 3}),
        lambda: store.update(A, lambda entry: {"n": 3}),
        lambda: store.delete(B),
        store.flush,
    ):
        with pytest.raises(StorageError, match="open the store again"):
            write()
    assert contents(store) == BASE | {A: {"n": 1}, B: {"n": 2}}, "a refused write changed something, or reads end"
    store.close()
    assert not fs.open_fds
    assert not errors_of(away)
    with open_on(QuickFs(), away) as found:
        assert contents(found) == BASE | {A: {"n": 1}, B: {"n": 2}}
        found.put("after", {"n": 1})
    if there is not None:
        assert digest(read_tree(store_path)) == there
        assert not errors_of(store_path)


def test_g8_writing_to_a_removed_store_is_an_error_every_time(store_path: str) -> None:
    """Each write says that the directory is gone, reads show what is still known, and nothing is made again."""
    at_rest(store_path)
    fs = QuickFs()
    store = open_on(fs, store_path)
    store.put(A, {"n": 1})
    shutil.rmtree(store_path)
    time.sleep(0.02)  # whether the lock file has gone is asked every 10 ms
    writes: list[Callable[[], object]] = [
        lambda: store.put(A, {"n": 2}),
        lambda: store.put("new", {"n": 2}),
        lambda: store.update(B, lambda entry: {"n": 2}, create=True),
        store.flush,
    ]
    for write in (
        *writes,
        *writes,
        lambda: store.edit(lambda sessions: sessions.clear()),
        lambda: store.post(A, 1),
    ):
        with pytest.raises(StorageError):
            write()
    assert store[A] == {"n": 1}
    store.close()
    assert not os.path.exists(store_path)
    assert not fs.open_fds
    with open_on(QuickFs(), store_path) as again:
        assert contents(again) == {}
        again.put(A, {"n": 3})
    assert not errors_of(store_path)
