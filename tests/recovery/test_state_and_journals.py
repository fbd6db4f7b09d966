"""G8, G12: state files and journals that are damaged, missing or left over (F22, F28, F30)."""

from __future__ import annotations

import os
import shutil

import pytest
from harness.journals import journal_path, levels, state_of, store_with_commits
from harness.story import BASE, ROTATING, A, at_rest, contents, errors_of, open_on, running
from harness.watched import QuickFs, leave

from sessiondir.errors import FormatTooNew
from sessiondir.layout import temporary_name
from sessiondir.testing import read_tree

_SET_ASIDE = "quarantine/.*set aside earlier"


def _goes_on(path: str, expected: dict[str, object]) -> None:
    """Everything is there, a commit works, and the store is sound after closing."""
    with open_on(QuickFs(), path) as store:
        assert contents(store) == expected
        before = store.version
        assert store.put("goes on", {"n": 1}) > before
    assert not errors_of(path)
    with open_on(QuickFs(), path) as store:
        assert contents(store) == expected | {"goes on": {"n": 1}}


@pytest.mark.expect_findings(_SET_ASIDE)
@pytest.mark.parametrize("damage", ["missing", "empty", "half", "NUL", "garbage", "an array"])
@pytest.mark.parametrize("beginning", [at_rest, running])
def test_a_damaged_state_file_costs_nothing(store_path: str, beginning: object, damage: str) -> None:
    """G8: without a usable state file the journal tells where the store stands; check reports it."""
    expected = beginning(store_path)  # type: ignore[operator]
    name = f"{store_path}/state.json"
    with open(name, "rb") as file:
        data = file.read()
    os.unlink(name)
    versions = {"empty": b"", "half": data[: len(data) // 2], "NUL": bytes(len(data)), "garbage": b"x" + data,
                "an array": b"[1]"}  # fmt: skip
    if damage in versions:
        with open(name, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(versions[damage])
    assert any("state.json" in text for text in levels(store_path)["error"])
    with open_on(QuickFs(), store_path, read_only=True) as store:
        assert contents(store) == expected
    _goes_on(store_path, expected)


@pytest.mark.expect_findings(_SET_ASIDE)
def test_session_files_alone_are_enough(store_path: str) -> None:
    """G12: with the state file and every journal gone, the session files still are the store."""
    expected = at_rest(store_path)
    os.unlink(f"{store_path}/state.json")
    os.unlink(journal_path(store_path))
    _goes_on(store_path, expected)
    with open_on(QuickFs(), store_path) as store:
        assert store.put(A, {"n": 50}) > len(BASE), "versions go on above those in the files"


@pytest.mark.expect_findings(_SET_ASIDE)
def test_a_missing_journal_is_reported_and_the_files_are_served(store_path: str) -> None:
    """G8: a journal that is gone is an error of check; what the session files hold is served and goes on."""
    running(store_path)
    os.unlink(journal_path(store_path))
    assert any("missing" in text for text in levels(store_path)["error"])
    _goes_on(store_path, dict(BASE))


@pytest.mark.expect_findings(_SET_ASIDE)
@pytest.mark.parametrize("size", [0, 1, 30])
def test_a_journal_without_a_first_line_is_set_aside(store_path: str, size: int) -> None:
    """G8: a journal cut within its first line is kept in the quarantine, and the files are served."""
    at_rest(store_path)
    os.truncate(journal_path(store_path), size)
    assert levels(store_path)["error"]
    _goes_on(store_path, dict(BASE))


@pytest.mark.expect_findings("error journal-.*another store")
def test_a_journal_of_another_store_is_not_used(store_path: str, tmp_path: object) -> None:
    """G10: a journal that was put here by mistake is not replayed."""
    at_rest(store_path)
    other = f"{tmp_path}/elsewhere/other.d"
    os.mkdir(f"{tmp_path}/elsewhere")
    store_with_commits(other, 3)
    shutil.copy2(journal_path(other), journal_path(store_path))
    with open_on(QuickFs(), store_path, read_only=True) as store:
        assert contents(store) == BASE
        assert [finding for finding in store.check() if finding.level == "error"]


def test_a_leftover_older_journal_changes_nothing(store_path: str) -> None:
    """G1: a finished journal whose removal was lost is not replayed, and goes with the next rotation."""
    store_with_commits(store_path, 3)
    name = journal_path(store_path)
    with open_on(QuickFs(), store_path, **ROTATING) as store:
        old = read_tree(store_path)[os.path.basename(name)]
        store.delete("k1")
        store.flush()
        expected = contents(store)
    assert old is not None
    assert not os.path.exists(name)
    with open(name, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        file.write(old)
    assert not errors_of(store_path)
    with open_on(QuickFs(), store_path, **ROTATING) as store:
        assert contents(store) == expected, "a deleted session came back"
        store.put("next", {"n": 1})
        store.flush()
        assert contents(store) == expected | {"next": {"n": 1}}
    assert not os.path.exists(name)


@pytest.mark.parametrize("content", ["copy", "empty", "half a first line"])
def test_a_next_journal_that_nothing_names_changes_nothing(store_path: str, content: str) -> None:
    """G1: a journal that was prepared by a process that died is not used, and makes room for the real one."""
    states = store_with_commits(store_path, 3)
    with open(journal_path(store_path), "rb") as file:
        data = file.read()
    data = {
        "copy": data.replace(b'"generation":1', b'"generation":2'),
        "empty": b"",
        "half a first line": data[:40],
    }[content]
    with open(
        f"{store_path}/journal-2.jsonl", "wb", opener=lambda path, flags: os.open(path, flags, 0o600)
    ) as file:
        file.write(data)
    assert not errors_of(store_path)
    with open_on(QuickFs(), store_path, **ROTATING) as store:
        assert contents(store) == states[-1]
        store.put("next", {"n": 1})
        store.flush()
        assert contents(store) == states[-1] | {"next": {"n": 1}}
    assert state_of(store_path)["journal"] != "journal-1.jsonl"
    _goes_on(store_path, states[-1] | {"next": {"n": 1}})


def test_temporary_files_of_dead_writers_are_swept(store_path: str) -> None:
    """G7: temporary files hinder nobody, are a note to check, and go with the next new journal."""
    at_rest(store_path)
    for folder in (store_path, f"{store_path}/entries"):
        with open(
            f"{folder}/{temporary_name()}", "wb", opener=lambda path, flags: os.open(path, flags, 0o600)
        ) as file:
            file.write(b"half a docu")
    assert len(levels(store_path)["note"]) == 2
    with open_on(QuickFs(), store_path, **ROTATING) as store:
        assert contents(store) == BASE
        store.put("next", {"n": 1})
        store.flush()
    assert not [name for name in read_tree(store_path) if ".tmp-" in name]


def test_a_newer_layout_is_refused_and_left_untouched(store_path: str) -> None:
    """G8: a store of a newer version is neither read, nor repaired, nor written to."""
    at_rest(store_path)
    name = f"{store_path}/state.json"
    with open(name, encoding="utf-8") as file:
        text = file.read()
    with open(name, "w", encoding="utf-8") as file:
        file.write(text.replace('"layoutVersion": 1', '"layoutVersion": 2'))
    before = read_tree(store_path)
    with pytest.raises(FormatTooNew):
        open_on(QuickFs(), store_path)
    assert read_tree(store_path) == before
    with open(name, "w", encoding="utf-8") as file:
        file.write(text)


def test_g2_a_new_journal_in_place_of_a_missing_one_is_read_from_its_beginning(store_path: str) -> None:
    """How far the old journal was level says nothing about a new one, which may even get its inode number."""
    with open_on(QuickFs(), store_path) as store:
        for number in range(20):
            store.put("k", {"n": number})
        store.flush()
    assert state_of(store_path)["position"] > 1000
    os.unlink(journal_path(store_path))
    fs = QuickFs()
    store = open_on(fs, store_path)
    store.put("k", {"n": "new"})
    found = state_of(store_path)
    assert (found["position"], found["inode"]) == (0, "")
    leave(store, fs)
    with open_on(QuickFs(), store_path) as store:
        assert store["k"] == {"n": "new"}
