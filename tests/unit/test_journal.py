"""The journal: lines, check sums, the first line, and where the content ends."""

from __future__ import annotations

import errno
import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.places import Place
from support.seams import RuledFileSystem

from sessiondir import CorruptFile, FormatTooNew, codec, journal
from sessiondir.commitline import DamagedLine
from sessiondir.fs import SYSTEM_FS
from sessiondir.journal import Header, JournalFile
from sessiondir.operations import Delete, Patch, Put

HEADER = Header("6f9a", 7, 41, "exact")
OPS = [
    Put('é"\\\n', codec.to_fields({"a": 1, "b": [1.0, {"c": "\ud800"}], "": None})),
    Patch("k", codec.to_fields({"x": 2**70}), ("y", "\udfff")),
    Patch("k2", {}, ("only",)),
    Patch("k3", {"only": True}),
    Delete("gone"),
]
LINE = journal.encode_commit(42, 1700000000000, journal.encode_operations(OPS[3:4]))


def sealed(body: bytes) -> bytes:
    """A line with the right check sum around any content."""
    return body + b',"crc":"%08x"}\n' % zlib.crc32(body)


def test_a_commit_reads_back() -> None:
    """Every kind of operation comes back from its line as it was, in order."""
    line = journal.encode_commit(42, 1700000000000, journal.encode_operations(OPS))
    found = journal.parse_line(line)
    assert (found.version, found.at_ms, found.next) == (42, 1700000000000, None)
    assert found.operations() == OPS


def test_a_line_is_plain_json() -> None:
    """Any JSON reader gets the documented members from a line."""
    value = json.loads(journal.encode_commit(42, 5, journal.encode_operations(OPS)))
    assert list(value) == ["v", "t", "ops", "crc"]
    assert value["ops"][0] == {
        "op": "put",
        "key": 'é"\\\n',
        "entry": {"a": 1, "b": [1.0, {"c": "\ud800"}], "": None},
    }
    assert value["ops"][1] == {"op": "patch", "key": "k", "set": {"x": 2**70}, "unset": ["y", "\udfff"]}
    assert value["ops"][4] == {"op": "delete", "key": "gone"}


def test_the_next_journal_is_named_by_the_last_line() -> None:
    """The line that ends a journal names its successor and changes nothing."""
    found = journal.parse_line(journal.encode_next(42, 5, "journal-8.jsonl"))
    assert (found.version, found.next, found.operations()) == (42, "journal-8.jsonl", [])


def test_every_damaged_byte_is_noticed() -> None:
    """Changing any bit of a line, or leaving out or adding any byte, makes it damaged."""
    for number in range(len(LINE)):
        for bad in (
            LINE[:number] + bytes([LINE[number] ^ 1]) + LINE[number + 1 :],
            LINE[:number] + bytes([LINE[number] ^ 0x20]) + LINE[number + 1 :],
            LINE[:number] + LINE[number + 1 :],
            LINE[:number] + b"0" + LINE[number:],
            LINE[:number],
        ):
            with pytest.raises(DamagedLine):
                journal.parse_line(bad)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b'{"v":"1"', b'{"t":1', b'{"v":1.5', b'{"v":null', b'{"v":1,"ops":{}',
        b'{"v":1,"ops":[1]', b'{"v":1,"ops":[{"op":"put"}]', b'{"v":1,"ops":[{"op":"put","key":5}]',
        b'{"v":1,"ops":[{"op":"put","key":"k","entry":[]}]',
        b'{"v":1,"ops":[{"op":"patch","key":"k","unset":[1]}]', b'{"v":1,"ops":null', b'{"v":1,"next":5',
        b'{"v":1,"next":"\xff"',
        b'{"v":1,"x":"\\ud800","ops":[{"op":"put","key":1}]', b'{"v":1,"x":"\\ud800","ops":5',
        b'{"v":1,"x":"\\ud800","v":"1"',
        b'{"v":1,"ops":[{"op":"put","key":"\xff","entry":{}}]', b'{"v":1,"x":' + b"[" * 100_000,
        b'{"v":' + b"9" * 6000,
        b'{"v":1,"ops":[{"op":"put","key":"k","entry":{"x":' + b"[" * 5000 + b"]" * 5000 + b"}}]",
    ],
    ids=lambda body: ascii(body[:50]),
)  # fmt: skip
def test_a_sound_check_sum_over_nonsense_is_a_damaged_line(body: bytes) -> None:
    """Content of another shape under a right check sum is a damaged line, never another exception."""
    with pytest.raises(DamagedLine):
        journal.parse_line(sealed(body)).operations()


