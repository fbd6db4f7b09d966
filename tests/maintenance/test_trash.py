"""The trash: bringing back exactly what was removed, never over what lives, and emptying it."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sessiondir import (
    ConflictError,
    CorruptFile,
    DurabilityUnknown,
    InvalidOption,
    LeaseHeld,
    SessionNotFound,
    SessionStore,
    StoreNotFound,
)
from sessiondir.maintenance import apply, empty_trash, list_trash, plan, restore
from sessiondir.testing import CLOSING, UNLOCKING, FailingFileSystem

from .stores import DAY, NOW, Today, enforce, entry, fill, names, open_store, trashed, write_transcript

KEY = "agent:main:telegram:direct:42"
STRANGE = {
    "updatedAt": NOW - 50 * DAY, "z": 1, "a": [1, {"b": None}], "big": 2**70, "half": 0.1, "lone": "\ud800",
    "u": "\u2028ü", "": {}, "10": True, "sessionId": "s-1",
}  # fmt: skip


@pytest.fixture
def store(store_path: str) -> Iterator[SessionStore]:
    """One strange session in the trash, one that lives."""
    with open_store(store_path) as opened:
        opened.put(KEY, STRANGE)
        opened.put("live", entry(0))
        apply(opened, plan(opened, enforce()))
        assert trashed(opened) == [KEY]
        yield opened


def test_a_session_comes_back_as_it_was(store: SessionStore) -> None:
    """G9: the same fields in the same order, whatever is in them; a version above all others."""
    before = store.version
    done = restore(store, KEY)
    assert json.dumps(store[KEY]) == json.dumps(STRANGE)
    assert done.version == store.version_of(KEY) == before + 1
    assert (done.item.key, done.item.version, done.transcripts, done.replaced) == (KEY, 1, (), None)
    assert list_trash(store).items == ()
    assert os.listdir(f"{store.path}/trash") == []
    with pytest.raises(SessionNotFound, match="trash"):
        restore(store, KEY)


def test_a_failed_sync_is_told_although_more_fails_after_it(store_path: str) -> None:
    """G2, G9: nothing that goes wrong afterwards hides it; what lived is kept in the trash, or lives."""
    fs = FailingFileSystem()
    with open_store(store_path, fs=fs, durability="power") as store:
        store.put(KEY, STRANGE)
        apply(store, plan(store, enforce()))
        store.put(KEY, {"n": "alive"})
        synced: list[str] = []

        def from_the_sync_on(kind: str, args: tuple[Any, ...]) -> bool:
            if kind == "fdatasync":
                synced.append(kind)
            return bool(synced) and kind not in (CLOSING, UNLOCKING)

        fs.arm(1, errno.EIO, forever=True, kinds=from_the_sync_on)
        with pytest.raises(DurabilityUnknown):
            restore(store, KEY, overwrite=True)
        fs.disarm()
        with pytest.raises(DurabilityUnknown):
            store.put("more", {})
    with open_store(store_path) as store:
        assert store[KEY] == STRANGE
        (replaced,) = [item for item in list_trash(store).items if item.note.rule == "replaced"]
        assert replaced.key == KEY
        restore(store, replaced.name, overwrite=True)
        assert store[KEY] == {"n": "alive"}


def test_a_live_session_is_never_overwritten_unless_told(store: SessionStore) -> None:
    """G9: refused, nothing changed; when told, what lived goes to the trash in turn."""
    version = store.put(KEY, {"n": "alive"})
    with pytest.raises(ConflictError) as caught:
        restore(store, KEY)
    assert (caught.value.session, caught.value.expected, caught.value.actual) == (KEY, 0, version)
    assert (store[KEY], trashed(store)) == ({"n": "alive"}, [KEY])
    done = restore(store, KEY, overwrite=True)
    assert store[KEY]["z"] == 1
    (item,) = list_trash(store).items
    assert (item.name, item.version, item.note.rule) == (done.replaced, version, "replaced")
    restore(store, item.name, overwrite=True)
    assert store[KEY] == {"n": "alive"}


def test_a_leased_session_is_not_overwritten_even_if_told(store: SessionStore) -> None:
    """G9: a run that goes on keeps what it works on; afterwards it can be replaced."""
    store.put(KEY, {"n": "alive"})
    with store.lease(KEY, owner="runner", ttl=60):
        with pytest.raises(LeaseHeld, match="runner"):
            restore(store, KEY, overwrite=True)
        assert (store[KEY], trashed(store)) == ({"n": "alive"}, [KEY])
        assert all(name.startswith("removed-") for name in os.listdir(f"{store.path}/trash"))
    restore(store, KEY, overwrite=True)
    assert store[KEY]["z"] == 1


def test_the_latest_removal_or_an_exact_one(store_path: str) -> None:
    """The key stands for the latest removal of it; a file's name for that one."""
    clock = Today()
    with open_store(store_path, clock) as store:
        for number in range(3):
            store.put(KEY, entry(50 * DAY, n=number))
            apply(store, plan(store, enforce()))
            clock.at_ms += 1000
        latest, middle, _ = list_trash(store).items
        assert [latest.note.at_ms, middle.note.at_ms] == [NOW + 2000, NOW + 1000]
        assert restore(store, middle.name).item == middle
        assert store[KEY]["n"] == 1
        store.delete(KEY)
        assert restore(store, KEY).item == latest
        assert store[KEY]["n"] == 2


