"""The README and the examples do what they say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def run(*arguments: str, cwd: Path, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, timeout=timeout_s, check=False
    )


def test_the_first_example_prints_what_the_readme_shows(tmp_path: Path) -> None:
    """The example on the README's first screen runs and prints the lines under it."""
    match = re.search(r"```python\n(.*?)```\n```text\n(.*?)```", README, re.DOTALL)
    assert match is not None
    result = run("-W", "error", "-c", match[1], cwd=tmp_path)
    assert result.stderr == ""
    assert result.stdout == match[2]


def test_the_commands_of_the_readme_run(tmp_path: Path) -> None:
    """Every `sessiondir` line of the README succeeds, one after the other, on a legacy file."""
    (tmp_path / "sessions.json").write_text(
        '{\n  "agent:main:main": {\n    "sessionId": "s1",\n    "updatedAt": 1\n  }\n}', encoding="utf-8"
    )
    lines = [line for line in README.splitlines() if line.startswith("sessiondir ")]
    assert len(lines) >= 5
    for line in lines:
        command = line.split("#")[0]
        result = subprocess.run(
            ["/bin/sh", "-c", command.replace("sessiondir", f"{sys.executable} -m sessiondir", 1)],
            cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert result.returncode == 0, f"{command}\n{result.stdout}{result.stderr}"
    assert (tmp_path / "sessions.json").exists()


def test_make_targets_of_the_readme_exist() -> None:
    """Every `make` target that the README names is in the Makefile."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^make ([a-z-]+)", README, re.MULTILINE))
    assert {"demo", "test"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_links_lead_to_files() -> None:
    """Every relative link in the documents leads to a file of the project."""
    documents = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").rglob("*.md"))]
    for document in documents:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_examples_run(example: Path, tmp_path: Path) -> None:
    """Every example runs without a warning and prints something."""
    result = run("-W", "error", str(example), cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()


def test_there_are_examples() -> None:
    """The example test above has something to run."""
    assert EXAMPLES
