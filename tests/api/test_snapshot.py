"""The whole store at one version."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from support.factories import Opener
from support.files import session_name, session_path
from support.seams import RuledFileSystem
from support.seed import generator

from sessiondir import CorruptFile


def test_g5_a_snapshot_is_one_version(open_store: Opener) -> None:
    """G5: a snapshot holds what its version held and never changes."""
    store, other = open_store(), open_store.elsewhere()
    store.replace({"a": {"n": 1}, "b": {"n": 2}})
    snapshot = store.snapshot()
    other.put("a", {"n": 10})
    other.delete("b")
    other.put("c", {})
    assert dict(snapshot) == {"a": {"n": 1}, "b": {"n": 2}}
    assert snapshot.version == 1
    assert (snapshot.version_of("a"), snapshot.version_of("c")) == (1, None)
    assert dict(store.snapshot()) == {"a": {"n": 10}, "c": {}}
    assert snapshot.damaged == {}


def test_reading_from_a_snapshot_gives_copies(open_store: Opener) -> None:
    """Changing what a snapshot returned changes neither the snapshot nor the store."""
    store = open_store()
    store.put("a", {"x": [1]})
    snapshot = store.snapshot()
    snapshot["a"]["x"].append(2)
    assert snapshot["a"] == store["a"] == {"x": [1]}
    assert ("a" in snapshot, "b" in snapshot, len(snapshot)) == (True, False, 1)
    with pytest.raises(KeyError):
        snapshot["b"]


def test_an_empty_store_has_an_empty_snapshot(open_store: Opener) -> None:
    """The snapshot of a store that does not exist is empty and at version 0."""
    snapshot = open_store().snapshot()
    assert (dict(snapshot), snapshot.version) == ({}, 0)


def test_g5_a_snapshot_never_shows_half_a_commit(open_store: Opener) -> None:
    """G5: while another process moves amounts between sessions, every snapshot has the same total."""
    store, other = open_store(cache_bytes=0), open_store.elsewhere(durability="process")
    keys = [f"k{n}" for n in range(8)]
    store.replace({key: {"n": 100} for key in keys})
    done = threading.Event()

    def move() -> None:
        random = generator("moves")
        while not done.is_set():
            one, two = random.sample(keys, 2)
            with other.transaction(one, two) as txn:
                txn[one] = {"n": txn[one]["n"] - 1}
                txn[two] = {"n": txn[two]["n"] + 1}

    thread = threading.Thread(target=move)
    thread.start()
    try:
        versions = []
        for _ in range(15):
            snapshot = store.snapshot()
            assert sum(entry["n"] for entry in snapshot.values()) == 800
            versions.append(snapshot.version)
    finally:
        done.set()
        thread.join()
    assert versions == sorted(versions)


def test_g5_a_session_file_that_is_newer_than_the_snapshot_is_not_mixed_in(
    open_directory: Opener, store_path: str
) -> None:
    """G5: a commit whose session files are written while a snapshot reads them is in it whole or not at all."""
    moved = 0

    def move_between(name: str, args: tuple[object, ...]) -> None:
        nonlocal moved
        if name == "open" and args[0] == session_name("b") and moved < 3:
            moved += 1
            with other.transaction("a", "b") as txn:
                txn["a"] = {"n": txn["a"]["n"] - 1}
                txn["b"] = {"n": txn["b"]["n"] + 1}
            other.flush()

    other = open_directory()
    other.replace({"a": {"n": 100}, "b": {"n": 100}})
    other.flush()
    reader = open_directory.elsewhere(fs=RuledFileSystem(move_between), cache_bytes=0, read_only=True)
    snapshot = reader.snapshot()
    assert moved > 0
    assert snapshot["a"]["n"] + snapshot["b"]["n"] == 200
    assert max(snapshot.version_of(key) for key in snapshot) <= snapshot.version


@pytest.mark.expect_findings(r"error entries/session-YQ\.json")
def test_g8_a_damaged_session_is_named_and_the_rest_is_there(open_directory: Opener, store_path: str) -> None:
    """G8: one damaged file costs its session alone: it is in damaged, the others are served."""
    open_directory().replace({"a": {"n": 1}, "b": {"n": 2}})
    open_directory.close_all()
    path: Path = session_path(store_path, "a")
    # The journal still has the whole entry; without it only the file can tell.
    journal = next(Path(store_path).glob("journal-*"))
    journal.write_bytes(journal.read_bytes().split(b"\n")[0] + b"\n")
    path.write_bytes(path.read_bytes()[:20])
    damaged = path.read_bytes()
    store = open_directory()
    snapshot = store.snapshot()
    assert dict(snapshot) == {"b": {"n": 2}}
    assert list(snapshot.damaged) == ["a"]
    with pytest.raises(CorruptFile) as caught:
        store.get("a")
    assert caught.value.path == str(path)
    with pytest.raises(CorruptFile):
        store.update("a", lambda entry: {"n": 3}, create=True)
    assert [info.key for info in store.list()] == ["b"]
    assert sorted(store.keys()) == ["a", "b"]
    store.put("b", {"n": 3})
    assert path.read_bytes() == damaged


@pytest.mark.expect_findings(r"warning quarantine/.*session-YQ\.json: set aside")
@pytest.mark.parametrize("how", ["put", "replace", "edit"])
def test_g8_replacing_a_damaged_session_keeps_the_bytes(open_directory: Opener, store_path: str, how: str) -> None:
    """G8: a damaged session may be replaced as a whole; its bytes go to the quarantine unchanged."""
    open_directory().put("a", {"n": 1})
    open_directory.close_all()
    path = session_path(store_path, "a")
    journal = next(Path(store_path).glob("journal-*"))
    journal.write_bytes(journal.read_bytes().split(b"\n")[0] + b"\n")
    path.write_bytes(b'{"sessionKey":"a","ent')
    store = open_directory()
    if how == "put":
        store.put("a", {"n": 2})
    elif how == "replace":
        store.replace({"a": {"n": 2}})
    else:
        store.edit(lambda sessions: sessions.__setitem__("a", {"n": 2}))
    store.close()
    assert open_directory()["a"] == {"n": 2}
    kept = [one for one in (Path(store_path) / "quarantine").iterdir() if not one.name.endswith(".note.json")]
    assert [one.read_bytes() for one in kept] == [b'{"sessionKey":"a","ent']
