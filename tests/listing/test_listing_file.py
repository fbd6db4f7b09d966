"""G5, G6: a listing that is told by ``listing.jsonl`` is the one that the session files would give (F22)."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import listings
from support.factories import Opener
from support.files import copy_store, listing, session_path, write_session, write_state
from support.listings import first_page, make_listing, require_true, truth

from sessiondir import SessionStore, listkeeping
from sessiondir.state import StateListing, parse_state

_NEVER_S = 3600.0


def entry(number: int, **more: Any) -> dict[str, Any]:
    """An entry whose time is its number."""
    return {"sessionId": f"id-{number}", "updatedAt": number, "text": "t" * number, **more}


@pytest.fixture
def writer(open_directory: Opener) -> SessionStore:
    """A store of ten sessions with a listing file, and a handle that writes to it."""
    store: SessionStore = open_directory(checkpoint_interval=_NEVER_S, durability="process")
    for number in range(10):
        store.put(f"s{number}", entry(number))
    make_listing(store)
    return store


def mark(path: str) -> StateListing | None:
    """What the state file says of the listing file."""
    return parse_state((Path(path) / "state.json").read_bytes(), path).listing


def test_a_first_page_reads_no_session_file(writer: SessionStore, store_path: str) -> None:
    """G4: the first page of a handle that was just opened costs the same however many sessions there are."""
    found = first_page(store_path, 3)
    assert found.from_file
    assert [row.key for row in found.sessions] == ["s9", "s8", "s7"]
    writer.close()
    assert require_true(store_path)


@pytest.mark.parametrize("levelled", [False, True], ids=["in the journal", "levelled"])
@pytest.mark.parametrize(
    "change",
    [
        lambda store: store.put("new", entry(99)),
        lambda store: store.put("old", entry(-5)),
        lambda store: store.patch("s0", {"updatedAt": 50}),
        lambda store: store.patch("s9", {"updatedAt": "not a number"}),
        lambda store: store.patch("s8", {"label": "another size"}),
        lambda store: store.delete("s9"),
        lambda store: (store.delete("s9"), store.put("s9", entry(3))),
        lambda store: store.replace({"only": entry(1)}),
        lambda store: store.post("s3", "a message"),
        lambda store: store.post("nobody", "a message"),
        lambda store: store.put("s1", entry(7, sessionId="\ud800")),
        lambda store: store.put("s1", {"updatedAt": 10**400, "text": '"}],"crc":"'}),
        lambda store: store.put('k"\\', {"updatedAt": 1e300}),
    ],
    ids=range(13),
)
def test_g6_what_was_committed_since_is_in_the_listing(
    writer: SessionStore, store_path: str, open_directory: Opener, levelled: bool, change: Callable[[Any], object]
) -> None:
    """G6: changes of another process are in the next listing, before and after their checkpoint."""
    other = open_directory.elsewhere(checkpoint_interval=_NEVER_S)
    change(other)
    if levelled:
        other.flush()
    found = first_page(store_path, 3)
    assert found.sessions == truth(store_path)[:3]
    assert found.from_file or not levelled
    require_true(store_path)
    other.close()
    writer.close()
    assert require_true(store_path), "the file was given up"


def test_changes_are_sorted_in_when_they_are_many(
    writer: SessionStore, store_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G4: appended changes do not pile up, and the file follows the store over new journals."""
    monkeypatch.setattr(listkeeping, "_CHANGES_BYTES", 300)
    sizes, identities = set(), set()
    for number in range(40):
        writer.patch(f"s{number % 10}", {"updatedAt": 100 + number})
        make_listing(writer)
        if number % 7 == 0:
            assert writer._writing().checkpoint(10, rotate_bytes=0)
        found = mark(store_path)
        assert found is not None
        sizes.add(found.size - found.base)
        identities.add(found.identity)
        assert require_true(store_path)
    assert len(identities) > 3
    assert max(sizes) <= 300


def _layout1_program(path: str) -> None:
    write_session(path, "s0", entry(77))
    write_state(path, 40)


def _renamed_over(path: str) -> None:
    new = write_session(Path(path).parent, "s4", entry(66), version=5)
    new.rename(session_path(path, "s4"))
    new.parent.rmdir()


def _entries_from_a_backup(path: str) -> None:
    entries = Path(path) / "entries"
    shutil.copytree(entries, entries.with_name("backup"))
    session_path(path, "s1").unlink()
    shutil.rmtree(entries)
    entries.with_name("backup").rename(entries)
    session_path(path, "s9").unlink()


@pytest.mark.parametrize(
    "change",
    [
        lambda path: write_session(path, "new", entry(88), version=3),
        lambda path: session_path(path, "s9").unlink(),
        _renamed_over,
        pytest.param(_layout1_program, marks=pytest.mark.expect_findings(".*journal-1.*")),
        _entries_from_a_backup,
        lambda path: os.unlink(Path(path) / "listing.jsonl"),
        lambda path: os.utime(Path(path) / "entries"),
        lambda path: (Path(path) / "entries").chmod(0o700),
    ],
    ids=["added", "removed", "replaced", "layout 1", "backup", "no file", "utime", "chmod"],
)
def test_g12_files_that_others_changed_are_read(
    writer: SessionStore, store_path: str, change: Callable[[str], object]
) -> None:
    """G12: whoever changed the session files of a store at rest, the listing shows what they say now."""
    writer.close()
    assert require_true(store_path)
    change(store_path)
    assert not require_true(store_path), "the file was relied on"
    with SessionStore.open(store_path, checkpoint_interval=_NEVER_S) as store:
        store.put("later", entry(55))
        store.flush()
        require_true(store_path)
        assert not first_page(store_path, 3).from_file
        make_listing(store)
    assert require_true(store_path), "it was not made anew"


