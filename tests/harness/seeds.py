"""Seeds and durations of the random tests."""

from __future__ import annotations

import os
import random

from support.seed import SEED, generator


def seeded(name: str) -> random.Random:
    """A generator for the test ``name``; the seed is shown when the test fails."""
    print(f"{name}: SESSIONDIR_SEED={SEED}")
    return generator(name)


def stress_seconds(default: float) -> float:
    """How long a long run takes: SESSIONDIR_STRESS_SECONDS, else ``default``."""
    return float(os.environ.get("SESSIONDIR_STRESS_SECONDS") or default)
