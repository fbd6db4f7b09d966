"""Entries of a given size with the shape that gateways write."""

from __future__ import annotations

import random
from typing import Any

import msgspec

from sessiondir.cli import sample

SMALL = 1024
TYPICAL = 20 * 1024
LARGE = 230 * 1024
"""With its skills resolved in full, as in a store of 240 sessions and 56 MB."""

SIZE_NAMES = {SMALL: "1 KB", TYPICAL: "20 KB", LARGE: "230 KB"}


def make_entry(size: int, seed: int) -> dict[str, Any]:
    """An entry whose compact JSON has exactly ``size`` bytes, with ``counter`` 0.

    1 KB is settings, counters and addresses; from 20 KB on a skills snapshot and a prompt
    report are added, which in real stores are most of the bytes.
    """
    rng = random.Random(seed)
    entry = sample.make_entry(rng, "telegram", str(10**8 + seed)) | {"counter": 0}
    if size > 4 * SMALL:
        entry["systemPromptReport"] = sample.make_prompt_report(rng, entry["sessionId"])
        prompt, resolved = (30_000, size // 1200) if size >= LARGE else (9_000, 0)
        # The prompt takes up what the other fields leave.
        entry["skillsSnapshot"] = sample.make_skills_snapshot(rng, prompt, resolved=resolved)
        missing = size - len(msgspec.json.encode(entry))
        entry["skillsSnapshot"]["prompt"] += sample.make_text(rng, missing)
    else:
        missing = size - len(msgspec.json.encode(entry)) - len(',"label":""')
        entry["label"] = sample.make_text(rng, missing)
    actual = len(msgspec.json.encode(entry))
    if actual != size:
        raise AssertionError(f"the entry has {actual} bytes instead of {size}")
    return entry
