"""W16: taking over a legacy file of 56 MB and of 99 MB, with ``large`` of 154 and 400 MB."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import child
from benchmarks.entries import OC240, OC4919, Preset, make_store
from benchmarks.parts.base import Bench, fill
from benchmarks.text import size, table

TITLE = "Import of a legacy file, durable when it returns"
_SESSIONS_OF_154_MB, _SESSIONS_OF_400_MB = 660, 1_717


def measure(bench: Bench) -> list[dict[str, Any]]:
    """Migration, and the same sessions put into SQLite; the slower of two rounds, each in a fresh process."""
    rows = []
    files = [(preset, preset.count // 20 if bench.quick else preset.count) for preset in (OC240, OC4919)]
    if bench.large:
        files += [(OC240, _SESSIONS_OF_154_MB), (OC240, _SESSIONS_OF_400_MB)]
    for preset, count in files:
        entries = make_store(preset, count)
        row: dict[str, Any] = {"preset": preset.name, "sessions": count}
        for number in range(1 if bench.quick else 2):
            bench.say(f"import of {preset.name}, {count:,} sessions, {number + 1}")
            for what, function in (("sessiondir", child.migrate), ("sqlite", child.import_to_sqlite)):
                with bench.excused(f"import by {what}"), bench.directory() as here:
                    found = _import(here, entries, function)
                    row["bytes"] = found.pop("bytes")
                    row[what] = max(row.get(what, found), found, key=lambda one: one["seconds"])
        rows.append(row)
    return rows


def _import(here: Path, entries: dict[str, Any], function: Any) -> dict[str, Any]:
    fill("legacy", here, entries)
    path = here / "sessions.json"
    found: dict[str, Any] = child.run(function, path=path) | {"bytes": path.stat().st_size if path.exists() else 0}
    if not found["bytes"]:
        found["bytes"] = next(here.glob("sessions.json.bak.*")).stat().st_size
    if found["sessions"] != len(entries):
        raise AssertionError(f"{found['sessions']} sessions were imported instead of {len(entries)}")
    return found


def preset_row(rows: Sequence[dict[str, Any]], preset: Preset) -> dict[str, Any] | None:
    """The row of a preset, if it was measured whole."""
    return next((row for row in rows if row["preset"] == preset.name and row["sessions"] == preset.count), None)


def render(rows: Sequence[dict[str, Any]]) -> str:
    """A line for each file and way."""
    lines = [
        [
            f"{row['preset']}: {row['sessions']:,} sessions, {size(row['bytes'])}",
            label,
            f"{row[what]['seconds']:.2f} s",
            size(row[what]["peak"]),
        ]
        for row in rows
        for what, label in (("sessiondir", "sessiondir migrate"), ("sqlite", "into one SQLite transaction"))
        if what in row
    ]
    return table(["", "", "took", "peak memory"], lines)
