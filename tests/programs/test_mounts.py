"""G1, G8, G9, G11: parts of a store on file systems of their own, and network file systems (F25, F27)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.story import BASE, A, B, at_rest, contents, errors_of, open_on
from harness.watched import QuickFs
from maintenance.stores import DAY, NOW, enforce, entry
from migration.stores import SMALL_SESSIONS, put_legacy, sessions
from support.seams import FixedClock

from programs.mounts import mounted
from sessiondir import SessionStore, StoreError, migration, procfs
from sessiondir.errors import UnsupportedFileSystem
from sessiondir.maintenance import apply, list_trash, plan, restore
from sessiondir.testing import read_tree
from sessiondir.transcripts import TranscriptFolder

TMPFS = ("-t", "tmpfs", "-o", "size=8m,mode=700", "tmpfs")


@pytest.fixture
def store_path(tmp_path: Path) -> Iterator[str]:
    """Gone before the test's end: without the mount half of the store is missing."""
    path = tmp_path / "sessions.d"
    yield str(path)
    shutil.rmtree(path, ignore_errors=True)


def test_g1_session_files_on_a_file_system_of_their_own(store_path: str) -> None:
    """F27: temporary files are made beside their targets, so no rename crosses a border."""
    at_rest(store_path)
    shutil.rmtree(f"{store_path}/entries")
    with mounted(Path(store_path, "entries"), *TMPFS):
        with open_on(QuickFs(), store_path) as store:
            store.replace(BASE)
            store.flush()
            store.put(A, {"n": 1})
            store.delete(B)
        assert not errors_of(store_path)
        with open_on(QuickFs(), store_path) as store:
            assert contents(store) == {key: value for key, value in BASE.items() if key != B} | {A: {"n": 1}}


def test_g9_a_trash_on_a_file_system_of_its_own(store_path: str) -> None:
    """F27: what is removed gets there by being written, not renamed, and comes back."""
    clock = FixedClock(NOW)
    entries = {"old": entry(40 * DAY, "o"), "new": entry(DAY, "n")}
    with open_on(QuickFs(), store_path, clock=clock) as store:
        for key, value in entries.items():
            store.put(key, value)
        store.flush()
        with mounted(Path(store_path, "trash"), *TMPFS):
            report = apply(store, plan(store, enforce()))
            assert report.error is None
            assert list(store) == ["new"]
            assert [item.key for item in list_trash(store).items] == ["old"]
            restore(store, "old")
            store.flush()
            assert dict(store.snapshot()) == entries


def test_g11_a_legacy_file_that_is_a_mount_of_its_own(tmp_path: Path) -> None:
    """F27: it cannot be renamed, as where a container was given one file: an error, and both ways stay open."""
    path = put_legacy(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    original = shutil.copy(path, tmp_path / "elsewhere" / "file.json")
    before = path.read_bytes()
    with mounted(path, "--bind", str(original)):
        with SessionStore.open(path) as store:
            with pytest.raises(StoreError, match=r"sessions\.json could not be moved away"):
                store.put("a", {"n": 1})
            assert dict(store.snapshot()) == SMALL_SESSIONS
        assert migration.migrate(path).error is not None
        assert path.read_bytes() == before
        assert sessions(path) == SMALL_SESSIONS
    assert path.read_bytes() == before
    assert migration.migrate(path).error is None
    assert not path.exists()
    assert sessions(path) == SMALL_SESSIONS


def test_g8_the_type_of_a_file_system_is_that_of_its_mount(tmp_path: Path) -> None:
    """F25: the longest mount point counts, whatever is in its name, and a bind mount shows what is below."""
    assert procfs.file_system_type("/proc/self") == "proc"
    with mounted(tmp_path / "a place", *TMPFS) as place:
        (place / "deep").mkdir()
        assert procfs.file_system_type(str(place / "deep")) == "tmpfs"
        with mounted(tmp_path / "bound", "--bind", str(place / "deep")) as bound:
            assert procfs.file_system_type(str(bound / "not there yet")) == "tmpfs"


@pytest.mark.parametrize("kind", ["nfs4", "fuse.sshfs"])
def test_g8_a_network_file_system_is_refused_unless_allowed(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F25: no file is made there, reading goes on, and ``allow_network`` is all it takes."""
    put_legacy(tmp_path)
    at_rest(str(tmp_path / "other.d"))
    before = read_tree(str(tmp_path))
    monkeypatch.setattr(procfs, "file_system_type", lambda path: kind)
    for name in ("sessions.json", "other.d", "new.d"):
        with SessionStore.open(tmp_path / name, fs=QuickFs()) as store:
            with pytest.raises(UnsupportedFileSystem, match=kind) as caught:
                store.put("a", {"n": 1})
            assert kind in caught.value.reason
            assert "a" not in store
    with pytest.raises(UnsupportedFileSystem, match=kind), TranscriptFolder.open(tmp_path, fs=QuickFs()) as folder:
        folder.transcript("t").append({"n": 1})
    assert read_tree(str(tmp_path)) == before | {"new.d": None}
    for name in ("sessions.json", "other.d", "new.d"):
        with SessionStore.open(tmp_path / name, fs=QuickFs(), allow_network=True) as store:
            store.put("a", {"n": 1})
            assert store["a"] == {"n": 1}
