"""docs/async.md does what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from sessiondir import AsyncSessionStore, SessionStore

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "async.md").read_text(encoding="utf-8")


def test_the_example_prints_what_the_page_shows(tmp_path: Path) -> None:
    """Its block of Python runs without a warning and prints the block of text under it."""
    match = re.search(r"```python\n(.*?)```\n```text\n(.*?)```", TEXT, re.DOTALL)
    assert match is not None
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", match[1]],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert result.stderr == ""
    assert result.stdout == match[2]


def test_the_names_in_the_table_exist() -> None:
    """Every method that the table names is one of the class it stands under."""
    rows = re.findall(r"^\| (`.*?) \| (`.*?) \|$", TEXT, re.MULTILINE)
    assert len(rows) >= 6
    for theirs, ours in rows:
        for cell, cls in ((theirs, SessionStore), (ours, AsyncSessionStore)):
            for name in re.findall(r"store\.([a-z_]+)", cell):
                assert hasattr(cls, name), name
