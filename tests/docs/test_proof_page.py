"""docs/proof.md names faults, tests and commands that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "proof.md").read_text(encoding="utf-8")
FAULTS = dict(re.findall(r"^\| (F\d+) \| (.*) \|$", PAGE, re.MULTILINE))
TOTALS = PAGE.split("## Totals\n")[1].split("\n## ")[0]


def test_every_fault_has_a_row() -> None:
    """F1 to F32, in order."""
    assert list(FAULTS) == [f"F{number}" for number in range(1, 33)]


@pytest.mark.parametrize("fault", FAULTS)
def test_its_tests_exist_and_name_it(fault: str) -> None:
    """Each path of a row is a file of tests that names the fault; only what is not supported has none."""
    paths = re.findall(r"`([\w/]+\.py)`", FAULTS[fault])
    assert paths or "not supported" in FAULTS[fault]
    for path in paths:
        text = (ROOT / "tests" / path).read_text(encoding="utf-8")
        assert re.search(rf"\b{fault}\b", text), f"{path} does not name {fault}"
        assert "def test_" in text, path


@pytest.mark.parametrize("page", sorted(path.relative_to(ROOT) for path in ROOT.glob("docs/**/*.md")), ids=str)
def test_every_test_that_a_page_names_exists(page: Path) -> None:
    """A file or directory of tests that was renamed is renamed in the documents, too."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for path in re.findall(r"\btests/[\w/]+(?:\.py)?", text):
        assert (ROOT / path).exists(), f"{page} names {path}"


def test_every_total_has_its_command() -> None:
    """A row of the totals is one command of the Makefile, on tests that there are."""
    rows = re.findall(r"^\| (?!what|---)(.*?) \| (.*?) \|", TOTALS, re.MULTILINE)
    assert len(rows) >= 10
    for what, command in rows:
        assert re.match(r"(`make (test|stress|fuzz)\b|the same)", command), what
