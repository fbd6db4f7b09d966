"""G8, G10: whatever ``listing.jsonl`` holds, a listing tells what the session files say (F5, F22)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.listings import make_listing, require_true

from sessiondir import SessionStore, listfile
from sessiondir.state import StateListing, parse_state

_NEVER_S = 3600.0


@pytest.fixture
def at_rest(store_path: str) -> str:
    """A store of five sessions with sorted rows and three lines of changes."""
    with SessionStore.open(store_path, checkpoint_interval=_NEVER_S) as store:
        for number in range(5):
            store.put(f"s{number}", {"sessionId": f"id-{number}", "updatedAt": number})
        make_listing(store)
        for number in (0, 5):
            store.put(f"s{number}", {"updatedAt": number + 10})
            store.flush()
        store.delete("s2")
    assert require_true(store_path)
    return store_path


def _mark(path: str) -> StateListing:
    """What the state file says of the listing file."""
    found = parse_state((Path(path) / "state.json").read_bytes(), path).listing
    assert found is not None
    return found


def _damaged(data: bytes) -> Iterator[tuple[str, bytes]]:
    for place in range(len(data)):
        yield f"byte {place} flipped", data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
    for place in range(0, len(data), 7):
        yield f"cut at {place}", data[:place]
        yield f"zeros from {place}", data[:place].ljust(len(data), b"\0")
    lines = data.splitlines(keepends=True)
    for number in range(len(lines)):
        if number < len(lines) - 1:  # behind the last line nothing counts
            yield f"line {number} twice", b"".join([*lines[: number + 1], *lines[number:]])
        yield f"line {number} missing", b"".join([*lines[:number], *lines[number + 1 :]])
    yield "turned round", b"".join(reversed(lines))


def test_g8_damage_at_each_byte_is_noticed(at_rest: str) -> None:
    """G8: no changed, missing, repeated or exchanged byte or line of the file shows in a listing."""
    path = Path(at_rest) / "listing.jsonl"
    data = path.read_bytes()
    count = 0
    for why, damaged in _damaged(data):
        path.write_bytes(damaged)
        relied_on = require_true(at_rest, why)
        assert not relied_on, why
        count += 1
    assert count > 400
    path.write_bytes(data + b"left by a writer that died")
    assert require_true(at_rest)


def test_lines_of_an_older_file_do_not_count(at_rest: str) -> None:
    """G8: a file from before, sound in itself, is not taken for the one that the state file names."""
    path = Path(at_rest) / "listing.jsonl"
    old = path.read_bytes()
    with SessionStore.open(at_rest, checkpoint_interval=_NEVER_S) as store:
        store.put("s1", {"updatedAt": 99})
        store._writing().distrust_listing(_mark(at_rest).identity)
        make_listing(store)
    new = path.read_bytes()
    assert require_true(at_rest)
    path.write_bytes(old)
    assert not require_true(at_rest)
    path.write_bytes(new)
    assert require_true(at_rest)


def _line(number: int, rows: Any, identity: str, gone: Any = ()) -> bytes:
    body = json.dumps({"n": number, "rows": rows, "gone": gone}, separators=(",", ":")).encode()[:-1]
    return body + listfile._ending(body, identity.encode())


@pytest.mark.parametrize(
    "rows",
    [
        [[1, 1, 1, None, 1]],
        [["s0", "1", 1, None, 1]],
        [["s0", 1, "now", None, 1]],
        [["s0", 1, 1, 7, 1]],
        [["s0", 1, 1, None]],
        [["s0", 1, 1, None, 1, 1]],
        [["s0", True, 1, None, 1]],
        {"s0": 1},
        None,
        "s0",
        7,
        [None],
    ],
    ids=str,
)
def test_g10_rows_of_a_wrong_shape_are_no_errors(at_rest: str, rows: Any) -> None:
    """G10: somebody who forges a file with good check sums gets no error of Python out of it."""
    state_path, path = Path(at_rest) / "state.json", Path(at_rest) / "listing.jsonl"
    state = json.loads(state_path.read_text())
    mark = _mark(at_rest)
    data = _line(0, rows, mark.identity)
    path.write_bytes(data)
    for base in (len(data), 0):
        forged = replace(mark, base=base, size=len(data), blocks=int(base > 0), appended=int(base == 0))
        state_path.write_text(json.dumps(state | {"listing": forged.encode()}))
        assert not require_true(at_rest)


@pytest.mark.parametrize(
    "said",
    [
        None, 1, "x", [], {}, lambda text: text[:-1], lambda text: text + " ", lambda text: "0" + text[1:],
        lambda text: text.replace(":1:", ":2:", 1), lambda text: text.replace(":", ":0", 1),
        lambda text: text.upper(), lambda text: f"{text[:16]}:{'9' * 400}:1:1:1:1:1:00000000",
        lambda text: f"{text[:16]}:0:0:0:0:0:0:a2ff8c1c",
    ],
    ids=range(13),
)  # fmt: skip
def test_g10_nonsense_in_the_state_file_is_no_error(at_rest: str, said: Any) -> None:
    """G10: a member that makes no sense is as good as none."""
    state_path = Path(at_rest) / "state.json"
    state = json.loads(state_path.read_text())
    state["listing"] = said(state["listing"]) if callable(said) else said
    state_path.write_text(json.dumps(state))
    assert not require_true(at_rest)
    with SessionStore.open(at_rest, checkpoint_interval=_NEVER_S) as store:
        store.put("s3", {"updatedAt": 70})
        store.flush()
        require_true(at_rest)
        make_listing(store)
    assert require_true(at_rest)


@pytest.mark.expect_findings(".*")
@pytest.mark.parametrize("lure", ["link", "hard link", "directory", "fifo", "large"])
def test_g10_nothing_outside_is_touched_through_the_file(at_rest: str, tmp_path: Path, lure: str) -> None:
    """G10: what stands in place of the file is not followed, waited for or written to, and commits go on."""
    path, outside = Path(at_rest) / "listing.jsonl", tmp_path / "outside"
    data = path.read_bytes()
    outside.write_bytes(data)
    outside.chmod(0o600)
    path.unlink()
    if lure == "link":
        path.symlink_to(outside)
    elif lure == "hard link":
        path.hardlink_to(outside)
    elif lure == "directory":
        path.mkdir()
    elif lure == "fifo":
        os.mkfifo(path)
    else:
        with path.open("wb") as file:
            file.truncate(1 << 33)
        path.chmod(0o600)
    require_true(at_rest)
    with SessionStore.open(at_rest, checkpoint_interval=_NEVER_S) as store:
        store.put("s3", {"updatedAt": 70})
        store.flush()
        require_true(at_rest)
        store.put("s4", {"updatedAt": 71})
        make_listing(store)
        require_true(at_rest)
    assert outside.read_bytes() == data
    require_true(at_rest)
    if lure == "directory":
        path.rmdir()
