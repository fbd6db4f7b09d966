"""Seeds: printed by every random test, taken back from SESSIONDIR_SEED."""

from __future__ import annotations

import os
import random


def seeded(name: str) -> random.Random:
    """A generator for the test ``name``; the seed is shown when the test fails."""
    seed = int(os.environ.get("SESSIONDIR_SEED") or int.from_bytes(os.urandom(4), "big"))
    print(f"{name}: SESSIONDIR_SEED={seed}")
    return random.Random(f"{name} {seed}")


def stress_seconds(default: float) -> float:
    """How long a long run takes: SESSIONDIR_STRESS_SECONDS, else ``default``."""
    return float(os.environ.get("SESSIONDIR_STRESS_SECONDS") or default)
