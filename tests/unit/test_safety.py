"""G10: whatever somebody plants in or around the store, nothing outside is read or written (F8, F9)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support.factories import Opener
from support.files import copy_store, listing, session_path, write_session

from sessiondir import CorruptFile, SessionStore, StoreError, UnsafeDirectory

PLANTS: dict[str, Callable[[Path, Path], object]] = {
    "link": lambda path, outside: path.symlink_to(outside),
    "dangling link": lambda path, outside: path.symlink_to(outside.parent / "nowhere"),
    "fifo": lambda path, outside: os.mkfifo(path, 0o600),
    "directory": lambda path, outside: path.mkdir(mode=0o700),
    "device": lambda path, outside: path.symlink_to("/dev/zero"),
}


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A file outside of the store that must not change."""
    path = tmp_path / "outside"
    path.write_bytes(b'{"sessionKey":"a","version":1,"entry":{"secret":true}}')
    path.chmod(0o644)
    return path


@pytest.fixture
def store(store_path: str) -> Path:
    """A store at rest with the sessions "a" and "b"; the journal is empty, so that the files count."""
    with SessionStore.open(store_path) as store:
        store.replace({"a": {"n": 1}, "b": {"n": 2}})
        store.put("c", {"big": "x" * 100_000})
        store.delete("c")
    assert [path.name for path in Path(store_path).glob("journal-*")] == ["journal-2.jsonl"]
    return Path(store_path)


def untouched(outside: Path) -> bool:
    """Whether the file outside is as it was."""
    return (
        outside.read_bytes() == b'{"sessionKey":"a","version":1,"entry":{"secret":true}}'
        and outside.stat().st_mode & 0o777 == 0o644
        and not (outside.parent / "nowhere").exists()
    )


@pytest.mark.expect_findings("session-YQ.json: not a regular file", "set aside earlier")
@pytest.mark.parametrize("plant", PLANTS)
def test_in_place_of_a_session_file(store: Path, outside: Path, open_directory: Opener, plant: str) -> None:
    """A session file that is no file is corrupt at once, costs its session only, and is replaced safely."""
    path = session_path(store, "a")
    path.unlink()
    PLANTS[plant](path, outside)
    opened = open_directory()
    with pytest.raises(CorruptFile):
        opened.get("a")
    assert opened["b"] == {"n": 2}
    assert dict(opened.snapshot()) == {"b": {"n": 2}}
    assert "a" in opened.snapshot().damaged
    opened.put("a", {"n": 3})
    opened.flush()
    assert opened["a"] == {"n": 3}
    assert path.is_file() and not path.is_symlink()
    assert untouched(outside)


@pytest.mark.parametrize("plant", sorted(PLANTS.keys() - {"directory"}))
def test_in_place_of_the_store_directory(
    tmp_path: Path, outside: Path, open_directory: Opener, plant: str
) -> None:
    """Something else than a directory where the store should be is refused, for reading and writing."""
    PLANTS[plant](tmp_path / "sessions.d", outside)
    with pytest.raises(UnsafeDirectory):
        open_directory()
    with pytest.raises(UnsafeDirectory):
        open_directory(read_only=True)
    assert untouched(outside)


def test_a_link_to_a_whole_store_is_refused(store: Path, tmp_path: Path, open_directory: Opener) -> None:
    """A link in place of the store directory is refused even if a store is at its end."""
    (tmp_path / "link.d").symlink_to(store)
    before = listing(store)
    with pytest.raises(UnsafeDirectory, match="link"):
        open_directory(f"{tmp_path}/link.d")
    assert listing(store) == before


@pytest.mark.expect_findings("check raised UnsafeDirectory", "not a JSON document", "not part of the store")
@pytest.mark.parametrize("name", ["entries", "quarantine"])
def test_a_link_in_place_of_a_sub_directory(
    store: Path, tmp_path: Path, open_directory: Opener, name: str
) -> None:
    """Nothing is read or written through a link in place of a directory of the store."""
    target = tmp_path / "elsewhere"
    target.mkdir()
    if name == "entries":
        os.rename(store / "entries", tmp_path / "moved")
        write_session(tmp_path / "planted", "a", {"secret": True})
        target = tmp_path / "planted" / "entries"
    else:
        session_path(store, "a").write_bytes(b"damaged")
    (store / name).symlink_to(target)
    before = listing(target)
    opened = open_directory.elsewhere()
    try:
        with pytest.raises(StoreError):
            opened.put("a", {"n": 3})
    finally:
        assert listing(target) == before


