"""The examples on the page about sessions do what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "sessions.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```\n```text\n(.*?)```", PAGE, re.DOTALL)


def test_every_example_has_its_output() -> None:
    """No python block of the page is left out below."""
    assert len(EXAMPLES) == PAGE.count("```python") >= 4


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_prints_what_stands_under_it(number: int, tmp_path: Path) -> None:
    """Each runs alone in an empty directory."""
    code, printed = EXAMPLES[number]
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.stderr == ""
    assert result.stdout == printed


def test_every_name_on_the_page_exists() -> None:
    """Functions and constants that the page names in code are there."""
    import sessiondir.sessions as package

    named = set(re.findall(r"`([a-z_]+[a-z]|[A-Z_]{4,})\(?[^`]*?`", PAGE))
    public = {name for name in package.__all__ if name in named}
    assert len(public) > 20
    unknown = {name for name in re.findall(r"`([a-z]+(?:_[a-z]+)+)\(", PAGE) if not hasattr(package, name)}
    assert unknown == set()
