"""The crash model catches protocols that are known to be wrong; else its silence would mean nothing."""

from __future__ import annotations

from typing import Any

import pytest

from harness.crashing import CrashFs
from harness.disk import ROOT, Rule
from harness.powerloss import Played, scratch
from harness.seeds import seeded
from harness.story import ROTATING, SCENARIOS, Scenario, flush, patch, put_new, running
from sessiondir import durable
from sessiondir.checkpoint import Checkpointer
from sessiondir.entries import SessionFiles, encode_document
from sessiondir.journal import JournalFile

_BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


class NoDataSync(CrashFs):
    """A disk that ignores ``fdatasync``: the journal is never synced."""

    def _note_fdatasync(self, result: None, fd: int) -> None:
        pass


class NoDirectorySync(CrashFs):
    """A disk that ignores syncs of directories."""

    def _note_fsync(self, result: None, fd: int) -> None:
        if self._by_fd.get(fd) not in self._names:
            super()._note_fsync(result, fd)


class NoSessionSync(CrashFs):
    """A disk that ignores syncs of the files in ``entries/``."""

    def _note_fsync(self, result: None, fd: int) -> None:
        entries = next((n for n in self._directory_numbers("entries")), -1)
        if self._by_fd.get(fd) not in self._names.get(entries, {}).values():
            super()._note_fsync(result, fd)

    def _directory_numbers(self, name: str) -> list[int]:
        stores = [number for number in self._names[ROOT].values() if number in self._names]
        return [self._names[store][name] for store in stores if name in self._names[store]]


class NoFileSync(CrashFs):
    """A disk that ignores every ``fsync`` of a file, journals and state file included."""

    def _note_fsync(self, result: None, fd: int) -> None:
        if self._by_fd.get(fd) in self._names:
            super()._note_fsync(result, fd)


def _caught(scenario: Scenario, rule: Rule, fs_class: type[CrashFs] = CrashFs) -> str | None:
    """The first complaint about lost or damaged sessions, if there is any."""
    with scratch() as folder:
        played = Played(scenario, folder, fs_class=fs_class)
        return next(filter(None, played.judged(rule, seeded(scenario.name), most=40)), None)


@pytest.mark.parametrize(
    ("fs_class", "name", "rule"),
    [
        (NoDataSync, "put new", "ordered"),
        (NoDataSync, "transaction", "ordered"),
        (NoDataSync, "recovery", "ordered"),
        (NoDirectorySync, "delete and rotation", "strict"),
        (NoDirectorySync, "rotation", "strict"),
        (NoSessionSync, "delete and rotation", "ordered"),
        (NoSessionSync, "checkpoint", "ordered"),
        (NoFileSync, "rotation", "ordered"),
    ],
)
def test_a_disk_that_skips_a_sync_is_caught(fs_class: type[CrashFs], name: str, rule: Rule) -> None:
    """G2: leaving out one kind of sync loses an acknowledged commit in some image, and the model shows it."""
    assert _caught(_BY_NAME[name], rule, fs_class)


def _rename_first(self: SessionFiles, docs: list[Any]) -> None:
    fs, owner = self._directory.fs, self._directory.owner
    dir_fd = self._directory.subdirectory("entries", create=True)
    for doc in docs:
        if doc.fields is not None:
            temporary = durable.write_temporary(fs, dir_fd, encode_document(doc), owner)
            self._rename(dir_fd, temporary, doc.key)
            durable.sync_file(fs, dir_fd, self._names(doc.key)[0])
        self._remove_other_names(dir_fd, doc)
    durable.sync_directory(fs, dir_fd)


def test_renaming_before_syncing_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """G1: a session file that is renamed into place before it is synced may be empty after a power cut."""
    monkeypatch.setattr(SessionFiles, "write", _rename_first)
    assert _caught(_BY_NAME["checkpoint"], "ordered")


def test_removing_the_old_journal_before_the_state_names_the_new_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """G2: "sync before you remove" holds for journals: the state file must never name one that is gone."""
    real = Checkpointer._write_state

    def remove_first(self: Checkpointer, version: int, file: JournalFile) -> None:
        self._remove_finished(file.generation)
        real(self, version, file)

    monkeypatch.setattr(Checkpointer, "_write_state", remove_first)
    assert _caught(_BY_NAME["rotation"], "ordered")


def test_a_state_file_ahead_of_the_session_files_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """G2: a new journal may only begin once the session files that it leaves out are durable."""
    monkeypatch.setattr(Checkpointer, "_level", lambda self, keys, target: target)
    scenario = Scenario("nothing levelled", running, (patch, put_new, flush), ROTATING)
    assert _caught(scenario, "ordered")


def test_a_whole_protocol_is_not_complained_about() -> None:
    """G2: the same images of the unbroken protocol show nothing, so the complaints above are not noise."""
    for name in ("put new", "checkpoint", "rotation"):
        assert not _caught(_BY_NAME[name], "strict")