def test_a_copy_does_not_rely_on_the_file(writer: SessionStore, store_path: str, tmp_path: Path) -> None:
    """G12: a copy, times and all, of a store in use or at rest reads its own session files."""
    writer.put("late", entry(500))
    live = copy_store(store_path, tmp_path / "live.d")
    writer.close()
    rest = copy_store(store_path, tmp_path / "rest.d")
    shutil.copystat(Path(store_path) / "entries", Path(rest) / "entries")
    for copy in (live, rest):
        assert not require_true(copy)
        session_path(copy, "s9").unlink()
        with SessionStore.open(copy) as store:
            store.put("other", entry(600))
        require_true(copy)
    assert require_true(store_path)


def test_reading_writes_nothing(writer: SessionStore, store_path: str) -> None:
    """G12: listing a store at rest, with a good file and with a bad one, leaves every byte as it was."""
    writer.close()
    for bad in (False, True):
        if bad:
            (Path(store_path) / "listing.jsonl").write_bytes(b"{}\n" * 99)
        before = listing(store_path)
        assert require_true(store_path) is not bad
        with SessionStore.open(store_path) as store:
            assert list(store.list(limit=3)) == truth(store_path)[:3]
        assert listing(store_path) == before


def test_a_damaged_file_that_a_writer_meets_is_made_anew(writer: SessionStore, store_path: str) -> None:
    """G8: damage is noticed by the one who lists, and mended by the next checkpoint in the background."""
    path = Path(store_path) / "listing.jsonl"
    path.write_bytes(path.read_bytes().replace(b"id-3", b"id-4"))
    assert not require_true(store_path)
    assert list(writer.list(limit=3)) == truth(store_path)[:3]
    writer.put("next", entry(20))
    make_listing(writer)
    assert require_true(store_path)


def test_no_file_is_made_while_somebody_waits_or_a_session_is_damaged(
    open_directory: Opener, store_path: str
) -> None:
    """G8: every listing tells of a session that cannot be read, so no file hides it; nor is closing held up."""
    store = open_directory(checkpoint_interval=_NEVER_S)
    for number in range(5):
        store.put(f"s{number}", entry(number))
    store.flush()
    assert mark(store_path) is None
    keeper = store._writing().checkpointer.listing
    keeper.waiting.add("somebody")
    make_listing(store)
    assert mark(store_path) is None
    keeper.waiting.clear()
    good = session_path(store_path, "s2").read_bytes()
    session_path(store_path, "s2").write_bytes(b"{")
    make_listing(store)
    assert mark(store_path) is None
    session_path(store_path, "s2").write_bytes(good)
    keeper._not_before_s = 0.0
    make_listing(store)
    assert require_true(store_path)


def test_one_session_of_many_costs_one_line(writer: SessionStore, store_path: str) -> None:
    """G4: a checkpoint of one session adds a line to the file and does not write the others again."""
    before = mark(store_path)
    writer.patch("s3", {"updatedAt": 40})
    writer.flush()
    after = mark(store_path)
    assert before is not None
    assert after is not None
    assert (after.identity, after.base) == (before.identity, before.base)
    assert after.appended == before.appended + 1
    assert after.size - before.size < 100
    assert listings.require_true(store_path)


def test_the_background_thread_of_a_writer_makes_the_file(open_directory: Opener, store_path: str) -> None:
    """G4: nobody has to ask for it; and whoever only writes for a moment does not read all sessions."""
    with open_directory(checkpoint_interval=_NEVER_S) as store:
        for number in range(5):
            store.put(f"s{number}", entry(number))
    assert mark(store_path) is None
    store = open_directory(checkpoint_interval=0.02)
    store.put("s5", entry(5))
    deadline = time.monotonic() + 60
    while mark(store_path) is None:
        assert time.monotonic() < deadline, "no file was made"
        time.sleep(0.01)
    store.close()
    assert require_true(store_path)


@pytest.mark.expect_findings(".*listing.jsonl.*")
def test_check_tells_of_a_file_that_is_damaged_or_shows_something_else(
    writer: SessionStore, store_path: str
) -> None:
    """G8: check reads every session and so finds what a listing cannot: a session file overwritten in place."""
    writer.close()
    with SessionStore.open(store_path, read_only=True) as store:
        assert store.check() == []
        path = session_path(store_path, "s5")
        path.write_text(path.read_text().replace('"updatedAt": 5', '"updatedAt": 7'))
        [finding] = store.check()
        assert (finding.level, finding.session) == ("warning", "s5")
        listing_file = Path(store_path) / "listing.jsonl"
        data = listing_file.read_bytes()
        listing_file.write_bytes(data[:-9])
        [finding] = store.check()
        assert (finding.level, os.path.basename(finding.path)) == ("note", "listing.jsonl")
        listing_file.unlink()
        [finding] = store.check()
        assert finding.level == "note"
    assert not require_true(store_path)