def test_transcripts_come_back_with_their_session(store_path: str, tmp_path: Path) -> None:
    """Each from its own archive; one that is in use again stays and is told, as is one that is gone."""
    folder = str(tmp_path)
    for name in ("s.jsonl", "s-topic-1.jsonl", "s-topic-2.jsonl"):
        write_transcript(folder, name, 100)
    before = (tmp_path / "s.jsonl").read_bytes()
    with open_store(store_path) as store:
        store.put(KEY, entry(50 * DAY, "s"))
        apply(store, plan(store, enforce()))
        assert names(folder, ".jsonl") == names(folder, ".deleted.")
        os.unlink(f"{folder}/{names(folder, 's-topic-1')[0]}")
        write_transcript(folder, "s-topic-2.jsonl", 200)
        done = restore(store, KEY)
        assert done.transcripts == ("s.jsonl",)
        assert [problem.partition(":")[0] for problem in done.problems] == ["s-topic-1.jsonl", "s-topic-2.jsonl"]
        assert (tmp_path / "s.jsonl").read_bytes() == before
        assert (tmp_path / "s-topic-2.jsonl").stat().st_size == 200


def test_a_transcript_whose_name_is_in_use_again_is_told(store_path: str, tmp_path: Path) -> None:
    """G9: the session comes back, nothing is written over, and the archive that stays is named."""
    with open_store(store_path) as store:
        fill(store, {"old": entry(40 * DAY, "s1")})
        write_transcript(str(tmp_path), "s1.jsonl")
        apply(store, plan(store, enforce()))
        (archive,) = names(str(tmp_path), "s1.jsonl.deleted.")
        write_transcript(str(tmp_path), "s1.jsonl", 80)
        back = restore(store, "old")
        assert back.transcripts == ()
        assert back.problems == (f"s1.jsonl: there is one of that name again; its archive {archive} stays",)
        assert "old" in store and trashed(store) == []
    assert names(str(tmp_path), "s1.jsonl") == ["s1.jsonl", archive]
    assert (tmp_path / "s1.jsonl").stat().st_size == 80


def test_what_is_not_there(store: SessionStore, tmp_path: Path) -> None:
    """Errors name what to look for; no store is made by asking."""
    for what in ("nobody", "removed-1-0123456789abcdef.json"):
        with pytest.raises(SessionNotFound):
            restore(store, what)
    with open_store(str(tmp_path / "none.d")) as other, pytest.raises(StoreNotFound):
        restore(other, KEY)
    assert not (tmp_path / "none.d").exists()


