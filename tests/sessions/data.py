"""What the tests of sessions share: stored results of the legacy program, and small helpers."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

DATA = Path(__file__).parents[1] / "data"
NOW_MS = 1773964800000
EXAMPLE = DATA / "example-sessions.json"


@cache
def expected() -> dict[str, Any]:
    """What the legacy program makes of the example store."""
    return json.loads((DATA / "example-sessions.expected.json").read_text("utf-8"))


def example() -> dict[str, Any]:
    """The example store as it stands in its file; a fresh copy."""
    return json.loads(EXAMPLE.read_text("utf-8"))


@cache
def legacy_results() -> dict[str, Any]:
    """What the legacy program's functions return for random inputs."""
    return json.loads((DATA / "legacy-results.json").read_text("utf-8"))
