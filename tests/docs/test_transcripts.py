"""docs/transcripts.md does what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from sessiondir.transcripts import Transcript, TranscriptFolder

DOCUMENT = (Path(__file__).parents[2] / "docs" / "transcripts.md").read_text(encoding="utf-8")


def test_the_example_prints_what_is_shown(tmp_path: Path) -> None:
    """The example runs, and prints the lines under it."""
    match = re.search(r"```python\n(.*?)```\n```text\n(.*?)```", DOCUMENT, re.DOTALL)
    assert match is not None
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", match[1]],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (result.stderr, result.stdout) == ("", match[2])


def test_the_names_in_the_document_exist() -> None:
    """Every method that the document names is there."""
    for name in re.findall(r"`folder\.(\w+)\(", DOCUMENT):
        assert hasattr(TranscriptFolder, name), name
    section = DOCUMENT.split("## Reading\n")[1].split("##")[0]
    for name in re.findall(r"^\| `(\w+)\(", section, re.MULTILINE):
        assert hasattr(Transcript, name), name
