"""Every situation on disk and its outcome, as the table in ``docs/migration.md`` has them (F23, F24)."""

from __future__ import annotations

import errno
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support.files import listing, make_layout1
from support.seams import RuledFileSystem

from migration.stores import SMALL, SMALL_SESSIONS, leftovers, legacy_bytes, names, put_legacy, sessions
from sessiondir import SessionStore, migration
from sessiondir.errors import CorruptFile, FormatTooNew, MigrationError
from sessiondir.model import Limits

NEWER = {"agent:main:main": {"sessionId": "late", "updatedAt": 2000}}


def nothing(folder: Path) -> None:
    """No file, no directory."""


def blank(folder: Path) -> None:
    put_legacy(folder, b" \n")


def empty_object(folder: Path) -> None:
    put_legacy(folder, b"{}")


def no_objects(folder: Path) -> None:
    put_legacy(folder, b'{"a": 1, "b": null, "c": []}')


def damaged(folder: Path) -> None:
    put_legacy(folder, b'{"a": {')


def array(folder: Path) -> None:
    put_legacy(folder, b"[{}]")


def too_large(folder: Path) -> None:
    put_legacy(folder, {"k": {"text": "x" * 5000}})


def link(folder: Path) -> None:
    put_legacy(folder).rename(folder / "elsewhere.json")
    (folder / "sessions.json").symlink_to("elsewhere.json")


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "sessions.json")


def usable(folder: Path) -> None:
    put_legacy(folder)


def active(folder: Path) -> None:
    make_layout1(folder / "sessions.d", SMALL_SESSIONS, 7)


Situation = Callable[[Path], None]

SKIPPED = [
    (blank, "skipped_empty", "empty_legacy"),
    (empty_object, "skipped_empty", "empty_legacy"),
    (no_objects, "skipped_empty", "empty_legacy"),
    (damaged, "skipped_invalid", "invalid_legacy"),
    (array, "skipped_invalid", "invalid_legacy"),
    (too_large, "skipped_invalid", "invalid_legacy"),
    (link, "skipped_invalid", "invalid_legacy"),
    (pipe, "skipped_invalid", "invalid_legacy"),
]
LIMITS = Limits(legacy_bytes=1000)


def test_nothing_at_all(tmp_path: Path) -> None:
    """No file, no active directory: missing."""
    assert migration.migrate(tmp_path / "sessions.json").outcome == "missing"
    (tmp_path / "sessions.d").mkdir()
    assert migration.migrate(tmp_path / "sessions.json").outcome == "missing"


def test_a_directory_alone(tmp_path: Path) -> None:
    """No file, an active directory: already_directory, and nothing in it changes."""
    active(tmp_path)
    before = listing(tmp_path / "sessions.d")
    assert migration.migrate(tmp_path / "sessions.d").outcome == "already_directory"
    assert listing(tmp_path / "sessions.d") == before


@pytest.mark.parametrize("beside_directory", [False, True], ids=["alone", "beside a directory"])
@pytest.mark.parametrize(("situation", "outcome", "status"), SKIPPED)
def test_left_alone(
    tmp_path: Path, situation: Situation, outcome: str, status: str, beside_directory: bool
) -> None:
    """What holds no session or cannot be used stays, whether or not a directory is active."""
    if beside_directory:
        active(tmp_path)
    situation(tmp_path)
    before = listing(tmp_path) if situation is not pipe else {}
    found = migration.inspect(tmp_path / "sessions.json", limits=LIMITS)
    expected = status if status == "invalid_legacy" or not beside_directory else "already_directory"
    assert found.status == expected
    result = migration.migrate(tmp_path / "sessions.json", limits=LIMITS)
    assert result.outcome == outcome
    assert result.warnings
    if before:
        after = listing(tmp_path)
        assert after.keys() == before.keys()
        assert after["sessions.json"] == before["sessions.json"]
    if beside_directory:
        assert sessions(tmp_path / "sessions.d") == SMALL_SESSIONS


