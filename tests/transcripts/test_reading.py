"""Reading from both ends, in memory that does not grow with the file."""

from __future__ import annotations

import json
import random
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from harness.seeds import seeded

from sessiondir import CorruptFile, InvalidOption
from sessiondir.transcripts import TranscriptReader, lines, names
from sessiondir.transcripts.folder import RECORD_BYTES
from transcripts.folders import ID, both_ways, numbered, put_bytes, quick, values


def random_file(rng: random.Random, length: int) -> bytes:
    """Records, marks, blanks and rubbish in any order."""
    pieces = [b'{"a":1}', b"{}", b"\t", b" ", b"\n", b"\n", b"\t\n\n", b"x", b"\0", b'\t{"b":2}\t\n',
              b'\t{"c":3}\t\t\n', b'\t{"d":4} \n', b'{"long":"' + b"y" * 40 + b'"}\n', b"\xff",
              b"[1]"]  # fmt: skip
    return b"".join(rng.choices(pieces, k=length))


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64])
def test_both_directions_agree_on_any_bytes(tmp_path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """G8: whatever a file holds, reading it raises nothing and finds the same records from either end."""
    rng = seeded("both directions")
    monkeypatch.setattr(lines, "CHUNK", chunk)
    monkeypatch.setattr(lines, "_FIRST_CHUNK", chunk)
    with quick(tmp_path, record_bytes=30) as folder:
        transcript = folder.transcript(ID)
        for _ in range(60):
            data = random_file(rng, rng.randrange(30))
            put_bytes(transcript, data)
            found = both_ways(transcript)
            records = list(transcript.records(damaged=True))
            assert all(
                record.raw == data[record.offset : record.offset + record.size] for record in records if record.raw
            )
            for count in (0, 1, 3):
                assert values(transcript.tail(count)) == found[len(found) - min(count, len(found)) :]


def test_what_is_written_after_any_bytes_is_read(tmp_path: Path) -> None:
    """G8: whatever a file holds, what is appended is found at its end, and what was found before still is."""
    rng = seeded("after any bytes")
    with quick(tmp_path) as folder:
        transcript = folder.transcript(ID)
        for _ in range(300):
            data = random_file(rng, rng.randrange(12))
            put_bytes(transcript, data)
            before = both_ways(transcript)
            added = numbered(*range(rng.choice((1, 2, 4))))
            transcript.extend(added)
            assert both_ways(transcript) == [*before, *added], data


def test_going_on_from_any_record(tmp_path: Path) -> None:
    """A page may begin or end at any record, also within a batch."""
    with quick(tmp_path) as folder:
        transcript = folder.transcript(ID)
        transcript.append({"n": 0})
        transcript.extend([{"n": number} for number in range(1, 5)])
        transcript.append({"n": 5})
        records = list(transcript)
        for number, record in enumerate(records):
            assert [one["n"] for one in values(transcript.records(since=record.end))] == list(range(number + 1, 6))
            older = values(transcript.records(reverse=True, before=record.offset))
            assert [one["n"] for one in older] == list(range(number))[::-1]
            forward = values(transcript.records(before=record.offset))
            assert [one["n"] for one in forward] == list(range(number))
            newer = values(transcript.records(reverse=True, since=record.offset))
            assert [one["n"] for one in newer] == list(range(number, 6))[::-1]


def test_a_missing_transcript_has_no_records(tmp_path: Path) -> None:
    """An entry may point to a transcript that was not written yet; reading makes no file."""
    with quick(tmp_path) as folder:
        transcript = folder.transcript(ID)
        assert (list(transcript), transcript.tail(3), transcript.size, transcript.exists()) == ([], [], 0, False)
        assert list(tmp_path.iterdir()) == []
        with pytest.raises(InvalidOption):
            transcript.tail(-1)


def test_a_line_above_the_limit_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is reported with its place and size; those around it are read."""
    with quick(tmp_path) as folder:
        put_bytes(folder.transcript(ID), b'{"a":1}\n{"b":"' + b"x" * 1000 + b'"}\n{"c":3}\n')
    with quick(tmp_path, record_bytes=500) as folder:
        transcript = folder.transcript(ID)
        assert both_ways(transcript) == [{"a": 1}, {"c": 3}]
        large = next(record for record in transcript.records(damaged=True) if record.problem)
        assert (large.problem, large.offset, large.size, large.raw, large.value) == ("too large", 8, 1008, b"", {})
        caplog.clear()
        assert values(transcript.tail(2)) == [{"a": 1}, {"c": 3}]
        assert "byte 8 is too large" in caplog.text


def make_large(path: Path, size: int, line_bytes: int) -> None:
    """A transcript of ``size`` bytes with a hole for most of it: one long line of NULs between records."""
    with path.open("wb") as file:
        for number in range(100):
            file.write(json.dumps({"n": number, "t": "x" * line_bytes}).encode() + b"\n")
        file.seek(size)
        file.write(b"\n")
        for number in range(100):
            file.write(json.dumps({"n": number, "t": "x" * line_bytes}).encode() + b"\n")
    path.chmod(0o600)


def test_the_tail_of_a_large_file_costs_what_it_returns(tmp_path: Path) -> None:
    """W11: the last 50 records of 2 GB take no more memory and no more reading than those of 1 MB."""
    used = []
    for size in (1 << 20, 2 << 30):
        path = tmp_path / f"{size}.jsonl"
        make_large(path, size, 2000)
        with quick(tmp_path) as folder:
            calls = folder._handle.fs.calls  # type: ignore[attr-defined]
            transcript = folder.transcript(str(size))
            tracemalloc.start()
            found = transcript.tail(50)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert [record.value["n"] for record in found] == list(range(50, 100))
            used.append((peak, calls.count("pread")))
        path.unlink()
    assert used[1][1] == used[0][1]
    assert used[1][0] < used[0][0] * 1.5 < 3 << 20


def test_a_line_of_43_megabytes(tmp_path: Path) -> None:
    """W11, P14: a huge line is read whole where the limit allows, and else passed over in little memory."""
    path = tmp_path / f"{ID}.jsonl"
    size = 43_000_000
    path.write_bytes(b'{"a":1}\n{"big":"' + b"x" * size + b'"}\n{"b":2}\n')
    path.chmod(0o600)
    with quick(tmp_path) as folder:
        assert [len(one.get("big", "")) for one in values(folder.transcript(ID))] == [0, size, 0]
        assert size < RECORD_BYTES
    with quick(tmp_path, record_bytes=1 << 20) as folder:
        transcript = folder.transcript(ID)
        for read in (transcript.records, lambda: transcript.records(reverse=True), lambda: transcript.tail(2)):
            tracemalloc.start()
            assert {frozenset(record.value.items()) for record in read()} == {
                frozenset({("a", 1)}),
                frozenset({("b", 2)}),
            }
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < 5 << 20
    with quick(tmp_path) as folder:
        # The last one is always there, whatever its size.
        assert [record.value for record in folder.transcript(ID).tail(3, max_bytes=100)] == [{"b": 2}]


def test_the_shape_of_a_record(tmp_path: Path) -> None:
    """What a record tells about itself."""
    with quick(tmp_path) as folder:
        transcript = folder.transcript(ID)
        put_bytes(transcript, b'{"type":"message"}\n\n{"type":5}\nrubbish')
        first, second, torn = transcript.records(damaged=True)
        assert (first.type, first.offset, first.size, first.end, first.problem) == ("message", 0, 18, 19, "")
        assert (second.type, second.offset) == ("", 20)
        assert (torn.problem, torn.value, torn.end) == ("torn", {}, transcript.size)
        assert repr(torn) == f"<Record at {torn.offset}, 7 bytes, torn>"


@pytest.mark.parametrize("kind", ["link", "directory", "fifo"])
def test_only_regular_files_are_read(tmp_path: Path, kind: str) -> None:
    """G10: a link, a directory or a FIFO in place of a transcript is refused, read and written."""
    import os

    outside = tmp_path / "outside.jsonl"
    outside.write_bytes(b'{"secret":1}\n')
    inside = tmp_path / "folder"
    inside.mkdir()
    target = inside / f"{ID}.jsonl"
    make: dict[str, Any] = {
        "link": lambda: target.symlink_to(outside), "directory": target.mkdir, "fifo": lambda: os.mkfifo(target),
    }  # fmt: skip
    make[kind]()
    with quick(inside) as folder:
        transcript = folder.transcript(ID)
        for use in (lambda: list(transcript), lambda: transcript.tail(1), transcript.pop,
                    lambda: transcript.append({}), lambda: transcript.archive("reset"),
                    lambda: transcript.clear(keep=False)):  # fmt: skip
            with pytest.raises(CorruptFile, match="not a regular file"):
                use()
        assert folder.files() == []
    assert outside.read_bytes() == b'{"secret":1}\n'
    assert os.path.lexists(target)


CORPUS = sorted((Path(__file__).parents[1] / "data" / "transcripts").iterdir())


@pytest.mark.parametrize(
    "source", CORPUS, ids=lambda path: str(names.parse(path.name).kind if names.parse(path.name) else path.name)
)
def test_transcripts_of_real_shape_lose_nothing(tmp_path: Path, source: Path) -> None:
    """Every record of every type, known or not, comes back equal, from both ends, and when written again."""
    wanted = [json.loads(line) for line in source.read_bytes().splitlines()]
    (tmp_path / source.name).write_bytes(source.read_bytes())
    with quick(tmp_path) as folder:
        reader = folder.file(source.name)
        assert type(reader) is TranscriptReader
        assert both_ways(reader) == wanted
        copy = folder.transcript("copy")
        copy.extend(wanted)
        assert both_ways(copy) == wanted
        for one in wanted:
            copy.append(one)
        assert both_ways(copy) == wanted * 2


def test_the_corpus_has_what_it_is_for() -> None:
    """There are live, archived, copied and traced transcripts, with many types of records."""
    kinds = {told.kind for path in CORPUS if (told := names.parse(path.name)) is not None}
    assert kinds == {"transcript", "archive", "backup", "checkpoint", "trajectory"}
    types = {json.loads(line)["type"] for path in CORPUS for line in path.read_bytes().splitlines()}
    assert {
        "session",
        "message",
        "custom",
        "custom_message",
        "compaction",
        "model_change",
        "model.completed",
    } <= types
