"""G1, G3: an append that is interrupted leaves a whole line that others have seen, or nothing (F18)."""

from __future__ import annotations

import os

import pytest
from harness.journals import journal_path
from harness.story import open_on
from harness.watched import QuickFs
from support.acting import ActingFs, raising

from sessiondir import SessionStore


def _is_commit(_fd: int, data: bytes, _position: int) -> bool:
    return b'"ops"' in bytes(data)


def test_g1_a_line_that_a_reader_saw_stands_though_its_writer_was_interrupted(store_path: str) -> None:
    """A signal after the write ends the call with the commit done: cutting it would take it from readers."""
    fs = ActingFs()
    seen: list[object] = []
    with open_on(QuickFs(), store_path) as reader, open_on(fs, store_path, durability="process") as writer:
        reader.put("k", {"n": 0})

        def see_and_interrupt() -> None:
            seen.append(reader["k"])
            raise KeyboardInterrupt

        writer.get("k")
        writer.put("other", {})
        fs.after("pwrite", see_and_interrupt, _is_commit)
        with pytest.raises(KeyboardInterrupt):
            writer.put("k", {"n": "long" * 30})
        assert seen == [{"n": "long" * 30}]
        assert writer["k"] == reader["k"] == seen[0]
        assert writer.put("k", {"n": 2}) == 4
        assert reader["k"] == {"n": 2}
        assert reader.put("q", {"n": 1}) == 5
        assert writer["q"] == {"n": 1}
    with open_on(QuickFs(), store_path, read_only=True) as fresh:
        assert (fresh["k"], fresh["q"]) == ({"n": 2}, {"n": 1})


def test_g1_a_line_that_was_not_written_is_cut_at_once(store_path: str) -> None:
    """A signal before the write leaves the journal as it was: the zeros written ahead go as well."""
    fs = ActingFs()
    with open_on(fs, store_path, durability="process") as writer:
        writer.put("k", {"n": 0})
        size = os.stat(journal_path(store_path)).st_size

        def write_half() -> None:
            _write_half(store_path, size)
            raise KeyboardInterrupt

        fs.before("pwrite", write_half, _is_commit)
        with pytest.raises(KeyboardInterrupt):
            writer.put("k", {"n": 1})
        assert os.stat(journal_path(store_path)).st_size == size
        assert writer["k"] == {"n": 0}
        assert writer.put("k", {"n": 2}) == 2


def _write_half(path: str, position: int) -> None:
    fd = os.open(journal_path(path), os.O_WRONLY)
    os.pwrite(fd, b'{"v":2,"t":1,"ops":[{"op":"put","key":"k","en', position)
    os.close(fd)


def test_g2_a_time_out_during_a_sync_does_not_condemn_the_handle(store_path: str) -> None:
    """What a signal handler raises says nothing about the disk, also if it is a kind of ``OSError``."""
    fs = ActingFs()
    with open_on(fs, store_path, durability="power") as store:
        store.put("k", {"n": 0})
        for act in (fs.before, fs.after):
            act("fdatasync", raising(TimeoutError("too slow")))
            with pytest.raises(TimeoutError, match="too slow"):
                store.put("k", {"n": act.__name__})
            assert fs.acted
            assert store["k"] == {"n": act.__name__}
        assert store.put("k", {"n": 1}) == 4
        _same_elsewhere(store, store_path)


def _same_elsewhere(store: SessionStore, path: str) -> None:
    with open_on(QuickFs(), path, lock_timeout=0) as other:
        assert other["k"] == store["k"]
        other.put("k", {"n": 2})
        assert store["k"] == {"n": 2}
