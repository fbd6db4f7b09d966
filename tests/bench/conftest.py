"""What the tests of the benchmark need: its package is beside the tests, not installed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from multiprocessing import resource_tracker
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.parts.base import Bench  # noqa: E402 - importable only now
from benchmarks.workers import Workers  # noqa: E402

# It lives as long as the process that first starts another one, and keeps a pipe open.
resource_tracker.ensure_running()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A benchmark that is as short as it gets, in the test's directory."""
    with Workers() as workers:
        yield Bench(tmp_path, workers, rounds=1, seconds=0.1, quick=True, large=False, say=lambda _text: None)
