"""G4, G8: files that are none of the store's cost nothing on the hot path and are never touched (F30)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from harness.watched import QuickFs

from sessiondir import SessionStore

pytestmark = [
    pytest.mark.expect_findings("."),
    pytest.mark.any_modes("foreign files come with modes of their own"),
]


def _plant(store: Path, count: int) -> None:
    for number in range(count):
        os.close(os.open(store / "entries" / f"foreign-{number}.txt", os.O_CREAT | os.O_WRONLY, 0o644))


_OF_FILES = ("open", "stat", "fstat", "listdir", "rename", "unlink", "mkdir", "link")
"""Calls whose number could follow that of the files; locks are tried as often as they are busy."""


def _calls(store: Path) -> tuple[list[str], int]:
    """The calls about files of opening, reading and committing; and how many with a checkpoint and closing."""
    fs = QuickFs()
    with SessionStore.open(str(store), fs=fs, durability="process", checkpoint_interval=3600) as opened:
        assert opened.get("a") == {"n": 1}
        opened.put("b", {"n": 2})
        opened.delete("b")
        hot = [name for name in fs.calls if name in _OF_FILES]
    return hot, sum(name in _OF_FILES for name in fs.calls)


def _hold(store_path: str, count: int) -> None:
    """With so many foreign files beside the sessions the same calls are made as with none."""
    with SessionStore.open(store_path, fs=QuickFs()) as store:
        store.put("a", {"n": 1})
    store_directory = Path(store_path)
    _calls(store_directory)
    hot, total = _calls(store_directory)
    _plant(store_directory, count)
    hot_after, total_after = _calls(store_directory)
    assert hot_after == hot
    assert "listdir" not in hot
    assert total_after == total
    with SessionStore.open(store_path, fs=QuickFs(), read_only=True) as store:
        assert list(store.keys()) == ["a"]
    assert sum(name.startswith("foreign-") for name in os.listdir(store_directory / "entries")) == count


def test_g4_twenty_thousand_foreign_files(store_path: str) -> None:
    """G4, G8: opening, reading, committing and closing make not one call more; nothing of them is touched."""
    _hold(store_path, 20_000)


@pytest.mark.stress
@pytest.mark.timeout(3600)
def test_a_million_foreign_files(store_path: str) -> None:
    """As above with a million."""
    _hold(store_path, 1_000_000)
    print("1,000,000 foreign files: the same system calls as with none")
