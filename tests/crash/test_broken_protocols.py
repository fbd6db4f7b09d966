"""The crash model catches protocols that are known to be wrong; else its silence would mean nothing."""

from __future__ import annotations

from typing import Any

import pytest
from harness.powerloss import Played, scratch
from harness.seeds import seeded
from harness.story import ROTATING, SCENARIOS, Scenario, flush, patch, put_new, running

from crash import matrix
from crash.table import TABLE
from sessiondir.checkpoint import Checkpointer
from sessiondir.testing import PowerLossFileSystem, Rule
from sessiondir.testing.disk import ROOT

_BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


class NoDataSync(PowerLossFileSystem):
    """A disk that ignores ``fdatasync``: the journal is never synced."""

    def _note_fdatasync(self, result: None, fd: int) -> None:
        pass


class NoDirectorySync(PowerLossFileSystem):
    """A disk that ignores syncs of directories."""

    def _note_fsync(self, result: None, fd: int) -> None:
        if self._by_fd.get(fd) not in self._names:
            super()._note_fsync(result, fd)


class NoSessionSync(PowerLossFileSystem):
    """A disk that ignores syncs of the files in ``entries/``."""

    def _note_fsync(self, result: None, fd: int) -> None:
        entries = next((n for n in self._directory_numbers("entries")), -1)
        if self._by_fd.get(fd) not in self._names.get(entries, {}).values():
            super()._note_fsync(result, fd)

    def _directory_numbers(self, name: str) -> list[int]:
        stores = [number for number in self._names[ROOT].values() if number in self._names]
        return [self._names[store][name] for store in stores if name in self._names[store]]


class NoFileSync(PowerLossFileSystem):
    """A disk that ignores every ``fsync`` of a file, journals and state file included."""

    def _note_fsync(self, result: None, fd: int) -> None:
        if self._by_fd.get(fd) in self._names:
            super()._note_fsync(result, fd)


def _caught(
    scenario: Scenario, rule: Rule, fs_class: type[PowerLossFileSystem] = PowerLossFileSystem
) -> str | None:
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
def test_a_disk_that_skips_a_sync_is_caught(fs_class: type[PowerLossFileSystem], name: str, rule: Rule) -> None:
    """G2: leaving out one kind of sync loses an acknowledged commit in some image, and the model shows it."""
    assert _caught(_BY_NAME[name], rule, fs_class)


@pytest.mark.parametrize(
    ("fs_class", "name"),
    [
        (NoDataSync, "post into nothing"),
        (NoDirectorySync, "migrate"),
        (NoFileSync, "migrate again"),
        (NoDirectorySync, "roll back"),
        (NoFileSync, "roll back"),
        (NoFileSync, "cleanup: apply"),
        (NoDirectorySync, "cleanup: apply"),
        (NoFileSync, "trash: restore"),
        (NoDataSync, "trash: restore over a living one"),
        (NoDataSync, "transcript: append"),
        (NoDirectorySync, "transcript: first"),
        (NoDirectorySync, "transcript: archive"),
        (NoDirectorySync, "transcript: restore"),
    ],
)
def test_the_matrix_catches_it(fs_class: type[PowerLossFileSystem], name: str) -> None:
    """G2, G11: so do the operations that are made of several parts, and those on transcripts."""
    row = next(row for row in TABLE if row.name == name)
    with scratch() as folder:
        cuts = matrix.Played(row, folder).power_cuts(seeded(name), 40, fs_class)
        assert next(filter(None, cuts), None)


class RenamesFirst(PowerLossFileSystem):
    """A program that renames a session file into place and syncs it afterwards."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self._late: list[tuple[Any, ...]] = []

    def _note_fsync(self, result: None, fd: int) -> None:
        if self._by_fd.get(fd) in self._names:
            super()._note_fsync(result, fd)
        elif fd in self._by_fd:
            self._late.append(("sync", self._by_fd[fd]))

    def _note_rename(self, result: None, src: str, dst: str, **places: int | None) -> None:
        super()._note_rename(result, src, dst, **places)
        self.log += self._late
        self._late.clear()


def test_renaming_before_syncing_is_caught() -> None:
    """G1: a session file that is renamed into place before it is synced may be empty after a power cut."""
    assert _caught(_BY_NAME["checkpoint"], "ordered", RenamesFirst)


class RemovesFirst(PowerLossFileSystem):
    """A program that removes the finished journal before the state file names the new one."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self._late: list[tuple[Any, ...]] = []

    def _note_rename(self, result: None, src: str, dst: str, **places: int | None) -> None:
        before = len(self.log)
        super()._note_rename(result, src, dst, **places)
        if dst == "state.json":
            self._late = self.log[before:]
            del self.log[before:]

    def _note_unlink(self, result: None, name: str, *, dir_fd: int | None = None) -> None:
        super()._note_unlink(result, name, dir_fd=dir_fd)
        if name.startswith("journal-"):
            self.log += self._late
            self._late = []


def test_removing_the_old_journal_before_the_state_names_the_new_is_caught() -> None:
    """G2: "sync before you remove": when the state file names a journal that is gone, that is an error."""
    assert _caught(_BY_NAME["rotation"], "ordered", RemovesFirst)


def test_a_state_file_ahead_of_the_session_files_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """G2: a new journal may only begin once the session files that it leaves out are durable."""
    monkeypatch.setattr(Checkpointer, "_level", lambda self, keys, target: target)
    scenario = Scenario("nothing levelled", running, (patch, put_new, flush), ROTATING)
    assert _caught(scenario, "ordered")


class AcknowledgesFirst(PowerLossFileSystem):
    """A program that tells of success first and syncs the journal afterwards."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self._late: list[tuple[Any, ...]] = []

    def _note_fdatasync(self, result: None, fd: int) -> None:
        if fd in self._by_fd:
            self._late.append(("sync", self._by_fd[fd]))

    def mark(self, value: object) -> None:
        super().mark(value)
        self.log += self._late
        self._late.clear()


@pytest.mark.parametrize("name", ["put new", "transaction"])
def test_syncing_after_acknowledging_is_caught(name: str) -> None:
    """G2: between the acknowledgement and the sync a power cut loses the commit."""
    assert _caught(_BY_NAME[name], "ordered", AcknowledgesFirst)


def test_a_whole_protocol_is_not_complained_about() -> None:
    """G2: the same images of the unbroken protocol show nothing, so the complaints above are not noise."""
    for name in ("put new", "checkpoint", "rotation"):
        assert not _caught(_BY_NAME[name], "strict")
