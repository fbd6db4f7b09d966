"""docs/testing.md does what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from sessiondir import testing

DOCUMENT = (Path(__file__).parents[2] / "docs" / "testing.md").read_text(encoding="utf-8")


def test_the_example_prints_what_is_shown(tmp_path: Path) -> None:
    """The example runs, and prints the lines under it."""
    match = re.search(r"```python\n(.*?)```\n```text\n(.*?)```", DOCUMENT, re.DOTALL)
    assert match is not None
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", match[1]],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (result.stderr, result.stdout) == ("", match[2])


def test_every_file_system_is_in_the_table() -> None:
    """What the module gives away as a file system is explained, and what is explained exists."""
    told = set(re.findall(r"^\| `(\w+)\(", DOCUMENT, re.MULTILINE))
    assert told == {name for name in testing.__all__ if name.endswith("FileSystem")}
