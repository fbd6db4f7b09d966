"""The quarantine: damaged things are kept unchanged, each with a note."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from support.places import Place
from support.seams import FixedClock, RuledFileSystem

from sessiondir import UnsafeDirectory, quarantine

CLOCK = FixedClock(1_700_000_000_123)


def kept(place: Place) -> dict[str, bytes]:
    """What is in the quarantine, by name."""
    return {path.name: path.read_bytes() for path in (place.path / "quarantine").iterdir()}


@pytest.mark.parametrize("below", [None, "entries"])
def test_g8_a_file_is_moved_unchanged_with_a_note(place: Place, below: str | None) -> None:
    """G8: a damaged file is moved as it is, and a note says from where, when and why."""
    path = place.write(f"{below}/bad.json" if below else "bad.json", b"\0\xffbad")
    inode = path.stat().st_ino
    name = quarantine.set_aside(place.directory, CLOCK, "bad.json", "it is bad", below)
    assert not path.exists()
    found = kept(place)
    assert found.pop(name) == b"\0\xffbad"
    assert (place.path / "quarantine" / name).stat().st_ino == inode
    ((note_name, note),) = found.items()
    assert note_name == f"{name}.note.json"
    origin = f"{below}/bad.json" if below else "bad.json"
    assert json.loads(note) == {"origin": origin, "reason": "it is bad", "at": 1_700_000_000_123}
    assert quarantine.kept_names(place.directory) == [name]


def test_g8_one_name_can_be_set_aside_many_times(place: Place) -> None:
    """Files of one name, set aside at one moment, do not overwrite each other."""
    for number in range(20):
        place.write("bad.json", b"%d" % number)
        quarantine.set_aside(place.directory, CLOCK, "bad.json", "again")
    names = quarantine.kept_names(place.directory)
    assert sorted(int(kept(place)[name]) for name in names) == list(range(20))


@pytest.mark.parametrize("kind", ["directory", "link", "fifo"])
def test_g10_whatever_it_is_is_moved_itself(place: Place, tmp_path: Path, kind: str) -> None:
    """G10: a directory, a link or a FIFO is moved itself; what a link points to is not touched."""
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    bad = place.path / "bad.json"
    if kind == "directory":
        bad.mkdir(mode=0o700)
        (bad / "inner").write_bytes(b"x")
    elif kind == "link":
        bad.symlink_to(outside)
    else:
        os.mkfifo(bad)
    name = quarantine.set_aside(place.directory, CLOCK, "bad.json", "not a file")
    moved = place.path / "quarantine" / name
    assert not os.path.lexists(bad)
    assert (moved.is_dir(), moved.is_symlink(), moved.is_fifo()) == (
        kind == "directory",
        kind == "link",
        kind == "fifo",
    )
    assert outside.read_bytes() == b"precious"


def test_bytes_cut_out_of_a_file_are_kept(place: Place) -> None:
    """Bytes that were cut out of a file that stays are kept as they are, with a note."""
    name = quarantine.keep_bytes(place.directory, CLOCK, "journal-1.jsonl", b"\0line\n", "damaged line")
    assert kept(place)[name] == b"\0line\n"
    assert json.loads(kept(place)[f"{name}.note.json"])["origin"] == "journal-1.jsonl"


def test_a_note_that_cannot_be_written_stops_nothing(place: Place) -> None:
    """On a full disk the file is still set aside, without its note."""
    fs = RuledFileSystem()
    fs.fail("pwrite", errno.ENOSPC)
    other = Place(place.path, fs)
    place.write("bad.json", b"bad")
    name = quarantine.set_aside(other.directory, CLOCK, "bad.json", "why")
    assert kept(place) == {name: b"bad"}
    other.close()


def test_a_move_that_fails_leaves_the_file(place: Place) -> None:
    """If the file cannot be moved it stays where it is, and the error is told."""
    fs = RuledFileSystem()
    fs.fail("rename", errno.EIO)
    other = Place(place.path, fs)
    path = place.write("bad.json", b"bad")
    with pytest.raises(OSError, match="Input/output"):
        quarantine.set_aside(other.directory, CLOCK, "bad.json", "why")
    assert path.read_bytes() == b"bad"
    other.close()


def test_g10_a_link_in_place_of_the_quarantine_is_refused(place: Place, tmp_path: Path) -> None:
    """G10: nothing is moved through a link that somebody put in place of the quarantine."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (place.path / "quarantine").symlink_to(outside)
    path = place.write("bad.json", b"bad")
    with pytest.raises(UnsafeDirectory):
        quarantine.set_aside(place.directory, CLOCK, "bad.json", "why")
    assert path.exists()
    assert list(outside.iterdir()) == []


def test_an_empty_quarantine_has_no_names(place: Place) -> None:
    """A store without a quarantine, or with an empty one, has nothing set aside."""
    assert quarantine.kept_names(place.directory) == []
    (place.path / "quarantine").mkdir(mode=0o700)
    assert quarantine.kept_names(place.directory) == []
