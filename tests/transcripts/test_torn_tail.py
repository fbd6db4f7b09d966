"""G1, G8: what a writer that died has left costs its own records only, cut at every byte (F4)."""

from __future__ import annotations

from pathlib import Path

import pytest

from sessiondir import CorruptFile
from sessiondir.transcripts.records import SEAL
from transcripts.folders import ID, both_ways, numbered, put_bytes, quick, values

BEFORE = [*numbered(1, 2), {"type": "message", "text": 'ä{}[]"\\ \t'}]
NEXT = numbered(99)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("batch", [1, 3])
def test_cut_at_every_byte(tmp_path: Path, count: int, batch: int) -> None:
    """One or several records cut at every length: none of them is there, or all; the next ones always are."""
    last = [{"type": "m", "n": number, "text": "é\t} {"} for number in range(count)]
    following = numbered(*range(90, 90 + batch))
    with quick(tmp_path) as folder:
        transcript = folder.transcript(ID)
        transcript.extend(BEFORE)
        start = transcript.size
        transcript.extend(last)
        whole = Path(transcript.path).read_bytes()
        for length in range(start, len(whole) + 1):
            put_bytes(transcript, whole[:length])
            complete = length >= len(whole) - 1  # the line feed alone may be missing
            allowed = [[*BEFORE, *last]] if complete else [BEFORE]
            if count > 1 and length == len(whole) - 2:
                allowed = [BEFORE]
            assert both_ways(transcript) in allowed, length
            seen = values(transcript)
            assert values(transcript.tail(2)) == seen[-2:]
            transcript.extend(following)
            assert both_ways(transcript) == [*seen, *following], length
            assert Path(transcript.path).read_bytes().startswith(whole[:length])
            transcript.extend(NEXT)
            assert both_ways(transcript) == [*seen, *following, *NEXT], length


@pytest.mark.parametrize("count", [1, 3])
def test_pop_after_every_cut(tmp_path: Path, count: int) -> None:
    """The last record that counts is the one that is taken back, whatever stands behind it."""
    with quick(tmp_path) as folder:
        transcript = folder.transcript(ID)
        transcript.extend(BEFORE)
        start = transcript.size
        transcript.extend(numbered(*range(count)))
        whole = Path(transcript.path).read_bytes()
        for length in range(start, len(whole) + 1):
            put_bytes(transcript, whole[:length])
            seen = values(transcript)
            assert transcript.pop() == seen[-1], length
            assert both_ways(transcript) == seen[:-1], length
            transcript.extend(NEXT)
            assert both_ways(transcript) == [*seen[:-1], *NEXT], length


@pytest.mark.parametrize("count", [2, 3])
def test_zeros_anywhere_in_what_was_not_synced(tmp_path: Path, count: int) -> None:
    """A power cut may leave zeros in place of any part of an append: all of it counts, or nothing."""
    last = numbered(*range(count))
    with quick(tmp_path) as folder:
        transcript = folder.transcript(ID)
        transcript.extend(BEFORE)
        start = transcript.size
        transcript.extend(last)
        whole = Path(transcript.path).read_bytes()
        for begin in range(start, len(whole), 3):
            for end in range(begin + 1, len(whole) + 1, 5):
                put_bytes(transcript, whole[:begin] + bytes(end - begin) + whole[end:])
                # Only the blank or the line feed at the very end carry nothing.
                assert values(transcript) in ([BEFORE] if begin < len(whole) - 1 else [BEFORE, [*BEFORE, *last]])
                transcript.extend(NEXT)
                assert both_ways(transcript)[-1:] == NEXT


def test_a_rotten_byte_costs_one_record(tmp_path: Path) -> None:
    """G8: damage in the middle is reported with its place; the records around it count, also of its own batch."""
    with quick(tmp_path) as folder:
        transcript = folder.transcript(ID)
        transcript.extend(numbered(1, 2, 3))
        data = Path(transcript.path).read_bytes()
        at = data.index(b'"n":2')
        put_bytes(transcript, data[:at] + b"X" + data[at + 1 :])
        assert values(transcript) == numbered(1, 3)
        bad = [record for record in transcript.records(damaged=True) if record.problem]
        assert [(record.problem, record.offset) for record in bad] == [("damaged", data.index(b"\n") + 1)]


def test_damage_is_logged_and_what_was_never_acknowledged_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A damaged line is reported; a torn end is normal after a crash."""
    with quick(tmp_path) as folder:
        transcript = folder.transcript(ID)
        put_bytes(transcript, b'{"a":1}\nnot json\n[1]\n{"b":2}\n{"torn')
        assert values(transcript) == [{"a": 1}, {"b": 2}]
        assert [record.message.split(": ")[1] for record in caplog.records] == [
            "the line at byte 8 is damaged; it was left out",
            "the line at byte 17 is damaged; it was left out",
        ]


def test_pop_refuses_to_remove_damage(tmp_path: Path) -> None:
    """G8: what cannot be read is not removed; the error says where it stands."""
    with quick(tmp_path) as folder:
        transcript = folder.transcript(ID)
        put_bytes(transcript, b'{"a":1}\nnot json\n')
        with pytest.raises(CorruptFile, match="byte 8"):
            transcript.pop()
        assert Path(transcript.path).read_bytes() == b'{"a":1}\nnot json\n'


def test_lines_of_other_programs_with_blanks_around_them(tmp_path: Path) -> None:
    """Indented and padded lines, CRLF and blank lines that no program of ours wrote are records like any other."""
    lines = [b'\t{"a":1}', b'  {"a":2}  ', b'{"a":3}\r', b"", b'{"a":4}\t', b"\t \t", b'\t{"a":5}\r']
    with quick(tmp_path) as folder:
        transcript = folder.transcript(ID)
        put_bytes(transcript, b"\n".join(lines) + b"\n")
        assert both_ways(transcript) == [{"a": number} for number in (1, 2, 3, 4, 5)]


def test_sealing_is_what_the_format_says(tmp_path: Path) -> None:
    """The bytes that close a torn end are those of the format description."""
    with quick(tmp_path) as folder:
        transcript = folder.transcript(ID)
        put_bytes(transcript, b'{"a"')
        transcript.append({})
        assert Path(transcript.path).read_bytes() == b'{"a"' + SEAL + b"{}\n"
