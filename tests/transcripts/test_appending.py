"""Appending: what is stored, what is refused, what others are left alone."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from support.files import umask
from support.seams import FixedClock, Recorder, RuledFileSystem

from sessiondir import InvalidOption, InvalidRecord, LockTimeout, ReadOnlyStore, RecordTooLarge
from sessiondir.transcripts import TranscriptFolder
from transcripts.folders import ID, both_ways, numbered, put_bytes, quick, values


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"type": "nobody.knows", "deep": {"a": [1, 2.5, None, True, "ä\u2028\n\t\x00"]}},
        {"lone": "\ud800", "big": 2**70, "__proto__": {}},
        {"blank": " \t"},
    ],
)
def test_every_json_object_comes_back_equal(tmp_path: Path, record: dict[str, Any]) -> None:
    """Records are stored as they are, also of unknown type, alone and several at once."""
    with quick(tmp_path) as folder:
        transcript = folder.transcript(ID)
        transcript.append(record)
        transcript.extend([record, record, record])
        assert both_ways(transcript) == [record] * 4
    lines = (tmp_path / f"{ID}.jsonl").read_bytes().split(b"\n")
    assert lines.pop() == b""
    assert [json.loads(line) for line in lines] == [record] * 4


def test_history_is_never_rewritten(tmp_path: Path) -> None:
    """G9: appending only adds bytes, to files of any origin and mode, which stays as it is."""
    with quick(tmp_path) as folder:
        transcript = folder.transcript(ID)
        put_bytes(transcript, b'{ "by": "hand" }\n\n not json \n{"type":"new.type"}\n')
        os.chmod(transcript.path, 0o640)
        before = Path(transcript.path).read_bytes()
        inode = os.stat(transcript.path).st_ino
        for number in range(20):
            transcript.extend(numbered(number, number))
            after = Path(transcript.path).read_bytes()
            assert after.startswith(before)
            before = after
        status = os.stat(transcript.path)
        assert (status.st_ino, status.st_mode & 0o777) == (inode, 0o640)
        assert len(both_ways(transcript)) == 42


def test_a_new_file_is_private(tmp_path: Path) -> None:
    """Transcripts are 0600, whatever the umask."""
    with umask(0o000), quick(tmp_path) as folder:
        folder.transcript(ID).append({})
    assert os.stat(tmp_path / f"{ID}.jsonl").st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("record", "reason"),
    [([], "list"), ("text", "str"), (None, "NoneType"), ({"a": float("nan")}, "nan"), ({"a": {1: 2}}, "not text")],
)
def test_what_is_no_record_touches_nothing(tmp_path: Path, record: Any, reason: str) -> None:
    """G1: one record that cannot be stored keeps all of them out, and no file is made."""
    with quick(tmp_path) as folder:
        transcript = folder.transcript(ID)
        with pytest.raises(InvalidRecord, match=reason):
            transcript.extend([{"good": 1}, record])
        assert not transcript.exists()
        assert transcript.extend([]) == 0
        assert not transcript.exists()


def test_limits(tmp_path: Path) -> None:
    """A record above the limit is refused with its size; one at the limit is taken, and read."""
    with quick(tmp_path, record_bytes=100) as folder:
        transcript = folder.transcript(ID)
        largest = {"t": "x" * 92}
        transcript.append(largest)
        with pytest.raises(RecordTooLarge) as caught:
            transcript.extend([{}, {"t": "x" * 93}])
        assert (caught.value.size, caught.value.limit) == (101, 100)
        assert both_ways(transcript) == [largest]


def test_linked_records(tmp_path: Path) -> None:
    """What is missing of id, parentId and timestamp is filled in; what is there is kept."""
    clock = FixedClock(1_773_964_800_123)
    with quick(tmp_path, clock=clock) as folder:
        transcript = folder.transcript(ID)
        assert transcript.begin(cwd="/w", parentSession="p")
        assert not transcript.begin(cwd="/other")
        transcript.append({"type": "message", "n": 1}, linked=True)
        transcript.extend([{"type": "message", "id": "mine"}, {"type": "label", "parentId": None}], linked=True)
        transcript.append({"type": "message", "timestamp": "T"}, linked=True)
        header, one, mine, label, last = values(transcript)
    stamp = "2026-03-20T00:00:00.123Z"
    assert header == {
        "type": "session", "version": 3, "id": ID, "timestamp": stamp, "cwd": "/w", "parentSession": "p",
    }  # fmt: skip
    assert one == {"type": "message", "id": one["id"], "parentId": None, "timestamp": stamp, "n": 1}
    assert mine == {"type": "message", "id": "mine", "parentId": one["id"], "timestamp": stamp}
    assert label == {"type": "label", "id": label["id"], "parentId": None, "timestamp": stamp}
    assert last == {"type": "message", "id": last["id"], "parentId": label["id"], "timestamp": "T"}
    assert len({one["id"], label["id"], last["id"]}) == 3


def test_durability(tmp_path: Path) -> None:
    """G2: "power" syncs the bytes, and the name of a new file before its first byte; "process" neither."""
    recorder = Recorder()
    fs = RuledFileSystem(recorder)
    with TranscriptFolder.open(tmp_path, fs=fs) as folder:
        transcript = folder.transcript(ID)
        transcript.append({})
        calls = recorder.calls[:]
        assert calls.index("fsync") < calls.index("pwrite") < calls.index("fdatasync")
        recorder.calls.clear()
        transcript.append({})
        assert recorder.calls.count("fdatasync") == 1
        assert "fsync" not in recorder.calls
        # Nobody waits for our disk: the lock is let go before the sync.
        assert recorder.calls[-3:] == ["flock", "fdatasync", "close"]
        recorder.calls.clear()
        transcript.append({}, durability="process")
        folder.transcript("other").append({}, durability="process")
        assert not {"fsync", "fdatasync"} & set(recorder.calls)
        with pytest.raises(InvalidOption):
            transcript.append({}, durability="maybe")  # type: ignore[arg-type]


def test_the_cost_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """G4: the number of system calls and of bytes read for an append is the same in a large file."""
    counted: list[tuple[int, int]] = []
    for size in (1, 4 << 20):
        recorder = Recorder()
        read = 0

        def watch(name: str, args: tuple[Any, ...]) -> None:
            nonlocal read
            read += args[1] if name == "pread" else 0

        fs = RuledFileSystem(recorder, watch)
        with TranscriptFolder.open(tmp_path, fs=fs, durability="process") as folder:
            transcript = folder.transcript(f"size-{size}")
            put_bytes(transcript, json.dumps({"t": "x" * size}).encode() + b"\n")
            transcript.append({})
            recorder.calls.clear()
            read = 0
            transcript.append({})
            counted.append((len(recorder.calls), read))
    assert counted[0] == counted[1]
    assert counted[0][1] == 1


def test_a_lock_holds_up_this_transcript_only(tmp_path: Path) -> None:
    """G4, G7: while somebody has one transcript locked, others are appended to, and waiting ends with an error."""
    import fcntl

    with quick(tmp_path, lock_timeout=0.05) as folder:
        transcript = folder.transcript(ID)
        transcript.append({"n": 1})
        with open(transcript.path, "rb") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            folder.transcript("other").append({})
            for change in (
                lambda: transcript.append({}),
                transcript.pop,
                transcript.clear,
                lambda: transcript.archive("bak"),
            ):
                with pytest.raises(LockTimeout, match=r"8f3c1d0a.*nothing was changed") as caught:
                    change()
                assert caught.value.waited_s >= 0.05
                assert caught.value.retryable
        assert values(transcript) == [{"n": 1}]
        transcript.append({"n": 2})


def test_a_waiting_writer_gets_its_turn(tmp_path: Path) -> None:
    """G7: an append waits for the lock and goes on when it is free."""
    import fcntl

    with quick(tmp_path) as folder:
        transcript = folder.transcript(ID)
        transcript.append({"n": 1})
        with open(transcript.path, "rb") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            writer = threading.Thread(target=transcript.append, args=({"n": 2},))
            writer.start()
            time.sleep(0.05)
            assert values(transcript) == [{"n": 1}]  # G5: readers wait for nobody
            fcntl.flock(held, fcntl.LOCK_UN)
            writer.join(30)
        assert values(transcript) == [{"n": 1}, {"n": 2}]


def test_read_only(tmp_path: Path) -> None:
    """A folder opened read-only changes nothing and says so."""
    with quick(tmp_path) as folder:
        folder.transcript(ID).append({"n": 1})
        name = folder.transcript("other-1").name
        folder.transcript("other-1").append({})
        archived = folder.transcript("other-1").archive("deleted")
    with quick(tmp_path, read_only=True) as folder:
        transcript = folder.transcript(ID)
        changes = [
            lambda: transcript.append({}), transcript.begin, transcript.pop, transcript.clear,
            lambda: transcript.archive("bak"), lambda: folder.restore(archived), lambda: folder.compress(archived),
        ]  # fmt: skip
        for change in changes:
            with pytest.raises(ReadOnlyStore):
                change()
        assert values(transcript) == [{"n": 1}]
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("count", [1, 2])
def test_a_foreign_line_just_before_ours(tmp_path: Path, count: int) -> None:
    """G8: what a program without a lock appends between our look and our write stays whole, as does ours."""
    fs = RuledFileSystem()
    with TranscriptFolder.open(tmp_path, fs=fs, durability="process") as folder:
        transcript = folder.transcript(ID)
        transcript.append({"n": 0})

        def intrude(name: str, args: tuple[Any, ...]) -> None:
            if name == "pwrite":
                fs.rules.clear()
                with open(transcript.path, "ab") as file:
                    file.write(b'{"foreign":1}\n')

        fs.rules.append(intrude)
        transcript.extend(numbered(*range(count)))
        assert both_ways(transcript) == [{"n": 0}, {"foreign": 1}, *numbered(*range(count))]


def test_a_foreign_writer_loses_nothing(tmp_path: Path) -> None:
    """G8: a program that appends without any lock, at any moment, finds all its lines, as do we."""
    count = 400
    with quick(tmp_path, durability="process") as folder:
        transcript = folder.transcript(ID)
        transcript.append({"who": "us", "n": -1})

        def foreign() -> None:
            for number in range(count):
                with open(transcript.path, "ab", buffering=0) as file:
                    file.write(b'{"who":"them","n":%d}\n' % number)

        thread = threading.Thread(target=foreign)
        thread.start()
        for number in range(count):
            transcript.append({"who": "us", "n": number})
        thread.join()
        found = both_ways(transcript)
    for who in ("us", "them"):
        assert [one["n"] for one in found if one["who"] == who and one["n"] >= 0] == list(range(count))
