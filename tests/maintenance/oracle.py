"""The rules once more, said as plainly and slowly as possible, to compare the package with."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sessiondir.maintenance import Policy

_RUNNING_MS = 24 * 3_600_000


def is_cron_run(key: str) -> bool:
    """``agent:<agent>:cron:<job>:run:<id>``, in any case, empty parts not counted."""
    parts = [part for part in key.lower().split(":") if part]
    return len(parts) == 6 and (parts[0], parts[2], parts[4]) == ("agent", "cron", "run")


def expected(
    entries: Mapping[str, Mapping[str, Any]], policy: Policy, now_ms: int, untouchable: Collection[str] = ()
) -> dict[str, str]:
    """Which sessions age and number take away, and by which rule. No disk budget."""

    def updated(key: str) -> float:
        value = entries[key].get("updatedAt")
        return float("-inf") if value is None else value

    def is_safe(key: str) -> bool:
        entry = entries[key]
        pinned = any(key == pin or (pin[-1:] == "*" and key[: len(pin) - 1] == pin[:-1]) for pin in policy.pinned)
        running = entry.get("status") == "running" and updated(key) >= now_ms - _RUNNING_MS
        return pinned or running or entry.get("pinned") is True or key in untouchable

    gone: dict[str, str] = {}
    for key in entries:
        age_ms = now_ms - updated(key)
        if is_safe(key):
            continue
        if policy.cron_retention_ms is not None and is_cron_run(key) and age_ms > policy.cron_retention_ms:
            gone[key] = "prune-cron"
        elif entries[key].get("updatedAt") is not None and age_ms > policy.prune_after_ms:
            gone[key] = "prune-stale"
    for key in sorted(entries, key=lambda key: (updated(key), key)):
        if len(entries) - len(gone) <= policy.max_entries:
            break
        if key not in gone and not is_safe(key) and now_ms - updated(key) > policy.grace_ms:
            gone[key] = "cap-overflow"
    return gone
