"""Names, which file is whose, and that nothing outside the folder is ever touched."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from sessiondir import InvalidPath, InvalidTranscript, SessionStore, StoreClosed, StoreNotFound, UnsafeDirectory
from sessiondir.transcripts import TranscriptFolder, names
from transcripts.folders import ID, both_ways, quick, values

OTHER = "11111111-2222-4333-8444-555555555555"
TIME = "2026-03-20T04-00-00.000Z"
AT_MS = 1773979200000


@pytest.mark.parametrize(
    ("name", "kind", "session_id", "facts"),
    [
        (f"{ID}.jsonl", "transcript", ID, {}),
        ("x.jsonl", "transcript", "x", {}),
        (f"{ID}-topic-7.jsonl", "transcript", ID, {"topic": "7"}),
        (f"{ID}-topic-a%2Fb.jsonl", "transcript", ID, {"topic": "a/b"}),
        ("not an id.jsonl", "transcript", None, {}),
        (f"{ID}.jsonl.deleted.{TIME}", "archive", ID, {"reason": "deleted", "at_ms": AT_MS}),
        (f"{ID}.jsonl.reset.2026-03-20T04-00-00Z", "archive", ID, {"reason": "reset", "at_ms": AT_MS}),
        (f"{ID}-topic-7.jsonl.bak.{TIME}", "archive", ID, {"reason": "bak", "topic": "7"}),
        (f"{ID}.jsonl.deleted.{TIME}.reset.{TIME}", "archive", None, {"reason": "reset"}),
        (f"notes.reset.{TIME}", "archive", None, {"reason": "reset"}),
        (f"{ID}.jsonl.reset.{TIME}.zst", "archive", ID, {"compressed": True, "at_ms": AT_MS}),
        (f"{ID}.jsonl.bak-116522-1775922659821", "backup", ID, {"at_ms": 1775922659821}),
        (f"{ID}.checkpoint.{OTHER}.jsonl", "checkpoint", ID, {}),
        (f"{ID}.trajectory.jsonl", "trajectory", ID, {}),
        ("sessions.json.bak.1774051200000", "store backup", None, {"at_ms": 1774051200000}),
    ],
)
def test_what_names_mean(name: str, kind: str, session_id: str | None, facts: dict[str, Any]) -> None:
    """Kind, session, reason and time of every form of name."""
    told = names.parse(name)
    assert told is not None
    assert (told.name, told.kind, told.session_id) == (name, kind, session_id)
    for fact, value in facts.items():
        assert getattr(told, fact) == value, fact


@pytest.mark.parametrize(
    "name",
    [
        *("sessions.json", "sessions.d", ".jsonl", ".hidden.jsonl", "a/b.jsonl", "x" * 240 + ".jsonl"),
        *(f"{ID}.jsonl.lock", f"{ID}.jsonl.deleted.yesterday", f"{ID}.jsonl.zst", f"{ID}.jsonl.tmp"),
        *(f"{ID}.jsonl.gone.{TIME}", f"{ID}.jsonl.reset.2026-13-41T04-00-00.000Z", f"{ID}.trajectory-path.json"),
    ],
)
def test_foreign_names(name: str) -> None:
    """What is none of ours is left alone."""
    assert names.parse(name) is None


def test_names_of_transcripts() -> None:
    """Ids and topics as the agent program makes file names of them; anything else is refused."""
    assert names.transcript_name("Abc-1.2_3") == "Abc-1.2_3.jsonl"
    assert names.transcript_name("a", 7) == "a-topic-7.jsonl"
    assert names.transcript_name("a", "x/y ä!*'()") == "a-topic-x%2Fy%20%C3%A4!*'().jsonl"
    assert names.parse(names.transcript_name("a", "x/y ä")).topic == "x/y ä"  # type: ignore[union-attr]
    for bad in ("", ".", "..", "../x", "a/b", "a\0", "a\n", "-a", "a" * 129, "ä", " a"):
        with pytest.raises(InvalidTranscript):
            names.transcript_name(bad)
    with pytest.raises(InvalidTranscript, match="bytes"):
        names.transcript_name("a" * 128, "b" * 100)


def located(folder: TranscriptFolder, **entry: Any) -> str:
    return folder.locate({"sessionId": ID, **entry}).name


def test_where_an_entry_leads(tmp_path: Path) -> None:
    """Stored names, relative and absolute, through links, and trees that were moved."""
    real = tmp_path / "agents" / "main" / "sessions"
    real.mkdir(parents=True)
    (tmp_path / "link").symlink_to(real)
    for way in (real, tmp_path / "link"):
        with quick(way) as folder:
            assert folder.locate({"sessionId": ID}) == folder.locate({"sessionId": ID, "sessionFile": None})
            assert located(folder) == f"{ID}.jsonl"
            assert located(folder, sessionFile=f" {ID}-topic-7.jsonl ") == f"{ID}-topic-7.jsonl"
            assert located(folder, sessionFile="./other.jsonl") == "other.jsonl"
            for path in (real, tmp_path / "link"):
                assert folder.locate({"sessionId": ID, "sessionFile": f"{path}/o.jsonl"}).name == "o.jsonl"
            moved = folder.locate(
                {"sessionId": ID, "sessionFile": f"/old/agents/main/sessions/{ID}-topic-7.jsonl"}
            )
            assert moved.name == f"{ID}-topic-7.jsonl"
            assert "lies elsewhere" in (moved.ignored or "")
            # Somewhere else, or of another session: the name made of the id.
            for stored in (
                "/etc/passwd",
                f"/old/agents/main/sessions/{OTHER}.jsonl",
                "/x/o.jsonl",
                f"{tmp_path}/no/o.jsonl",
            ):
                elsewhere = folder.locate({"sessionId": ID, "sessionFile": stored})
                assert elsewhere.name == f"{ID}.jsonl"
                assert "outside" in (elsewhere.ignored or "")
            assert folder.locate({"sessionId": ID, "sessionFile": 5}).ignored == "sessionFile is not text"


@pytest.mark.parametrize(
    "stored",
    ["", "  ", "../x.jsonl", "a/../../x.jsonl", "sub/x.jsonl", "sessions.json", ".hidden.jsonl", "x.txt",
     "x\0.jsonl", "/a/../b.jsonl", ".jsonl", "sessions.d/journal-1.jsonl"],
)  # fmt: skip
def test_stored_names_that_lead_nowhere(tmp_path: Path, stored: str) -> None:
    """G10: such a ``sessionFile`` is an error that names it; absolute ones in the folder obey the same rules."""
    with quick(tmp_path) as folder:
        with pytest.raises(InvalidTranscript) as caught:
            folder.of({"sessionId": ID, "sessionFile": stored})
        assert caught.value.name == stored
        if stored and "/" not in stored and stored.strip() and "\0" not in stored:
            with pytest.raises(InvalidTranscript):
                folder.of({"sessionId": ID, "sessionFile": f"{tmp_path}/{stored}"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "entry", [{}, {"sessionId": None}, {"sessionId": 5}, {"sessionId": "../x"}, {"sessionId": ["a"]}]
)
def test_entries_without_a_usable_id(tmp_path: Path, entry: dict[str, Any]) -> None:
    """They have no transcript, and no file is guessed."""
    with quick(tmp_path) as folder, pytest.raises(InvalidTranscript):
        folder.of(entry)


def test_a_link_planted_after_opening_changes_nothing_outside(tmp_path: Path) -> None:
    """G10: the folder is the one that was opened, whatever its path leads to later."""
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    with quick(inside) as folder:
        inside.rename(tmp_path / "moved")
        inside.symlink_to(outside)
        folder.transcript(ID).append({"n": 1})
        assert values(folder.transcript(ID)) == [{"n": 1}]
    assert list(outside.iterdir()) == []
    assert (tmp_path / "moved" / f"{ID}.jsonl").exists()


def test_a_hard_link_is_not_written_through(tmp_path: Path) -> None:
    """G10: a second name of a file elsewhere is refused before a byte is written."""
    from sessiondir import CorruptFile

    outside = tmp_path / "precious"
    outside.write_bytes(b"keep\n")
    (tmp_path / "folder").mkdir()
    os.link(outside, tmp_path / "folder" / f"{ID}.jsonl")
    with quick(tmp_path / "folder") as folder, pytest.raises(CorruptFile, match="hard link"):
        folder.transcript(ID).append({})
    assert outside.read_bytes() == b"keep\n"


def touch(folder: Path, *files: str, size: int = 3) -> None:
    for name in files:
        (folder / name).write_bytes(b"x" * size)


def test_the_list_of_files(tmp_path: Path) -> None:
    """Sizes, kinds and times of everything that is ours; no link, no directory, nothing foreign."""
    touch(
        tmp_path,
        f"{ID}.jsonl",
        f"{ID}.jsonl.reset.{TIME}",
        "sessions.json",
        "notes.txt",
        "sessions.json.bak.17",
        size=5,
    )
    (tmp_path / "link.jsonl").symlink_to(tmp_path / f"{ID}.jsonl")
    (tmp_path / "directory.jsonl").mkdir()
    with quick(tmp_path) as folder:
        files = folder.files()
        assert [(file.name, file.told.kind, file.size) for file in files] == [
            (f"{ID}.jsonl", "transcript", 5),
            (f"{ID}.jsonl.reset.{TIME}", "archive", 5),
            ("sessions.json.bak.17", "store backup", 5),
        ]
        assert abs(files[0].modified_ms - os.stat(tmp_path / f"{ID}.jsonl").st_mtime * 1000) < 2
        assert folder._handle.fs.calls.count("open") == 1  # type: ignore[attr-defined]


def test_orphans_and_missing_ones(tmp_path: Path) -> None:
    """P10: what belongs to no entry is listed, what an entry refers to in any way is not."""
    touch(tmp_path, f"{ID}.jsonl", f"{OTHER}.jsonl", f"{ID}.trajectory.jsonl", f"{OTHER}.trajectory.jsonl",
          f"{OTHER}.jsonl.reset.{TIME}", "named.jsonl", f"{ID}-topic-5.jsonl")  # fmt: skip
    entries = {
        "a": {"sessionId": ID},
        "b": {"sessionId": "gone", "sessionFile": "named.jsonl"},
        "c": {"sessionId": "nowhere"},
        "d": {"sessionId": None},
        "e": {"sessionId": "x", "sessionFile": "../escape.jsonl"},
    }
    with quick(tmp_path) as folder:
        assert [file.name for file in folder.orphans(entries.values())] == [
            f"{OTHER}.jsonl",
            f"{OTHER}.trajectory.jsonl",
        ]
        assert {key: location.name for key, location in folder.missing(entries).items()} == {"c": "nowhere.jsonl"}
        assert len(folder.orphans([])) == 6


def test_candidates_for_archiving(tmp_path: Path) -> None:
    """A stored file that carries another generated id comes after the name made of the session id."""
    with quick(tmp_path) as folder:
        assert folder.candidates({"sessionId": ID, "sessionFile": "own.jsonl"}) == ["own.jsonl", f"{ID}.jsonl"]
        assert folder.candidates({"sessionId": ID, "sessionFile": f"{OTHER}.jsonl"}) == [
            f"{ID}.jsonl",
            f"{OTHER}.jsonl",
        ]
        assert folder.candidates({"sessionId": ID}) == [f"{ID}.jsonl"]
        assert folder.candidates({"sessionId": ID, "sessionFile": "../x"}) == [f"{ID}.jsonl"]
        assert folder.candidates({"sessionFile": "own.jsonl"}) == ["own.jsonl"]
        assert folder.candidates({}) == []


def test_each_conversation_once(tmp_path: Path) -> None:
    """For usage: transcripts, deleted and reset ones; no copies, and one of two forms of an archive."""
    touch(tmp_path, f"{ID}.jsonl", f"{ID}.trajectory.jsonl", f"{ID}.checkpoint.{OTHER}.jsonl",
          f"{ID}.jsonl.bak.{TIME}", f"{ID}.jsonl.bak-1-2", f"{ID}.jsonl.reset.{TIME}",
          f"{ID}.jsonl.reset.{TIME}.zst", f"{OTHER}.jsonl.deleted.{TIME}.zst")  # fmt: skip
    with quick(tmp_path) as folder:
        assert [file.name for file in folder.conversations()] == [
            f"{OTHER}.jsonl.deleted.{TIME}.zst", f"{ID}.jsonl", f"{ID}.jsonl.reset.{TIME}",
        ]  # fmt: skip


def test_opening(tmp_path: Path) -> None:
    """Beside a store by either of its paths, a folder by its own; mistakes are told."""
    with SessionStore.open(tmp_path / "sessions.d") as store:
        store.put("k", {"sessionId": ID})
        for path in (store.path, tmp_path / "sessions.json"):
            with TranscriptFolder.beside(path, durability="process") as folder:
                assert folder.path == str(tmp_path)
                folder.of(store["k"]).append({"n": 1})
                assert len(both_ways(folder.of(store["k"]))) >= 1
    with pytest.raises(StoreNotFound):
        TranscriptFolder.open(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(UnsafeDirectory):
        TranscriptFolder.open(tmp_path / "file")
    for path in (b"bytes", "a\0b"):
        with pytest.raises(InvalidPath):
            TranscriptFolder.open(path)  # type: ignore[arg-type]
    for bad in ("sessions.json", "../x.jsonl", "sessions.json.bak.17"):
        with quick(tmp_path) as folder, pytest.raises(InvalidTranscript):
            folder.file(bad)


def test_a_closed_folder(tmp_path: Path) -> None:
    """What was made by it says that it is closed."""
    folder = quick(tmp_path)
    transcript = folder.transcript(ID)
    folder.close()
    folder.close()
    for use in (lambda: transcript.append({}), lambda: list(transcript), folder.files, transcript.exists):
        with pytest.raises(StoreClosed):
            use()
