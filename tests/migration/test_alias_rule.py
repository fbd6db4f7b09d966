"""Several spellings of one key in a legacy file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from migration.stores import put_legacy, sessions
from sessiondir import migration


def winner(tmp_path: Path, value: dict[str, Any]) -> str:
    path = put_legacy(tmp_path, value)
    assert migration.migrate(path).outcome == "migrated"
    (entry,) = sessions(path).values()
    return str(entry["sessionId"])


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (1, 2, "second"),
        (2, 1, "first"),
        (2, 2, "second"),
        (None, None, "second"),
        (None, 0, "second"),
        (0, None, "second"),
        (1, None, "first"),
        (-1, None, "second"),
        (1, 1.5, "second"),
        (5, "9", "first"),
    ],
)
def test_newer_wins_and_ties_go_to_the_later(tmp_path: Path, first: Any, second: Any, expected: str) -> None:
    """The entry with the newer updatedAt wins; equal times (absent counts as 0) go to the later one."""
    times = {"K": ("first", first), "k": ("second", second)}
    value = {
        key: {"sessionId": name} | ({} if at is None else {"updatedAt": at}) for key, (name, at) in times.items()
    }
    assert winner(tmp_path, value) == expected


def test_later_means_the_order_of_javascript(tmp_path: Path) -> None:
    """A key that is an array index comes before all others, wherever it stands in the file."""
    value = {" 7": {"sessionId": "padded"}, "7": {"sessionId": "index"}}
    assert winner(tmp_path, value) == "padded"


def test_trimming_is_that_of_javascript(tmp_path: Path) -> None:
    """U+FEFF is a blank and 0x1C is not, unlike in Python."""
    path = put_legacy(
        tmp_path, {"\ufeffa": {"sessionId": "1"}, "a": {"sessionId": "2"}, "\x1ca": {"sessionId": "3"}}
    )
    assert migration.migrate(path).migrated_count == 2
    assert sessions(path) == {"a": {"sessionId": "2"}, "\x1ca": {"sessionId": "3"}}


def test_inspect_names_the_winner(tmp_path: Path) -> None:
    """The spellings that merge and the one that wins are told before anything is done."""
    path = put_legacy(tmp_path)
    found = migration.inspect(path)
    assert (found.status, found.legacy_count, found.session_count) == ("ready_to_migrate", 3, 2)
    (alias,) = found.aliases
    assert (alias.key, alias.winner) == ("agent:main:main", "agent:main:main")
    assert set(alias.spellings) == {"agent:main:main", "Agent:Main:Main"}
