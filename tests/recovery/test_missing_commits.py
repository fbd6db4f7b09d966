"""G3, G8: a patch is applied to the version that it was computed from, and to no other."""

from __future__ import annotations

import json
import logging
import os

import pytest
from harness.story import open_on
from harness.watched import QuickFs

from sessiondir import SessionStore
from sessiondir.journal import encode_commit, encode_operations
from sessiondir.layout import session_file_names
from sessiondir.operations import Patch


def test_g3_patches_of_before_a_deletion_are_not_news(store_path: str, caplog: pytest.LogCaptureFixture) -> None:
    """A session patched, deleted and made again in one journal, levelled between, lacks nothing."""
    with open_on(QuickFs(), store_path) as store:
        store.put("a", {"n": 1})
        store.flush()
        store.patch("a", {"n": 2})
        store.delete("a")
        store.flush()
        store.put("a", {"n": 3})
        store.patch("a", {"n": 4})
        with SessionStore.open(store_path, read_only=True) as reader:
            assert reader["a"] == {"n": 4}
            assert reader.check() == store.check() == []
        with caplog.at_level(logging.ERROR):
            store.flush()
        assert store["a"] == {"n": 4}
    assert not caplog.records
    assert not os.path.exists(os.path.join(store_path, "quarantine")) or not os.listdir(
        os.path.join(store_path, "quarantine")
    )


def _with_old_file(path: str) -> None:
    """A store whose state file says that it is level, and an older session file put back by hand."""
    with open_on(QuickFs(), path) as store:
        store.put("a", {"n": 1})
        store.put("a", {"n": 1, "m": 1})
        store.flush()
        name = os.path.join(path, "entries", os.listdir(os.path.join(path, "entries"))[0])
        with open(name, "rb") as file:
            old = file.read()
        store.patch("a", {"m": 2})
    with open(name, "wb") as file:
        file.write(old)


def test_g8_an_old_session_file_is_made_good_from_the_journal(store_path: str) -> None:
    """As long as the journal still has the commits between, a file put back by hand costs nothing."""
    _with_old_file(store_path)
    with open_on(QuickFs(), store_path) as store:
        store.patch("a", {"n": 3})
    with open_on(QuickFs(), store_path) as store:
        assert store["a"] in ({"n": 3, "m": 2}, {"n": 3, "m": 1})


@pytest.mark.expect_findings("commits are missing before others", "set aside earlier")
def test_g8_a_patch_over_a_gap_is_set_aside(store_path: str, caplog: pytest.LogCaptureFixture) -> None:
    """When the commits between are gone, later patches are kept for people and not mixed with the old file."""
    _with_old_file(store_path)
    name = os.path.join(store_path, "journal-1.jsonl")
    with open(name, "rb") as file:
        lines = file.read().splitlines(keepends=True)
    with open(name, "wb") as file:
        file.write(b"".join(lines[:3]) + encode_commit(4, 1, encode_operations([Patch("a", {"n": 3}, (), 3)])))
    state = os.path.join(store_path, "state.json")
    with open(state, "r+b") as file:
        value = json.load(file) | {"position": 0}
        file.seek(0)
        file.truncate()
        file.write(json.dumps(value).encode())
    caplog.set_level(logging.ERROR)
    with SessionStore.open(store_path, read_only=True) as reader:
        assert reader["a"] == {"n": 1, "m": 1}
        reasons = [finding.reason for finding in reader.check()]
        assert reasons == ["commits are missing before others in the journal"]
    assert "'a' are missing before others" in caplog.text
    with open_on(QuickFs(), store_path) as store:
        assert store["a"] == {"n": 1, "m": 1}
        store.put("b", {})
        store.flush()
        assert store["a"] == {"n": 1, "m": 1}
    kept = [file for file in os.listdir(os.path.join(store_path, "quarantine")) if "journal-1" in file]
    assert kept, "the commit that did not fit is kept"


@pytest.mark.expect_findings("set aside earlier")
def test_g8_a_damaged_state_file_costs_no_commit_to_sessions_of_a_layout_1_program(store_path: str) -> None:
    """Their files carry no version; what they count as is in the state file, which is damaged here."""
    folder = os.path.join(store_path, "entries")
    os.makedirs(folder, mode=0o700)
    os.chmod(store_path, 0o700)
    state = {
        "kind": "openclaw-session-store-directory", "layoutVersion": 1, "version": 57, "updatedAt": 1,
    }  # fmt: skip
    for name, value in (
        (os.path.join(store_path, "state.json"), state),
        (os.path.join(folder, session_file_names("a")[0]), {"sessionKey": "a", "entry": {"n": 1}}),
        (os.path.join(folder, session_file_names("b")[0]), {"sessionKey": "b", "entry": {"n": 1}}),
    ):
        with open(os.open(name, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            json.dump(value, file)
    store = open_on(QuickFs(), store_path)
    store.put("c", {"n": 1})
    store.patch("a", {"n": 2})
    state_path = os.path.join(store_path, "state.json")
    with open(state_path, "wb") as file:
        file.write(b"{")
    with SessionStore.open(store_path, read_only=True) as reader:
        assert reader["a"] == {"n": 2}
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)
    store.close()
    with open_on(QuickFs(), store_path) as store:
        assert dict(store.snapshot()) == {"a": {"n": 2}, "b": {"n": 1}, "c": {"n": 1}}
