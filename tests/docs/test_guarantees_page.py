"""docs/guarantees.md names tests that exist and hold what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECTION = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8").split("## Tests\n")[1].split("\n## ")[0]
ROWS = dict(re.findall(r"^\| (G\d+) \| (.*) \|$", SECTION, re.MULTILINE))


def test_every_guarantee_has_a_row() -> None:
    """G1 to G12, in order."""
    assert list(ROWS) == [f"G{number}" for number in range(1, 13)]


@pytest.mark.parametrize("guarantee", [f"G{number}" for number in range(1, 13)])
def test_its_tests_exist_and_name_it(guarantee: str) -> None:
    """Each path of a row is a file of tests that names the guarantee."""
    paths = re.findall(r"`(tests/[\w/]+\.py)`", ROWS[guarantee])
    assert paths
    for path in paths:
        text = (ROOT / path).read_text(encoding="utf-8")
        assert re.search(rf"\b{guarantee}\b", text), f"{path} does not name {guarantee}"
        assert "def test_" in text or "TestCase" in text, path