@pytest.mark.expect_findings("lock", "journal", "state")
@pytest.mark.parametrize("plant", PLANTS)
@pytest.mark.parametrize("name", ["lock", "state.json", "journal-2.jsonl"])
def test_in_place_of_a_file_of_the_store(
    store: Path, outside: Path, open_directory: Opener, name: str, plant: str
) -> None:
    """Whatever stands in place of lock, state or journal: no wait, nothing outside touched, no session lost."""
    (store / name).unlink()
    PLANTS[plant](store / name, outside)
    opened = open_directory()
    assert opened["a"] == {"n": 1}
    try:
        opened.put("a", {"n": 3})
    except CorruptFile as exc:
        assert name == "lock"
        assert exc.path == str(store / name)
        assert opened["a"] == {"n": 1}
    else:
        assert name != "lock"
        assert dict(opened.snapshot()) == {"a": {"n": 3}, "b": {"n": 2}}
    assert untouched(outside)


@pytest.mark.parametrize("name", ["lock", "journal-2.jsonl"])
def test_a_second_name_outside_is_not_written_through(
    store: Path, tmp_path: Path, open_directory: Opener, name: str
) -> None:
    """A journal or lock file that is also a file elsewhere is not written, however often it is tried."""
    twin = tmp_path / "twin"
    os.link(store / name, twin)
    before = twin.read_bytes()
    opened = open_directory()
    assert opened["a"] == {"n": 1}
    for _ in range(3):
        with pytest.raises(CorruptFile, match="hard link") as caught:
            opened.put("a", {"n": 3})
        assert caught.value.path == str(store / name)
    assert opened["a"] == {"n": 1}
    opened.close()
    assert twin.read_bytes() == before
    twin.unlink()
    open_directory().put("a", {"n": 4})


def test_a_session_file_with_a_second_name_is_replaced_not_written(
    store: Path, tmp_path: Path, open_directory: Opener
) -> None:
    """A backup made of hard links keeps its bytes when the session changes."""
    twin = tmp_path / "backup"
    os.link(session_path(store, "a"), twin)
    before = twin.read_bytes()
    opened = open_directory()
    opened.put("a", {"n": 3})
    opened.flush()
    assert twin.read_bytes() == before


@pytest.mark.expect_findings("writable session-store directory")
@pytest.mark.any_modes("the test loosens them")
@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777, 0o1777])
@pytest.mark.parametrize("name", [".", "entries"])
def test_a_directory_that_others_may_write_is_not_written(
    store: Path, open_directory: Opener, mode: int, name: str
) -> None:
    """Reading works, writing is refused with what to do, and nothing was changed."""
    (store / name).chmod(mode)
    opened = open_directory()
    assert opened["a"] == {"n": 1}
    before = listing(store)
    with pytest.raises(UnsafeDirectory, match="chmod 700"):
        opened.put("a", {"n": 3})
    assert listing(store) == before


def test_files_made_by_root_belong_to_the_owner_of_the_store(store: Path, open_directory: Opener) -> None:
    """If root works in another user's store, that user can still read everything afterwards."""
    for directory, names, files in os.walk(store):
        for name in [".", *names, *files]:
            os.chown(f"{directory}/{name}", 12345, 54321)
    opened = open_directory()
    opened.put("a", {"n": 3})
    opened.put("new", {"big": "x" * 100_000})
    session_path(store, "b").write_bytes(b"damaged")
    opened.close()
    for directory, names, files in os.walk(store):
        for name in [".", *names, *files]:
            status = os.stat(f"{directory}/{name}")
            assert (status.st_uid, status.st_gid) == (12345, 54321), f"{directory}/{name}"
    session_path(store, "b").write_bytes(b'{"sessionKey":"b","version":1,"entry":{"n":2}}')


@pytest.mark.expect_findings("reserved", "blank", "state.json: missing")
@pytest.mark.parametrize("key", ["__proto__", " ", "constructor"])
def test_g8_a_planted_session_with_an_impossible_key_costs_nobody_else(
    tmp_path: Path, open_directory: Opener, key: str
) -> None:
    """G8: a session file whose key no session can have spoils nothing, even when only the files are left."""
    path = tmp_path / "sessions.d"
    path.mkdir(mode=0o700)
    for name in ("a", key):
        write_session(path, name, {"n": 1}, version=1)
    opened = open_directory()
    assert opened["a"] == {"n": 1}
    opened.put("a", {"n": 2})
    assert opened.get(key) is None


def test_the_store_may_be_moved_while_nobody_uses_it(store: Path, tmp_path: Path, open_directory: Opener) -> None:
    """A store holds nothing about where it is: moved or copied, it opens as it was."""
    copied = copy_store(store, tmp_path / "copy.d")
    os.rename(store, tmp_path / "moved.d")
    for path in (copied, f"{tmp_path}/moved.d"):
        opened = open_directory(path)
        assert dict(opened.snapshot()) == {"a": {"n": 1}, "b": {"n": 2}}
        opened.put("a", {"n": 1, "path": path})