def test_a_usable_file(tmp_path: Path) -> None:
    """A usable file, no directory: staged, renamed into place, the file renamed to its backup."""
    path = put_legacy(tmp_path)
    result = migration.migrate(path)
    assert (result.outcome, result.legacy_count, result.migrated_count) == ("migrated", 3, 2)
    assert result.backup_path is not None
    assert Path(result.backup_path).read_bytes() == legacy_bytes(SMALL)
    assert not path.exists()
    assert sessions(path) == SMALL_SESSIONS


def test_a_usable_file_and_a_directory(tmp_path: Path) -> None:
    """Both: merged where the file is strictly newer, then the file is moved away."""
    active(tmp_path)
    path = put_legacy(tmp_path, NEWER | {"42": SMALL_SESSIONS["42"] | {"label": "same time"}})
    result = migration.migrate(path)
    assert (result.outcome, result.migrated_count) == ("migrated", 1)
    assert sessions(path) == SMALL_SESSIONS | NEWER
    assert not path.exists()
    assert result.backup_path is not None


def test_json5_is_taken_over_with_a_note(tmp_path: Path) -> None:
    """A hand-edited file: comments, bare names, a trailing comma."""
    path = put_legacy(tmp_path, b"// mine\n{'K': {sessionId: 'a', updatedAt: 1,}, k2: {}}")
    found = migration.inspect(path)
    assert (found.status, found.session_count) == ("ready_to_migrate", 2)
    assert "JSON5" in found.warnings[0]
    result = migration.migrate(path)
    assert result.outcome == "migrated"
    assert "JSON5" in result.warnings[0]
    assert sessions(path) == {"k": {"sessionId": "a", "updatedAt": 1}, "k2": {}}


def test_inspect_names_what_is_dropped(tmp_path: Path) -> None:
    """Members that no store can hold, each with the reason; counts, size and backups."""
    path = put_legacy(tmp_path, {"good": {}, "list": [], "__proto__": {}, " ": {}})
    found = migration.inspect(path)
    assert found.dropped == {
        "list": "the entry is not an object",
        "__proto__": "the key is reserved",
        " ": "the key is blank",
    }
    assert (found.legacy_count, found.session_count, found.size) == (4, 1, path.stat().st_size)
    assert found.preview == "4 legacy entries would become 1 sessions"
    result = migration.migrate(path)
    assert sum("was left out" in text for text in result.warnings) == 3
    assert migration.inspect(path).backups == (result.backup_path,)


def test_limits_can_be_raised(tmp_path: Path) -> None:
    """A file or an entry above the limit is refused with both numbers, and taken with a higher limit."""
    too_large(tmp_path)
    path = tmp_path / "sessions.json"
    for limits, text in ((LIMITS, "the limit is 1000"), (Limits(entry_bytes=2000), "the limit is 2000")):
        (warning,) = migration.migrate(path, limits=limits).warnings
        assert text in warning
        assert ("--max-entry-bytes" if "2000" in text else "--max-bytes") in warning
    assert migration.migrate(path).outcome == "migrated"


# -- many ---------------------------------------------------------------------------------------


def many(tmp_path: Path, *situations: Situation) -> list[Path]:
    paths = []
    for situation in situations:
        folder = tmp_path / situation.__name__
        folder.mkdir()
        situation(folder)
        paths.append(folder / "sessions.json")
    return paths