def test_an_operation_of_a_newer_version_is_refused() -> None:
    """What this version does not know is never skipped."""
    line = journal.parse_line(sealed(b'{"v":1,"t":1,"ops":[{"op":"rename","key":"k"}]'))
    with pytest.raises(FormatTooNew) as caught:
        line.operations()
    assert caught.value.found == "rename"


def test_unknown_members_of_a_line_do_no_harm() -> None:
    """Members that a newer version adds to a line or an operation are passed over."""
    line = journal.parse_line(sealed(b'{"v":1,"t":1,"by":"x","ops":[{"op":"delete","key":"k","why":{"a":[1]}}]'))
    assert line.operations() == [Delete("k")]


# -- where the content ends ---------------------------------------------------------------


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[int]:
    """The descriptor of an empty file."""
    fd = os.open(tmp_path / "scratch", os.O_RDWR | os.O_CREAT, 0o600)
    yield fd
    os.close(fd)


def read(fd: int, at: int) -> tuple[bytes, bool]:
    """Read on from a position, as a view does."""
    return journal.read_text(SYSTEM_FS, fd, at, os.pread(fd, journal.PEEK_BYTES, at))


CHUNKS = sorted(
    {n + d for n in (1, 200, 1024, 4096, 1 << 18, (1 << 18) + 1024, 1 << 19) for d in (-2, -1, 0, 1, 2)}
)


@pytest.mark.parametrize("ending", [b"", b"\0", b"\0" * 3000, b"\0\0old line\n"], ids=repr)
@pytest.mark.parametrize("rest", [b"", b"t", b'{"torn'], ids=repr)
def test_content_ends_at_the_first_nul_or_the_end(scratch: int, ending: bytes, rest: bytes) -> None:
    """At every length, around all read sizes too, exactly the whole lines before a NUL are content."""
    for size in CHUNKS:
        if size < 2:
            continue
        text = b"x" * (size // 2 - 1) + b"\n" + b"y" * (size - size // 2 - 1) + b"\n"
        assert len(text) == size
        for start in (0, 1, 1023):
            os.ftruncate(scratch, 0)
            os.pwrite(scratch, b"#" * start + text + rest + ending, 0)
            assert read(scratch, start) == (text, bool(rest))


@pytest.mark.parametrize("size", [1, 1023, 1024, 1025, 300_000])
def test_a_torn_line_alone_is_no_content(scratch: int, size: int) -> None:
    """A first line without its line feed is torn, however long."""
    os.pwrite(scratch, b"x" * size, 0)
    assert read(scratch, 0) == (b"", True)
    os.pwrite(scratch, b"\0\n", size)
    assert read(scratch, 0) == (b"", True)


# -- files --------------------------------------------------------------------------------


def test_a_new_journal_has_its_first_line(place: Place) -> None:
    """A journal is created with a first line that names store, generation, base and key rule."""
    name = journal.create_journal(place.directory, HEADER, 1700000000000)
    assert name == "journal-7.jsonl"
    first = (place.path / name).read_bytes()
    assert json.loads(first) == {
        "journal": 1, "store": "6f9a", "generation": 7, "base": 41, "keys": "exact", "v": 41, "t": 1700000000000,
        "crc": first[-11:-3].decode(),
    }  # fmt: skip
    for writable in (True, False):
        file = JournalFile(place.directory, name, writable=writable)
        assert (file.header, file.start, file.generation, file.damage) == (HEADER, len(first), 7, "")
        file.close()
        file.close()


def test_journal_names_are_in_order_of_generation(place: Place) -> None:
    """The journals of a store are listed oldest first, as numbers, and nothing else is among them."""
    for name in ("journal-10.jsonl", "journal-9.jsonl", "journal-01.jsonl", "journal-x.jsonl", "state.json"):
        place.write(name, b"")
    assert journal.journal_names(place.directory) == ["journal-9.jsonl", "journal-10.jsonl"]


FIRST = journal.encode_header(HEADER, 5)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\0" * 5000, FIRST[:-1], b"\n", LINE, b"x" * 5000 + b"\n", FIRST.replace(b"41", b"42"),
        journal.encode_header(Header("6f9a", 8, 41, "exact"), 5),
        sealed(b'{"journal":2,"store":"s","generation":7,"base":1,"v":1'),
        sealed(b'{"journal":1,"store":"s","generation":7,"base":1,"keys":"upper","v":1'),
        sealed(b'{"journal":1,"store":5,"generation":7,"base":1,"keys":"exact","v":1'),
        sealed(b'{"journal":1,"generation":7,"base":1,"keys":"exact","v":1'),
    ],
    ids=lambda content: ascii(content[:30]) + str(len(content)),
)  # fmt: skip
def test_another_first_line_is_a_corrupt_file(place: Place, content: bytes) -> None:
    """A journal without its own first line is refused as damaged and left as it is."""
    path = place.write("journal-7.jsonl", content)
    with pytest.raises(CorruptFile) as caught:
        JournalFile(place.directory, "journal-7.jsonl", writable=True)
    assert caught.value.path == str(path)
    assert path.read_bytes() == content


