"""G8: a damaged line in the middle of a journal costs that line (F5)."""

from __future__ import annotations

import shutil

import pytest
from harness.journals import journal_path, levels, read_lines, state_of, store_with_commits, write_at
from harness.seeds import seeded
from harness.story import contents, errors_of, open_on
from harness.watched import QuickFs, leave

_FLIPS = 60


@pytest.mark.expect_findings("error journal-.*damaged line")
def test_bit_flips_in_a_middle_line_cost_that_line(store_path: str) -> None:
    """G8: one flipped bit in a line is found by its check sum; the commits after it count; check says where."""
    states = store_with_commits(store_path, 6)
    lines = read_lines(store_path)
    begin = sum(map(len, lines[:3]))
    without = {key: entry for key, entry in states[-1].items() if entry["n"] != 3}
    rng = seeded("bit flips")
    for _ in range(_FLIPS):
        at, bit = rng.randrange(len(lines[3]) - 1), rng.randrange(8)
        flipped = lines[3][at] ^ 1 << bit
        if flipped in (0, 10):
            continue  # an end of line or of journal; tested below
        copy = f"{store_path[:-2]}-copy.d"
        shutil.copytree(store_path, copy)
        write_at(journal_path(copy), begin + at, bytes([flipped]))
        where = f"byte {at}, bit {bit}"
        assert any(f"damaged line at byte {begin}" in text for text in levels(copy)["error"]), where
        with open_on(QuickFs(), copy) as store:
            assert contents(store) == without, where
            assert store.put("next", {"n": 7}) == 7, where
            assert contents(store) == without | {"next": {"n": 7}}, where
        shutil.rmtree(copy)


@pytest.mark.expect_findings("error journal-.*damaged line", "quarantine/.*set aside earlier")
def test_a_line_broken_in_two_is_two_damaged_lines(store_path: str) -> None:
    """G8: a line feed that damage put into a line does not hide the lines after it."""
    states = store_with_commits(store_path, 5)
    lines = read_lines(store_path)
    begin = sum(map(len, lines[:2]))
    write_at(journal_path(store_path), begin + 20, b"\n")
    assert len(levels(store_path)["error"]) == 2
    with open_on(QuickFs(), store_path) as store:
        expected = {key: entry for key, entry in states[-1].items() if entry["n"] != 2}
        assert contents(store) == expected


@pytest.mark.expect_findings("error journal-.*damaged line", "(error|warning) entries")
def test_changes_of_a_session_whose_first_line_is_damaged_are_reported(store_path: str) -> None:
    """G8: a change whose session cannot be known is not applied to an empty entry; check names the session."""
    fs = QuickFs()
    store = open_on(fs, store_path)
    store.put("lost", {"n": 1, "long": "x" * 50})
    store.put("kept", {"n": 1})
    store.patch("lost", {"n": 2})
    leave(store, fs)
    begin = len(read_lines(store_path)[0])
    write_at(journal_path(store_path), begin + 70, b"#")
    with open_on(QuickFs(), store_path, read_only=True) as reader:
        assert reader.get("lost") != {"n": 2}, "a piece of an entry was given out as the entry"
        assert reader.get("kept") == {"n": 1}
        assert "lost" in {finding.session for finding in reader.check()}


@pytest.mark.expect_findings("quarantine/.*set aside earlier", "error journal-.*first line")
@pytest.mark.parametrize("at", [0, 5, 30, 80])
def test_a_damaged_first_line_costs_nothing(store_path: str, at: int) -> None:
    """G8: what the first line of a journal says stands in the state file too; check reports the damage."""
    states = store_with_commits(store_path, 4)
    write_at(journal_path(store_path), at, b"#")
    assert levels(store_path)["error"]
    with open_on(QuickFs(), store_path) as store:
        assert contents(store) == states[-1]
        store.put("next", {"n": 5})
        store.flush()
        assert contents(store) == states[-1] | {"next": {"n": 5}}
    with open_on(QuickFs(), store_path) as store:
        assert contents(store) == states[-1] | {"next": {"n": 5}}
    assert not errors_of(store_path), "the checkpoint starts a journal with a whole first line"
    assert state_of(store_path)["journal"] != "journal-1.jsonl"
