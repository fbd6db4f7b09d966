"""The document about migration does what it says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.processes import environment

DOCUMENT = (Path(__file__).parents[2] / "docs" / "migration.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```\n```text\n(.*?)```", DOCUMENT, re.DOTALL)
ENTRIES = {"Agent:Main:Main": {"updatedAt": 1}, "agent:main:main": {"updatedAt": 2}, "b": {"updatedAt": 3}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A legacy store, and a state directory with two agents."""
    for path in (
        tmp_path / "sessions.json",
        *(tmp_path / "state" / "agents" / agent / "sessions" / "sessions.json" for agent in ("main", "writer")),
    ):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_text(json.dumps(ENTRIES))
    return tmp_path


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_examples_print_what_the_document_shows(folder: Path, number: int) -> None:
    """Each example runs without a warning and prints the lines under it."""
    code, shown = EXAMPLES[number]
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=folder, env=environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.stderr == ""
    assert result.stdout == shown


def test_there_are_examples() -> None:
    """The test above has something to run."""
    assert len(EXAMPLES) == 2


def test_the_table_names_every_outcome() -> None:
    """Every outcome that a migration can have is in the table of the document."""
    from typing import get_args

    from sessiondir.takeover import Outcome

    table = DOCUMENT.split("| on disk | outcome |")[1].split("\n\n")[0]
    assert {name for name in get_args(Outcome) if f"`{name}`" in table} == set(get_args(Outcome))
