"""Entries of a given size with the shape, and the repetition, of what gateways write."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec

from sessiondir.cli import sample

Entry = dict[str, Any]

_VARIANTS = 18
"""So many different snapshots are shared by all sessions: what was counted in a store of 158."""

_DISTINCT = 240


@dataclass(frozen=True, slots=True)
class Preset:
    """Entries of ``size`` bytes of compact JSON; ``count`` of them make the store they come from."""

    name: str
    label: str
    size: int
    count: int


SLIM = Preset("D-slim", "1 KB", 1024, 10_000)
OC4919 = Preset("D-oc4919", "20 KB", 20_200, 4_919)
OC240 = Preset("D-oc240", "233 KB", 233_000, 240)
PRESETS = {preset.name: preset for preset in (SLIM, OC4919, OC240)}


def make_entry(preset: Preset, seed: int) -> Entry:
    """An entry whose compact JSON has exactly ``preset.size`` bytes, with ``counter`` 0.

    One kilobyte is settings, counters and addresses. In the larger presets the rest is a
    skills snapshot and a prompt report, the same objects in every eighteenth session.
    """
    rng = random.Random(seed)
    entry = sample.make_entry(rng, "telegram", str(10**8 + seed)) | {"counter": 0}
    if preset.size > 4 * SLIM.size:
        entry |= _shared_fields(preset.size, seed % _VARIANTS)
    missing = preset.size - len(msgspec.json.encode(entry)) - len(',"label":""')
    entry["label"] = sample.make_text(rng, missing)
    actual = len(msgspec.json.encode(entry))
    if actual != preset.size:
        raise AssertionError(f"the entry has {actual} bytes instead of {preset.size}")
    return entry


def make_store(preset: Preset, count: int | None = None) -> dict[str, Entry]:
    """``count`` sessions of a preset (default: as many as its store has) by key, the newest first.

    From the 240th on they repeat the fields of the first ones, so that memory stays small.
    """
    wanted = count or preset.count
    made = [make_entry(preset, number) for number in range(min(wanted, _DISTINCT))]
    return {
        session_key(number): made[number % _DISTINCT] | {"updatedAt": sample.NOW_MS - 997 * number}
        for number in range(wanted)
    }


def session_key(number: int) -> str:
    """The key of one session."""
    return f"agent:main:telegram:direct:{10**8 + number}"


@cache
def _shared_fields(size: int, variant: int) -> Entry:
    rng = random.Random(f"{size}:{variant}")
    fields: Entry = {"systemPromptReport": sample.make_prompt_report(rng, sample.make_id(rng))}
    # A kilobyte and a half is left for what differs between the sessions.
    room = size - 1_536 - len(msgspec.json.encode(fields))
    resolved = room // 1_300 if room > 100_000 else 0
    bare = sample.make_skills_snapshot(rng, 0, resolved=resolved)
    prompt = room - len(msgspec.json.encode(bare)) - len(',"skillsSnapshot":')
    fields["skillsSnapshot"] = bare | {"prompt": sample.make_text(rng, prompt)}
    return fields
