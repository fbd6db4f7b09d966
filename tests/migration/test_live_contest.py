"""G3, G11: legacy processes that go on writing, first changes and migrations, all on one store at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.processes import environment

from migration.stores import leftovers, put_legacy, sessions

COUNTING = str(Path(__file__).with_name("counting_program.py"))
WRITING = """
import sys
from sessiondir import SessionStore
with SessionStore.open(sys.argv[1], lock_timeout=60) as store:
    for _ in range(5):
        store.update("k", lambda entry: entry | {"n": entry["n"] + 1})
print(5)
"""
MIGRATING = """
import sys
from sessiondir import migration
result = migration.migrate(sys.argv[1], lock_timeout=60)
assert result.outcome in ("migrated", "already_directory"), result
print(0)
"""


def contest(folder: Path) -> None:
    """Whoever wins, and whenever: every one that was added is there, and nothing lies about."""
    folder.mkdir()
    filler = {f"x{number}": {"sessionId": "b", "updatedAt": 1, "text": "y" * 500} for number in range(50)}
    path = put_legacy(folder, {"k": {"sessionId": "a", "updatedAt": 1, "n": 0}} | filler)

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, *arguments, str(path)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment())

    legacy = [start(COUNTING), start(COUNTING)]
    for process in legacy:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
    others = [start("-c", code) for code in (WRITING, MIGRATING, WRITING, MIGRATING)]
    added = 0
    for process in (*others, *legacy):
        said, _ = process.communicate(timeout=100)
        assert process.returncode == 0
        added += int(said)
    assert sessions(path)["k"]["n"] == added
    assert not path.exists()
    assert leftovers(folder) == []


def test_all_at_once(tmp_path: Path) -> None:
    """Once."""
    contest(tmp_path / "contest")


@pytest.mark.stress
def test_all_at_once_again_and_again(tmp_path: Path) -> None:
    """As often as makes every order likely."""
    for number in range(10):
        contest(tmp_path / f"{number}")
