"""The seed of every random test: printed by each run, taken back from ``SESSIONDIR_SEED``."""

from __future__ import annotations

import os
import random

SEED = int(os.environ.get("SESSIONDIR_SEED") or random.SystemRandom().randrange(1 << 32))


def generator(name: str) -> random.Random:
    """Random numbers of their own for one test, so that the order of tests does not matter."""
    return random.Random(f"{SEED}/{name}")
