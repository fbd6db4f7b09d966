"""Reading a legacy file: what is used, what is refused, what is left out."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from migration.stores import put_legacy
from sessiondir.errors import UnreadableFile
from sessiondir.fs import SYSTEM_FS
from sessiondir.legacy import LegacyFile, read_legacy
from sessiondir.model import Limits
from sessiondir.signature import legacy_signature
from sessiondir.testing import FailingFileSystem


def read(path: Path, **limits: Any) -> LegacyFile:
    return read_legacy(SYSTEM_FS, str(path), Limits(**limits))


def test_missing(tmp_path: Path) -> None:
    """No file is no error, and has no signature."""
    assert read(tmp_path / "sessions.json").status == "missing"
    assert legacy_signature(SYSTEM_FS, str(tmp_path / "nowhere" / "sessions.json")) is None


@pytest.mark.parametrize(
    "data", [b"", b" \n", b"{}", b'{"a": null}', b'{"a": []}', "\ufeff \u00a0".encode(), b'{" ": {"x": 1}}']
)
def test_empty(tmp_path: Path, data: bytes) -> None:
    """A blank file, {} and a file without a usable entry hold no session, and say why."""
    found = read(put_legacy(tmp_path, data))
    assert (found.status, found.documents) == ("empty", {})
    assert found.reason


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"a": {', "not JSON"),
        (b"\0" * 40, "not JSON"),
        (b"{'a': {}", "not JSON"),
        (b'{"a": {}} {"b": {}}', "not JSON"),
        (b'{"a": {} "b": {}}', "not JSON"),
        (b'{"a": {"x": [1}]}', "not JSON"),
        (b"[1]", "not a JSON object"),
        (b'"text"', "not a JSON object"),
        (b'{"a":' + b"[" * 100_000, "not JSON"),
    ],
)
def test_invalid(tmp_path: Path, data: bytes, reason: str) -> None:
    """Damaged text is never taken for an empty store."""
    found = read(put_legacy(tmp_path, data))
    assert found.status == "invalid"
    assert reason in found.reason or "too deeply" in found.reason


def test_too_large(tmp_path: Path) -> None:
    """A file, an entry or a number of sessions above its limit stops everything and is named."""
    path = put_legacy(tmp_path)
    assert "the limit is 20" in read(path, legacy_bytes=20).reason
    assert "'agent:main:main'" in read(path, entry_bytes=50).reason
    assert "2 sessions" in read(path, sessions=1).reason


def test_link(tmp_path: Path) -> None:
    """A symbolic link is not followed."""
    put_legacy(tmp_path).rename(tmp_path / "elsewhere.json")
    (tmp_path / "sessions.json").symlink_to("elsewhere.json")
    assert read(tmp_path / "sessions.json").reason == "a symbolic link"


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_not_a_file(tmp_path: Path, make: Any) -> None:
    """A pipe or a directory under the file's name is refused without waiting."""
    make(tmp_path / "sessions.json")
    assert read(tmp_path / "sessions.json").reason == "not a regular file"


@pytest.mark.parametrize("call", ["open", "fstat", "pread"])
def test_unreadable(tmp_path: Path, call: str) -> None:
    """What the system refuses to read is an error, not an empty or an invalid store."""
    fs = FailingFileSystem()
    fs.arm(1, errno.EIO, kinds=lambda kind, args: kind == call)
    with pytest.raises(UnreadableFile):
        read_legacy(fs, str(put_legacy(tmp_path)), Limits())


@pytest.mark.parametrize(
    ("key", "entry", "reason"),
    [
        ("__proto__", {}, "reserved"),
        ("Constructor", {}, "reserved"),
        ("\t \u3000", {}, "blank"),
        ("k" * 5000, {}, "too long"),
        ("a\0b", {}, "NUL"),
        ("a\ud800", {}, "lone surrogate"),
        ("list", [1], "not an object"),
        ("null", None, "not an object"),
        ("text", "{}", "not an object"),
    ],
)
def test_left_out(tmp_path: Path, key: str, entry: Any, reason: str) -> None:
    """A member that no store can hold is left out and named; the others stay."""
    import json

    data = json.dumps({key: entry, "good": {"sessionId": "s"}}).encode()
    found = read(put_legacy(tmp_path, data))
    assert (found.status, found.legacy_count, list(found.documents)) == ("usable", 2, ["good"])
    assert len(found.warnings) == 1
    assert reason in found.warnings[0]


@pytest.mark.parametrize(
    ("entry", "renamed"),
    [
        ({"provider": "p"}, {"channel": "p"}),
        ({"channel": None, "provider": "p"}, {"channel": "p"}),
        ({"channel": "c", "provider": "p"}, {"channel": "c", "provider": "p"}),
        ({"provider": 5}, {"provider": 5}),
        ({"lastProvider": "p", "lastChannel": 1}, {"lastChannel": "p"}),
        ({"room": "r"}, {"groupChannel": "r"}),
        ({"room": "r", "groupChannel": "g"}, {"groupChannel": "g"}),
        ({"room": 7}, {}),
    ],
)
def test_old_field_names(tmp_path: Path, entry: Any, renamed: Any) -> None:
    """Old field names are renamed as the legacy program renames them when it loads a store."""
    found = read(put_legacy(tmp_path, {"k": entry | {"sessionId": "s"}}))
    assert found.documents["k"].entry() == renamed | {"sessionId": "s"}


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 read as the legacy program reads them, with a warning."""
    found = read(put_legacy(tmp_path, b'{"k": {"label": "a\xffb"}}'))
    assert found.documents["k"].entry() == {"label": "a\ufffdb"}
    assert "not UTF-8" in found.warnings[0]


def test_what_javascript_accepts(tmp_path: Path) -> None:
    """Lone surrogates, huge integers and members named twice are read; digits are kept."""
    data = b'{"k": {"t": "\\ud800", "n": 123456789012345678901, "x": 1, "x": 2}}'
    found = read(put_legacy(tmp_path, data))
    assert found.documents["k"].entry() == {"t": "\ud800", "n": 123456789012345678901, "x": 2}


def test_signature_moves_with_the_content(tmp_path: Path) -> None:
    """A file that was replaced has another signature; reading reports that of what it read."""
    path = put_legacy(tmp_path)
    before = legacy_signature(SYSTEM_FS, str(path))
    assert read(path).signature == before
    other = tmp_path / "other"
    other.write_bytes(path.read_bytes())
    other.rename(path)
    assert legacy_signature(SYSTEM_FS, str(path)) != before