def test_quiet_report(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing wrong: exactly one line, at info, with every count in its order."""
    caplog.set_level(logging.INFO, "sessiondir")
    report = migration.migrate_all(many(tmp_path, nothing, blank, usable, active))
    assert report.counts == {
        "migrated": 1,
        "already_directory": 1,
        "skipped_empty": 1,
        "skipped_invalid": 0,
        "missing": 1,
        "failed": 0,
    }
    line = (
        "session-store migration summary: inspected=4 migrated=1 already_directory=1 skipped_empty=1 "
        "skipped_invalid=0 missing=1 failed=0"
    )
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [("INFO", line)]
    assert (report.issues, report.needs_attention) == ((), False)


def test_report_with_issues(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Invalid and failed stores make it a warning with their paths; the rest is done all the same."""
    caplog.set_level(logging.INFO, "sessiondir")
    paths = many(tmp_path, damaged, usable, too_large)
    (tmp_path / "usable" / "sessions.d").symlink_to("nowhere")
    paths.append(put_legacy(tmp_path))
    report = migration.migrate_all(paths, limits=LIMITS)
    assert [result.outcome for result in report.results] == [
        "skipped_invalid",
        "failed",
        "skipped_invalid",
        "migrated",
    ]
    (record,) = caplog.records
    told = record.getMessage()
    assert record.levelname == "WARNING"
    assert (
        "inspected=4 migrated=1 already_directory=0 skipped_empty=0 skipped_invalid=2 missing=0 failed=1; " in told
    )
    assert f"issues: {paths[0]} (invalid legacy store); {paths[0]} (" in told
    assert f"; {paths[1]} (" in told
    assert str(paths[3]) not in told
    assert sessions(paths[3]) == SMALL_SESSIONS


def test_no_stores_no_line(caplog: pytest.LogCaptureFixture) -> None:
    """Where there is nothing to look at, nothing is logged."""
    caplog.set_level(logging.DEBUG, "sessiondir")
    report = migration.migrate_all([])
    assert (report.results, report.needs_attention, caplog.records) == ((), False, [])


def test_a_start_leaves_rolled_back_stores_alone(tmp_path: Path) -> None:
    """Automatic migration stays off until someone migrates by hand; then it is on again (defect 10)."""
    path = put_legacy(tmp_path)
    migration.migrate(path)
    migration.rollback(path)
    before = listing(tmp_path)
    for _ in range(2):
        report = migration.migrate_all([path])
        assert report.counts["rolled_back"] == 1
        assert not report.needs_attention
        assert "rolled_back=1" in report.summary
    assert listing(tmp_path) == before
    assert migration.migrate_all([path], automatic=False).counts["migrated"] == 1
    assert migration.migrate_all([path]).counts["already_directory"] == 1


def test_an_unreadable_store_is_a_failure_not_an_empty_one(tmp_path: Path) -> None:
    """What the system refuses to read is told as such, and the others are migrated."""
    paths = many(tmp_path, usable, active)
    fs = RuledFileSystem()
    fs.fail("open", errno.EACCES, lambda path, *rest: path == str(paths[0]))
    report = migration.migrate_all(paths, fs=fs)
    assert [result.outcome for result in report.results] == ["failed", "already_directory"]
    assert "it was not taken for empty" in report.results[0].warnings[0]


# -- other programs' directories -----------------------------------------------------------------


def test_a_layout_1_directory_of_another_program(tmp_path: Path) -> None:
    """It opens as it is, can be changed, and can be handed back as a legacy file."""
    active(tmp_path)
    path = tmp_path / "sessions.json"
    assert sessions(path) == SMALL_SESSIONS
    with SessionStore.open(path) as store:
        store.patch("42", {"label": "x"})
    assert migration.rollback(path).outcome == "rolled_back"
    wanted = SMALL_SESSIONS | {"42": SMALL_SESSIONS["42"] | {"label": "x"}}
    assert json.loads(path.read_bytes()) == wanted
    assert leftovers(tmp_path) == []


@pytest.mark.expect_findings("FormatTooNew")
def test_a_newer_format_is_refused_and_left_untouched(tmp_path: Path) -> None:
    """Neither migration nor rollback touches a directory of a newer layout, nor a legacy file beside it."""
    active(tmp_path)
    state = tmp_path / "sessions.d" / "state.json"
    state.write_text(state.read_text().replace('"layoutVersion": 1', '"layoutVersion": 2'))
    path = put_legacy(tmp_path, NEWER)
    before = listing(tmp_path / "sessions.d")
    with pytest.raises(FormatTooNew):
        migration.rollback(path)
    with pytest.raises(FormatTooNew):
        migration.inspect(path)
    result = migration.migrate(path)
    assert (result.outcome, type(result.error)) == ("failed", FormatTooNew)
    assert listing(tmp_path / "sessions.d") == before
    assert json.loads(path.read_bytes()) == NEWER
    assert names(tmp_path) == ["sessions.d", "sessions.json"]


# -- on the first write ---------------------------------------------------------------------------


def test_a_store_that_cannot_be_migrated_refuses_writes_clearly(tmp_path: Path) -> None:
    """Too large: it stays readable, the error names the limit, and nothing changes on disk."""
    too_large(tmp_path)
    path = tmp_path / "sessions.json"
    before = listing(tmp_path)
    with SessionStore.open(path, limits=LIMITS) as store:
        assert store["k"] == {"text": "x" * 5000}
        with pytest.raises(MigrationError, match="the limit is 1000"):
            store.put("k", {})
        assert store["k"] == {"text": "x" * 5000}
    assert listing(tmp_path) == before


UNUSABLE = {"number": 7, "null": None, "__proto__": {"a": 1}, " ": {}, "\ud800": {}, "list": []}


@pytest.mark.parametrize("way", ["first write", "all"])
def test_what_is_left_out_is_told_without_being_asked(
    tmp_path: Path, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    """In the log, each entry by its key and with the reason; and later, however often the store was written."""
    path = put_legacy(tmp_path, json.dumps(SMALL | UNUSABLE).encode())
    if way == "first write":
        with SessionStore.open(path) as store:
            store.patch("42", {"label": "x"})
    else:
        migration.migrate_all([path])
    (record,) = [one for one in caplog.records if one.levelname == "WARNING"]
    for turn in range(2):
        with SessionStore.open(path) as store:
            store.put("filler", {"text": f"{turn}" * 200_000})
    with SessionStore.open(path, read_only=True) as store:
        told = store.info().migrated_from
    assert told is not None
    assert (len(told["warnings"]), told["warningCount"]) == (6, 6)
    for name, text in zip(UNUSABLE, told["warnings"], strict=True):
        assert text.startswith(f"{name!r} was left out: ")
        assert text in record.getMessage()


def test_many_warnings_are_cut(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The log line and the state file stay small; both say how many there are."""
    path = put_legacy(tmp_path, SMALL | {f"n{n}": n for n in range(5000)})
    with SessionStore.open(path) as store:
        store.patch("42", {"label": "x"})
        told = store.info().migrated_from
    assert told is not None
    assert (len(told["warnings"]), told["warningCount"]) == (200, 5000)
    (record,) = caplog.records
    assert "and 4980 more" in record.getMessage()


def test_a_damaged_store_is_neither_empty_nor_overwritten(tmp_path: Path) -> None:
    """Reading and writing a file that cannot be understood raise; its bytes stay."""
    damaged(tmp_path)
    before = listing(tmp_path)
    with SessionStore.open(tmp_path / "sessions.json") as store:
        with pytest.raises(CorruptFile):
            store.get("a")
        with pytest.raises(CorruptFile):
            store.put("a", {})
    assert listing(tmp_path) == before


def test_a_change_that_changes_nothing_migrates_nothing(tmp_path: Path) -> None:
    """Equal puts, empty patches, updates that return None or what they got: the file stays."""
    path = put_legacy(tmp_path)
    before = listing(tmp_path)
    with SessionStore.open(path) as store:
        store.put("42", SMALL_SESSIONS["42"])
        store.patch("42", {})
        store.patch("42", {"updatedAt": 5})
        store.update("42", lambda entry: entry)
        store.update("42", lambda entry: None)
        store.update("nobody", lambda entry: entry | {"a": 1})
        store.delete("nobody")
        store.replace(SMALL_SESSIONS)
        with store.edit() as edit:
            edit["42"] = SMALL_SESSIONS["42"]
    assert listing(tmp_path) == before