def test_emptying(store_path: str) -> None:
    """Everything, or what is older; counted first when asked; other names stay."""
    clock = Today()
    with open_store(store_path, clock) as store:
        for number in range(3):
            store.put(f"k{number}", entry(50 * DAY))
            apply(store, plan(store, enforce()))
            clock.at_ms += DAY
        assert empty_trash(store, older_than_ms=2 * DAY, dry_run=True).count == 1
        assert len(trashed(store)) == 3
        done = empty_trash(store, older_than_ms=2 * DAY)
        assert (done.count, trashed(store)) == (1, ["k1", "k2"])
        assert done.size > 50
        assert empty_trash(store).count == 2
        assert empty_trash(store).count == 0
        with pytest.raises(InvalidOption):
            empty_trash(store, older_than_ms=-1)


DAMAGED = ["error trash/removed-"]


@pytest.mark.expect_findings(*DAMAGED, "warning trash/notes.txt: not a removed session")
@pytest.mark.parametrize(
    "data",
    [b"", b"\0\0\0", b"{}", b"[1]", b'{"sessionKey":"x","version":1,"entry":{}}',
     b'{"sessionKey":"x","version":1,"entry":{},"removed":{"at":1}}',
     b'{"sessionKey":"x","version":1,"entry":{},"removed":',
     b'{"sessionKey":"x","version":1,"entry":{},"removed":{"at":7,"rule":"r","reason":"r","transcripts":[1]}}',
     b'{"sessionKey":"x","version":1,"entry":{},"removed":{"at":8,"rule":"r","reason":"r"}}',
     b'{"sessionKey":"\\ud800","version":1,"entry":[],"removed":{"at":7,"rule":"r","reason":"r"}}'],
)  # fmt: skip
def test_a_damaged_file_in_the_trash_costs_itself_only(store: SessionStore, data: bytes) -> None:
    """G8: it is told, kept, never restored, and goes only when asked for."""
    name = "removed-7-0123456789abcdef.json"
    for made, content in ((name, data), ("notes.txt", b"mine")):
        Path(f"{store.path}/trash/{made}").write_bytes(content)
        os.chmod(f"{store.path}/trash/{made}", 0o600)
    listing = list_trash(store)
    assert [item.key for item in listing.items] == [KEY]
    assert list(listing.damaged) == [name]
    assert [f.level for f in store.check() if f.path.endswith(name)] == ["error"]
    with pytest.raises(CorruptFile):
        restore(store, name)
    found = plan(store, enforce(trashRetention="0", maxDiskBytes=1))
    assert len(found.problems) == 1
    apply(store, found)
    assert empty_trash(store).count <= 1
    assert sorted(os.listdir(f"{store.path}/trash")) == ["notes.txt", name]
    assert empty_trash(store, damaged=True).count == 1
    assert os.listdir(f"{store.path}/trash") == ["notes.txt"]
    DAMAGED.clear()


def test_check_knows_the_trash(store: SessionStore, expect_findings: list[str]) -> None:
    """What belongs there is no finding; a session that lives at the item's version is a note."""
    assert store.check() == []
    (item,) = list_trash(store).items
    text = Path(f"{store.path}/trash/{item.name}").read_text()
    restored = restore(store, KEY)
    value: Any = json.loads(text)
    value["version"] = restored.version
    path = Path(f"{store.path}/trash/{item.name}")
    path.write_text(json.dumps(value))
    path.chmod(0o600)
    assert [(f.level, f.session) for f in store.check()] == [("note", KEY)]
    found = plan(store, enforce(pruneAfter="99d"))
    assert [(file.kind, file.action) for file in found.changes] == [("trash", "delete")]
    apply(store, found)
    assert store.check() == []


def test_the_trash_is_not_part_of_the_store(store: SessionStore) -> None:
    """Keys, pages, snapshots and changes know nothing of it; a store without it is as good."""
    assert (store.keys(), list(store.snapshot()), len(store)) == (["live"], ["live"], 1)
    assert [item.key for item in store.list().items] == ["live"]


def test_a_large_removal_is_done_in_parts(store_path: str) -> None:
    """G9: hundreds of sessions, several commits, each session exactly once in the trash."""
    with open_store(store_path) as store:
        entries = {f"k{number}": entry(40 * DAY, pad="x" * 5000) for number in range(300)}
        fill(store, entries)
        version = store.version
        report = apply(store, plan(store, enforce()))
        assert len(report.removed) == len(set(report.removed)) == 300
        assert 300 / 16 <= store.version - version < 40
        assert trashed(store) == sorted(entries)
