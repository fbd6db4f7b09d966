"""Names: of files for keys, of journals, of temporary files, of stores."""

from __future__ import annotations

import base64
import os
from collections import Counter
from pathlib import Path

import pytest
from support.files import session_name

from sessiondir import InvalidPath, layout


@pytest.mark.parametrize(
    ("key", "plain"), [("x" * 120, True), ("x" * 121, False), ("é" * 60, True), ("é" * 61, False)]
)
def test_the_border_between_plain_and_hashed_names_is_120_bytes(key: str, plain: bool) -> None:
    """Keys of at most 120 UTF-8 bytes have a name that tells the key; longer ones are hashed."""
    name = layout.session_file_names(key)[0]
    assert name == session_name(key)
    assert layout.is_hashed_name(name) is not plain
    assert layout.key_of_name(name) == (key if plain else None)
    assert layout.is_session_name(name)
    assert len(name) <= 255


def test_every_plain_key_can_fall_back_to_a_hashed_name() -> None:
    """A key has a plain name first and the hashed one second; a long key has the hashed one alone."""
    plain, hashed = layout.session_file_names("a")
    assert plain == "session-YQ.json"
    assert hashed == "session-hash-ypeBEsobvcr6wjGzmiPcTaeG7_gUfE5yuYB3ha_uSLs.json"
    assert len(layout.session_file_names("x" * 121)) == 1


@pytest.mark.parametrize(
    "name",
    [
        "session-YQ==.json", "session-YR.json", "session-Y Q.json", "session-YQ.JSON", "SESSION-YQ.json",
        "session-.json",
        "session-YQ.json ", "session-YQ.json\n", "session-YQ", "x-session-YQ.json", "session-/w.json",
        "session-_w.json",
        "session-A.json", "session-+/.json", "session-é.json", ".tmp-0123456789abcdef", "session-YQ.json.bak", "",
        "session-" + base64.urlsafe_b64encode(b"x" * 121).decode().rstrip("=") + ".json",
        "session-hash-" + "A" * 42 + ".json", "session-7aCA.json",
    ],
)  # fmt: skip
def test_other_spellings_are_no_session_names(name: str) -> None:
    """Only the one spelling that this layout gives a key is a session file; anything else is foreign."""
    assert layout.key_of_name(name) is None
    assert not layout.is_session_name(name)


def test_no_two_keys_share_a_name() -> None:
    """Names are injective over keys that differ little, on file systems that tell case apart."""
    keys = {
        f"{left}{right}"
        for left in "aAbB:/.\\-_~é\u0301 \n"
        for right in ("", *"aAbB:/.- ", "x" * 119, "x" * 120, "x" * 121)
    }
    names = Counter(layout.session_file_names(key)[0] for key in keys)
    assert len(names) == len(keys)
    hashed = {layout.session_file_names(key)[-1].lower() for key in keys}
    assert len(hashed) == len(keys), "the fall-back where case is ignored must be injective too"


@pytest.mark.parametrize(
    ("name", "generation"),
    [
        ("journal-1.jsonl", 1), ("journal-999999999999999999.jsonl", 10**18 - 1), ("journal-0.jsonl", None),
        ("journal-01.jsonl", None), ("journal--1.jsonl", None), ("journal-1.json", None),
        ("journal-1.jsonl\n", None),
        ("journal-1.jsonl.bak", None), ("JOURNAL-1.jsonl", None), ("journal-１.jsonl", None),
        ("journal-.jsonl", None),
        ("journal-" + "9" * 19 + ".jsonl", None), ("../journal-1.jsonl", None), ("", None),
    ],
)  # fmt: skip
def test_journal_names(name: str, generation: int | None) -> None:
    """Only the exact form names a journal, and it names one generation."""
    assert layout.journal_generation(name) == generation
    if generation is not None:
        assert layout.journal_name(generation) == name


def test_temporary_names_are_fresh_and_recognised() -> None:
    """Temporary names never repeat, and nothing else is taken for one."""
    names = {layout.temporary_name() for _ in range(1000)}
    assert len(names) == 1000
    assert all(map(layout.is_temporary, names))
    for name in (
        "tmp-0123456789abcdef",
        ".tmp-0123456789abcde",
        ".tmp-0123456789ABCDEF",
        ".tmp-0123456789abcdef.json",
    ):
        assert not layout.is_temporary(name)


def test_a_store_path_may_be_given_in_many_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths, paths below home and path objects lead to the directory and its legacy file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    wanted = (f"{tmp_path}/a.b.d", f"{tmp_path}/a.b.json")
    for path in ("a.b.d", "a.b.json", "./x/../a.b.d", "~/a.b.json", tmp_path / "a.b.d", "a.b.d/"):
        assert layout.store_path(path) == wanted


@pytest.mark.parametrize(
    "path", ["a", "a.db", "a.JSON", "a.d.bak", "a\0.d", ".d", "x/.json", "a.d/b", b"a.d", "/", "~"]
)
def test_other_paths_name_no_store(path: str | bytes) -> None:
    """A path of another form raises InvalidPath."""
    with pytest.raises(InvalidPath):
        layout.store_path(path)  # type: ignore[arg-type]


def test_lock_positions_are_apart_and_within_a_file() -> None:
    """Each key has its own byte, beyond those of the store-wide locks, at an offset that files can have."""
    positions = {layout.KeyRef(f"key {number}").position for number in range(2000)}
    assert len(positions) == 2000
    assert min(positions) >= 1 << 32
    assert max(positions) < (1 << 63) - 1
    assert layout.KeyRef("é").position == layout.KeyRef(os.fsdecode("é".encode())).position
