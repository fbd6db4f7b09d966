"""G1, G2, G8: a writer that dies, fails or loses power anywhere leaves a listing that tells the truth (F1, F3)."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.powerloss import scratch
from harness.seeds import seeded
from harness.story import open_on
from harness.watched import QuickFs, close_quietly
from support.listings import make_listing, require_true

from sessiondir import SessionStore, StoreError, listfile, listing, listkeeping
from sessiondir.checkpoint import Checkpointer
from sessiondir.journal import JournalFile
from sessiondir.state import parse_state
from sessiondir.testing import FailingFileSystem, PowerLossFileSystem, Stopped, StoppingFileSystem, write_tree


def _append(store: SessionStore) -> None:
    make_listing(store)


def _rotate(store: SessionStore) -> None:
    assert store._writing().checkpoint(10, rotate_bytes=0)


def _sort_in(store: SessionStore) -> None:
    original, listkeeping._CHANGES_BYTES = listkeeping._CHANGES_BYTES, 0
    try:
        make_listing(store)
    finally:
        listkeeping._CHANGES_BYTES = original


def _make_anew(store: SessionStore) -> None:
    found = parse_state(Path(store.path, "state.json").read_bytes(), store.path).listing
    if found is not None:
        store._writing().distrust_listing(found.identity)
    make_listing(store)


HOW = [_append, _rotate, _sort_in, _make_anew]


def _prepare(path: str) -> None:
    with open_on(QuickFs(), path) as store:
        for number in range(4):
            store.put(f"s{number}", {"sessionId": f"id-{number}", "updatedAt": number})
        make_listing(store)
    assert require_true(path)


def _work(store: SessionStore, how: Callable[[SessionStore], None]) -> None:
    store.put("s1", {"updatedAt": 30})
    store.put("new", {"updatedAt": 31})
    store.delete("s3")
    how(store)
    store.patch("s0", {"updatedAt": 32})


@pytest.mark.parametrize("how", HOW, ids=lambda how: how.__name__)
def test_a_writer_that_dies_at_any_call_leaves_a_true_listing(how: Callable[..., None]) -> None:
    """G2: death at each call of a checkpoint that appends to, sorts or makes the file, and the next one after."""
    number, fs = 0, None
    while fs is None or fs.last:
        number += 1
        with scratch() as folder:
            path = f"{folder}/sessions.d"
            _prepare(path)
            fs, store = StoppingFileSystem(number), None
            try:
                store = open_on(fs, path, durability="process")
                _work(store, how)
                store.close()
            except Stopped:
                pass
            fs.bury(store)
            require_true(path, f"death at call {number}: {fs.last}")
            with open_on(QuickFs(), path, durability="process") as store:
                store.patch("s2", {"updatedAt": 40})
                store.flush()
                require_true(path, f"after death at call {number}: {fs.last}")
                make_listing(store)
            assert require_true(path, f"made anew after death at call {number}: {fs.last}")
    assert number > 80


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("how", HOW, ids=lambda how: how.__name__)
def test_a_call_that_fails_costs_the_file_and_never_a_session(number: int, how: Callable[..., None]) -> None:
    """G8: each call of such a checkpoint fails in turn; what was committed is there and is listed."""
    call, failed = 0, True
    while failed:
        call += 1
        with scratch() as folder:
            path = f"{folder}/sessions.d"
            _prepare(path)
            fs = FailingFileSystem()
            store = open_on(fs, path, durability="process")
            store.put("s1", {"updatedAt": 30})
            store.put("new", {"updatedAt": 31})
            fs.arm(call, number, short=True)
            try:
                how(store)
            except StoreError:
                pass
            failed = bool(fs.failed_call)
            fs.disarm()
            require_true(path, f"failed call {call}")
            close_quietly(store)
            require_true(path, f"failed call {call}, closed")
            with open_on(QuickFs(), path) as store:
                assert store["new"] == {"updatedAt": 31}
    assert call > 15


@pytest.mark.parametrize("how", HOW, ids=lambda how: how.__name__)
@pytest.mark.parametrize("rule", ["ordered", "strict"])
def test_power_loss_leaves_a_true_listing(
    rule: str, how: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """G2: no image that a power cut may leave has a listing file that is relied on and wrong.

    An image is a copy, so what tells a copy from the original is made the same; what is left to
    tell are the check sums and the order of the syncs.
    """
    for module in (listing, listkeeping, listfile):
        monkeypatch.setattr(module, "stamp", lambda directory: (1, 1))
    monkeypatch.setattr(
        JournalFile, "inode", property(lambda self: "1:1", lambda self, value: None), raising=False
    )
    monkeypatch.setattr(Checkpointer, "_inode", lambda self, name: "1:1")
    relied_on = count = 0
    with scratch() as folder:
        path = f"{folder}/sessions.d"
        _prepare(path)
        fs = PowerLossFileSystem(folder)
        store = open_on(fs, path)
        _work(store, how)
        store.close()
        for count, (tree, _) in enumerate(fs.images(rule, seeded(how.__name__), most=12), 1):  # type: ignore[arg-type]
            with scratch() as disk:
                write_tree(f"{disk}/d", tree)
                relied_on += require_true(f"{disk}/d/sessions.d", f"image {count}")
    assert count > 20
    assert relied_on > 5, "the images tell nothing about the file"


def test_a_leftover_of_a_dead_writer_is_swept(store_path: str) -> None:
    """G12: a temporary file of the listing is removed as all others are."""
    _prepare(store_path)
    name = f"{store_path}/.tmp-0123456789abcdef"
    with open(name, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        file.write(b"x")
    with open_on(QuickFs(), store_path) as store:
        store.put("s1", {"updatedAt": 9})
        _rotate(store)
    assert not os.path.exists(name)
    assert require_true(store_path)
