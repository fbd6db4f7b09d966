"""Setting transcripts aside, bringing them back, and compressing them."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from support.seams import FixedClock

from sessiondir import CorruptFile, InvalidOption, InvalidTranscript, TranscriptNotFound
from sessiondir.fs import FileSystem
from sessiondir.transcripts import TranscriptFolder
from sessiondir.transcripts.handle import Handle
from sessiondir.transcripts.names import Reason
from transcripts.folders import ID, both_ways, numbered, put_bytes, quick, values

NAME = f"{ID}.jsonl"
CLOCK = FixedClock(1773979200123)
TIME = "2026-03-20T04-00-00.123Z"


def zstandard() -> Any:
    return pytest.importorskip("zstandard", reason="the package zstandard is not installed")


@pytest.mark.parametrize("reason", ["deleted", "reset", "bak"])
def test_archives_have_the_legacy_names(tmp_path: Path, reason: Reason) -> None:
    """The file is renamed, byte for byte; the session begins anew; nothing with that name is written over."""
    with quick(tmp_path, clock=CLOCK) as folder:
        transcript = folder.transcript(ID)
        transcript.extend(numbered(1, 2))
        before = Path(transcript.path).read_bytes()
        inode = os.stat(transcript.path).st_ino
        assert transcript.archive(reason) == f"{NAME}.{reason}.{TIME}"
        assert not transcript.exists()
        archived = tmp_path / f"{NAME}.{reason}.{TIME}"
        assert (archived.read_bytes(), archived.stat().st_ino) == (before, inode)
        transcript.append({"n": 3})
        second = transcript.archive(reason)
        assert second == f"{NAME}.{reason}.2026-03-20T04-00-00.124Z"
        assert archived.read_bytes() == before
        assert both_ways(folder.file(second)) == [{"n": 3}]


def test_who_waits_while_a_transcript_is_archived_begins_the_new_one(tmp_path: Path) -> None:
    """G2: a record never lands in an archive, whenever its writer began to wait."""
    import fcntl

    with quick(tmp_path) as folder:
        transcript = folder.transcript(ID)
        transcript.append({"n": 1})
        with open(transcript.path, "rb") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            writer = threading.Thread(target=transcript.append, args=({"n": 2},))
            writer.start()
            time.sleep(0.1)
            archived = f"{NAME}.reset.{TIME}"
            os.rename(transcript.path, tmp_path / archived)
        writer.join(30)
        assert values(folder.file(archived)) == [{"n": 1}]
        assert values(transcript) == [{"n": 2}]


def test_archiving_while_others_append(tmp_path: Path) -> None:
    """G2: over all archives and the transcript, every record is there once and in its order."""
    count, writers = 150, 4
    with quick(tmp_path, durability="process") as folder:
        transcript = folder.transcript(ID)
        archived_again = threading.Event(), threading.Event()

        def write(who: int) -> None:
            for number in range(count):
                if number in (50, 100):  # there is something to archive by then, however the threads are scheduled
                    assert archived_again[number // 50 - 1].wait(60)
                transcript.extend([{"who": who, "n": number}, {"who": who, "n": number, "second": True}])

        threads = [threading.Thread(target=write, args=(who,)) for who in range(writers)]
        for thread in threads:
            thread.start()
        archived = []
        while any(thread.is_alive() for thread in threads):
            with contextlib.suppress(TranscriptNotFound):
                archived.append(transcript.archive("reset"))
                for event in archived_again[: len(archived)]:
                    event.set()
        for thread in threads:
            thread.join()
        found = [value for name in archived for value in both_ways(folder.file(name))] + both_ways(transcript)
    assert len(archived) > 1
    for who in range(writers):
        assert [one["n"] for one in found if one["who"] == who] == [n for n in range(count) for _ in "12"]


@pytest.mark.parametrize("deed", ["pop", "clear", "remove"])
def test_somebody_archives_it_first(tmp_path: Path, deed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """G2: who comes second finds no transcript, which is no error, and touches nothing of the archive."""
    real = Handle.locked
    archived: list[str] = []

    def locked(handle: Handle, *args: Any, **options: Any) -> int:
        if not archived:
            archived.append("")  # the other one's own call comes through here
            archived[0] = other.archive("reset")
        return real(handle, *args, **options)

    with quick(tmp_path) as folder, quick(tmp_path) as others:
        transcript, other = folder.transcript(ID), others.transcript(ID)
        transcript.extend(numbered(1, 2))
        monkeypatch.setattr(Handle, "locked", locked)
        deeds = {"pop": transcript.pop, "clear": transcript.clear, "remove": lambda: transcript.clear(keep=False)}
        assert deeds[deed]() is None
        assert sorted(os.listdir(tmp_path)) == archived
        assert both_ways(folder.file(archived[0])) == numbered(1, 2)


def test_mistakes(tmp_path: Path) -> None:
    """What is not there, not an archive, or no reason."""
    with quick(tmp_path) as folder:
        transcript = folder.transcript(ID)
        with pytest.raises(TranscriptNotFound):
            transcript.archive("reset")
        with pytest.raises(InvalidOption, match="deleted, reset, bak"):
            transcript.archive("gone")  # type: ignore[arg-type]
        archived = f"{NAME}.reset.{TIME}"
        for change in (folder.restore, folder.compress):
            with pytest.raises(TranscriptNotFound):
                change(archived)
            for name in (NAME, "../x", f"../{archived}", "sessions.json.bak.17", f"notes.reset.{TIME}"):
                with pytest.raises(InvalidTranscript):
                    change(name)
        with pytest.raises(InvalidTranscript, match="compressed"):
            folder.restore(f"{archived}.zst")
        with pytest.raises(InvalidTranscript, match="compressed"):
            folder.compress(f"{archived}.zst")
        with pytest.raises(InvalidTranscript, match="not compressed"):
            folder.expand(archived)
    assert list(tmp_path.iterdir()) == []


def test_there_and_back(tmp_path: Path) -> None:
    """G9: an archive becomes the transcript again that it was, unless there is one of that name."""
    with quick(tmp_path) as folder:
        transcript = folder.transcript(ID)
        transcript.extend(numbered(1, 2))
        archived = transcript.clear()
        assert archived is not None
        assert archived.startswith(f"{NAME}.reset.")
        transcript.append({"n": 3})
        with pytest.raises(InvalidTranscript, match="in use"):
            folder.restore(archived)
        assert both_ways(transcript) == [{"n": 3}]
        assert transcript.clear(keep=False) is None
        restored = folder.restore(archived)
        assert (restored.name, both_ways(restored)) == (NAME, numbered(1, 2))
        assert os.listdir(tmp_path) == [NAME]
        assert transcript.clear(keep=False) is None
        assert transcript.clear() is None
        assert transcript.pop() is None


def test_taking_back_record_by_record(tmp_path: Path) -> None:
    """Records of batches and single ones go one by one; what is left is readable, also by plain JSON tools."""
    import json

    with quick(tmp_path) as folder:
        transcript = folder.transcript(ID)
        transcript.append({"n": 0})
        transcript.extend(numbered(1, 2, 3, 4))
        transcript.append({"n": 5})
        transcript.extend(numbered(6, 7))
        expected = values(transcript)
        while expected:
            assert transcript.pop() == expected.pop()
            assert both_ways(transcript) == expected
            assert list(map(json.loads, Path(transcript.path).read_bytes().splitlines())) == expected
        assert transcript.pop() is None


def filled(folder: TranscriptFolder, count: int = 3000) -> str:
    """The name of an archive with some hundred kilobytes in it."""
    transcript = folder.transcript(ID)
    transcript.extend(
        [{"type": "message", "n": number, "text": f"hello {number} " * 9} for number in range(count)]
    )
    return transcript.archive("deleted")


def test_compressing_and_reading_what_is_compressed(tmp_path: Path) -> None:
    """All records are read from the compressed form, and expanding gives back every byte."""
    zstandard()
    with quick(tmp_path) as folder:
        archived = filled(folder)
        before = (tmp_path / archived).read_bytes()
        wanted = values(folder.file(archived))
        packed = folder.compress(archived)
        assert packed == f"{archived}.zst"
        assert os.listdir(tmp_path) == [packed]
        assert (tmp_path / packed).stat().st_size < len(before) / 8
        assert (tmp_path / packed).stat().st_mode & 0o777 == 0o600
        reader = folder.file(packed)
        assert values(reader) == wanted
        assert values(reader.tail(5)) == wanted[-5:]
        assert len(reader.tail(5, max_bytes=400)) < 5
        with pytest.raises(InvalidOption, match="compressed"):
            list(reversed(reader))
        assert folder.expand(packed) == archived
        assert os.listdir(tmp_path) == [archived]
        assert (tmp_path / archived).read_bytes() == before


def test_a_damaged_compressed_archive(tmp_path: Path) -> None:
    """G8: what can be read of it is; then it is said that it is damaged. Nothing is removed."""
    zstandard()
    with quick(tmp_path) as folder:
        packed = folder.compress(filled(folder))
        path = tmp_path / packed
        whole = path.read_bytes()
        for data in (whole[: len(whole) // 2], b"", b"rubbish", whole[:100] + b"\xff\xff\xff" + whole[103:]):
            path.write_bytes(data)
            reader = folder.file(packed).records()
            with pytest.raises(CorruptFile, match="damaged"):
                list(reader)
            with pytest.raises(CorruptFile, match="damaged"):
                folder.expand(packed)
            assert os.listdir(tmp_path) == [packed]


def test_little_memory_for_what_compresses_well(tmp_path: Path) -> None:
    """P14: a file that holds 300 MB of blanks in 30 KB is read in little memory."""
    import tracemalloc

    zstd = zstandard()
    name = f"{NAME}.reset.{TIME}.zst"
    compressor = zstd.ZstdCompressor().compressobj()
    with (tmp_path / name).open("wb") as file:
        for _ in range(300):
            file.write(compressor.compress(b" " * 1_000_000))
        file.write(compressor.compress(b'\n{"n":1}\n') + compressor.flush())
    with quick(tmp_path, record_bytes=1 << 20) as folder:
        tracemalloc.start()
        assert values(folder.file(name)) == [{"n": 1}]
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 6 << 20


def test_what_a_dead_compression_left(tmp_path: Path) -> None:
    """G9: half-written files are removed, a finished form is recognised, something else is not written over."""
    zstandard()
    with quick(tmp_path) as folder:
        archived = filled(folder, 10)
        before = (tmp_path / archived).read_bytes()
        packed = folder.compress(archived)
        (tmp_path / archived).write_bytes(before)
        (tmp_path / ".tmp-0123456789abcdef").write_bytes(b"half")
        assert folder.compress(archived) == packed
        assert os.listdir(tmp_path) == [packed]
        put_bytes(folder.transcript("x"), b"")
        (tmp_path / "x.jsonl").rename(tmp_path / archived)  # reserved, and no further
        assert folder.expand(packed) == archived
        assert (tmp_path / archived).read_bytes() == before
        (tmp_path / packed).write_bytes(b"something else")
        with pytest.raises(CorruptFile):
            folder.compress(archived)
        assert (tmp_path / packed).read_bytes() == b"something else"
        assert (tmp_path / archived).read_bytes() == before


class _Careless(FileSystem):
    """A file system that stores something else than it was given."""

    @staticmethod
    def pwrite(fd: int, data: Any, position: int) -> int:  # type: ignore[override]
        return os.pwrite(fd, bytes(data).replace(b"hello 7", b"HELLO 7"), position)


def test_what_does_not_read_back_the_same(tmp_path: Path) -> None:
    """G9: an archive is not removed for one that holds something else."""
    zstandard()
    with quick(tmp_path) as folder:
        packed = folder.compress(filled(folder, 10))
    before = (tmp_path / packed).read_bytes()
    with (
        TranscriptFolder.open(tmp_path, fs=_Careless()) as folder,
        pytest.raises(CorruptFile, match="does not read back the same"),
    ):
        folder.expand(packed)
    assert os.listdir(tmp_path) == [packed]
    assert (tmp_path / packed).read_bytes() == before


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything else works; what needs it says how to get it and leaves the archive alone."""
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with quick(tmp_path) as folder:
        archived = filled(folder, 10)
        before = (tmp_path / archived).read_bytes()
        with pytest.raises(InvalidOption, match=r"pip install 'sessiondir\[zstd\]'"):
            folder.compress(archived)
        assert os.listdir(tmp_path) == [archived]
        assert (tmp_path / archived).read_bytes() == before
        (tmp_path / f"{archived}.zst").write_bytes(b"")
        with pytest.raises(InvalidOption, match="zstandard"):
            list(folder.file(f"{archived}.zst"))
        assert len(folder.files()) == 2
