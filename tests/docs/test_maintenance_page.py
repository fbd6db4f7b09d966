"""docs/maintenance.md does what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from sessiondir import maintenance
from sessiondir.maintenance.policy import NAMES

DOCUMENT = (Path(__file__).parents[2] / "docs" / "maintenance.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)


def run(code: str, cwd: Path) -> str:
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=cwd, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (result.stderr, result.returncode) == ("", 0)
    return result.stdout


def test_the_example_prints_what_is_shown(tmp_path: Path) -> None:
    """The first example runs, and prints the lines under it."""
    shown = re.search(r"```text\n(.*?)```", DOCUMENT, re.DOTALL)
    assert shown is not None
    assert run(BLOCKS[0], tmp_path) == shown[1]


def test_the_keeper_of_the_example_runs(tmp_path: Path) -> None:
    """The second example goes on from the first."""
    assert len(BLOCKS) == 2
    serve = "import time\ndef serve(store):\n    time.sleep(1.5)\n    store.put('x', {'updatedAt': now})\n"
    run(f"{BLOCKS[0]}\n{serve}\n{BLOCKS[1]}\nassert keeper.slices.busy_s > 0", tmp_path)


def test_every_setting_is_described() -> None:
    """The table has each name that the policy takes, and no other."""
    table = DOCUMENT.split("| setting |")[1].split("\n\n")[0]
    rows = set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))
    assert rows == set(NAMES) - {"pruneDays"}
    assert "`pruneDays`" in table


def test_the_names_in_the_document_exist() -> None:
    """Every name of the package that the page mentions is there."""
    for name in re.findall(r"`(?:maintenance\.)?(\w+)\(", DOCUMENT):
        found = hasattr(maintenance, name) or hasattr(maintenance.Keeper, name)
        assert found or name in ("round", "trust_clock"), name