def test_a_known_first_line_can_stand_in_for_a_damaged_one(place: Place) -> None:
    """If the state file tells what stood in the first line, a damaged one is noted and the rest is read."""
    damaged = FIRST.replace(b"41", b"49")
    place.write("journal-7.jsonl", damaged + LINE)
    file = JournalFile(place.directory, "journal-7.jsonl", writable=False, assumed=HEADER)
    assert (file.header, file.start, bool(file.damage)) == (HEADER, len(FIRST), True)
    file.close()


def test_a_missing_journal_leaves_no_object_behind(place: Place) -> None:
    """Opening a journal that is not there is FileNotFoundError and nothing else, now or later."""
    with pytest.raises(FileNotFoundError):
        JournalFile(place.directory, "journal-1.jsonl", writable=False)


@pytest.mark.parametrize("preallocate", [True, False])
def test_appended_lines_follow_each_other(place: Place, preallocate: bool) -> None:
    """Lines are appended one after the other; with room ahead the file is longer and filled with zeros."""
    name = journal.create_journal(place.directory, HEADER, 5)
    file = JournalFile(place.directory, name, writable=True)
    end = file.start
    file.check_tail(end)
    for _ in range(3):
        file.append(LINE, end, preallocate=preallocate)
        end += len(LINE)
    data = (place.path / name).read_bytes()
    assert data.rstrip(b"\0") == FIRST + LINE * 3
    assert (len(data) > end) is preallocate
    assert file.check_tail(end) == b""
    file.close()


@pytest.mark.parametrize("preallocate", [True, False])
@pytest.mark.parametrize("written", [0, 1, 30])
def test_g1_a_line_that_does_not_fit_leaves_nothing(place: Place, preallocate: bool, written: int) -> None:
    """G1: when the disk is full in the middle of a line, what was written of it is cut off again."""

    def full(name: str, args: tuple[object, ...]) -> None:
        if name == "pwrite" and armed:
            if written:
                os.pwrite(args[0], args[1][:written], args[2])  # type: ignore[arg-type, index]
            raise OSError(errno.ENOSPC, "full")

    armed = False
    other = Place(place.path, RuledFileSystem(full))
    name = journal.create_journal(other.directory, HEADER, 5)
    file = JournalFile(other.directory, name, writable=True)
    before = (place.path / name).read_bytes()
    armed = True
    with pytest.raises(OSError, match="full"):
        file.append(LINE, file.start, preallocate=preallocate)
    assert (place.path / name).read_bytes().rstrip(b"\0") == before
    armed = False
    file.append(LINE, file.start, preallocate=preallocate)
    assert (place.path / name).read_bytes().rstrip(b"\0") == before + LINE
    file.close()
    other.close()


def test_old_lines_behind_a_gap_are_seen_by_the_next_writer(place: Place) -> None:
    """Whatever stands behind the zeros after the content is reported, so that it cannot come back to life."""
    place.write("journal-7.jsonl", FIRST + b"\0" * 100 + LINE + b"\0" * 50)
    file = JournalFile(place.directory, "journal-7.jsonl", writable=True)
    assert file.check_tail(file.start) == LINE
    file.cut(file.start)
    assert file.check_tail(file.start) == b""
    file.close()
