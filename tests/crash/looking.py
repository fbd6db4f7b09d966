"""What can be seen in a folder, to compare what a mishap left with what may be there."""

from __future__ import annotations

import json
import os
from typing import Any

from harness.story import contents, open_on
from harness.watched import QuickFs
from transcripts.folders import both_ways, quick, values

from crash.table import CLOCK

State = dict[str, Any]
"""What a folder shows: "side", "sessions", "trash" and "transcripts"."""


def look(folder: str) -> State:
    """Everything that can be read in a folder, without writing anything."""
    found: State = {"side": "", "sessions": {}, "trash": _trash(f"{folder}/sessions.d/trash")}
    if os.path.exists(f"{folder}/sessions.json"):
        found["side"] = "legacy"
    if os.path.exists(f"{folder}/sessions.d"):
        found["side"] += "directory"
    if found["side"]:
        with open_on(QuickFs(), f"{folder}/sessions.json", read_only=True, clock=CLOCK) as store:
            found["sessions"] = contents(store)
            assert sorted(store.keys()) == sorted(store.snapshot()), "keys and snapshot differ"
            for key, entry in store.snapshot().items():
                assert store.get(key) == entry, f"get and snapshot differ about {key!r}"
    found["transcripts"] = _transcripts(folder)
    return found


def _trash(path: str) -> list[list[Any]]:
    found = []
    for name in sorted(os.listdir(path)) if os.path.isdir(path) else []:
        if name.startswith("removed-"):
            with open(f"{path}/{name}", encoding="utf-8") as file:
                value = json.load(file)
            found.append([value["sessionKey"], value["entry"]])
    return sorted(found, key=str)


def _transcripts(path: str) -> dict[str, Any]:
    """What transcripts hold, an archive by the name that it was made of; none without records."""
    found: dict[str, Any] = {}
    with quick(path) as folder:
        for file in folder.files():
            if file.size and file.told.kind in ("transcript", "archive"):
                reader = folder.file(file.name)
                held = values(reader) if file.told.compressed else both_ways(reader)
                label = f"{file.told.base}!" if file.told.kind == "archive" else file.name
                assert held == found.get(label, held), f"{label} twice, and different"
                found[label] = held
    return {label: held for label, held in found.items() if held}


def facts(state: State) -> set[str]:
    """What there is, wherever it is: sessions in the store or in the trash, records in transcript or archive."""
    found = {json.dumps([key, entry], sort_keys=True) for key, entry in state["sessions"].items()}
    found |= {json.dumps(item, sort_keys=True) for item in state["trash"]}
    return found | {
        json.dumps([name.removesuffix(".jsonl").removesuffix("!"), held])
        for name, held in state["transcripts"].items()
    }
