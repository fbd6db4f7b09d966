"""docs/subagents.md does what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "subagents.md").read_text(encoding="utf-8")


def test_the_examples_print_what_the_page_shows(tmp_path: Path) -> None:
    """Its blocks of Python are one program, and print the blocks of text that follow them."""
    code = "\n".join(re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL))
    shown = "".join(re.findall(r"```text\n(.*?)```", TEXT, re.DOTALL))
    assert code.count("store.") > 5
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert result.stderr == ""
    assert result.stdout == shown


def test_the_limits_on_the_page_are_the_defaults() -> None:
    """Numbers in the text are those of the code."""
    from sessiondir.aside import REMEMBERED_IDS
    from sessiondir.model import Limits

    limits = Limits()
    stated = f"message_bytes={limits.message_bytes >> 10} KiB, inbox_messages={limits.inbox_messages}, "
    assert stated + f"inbox_bytes={limits.inbox_bytes >> 20} MiB" in TEXT
    assert f"last {REMEMBERED_IDS} messages" in TEXT
    assert limits.message_age_s is None
