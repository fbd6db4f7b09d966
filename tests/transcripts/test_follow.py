"""Following a transcript as it grows, is archived, cleared and cut."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.seams import LeapingClock

from sessiondir import InvalidOption
from sessiondir.transcripts import Record, Transcript, TranscriptFolder
from transcripts.folders import ID, numbered, put_bytes, quick, values


def take(records: Iterator[Record], count: int) -> list[int]:
    """The numbers of the next records."""
    return [next(records).value["n"] for _ in range(count)]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[TranscriptFolder]:
    """A folder on whose clock waiting takes no time."""
    with quick(tmp_path, clock=LeapingClock()) as opened:
        yield opened


@pytest.fixture
def transcript(folder: TranscriptFolder) -> Transcript:
    return folder.transcript(ID)


def test_from_now_on_and_from_the_beginning(transcript: Transcript) -> None:
    """Without ``since`` only what comes after the call; with 0 everything, with a record's end what follows it."""
    transcript.extend(numbered(1, 2))
    end = transcript.append({"n": 3})
    following = transcript.follow(timeout=1)
    transcript.append({"n": 4})
    assert [record.value["n"] for record in following] == [4]
    assert [record.value["n"] for record in transcript.follow(0, timeout=1)] == [1, 2, 3, 4]
    assert [record.value["n"] for record in transcript.follow(end, timeout=1)] == [4]


def test_a_file_that_is_not_there_yet(transcript: Transcript) -> None:
    """It is waited for, and its first record is found."""
    following = transcript.follow(timeout=1000)
    transcript.append({"n": 1})
    assert take(following, 1) == [1]
    following.close()
    assert list(transcript.follow(timeout=0)) == []


def test_what_is_archived_is_read_to_its_end_first(transcript: Transcript) -> None:
    """No record is missed when the transcript is set aside and begun anew, nor when it is cleared for good."""
    following = transcript.follow(timeout=100)
    transcript.append({"n": 1})
    assert take(following, 1) == [1]
    transcript.append({"n": 2})
    transcript.archive("reset")
    transcript.extend(numbered(3, 4))
    assert take(following, 3) == [2, 3, 4]
    transcript.append({"n": 5})
    assert transcript.clear(keep=False) is None
    assert take(following, 1) == [5]
    transcript.append({"n": 6})
    assert take(following, 1) == [6]
    assert list(following) == []


def test_a_record_that_is_taken_back(transcript: Transcript) -> None:
    """Following goes on behind what is left."""
    transcript.extend(numbered(1, 2))
    following = transcript.follow(0, timeout=100)
    assert take(following, 2) == [1, 2]
    assert transcript.pop() == {"type": "message", "n": 2}
    assert list(transcript.follow(timeout=0)) == []
    later = transcript.follow(timeout=1)
    transcript.append({"n": 3})
    assert take(later, 1) == [3]
    later.close()
    following.close()


@pytest.mark.parametrize("back", [1, 2, 5])
@pytest.mark.parametrize("since", ["the start", "the end", "now"])
def test_a_record_in_the_place_of_one_taken_back(transcript: Transcript, back: int, since: str) -> None:
    """G3: what takes the place of records that were passed comes, although the file is as long as before."""
    transcript.append({"n": 1, "before": "them"})
    for n in range(2, 2 + back):
        transcript.append({"n": n})
    following = transcript.follow({"the start": 0, "the end": transcript.size, "now": None}[since], timeout=10)
    if since == "the start":
        assert take(following, 1 + back) == list(range(1, 2 + back))
    size = transcript.size
    remembered = back if since == "the start" else 1
    for _ in range(remembered):
        transcript.pop()
    for n in range(remembered):
        transcript.append({"n": 9 - n})
    assert transcript.size == size
    assert [record.value["n"] for record in following] == [9 - n for n in range(remembered)]


def test_a_record_that_is_taken_back_between_two_looks_of_one_moment(transcript: Transcript) -> None:
    """It comes even where the file tells neither by its size nor by its time that it was changed."""
    transcript.append({"n": 1})
    following = transcript.follow(0, timeout=10)
    assert take(following, 1) == [1]
    before = os.stat(transcript.path)
    transcript.pop()
    transcript.append({"n": 2})
    os.utime(transcript.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert [record.value["n"] for record in following] == [2]


def test_more_taken_back_than_is_remembered(transcript: Transcript) -> None:
    """Of a hundred, the last 64 are told from those passed; nothing comes twice."""
    for n in range(100, 200):
        transcript.append({"n": n})
    following = transcript.follow(0, timeout=10)
    assert take(following, 100) == list(range(100, 200))
    while transcript.pop() is not None:
        pass
    for n in range(200, 300):
        transcript.append({"n": n})
    assert [record.value["n"] for record in following] == list(range(236, 300))


def test_half_a_line_and_half_a_batch_wait(transcript: Transcript) -> None:
    """G5: a record shows when it is complete, a batch when all of it is there."""
    transcript.append({"n": 0})
    start = transcript.size
    transcript.extend(numbered(1, 2))
    transcript.append({"n": 3})
    whole = Path(transcript.path).read_bytes()
    put_bytes(transcript, whole[:start])
    following = transcript.follow(0, timeout=1000)
    assert take(following, 1) == [0]
    following.close()
    for length in range(start, len(whole) + 1):
        put_bytes(transcript, whole[:length])
        seen = [record.value["n"] for record in transcript.follow(start, timeout=0)]
        batch_is_whole = length > whole.rindex(b" \n") + 1
        assert seen == ([1, 2] if batch_is_whole else []) + ([3] if length == len(whole) else []), length


def test_a_torn_end_that_is_closed_by_the_next_writer(
    transcript: Transcript, caplog: pytest.LogCaptureFixture
) -> None:
    """What never counted is passed over; damage is logged."""
    put_bytes(transcript, b'\t{"n":1}\t\n{"torn')
    following = transcript.follow(0, timeout=100)
    transcript.append({"n": 2})
    assert take(following, 1) == [2]
    with open(transcript.path, "ab") as file:
        file.write(b"rubbish\n")
    transcript.append({"n": 3})
    assert take(following, 1) == [3]
    assert "is damaged" in caplog.text
    following.close()


def test_a_record_shows_soon(tmp_path: Path) -> None:
    """With the real clock, another thread's record arrives; the generator can be closed at any time."""
    with quick(tmp_path) as folder:
        transcript = folder.transcript(ID)
        following = transcript.follow(timeout=30)
        threading.Timer(0.1, lambda: transcript.append({"n": 1})).start()
        before = time.monotonic()
        assert take(following, 1) == [1]
        assert time.monotonic() - before < 20
        following.close()


def test_compressed_archives_do_not_grow(folder: TranscriptFolder) -> None:
    """Asking for it is a mistake that is told at once."""
    with pytest.raises(InvalidOption, match="compressed"):
        folder.file(f"{ID}.jsonl.reset.2026-01-01T00-00-00.000Z.zst").follow()


def test_values_are_the_readers_own(transcript: Transcript) -> None:
    """Two readings share nothing that can be changed."""
    transcript.append({"list": [1]})
    values(transcript)[0]["list"].append(2)
    assert values(transcript) == [{"list": [1]}]
