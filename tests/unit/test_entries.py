"""Session files: their bytes, what is refused, and how they are replaced."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from typing import Any

import pytest
from support.files import session_name
from support.places import Place
from support.seams import RuledFileSystem

from sessiondir import CorruptFile, StorageError, codec, layout
from sessiondir.document import Document, patch_document, put_document
from sessiondir.entries import SessionFiles, encode_document, ignores_case, parse_document

LONG = "long " * 40


def document(key: str, version: int, **entry: Any) -> Document:
    """A document as a commit makes it."""
    return put_document(key, version, codec.to_fields(entry), None)


def gone(key: str, version: int) -> Document:
    """A session that was deleted."""
    return Document(key, version, None, 0)


@pytest.fixture
def files(place: Place) -> SessionFiles:
    """The session files of an empty store."""
    return SessionFiles(place.directory, place.clock, 10_000)


def names(place: Place) -> list[str]:
    """What is in ``entries/``."""
    return sorted(path.name for path in (place.path / "entries").iterdir())


def test_documents_read_back(files: SessionFiles, place: Place) -> None:
    """Written documents are read with key, version and entry, by key and by name."""
    docs = [document("a", 3, n=1, l=[1, {"x": "é"}]), document(LONG, 4), document("é", 5, s="\ud800")]
    files.write(docs)
    assert names(place) == sorted(map(session_name, ("a", LONG, "é")))
    for doc in docs:
        for found in (files.read(doc.key), files.read_name(session_name(doc.key))):
            assert found is not None
            assert (found.key, found.version, found.entry()) == (doc.key, doc.version, doc.entry())
    assert sorted(files.names()) == names(place)


def test_a_file_is_json_for_people() -> None:
    """A session file is indented, ends with a line feed and has its members in order."""
    data = encode_document(document("a", 3, n=1, l=[True]))
    text = '{\n  "sessionKey": "a",\n  "version": 3,\n  "entry": {\n'
    text += '    "n": 1,\n    "l": [\n      true\n    ]\n  }\n}\n'
    assert data.decode() == text


def test_unknown_members_are_kept() -> None:
    """Members that another version put beside the entry survive a change of the entry."""
    data = b'{"later":{"b":[1,2]},"sessionKey":"a","version":3,"entry":{"n":1},"other":null}'
    doc = parse_document(data, "a", "path", 0)
    changed = patch_document(doc, 4, {"n": 2}, ())
    assert json.loads(encode_document(changed)) == {
        "sessionKey": "a", "version": 4, "entry": {"n": 2}, "later": {"b": [1, 2]}, "other": None,
    }  # fmt: skip


def test_a_document_without_a_version_has_that_of_the_store() -> None:
    """Files of a layout-1 program count as the version of their state file."""
    assert parse_document(b'{"sessionKey":"a","entry":{}}', "a", "path", 7).version == 7
    # 0 would read as "no such session" in a compare-and-set.
    assert parse_document(b'{"sessionKey":"a","version":0,"entry":{}}', "a", "path", 7).version == 1


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\0" * 300, b" ", b"{", b"[]", b"null", b"{}", b'{"sessionKey":"a"}', b'{"entry":{}}',
        b'{"sessionKey":"a","entry":[]}', b'{"sessionKey":"a","entry":null}', b'{"sessionKey":5,"entry":{}}',
        b'{"sessionKey":"b","entry":{}}', b'{"sessionKey":"a","entry":{}} {}', b'{"sessionKey":"a","entry":{}}x',
        b'{"sessionKey":"a","version":"3","entry":{}}', b'{"sessionKey":"a","version":-1,"entry":{}}',
        b'{"sessionKey":"a","version":1.0,"entry":{}}', b'{"sessionKey":"a","version":true,"entry":{}}',
        b'{"sessionKey":"a","version":null,"entry":{}}', b'{"sessionKey":"a","entry":{"x":NaN}}', b"\xff\xfe",
        b'{"sessionKey":"a","entry":{"x":"\xff"}}', b'{"sessionKey":"a","entry":' + b'{"x":' * 5000,
        b'{"sessionKey":"a","entry":{"x":' + b"[" * 900 + b"]" * 900 + b"},",
        b'{"sessionKey":"a","entry":{"x":' + b"9" * 5000 + b"}}",
    ],
    ids=lambda data: ascii(data[:60]),
)  # fmt: skip
def test_g8_anything_else_is_a_corrupt_file(data: bytes) -> None:
    """G8: a damaged or foreign file raises CorruptFile with a reason, never reads as empty."""
    with pytest.raises(CorruptFile) as caught:
        parse_document(data, "a", "path", 0)
    assert caught.value.path == "path"
    assert caught.value.reason


def test_g8_the_reason_tells_what_a_power_cut_leaves() -> None:
    """An empty file and one full of zeros are named as such."""
    for data, reason in ((b"", "empty file"), (b"\0" * 8, "8 NUL bytes")):
        with pytest.raises(CorruptFile) as caught:
            parse_document(data, "a", "path", 0)
        assert caught.value.reason == reason


def test_a_file_under_a_wrong_name_is_corrupt(files: SessionFiles, place: Place) -> None:
    """A document whose key does not belong to its file name is not served for any key."""
    files.write([document("a", 1, n=1), document(LONG, 1, n=2)])
    data = (place.path / "entries" / session_name(LONG)).read_bytes()
    other = "other " * 40
    place.write(f"entries/{session_name(other)}", data)
    with pytest.raises(CorruptFile, match="holds session"):
        files.read(other)
    with pytest.raises(CorruptFile, match="holds session"):
        files.read_name(session_name(other))


def test_a_deleted_session_loses_every_name(files: SessionFiles, place: Place) -> None:
    """Deleting removes the file under both names that a session may have; a missing one is no error."""
    hashed = layout.session_file_names("a")[1]
    files.write([document("a", 1, n=1)])
    place.write(f"entries/{hashed}", encode_document(document("a", 1, n=1)))
    files.write([gone("a", 2), gone("never there", 2)])
    assert names(place) == []
    assert files.read("a") is None


def test_a_written_session_has_one_name(files: SessionFiles, place: Place) -> None:
    """A session that stood under its hashed name stands under the plain one alone once it is written."""
    plain, hashed = layout.session_file_names("a")
    place.write(f"entries/{hashed}", encode_document(document("a", 1, n=1)))
    found = files.read("a")
    assert found is not None and found.entry() == {"n": 1}
    files.write([document("a", 2, n=2)])
    assert names(place) == [plain]


def test_a_name_that_is_too_long_for_the_system_falls_back(place: Place) -> None:
    """Where the plain name is refused as too long, the session is written and read under its hashed name."""
    plain, hashed = layout.session_file_names(key := "long " * 20)
    fs = RuledFileSystem()
    fs.fail("rename", errno.ENAMETOOLONG, lambda source, target: target == plain)
    fs.fail("open", errno.ENAMETOOLONG, lambda name, *rest: name == plain)
    other = Place(place.path, fs)
    files = SessionFiles(other.directory, place.clock, 10_000)
    files.write([document(key, 1, n=1)])
    found = files.read(key)
    other.close()
    assert names(place) == [hashed]
    assert found is not None and found.entry() == {"n": 1}


def test_a_short_name_is_never_too_long(place: Place) -> None:
    """G8: where hashed names fit, such an error about a shorter name is a fault, not a session that is missing."""
    fs = RuledFileSystem()
    other = Place(place.path, fs)
    files = SessionFiles(other.directory, place.clock, 10_000)
    files.write([document("a", 1, n=1)])
    plain, _ = layout.session_file_names("a")
    fs.fail("open", errno.ENAMETOOLONG, lambda name, *rest: name == plain)
    with pytest.raises(StorageError):
        files.read("a")
    other.close()


def test_where_case_is_ignored_no_session_overwrites_another(place: Place) -> None:
    """With hashed names only, keys whose plain names differ in case alone keep files of their own."""
    one, two = "\x00\x10\x03", "\x00\x10\x1d"  # ABAD and ABAd in base64
    assert layout.session_file_names(one)[0].lower() == layout.session_file_names(two)[0].lower()
    files = SessionFiles(place.directory, place.clock, 10_000, hashed_only=True)
    files.write([document(one, 1, n=1), document(two, 1, n=2)])
    assert all(map(layout.is_hashed_name, names(place)))
    assert [files.read(key).entry() for key in (one, two)] == [{"n": 1}, {"n": 2}]  # type: ignore[union-attr]
    files.write([gone(one, 2)])
    assert files.read(one) is None
    assert files.read(two) is not None


@pytest.mark.parametrize("call", ["open", "pwrite", "fsync", "rename"])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_g1_a_failure_leaves_whole_files_and_nothing_temporary(place: Place, call: str, nth: int) -> None:
    """G1: if a call fails while files are written, each of them is old or new, and no temporary file is left."""
    SessionFiles(place.directory, place.clock, 10_000).write([document(key, 1, n=1) for key in "abc"])
    counts = 0

    def fail(name: str, args: tuple[Any, ...]) -> None:
        nonlocal counts
        if name == call and (call != "open" or str(args[0]).startswith(".tmp")):
            counts += 1
            if counts == nth:
                raise OSError(errno.ENOSPC, "full")

    other = Place(place.path, RuledFileSystem(fail))
    files = SessionFiles(other.directory, place.clock, 10_000)
    with pytest.raises(OSError, match="full"):
        files.write([document(key, 2, n=2) for key in "abc"])
    assert names(place) == sorted(map(session_name, "abc"))
    for key in "abc":
        found = files.read(key)
        assert found is not None
        assert (found.version, found.entry()) in ((1, {"n": 1}), (2, {"n": 2}))
    other.close()


def test_leftovers_of_dead_writers_are_swept(files: SessionFiles, place: Place) -> None:
    """Temporary files of dead writers are removed, and nothing else is."""
    files.write([document("a", 1)])
    place.write("entries/.tmp-0123456789abcdef", b"left")
    place.write("entries/.tmp-foreign", b"foreign")
    place.write("entries/notes.txt", b"foreign")
    assert files.sweep() == 1
    assert names(place) == sorted([".tmp-foreign", "notes.txt", session_name("a")])
    assert list(files.names()) == [session_name("a")]


def test_a_directory_in_place_of_a_file_is_set_aside_when_it_is_written(files: SessionFiles, place: Place) -> None:
    """A directory that stands where a session file belongs goes to the quarantine, with what is in it."""
    place.write("state.json", b"{}")
    blocked = place.path / "entries" / session_name("a")
    blocked.mkdir(parents=True, mode=0o700)
    (blocked / "inner").write_bytes(b"x")
    with pytest.raises(CorruptFile):
        files.read("a")
    files.write([document("a", 1, n=1)])
    found = files.read("a")
    assert found is not None and found.entry() == {"n": 1}
    (kept,) = (path for path in (place.path / "quarantine").iterdir() if path.is_dir())
    assert (kept / "inner").read_bytes() == b"x"


@pytest.fixture
def case_ignored(place: Place) -> Iterator[Place]:
    """The same place on a file system that ignores case."""

    class IgnoringCase(RuledFileSystem):
        def __init__(self) -> None:
            super().__init__()
            real = self.stat

            def stat(name: str, **options: Any) -> Any:
                return real(name.lower(), **options)

            self.stat = stat  # type: ignore[assignment, method-assign]

    other = Place(place.path, IgnoringCase())
    yield other
    other.close()


def test_a_file_system_that_ignores_case_is_recognised(place: Place, case_ignored: Place) -> None:
    """Whether case counts is told by asking for the state file in capitals."""
    place.write("state.json", b"{}")
    assert ignores_case(place.directory) is False
    assert ignores_case(case_ignored.directory) is True
