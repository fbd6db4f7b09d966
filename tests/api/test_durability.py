"""How durable a commit is, by handle and by call."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.factories import Opener
from support.files import copy_store, read_layout1, session_path
from support.processes import Peer
from support.seams import Recorder, RuledFileSystem

from sessiondir import DurabilityUnknown, InvalidOption, Limits

WRITES: dict[str, Callable[..., Any]] = {
    "put": lambda store, **options: store.put("a", {"n": 2}, **options),
    "patch": lambda store, **options: store.patch("a", {"n": 2}, **options),
    "update": lambda store, **options: store.update("a", lambda entry: {"n": 2}, **options),
    "delete": lambda store, **options: store.delete("a", **options),
}
QUIET = 3600.0
"""A checkpoint interval that no test lives to see the end of."""


@pytest.mark.parametrize("handle", ["power", "process"])
@pytest.mark.parametrize("call", ["power", "process", None])
@pytest.mark.parametrize("write", WRITES)
def test_g2_power_syncs_the_journal_and_process_does_not(
    open_directory: Opener, handle: str, call: str | None, write: str
) -> None:
    """G2: a commit is synced before the call returns exactly if power is asked for, by the call or its handle."""
    recorder = Recorder()
    fs = RuledFileSystem(recorder)
    store = open_directory(fs=fs, durability=handle, checkpoint_interval=QUIET)
    store.put("a", {"n": 1})
    recorder.calls.clear()
    WRITES[write](store, **({} if call is None else {"durability": call}))
    assert ("fdatasync" in recorder.calls) == ((call or handle) == "power")


@pytest.mark.parametrize("durability", ["power", "process"])
def test_g2_an_acknowledged_commit_survives_a_kill(
    open_directory: Opener, store_path: str, durability: str
) -> None:
    """G2: commits that returned before kill -9 are there afterwards, whatever the durability."""
    with Peer(store_path, durability=durability, checkpoint_interval=QUIET) as peer:
        peer.do('[store.patch("a", {f"f{n}": n}, create=True) for n in range(50)]')
        peer.kill()
    assert open_directory()["a"] == {f"f{n}": n for n in range(50)}


@pytest.mark.parametrize("write", WRITES)
def test_an_unknown_durability_is_refused(open_store: Opener, write: str) -> None:
    """A durability that does not exist is refused and nothing is changed."""
    store = open_store()
    store.put("a", {"n": 1})
    with pytest.raises(InvalidOption):
        WRITES[write](store, durability="forever")
    assert store["a"] == {"n": 1}


def test_g2_a_failed_sync_is_final(open_directory: Opener) -> None:
    """After a failed sync the handle refuses further writes, goes on reading, and a new one works."""
    fs = RuledFileSystem()
    store = open_directory(fs=fs, checkpoint_interval=QUIET)
    store.put("a", {"n": 1})
    rule = fs.fail("fdatasync", errno.EIO)
    with pytest.raises(DurabilityUnknown) as caught:
        store.put("a", {"n": 2})
    assert caught.value.errno == errno.EIO
    fs.mend(rule)
    for write in WRITES.values():
        with pytest.raises(DurabilityUnknown):
            write(store)
    assert store["a"] == {"n": 2}
    store.close()
    again = open_directory(fs=fs)
    assert again["a"] == {"n": 2}
    again.put("a", {"n": 3})


def test_session_files_follow_after_flush(open_directory: Opener, store_path: str) -> None:
    """flush brings the session files level with every commit, also those of other processes."""
    store = open_directory(checkpoint_interval=QUIET)
    other = open_directory.elsewhere(checkpoint_interval=QUIET)
    store.put("a", {"n": 1})
    other.put("b", {"n": 2})
    assert not session_path(store_path, "a").exists()
    store.flush()
    assert read_layout1(store_path) == {"a": {"n": 1}, "b": {"n": 2}}
    store.delete("a")
    other.flush()
    assert read_layout1(store_path) == {"b": {"n": 2}}


def test_an_interval_of_zero_writes_through(open_directory: Opener, store_path: str) -> None:
    """With checkpoint_interval=0 the session file is level when the call returns."""
    store = open_directory(checkpoint_interval=0)
    for number in range(3):
        store.put("a", {"n": number})
        assert read_layout1(store_path) == {"a": {"n": number}}
    with store.transaction("a", "b") as txn:
        txn["b"] = txn.pop("a")
    assert read_layout1(store_path) == {"b": {"n": 2}}


def test_the_background_checkpoint_needs_no_call(open_directory: Opener, store_path: str) -> None:
    """A short while after a commit its session file is level without any further call."""
    store = open_directory(checkpoint_interval=0.01)
    store.put("a", {"n": 1})
    while not session_path(store_path, "a").exists():
        pass  # the suite's time-out is the bound
    # The state file is written last; it tells when the checkpoint is through.
    while store.info().checkpoint_version < 1:
        pass
    assert read_layout1(store_path) == {"a": {"n": 1}}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_g1_a_full_disk_stops_the_checkpoint_and_not_the_store(
    open_directory: Opener, store_path: str, number: int
) -> None:
    """A commit that stands is not reported as failed because its session file could not be written."""
    fs = RuledFileSystem()
    store = open_directory(fs=fs, checkpoint_interval=0)
    store.put("a", {"n": 1})
    rule = fs.fail("rename", number)
    assert store.put("a", {"n": 2}) == 2
    assert store["a"] == {"n": 2}
    fs.mend(rule)
    store.close()
    assert read_layout1(store_path) == {"a": {"n": 2}}


def test_g2_a_copy_of_the_live_store_holds_every_commit(
    open_directory: Opener, store_path: str, tmp_path: Path
) -> None:
    """What was acknowledged is in a copy of the directory, whether session files are level or not."""
    store = open_directory(limits=Limits(journal_bytes=3000), checkpoint_interval=QUIET, durability="process")
    for number in range(30):
        store.put(f"k{number % 7}", {"n": number, "x": "y" * 100})
        if number % 10 == 9:
            store.flush()
        copied = copy_store(store_path, tmp_path / f"copy{number}.d")
        assert dict(open_directory(copied, read_only=True).snapshot()) == dict(store.snapshot())
