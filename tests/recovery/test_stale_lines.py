"""G2: lines behind a gap were never durable; they must not come back (F3)."""

from __future__ import annotations

import pytest
from harness.journals import journal_path, levels, quarantined, read_lines, store_with_commits, write_at
from harness.story import contents, open_on
from harness.watched import QuickFs, leave

from sessiondir.commit import Committer


def _gap(path: str) -> tuple[list[bytes], int]:
    """Lose the third of five commits, as a power cut that kept the later pages does."""
    store_with_commits(path, 5)
    lines = read_lines(path)
    begin = sum(map(len, lines[:3]))
    write_at(journal_path(path), begin, bytes(len(lines[3])))
    return lines, begin


def _fill_gap(path: str, lines: list[bytes]) -> dict[str, object]:
    """Commit exactly what was lost, so that the line ends where the gap ends."""
    fs = QuickFs()
    store = open_on(fs, path)
    store.put("k3", {"n": 3, "text": "line " * 3})
    found: dict[str, object] = dict(contents(store))
    leave(store, fs)
    return found


@pytest.mark.expect_findings("quarantine/.*set aside earlier")
def test_lines_behind_a_gap_are_never_replayed(store_path: str) -> None:
    """G2: "oldest kept first" also holds after the gap was filled to the byte by a new commit."""
    lines, _ = _gap(store_path)
    expected = {"k1": {"n": 1, "text": "line "}, "k2": {"n": 2, "text": "line line "}}
    with open_on(QuickFs(), store_path, read_only=True) as store:
        assert contents(store) == expected
        assert store.version == 2
    expected["k3"] = {"n": 3, "text": "line line line "}
    assert _fill_gap(store_path, lines) == expected
    with open_on(QuickFs(), store_path) as store:
        assert contents(store) == expected
        assert store.version == 3


@pytest.mark.expect_findings("quarantine/.*set aside earlier")
def test_lines_behind_a_gap_are_kept_for_people(store_path: str) -> None:
    """G8: what is cut off behind a gap is in the quarantine, byte for byte."""
    lines, _ = _gap(store_path)
    found = levels(store_path)
    assert not found["error"]
    assert any("lines behind the end" in text for text in found["warning"])
    _fill_gap(store_path, lines)
    assert b"".join(lines[4:6]) in list(quarantined(store_path).values())


def test_a_tail_that_is_not_cut_is_caught(store_path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """G2: the test above would notice a writer that leaves the tail: then the dead lines live again."""
    lines, _ = _gap(store_path)
    monkeypatch.setattr(Committer, "mend_tail", lambda self, file: None)
    _fill_gap(store_path, lines)
    with open_on(QuickFs(), store_path, read_only=True) as store:
        assert store.version > 3
