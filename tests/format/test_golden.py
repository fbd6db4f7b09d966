"""The bytes on disk, exactly: a store of layout 1 as this version leaves it at rest.

``golden/`` holds a store directory that was written once and is never regenerated; a
change of these bytes is a change of the format and needs a decision record.
"""

from __future__ import annotations

import json
import shutil
import zlib
from pathlib import Path
from typing import Any

import pytest
from support.factories import Opener
from support.files import read_layout1, session_name
from support.seams import FixedClock

from sessiondir import UNSET, journal, opening
from sessiondir.operations import Delete, Patch, Put
from sessiondir.state import State

GOLDEN = Path(__file__).parent / "golden" / "sessions.d"
STORE_ID = "00000000-0000-4000-8000-000000000001"
LONG = "agent:main:" + "long:" * 30
FINAL: dict[str, Any] = {
    "agent:main:main": {
        "sessionId": "s1",
        "updatedAt": 1700000000000,
        "label": "Grüße, 世界 😀",
        "tokens": [1, 2.5, None],
    },
    LONG: {"nested": {"a": [{"b": []}, {}]}, "half": "\ud83d", "large": 2**70},
}


def write_all(store: Any) -> None:
    """The commits that made the golden store."""
    store.put("agent:main:main", {"sessionId": "s1", "updatedAt": 1, "label": "old"})
    store.put("gone", {"n": 1})
    store.put(LONG, FINAL[LONG])
    store.patch(
        "agent:main:main", {"label": "Grüße, 世界 😀", "tokens": [1, 2.5, None], "updatedAt": 1700000000000}
    )
    with store.transaction("gone", LONG) as txn:
        del txn["gone"]
        txn[LONG] = {**txn[LONG], "temporary": True}
    store.patch(LONG, {"temporary": UNSET})


def content(path: Path) -> dict[str, bytes]:
    """The files of a store; what depends on the file system, and room ahead in the journal, left out."""
    found = {str(one.relative_to(path)): one.read_bytes() for one in path.rglob("*") if one.is_file()}
    found.pop("lock", None)
    for name, data in found.items():
        if name.startswith("journal-"):
            found[name] = data.rstrip(b"\0")
    state = json.loads(found["state.json"])
    state.pop("inode", None)
    found["state.json"] = json.dumps(state, indent=2).encode()
    return found


def test_the_store_at_rest_has_these_bytes(
    open_directory: Opener, store_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same commits, made at the same time in a store of the same name, leave the same files."""
    monkeypatch.setattr(opening, "new_store_id", lambda: STORE_ID)
    store = open_directory(clock=FixedClock(), keys="lowercase")
    write_all(store)
    store.close()
    assert content(Path(store_path)) == content(GOLDEN)


def test_the_golden_store_reads_as_it_was_written(open_directory: Opener, store_path: str) -> None:
    """The checked-in store opens, holds its sessions and versions, and can be changed."""
    shutil.copytree(GOLDEN, store_path)
    for path in [Path(store_path), *Path(store_path).rglob("*")]:
        path.chmod(0o700 if path.is_dir() else 0o600)
    assert read_layout1(store_path) == FINAL
    store = open_directory()
    assert repr(dict(sorted(store.snapshot().items()))) == repr(dict(sorted(FINAL.items())))
    assert (store.version, store.version_of("agent:main:main"), store.version_of(LONG)) == (6, 4, 6)
    assert (store.info().store_id, store.info().key_rule) == (STORE_ID, "lowercase")
    assert [change.version for change in store.changes(0)] == [1, 2, 3, 4, 5, 5, 6]
    assert store.put("new", {}) == 7


def test_the_bytes_of_a_commit() -> None:
    """A commit is one line of compact JSON with a check sum over what comes before it."""
    line = journal.encode_commit(
        42,
        1700000000000,
        journal.encode_operations(
            [
                Put('k"é', {"a": 1, "b": b'[1.5,{"c":null}]', "s": "\ud800"}),
                Patch("k", {"x": True}, ("y",)),
                Patch("k", {"x": "é"}),
                Delete("gone"),
            ]
        ),
    )
    body = (
        '{"v":42,"t":1700000000000,"ops":['
        '{"op":"put","key":"k\\"é","entry":{"a":1,"b":[1.5,{"c":null}],"s":"\\ud800"}},'
        '{"op":"patch","key":"k","unset":["y"],"set":{"x":true}},'
        '{"op":"patch","key":"k","set":{"x":"é"}},'
        '{"op":"delete","key":"gone"}]'
    ).encode()
    assert line == body + b',"crc":"%08x"}\n' % zlib.crc32(body)


def test_the_bytes_of_the_first_and_the_last_line() -> None:
    """The first line names store, generation, base and key rule; the last one the next journal."""
    header = journal.Header("id", 7, 41, "exact")
    first = b'{"journal":1,"store":"id","generation":7,"base":41,"keys":"exact","v":41,"t":5'
    assert journal.encode_header(header, 5) == first + b',"crc":"%08x"}\n' % zlib.crc32(first)
    last = b'{"v":42,"t":5,"next":"journal-8.jsonl"'
    assert journal.encode_next(42, 5, "journal-8.jsonl") == last + b',"crc":"%08x"}\n' % zlib.crc32(last)


def test_the_members_of_the_state_file() -> None:
    """The state file is indented JSON; what layout 1 knows comes first."""
    data = State(7, 5, "id", "journal-3.jsonl", "exact", {"path": "x"}, {"later": 1}).encode()
    assert data.startswith(
        b'{\n  "kind": "openclaw-session-store-directory",\n  "layoutVersion": 1,\n  "version": 7,\n'
        b'  "updatedAt": 5,\n'
        b'  "storeId": "id",\n  "journal": "journal-3.jsonl",\n'
    )
    assert data.endswith(b'  "keys": "exact",\n  "migratedFrom": {\n    "path": "x"\n  },\n  "later": 1\n}\n')


def test_the_state_file_tells_of_the_journal_that_it_names(open_directory: Opener, store_path: str) -> None:
    """Position and inode in the state file are those of the journal it names, after reopening and rotation too."""
    for size in (10, 10, 100_000, 10, 10):
        store = open_directory()
        store.put("a", {"x": "y" * size, "n": store.version})
        store.close()
        state = json.loads((Path(store_path) / "state.json").read_bytes())
        named = Path(store_path) / state["journal"]
        assert state["version"] == store_version(named)
        assert state["inode"] == f"{named.stat().st_dev}:{named.stat().st_ino}"
        assert state["position"] in (0, len(named.read_bytes().rstrip(b"\0")))


def store_version(path: Path) -> int:
    """The version of the last line of a journal."""
    return int(json.loads(path.read_bytes().rstrip(b"\0").splitlines()[-1])["v"])


def test_names_of_session_files() -> None:
    """The file names of the golden store are those of the format description."""
    assert {path.name for path in (GOLDEN / "entries").iterdir()} == {
        session_name("agent:main:main"),
        session_name(LONG),
    }
