"""Looking at journals from outside, and damaging them."""

from __future__ import annotations

import json
import os
from typing import Any

from harness.story import NEVER, Sessions, current_journal, open_on
from harness.watched import QuickFs, leave
from sessiondir.model import Durability


def store_with_commits(path: str, count: int, *, durability: Durability = "power") -> list[Sessions]:
    """A store whose writer died after ``count`` commits that stand in the journal alone; all its states.

    With durability "power" the journal is written ahead with zeros, with "process" it is not.
    """
    fs = QuickFs()
    store = open_on(fs, path, durability=durability, checkpoint_interval=NEVER)
    states: list[Sessions] = [{}]
    for number in range(1, count + 1):
        key = f"k{number}"
        store.put(key, {"n": number, "text": "line " * (number % 4)})
        states.append(states[-1] | {key: {"n": number, "text": "line " * (number % 4)}})
    leave(store, fs)
    return states


def journal_path(path: str) -> str:
    """The path of a store's newest journal."""
    return f"{path}/{current_journal(path)}"


def read_lines(path: str) -> list[bytes]:
    """The complete lines of the newest journal, line feeds included."""
    with open(journal_path(path), "rb") as file:
        data = file.read()
    end = data.find(b"\0")
    return data[: end if end >= 0 else len(data)].splitlines(keepends=True)


def write_at(name: str, offset: int, data: bytes) -> None:
    """Overwrite bytes of a file in place."""
    fd = os.open(name, os.O_WRONLY)
    try:
        os.pwrite(fd, data, offset)
    finally:
        os.close(fd)


def cut_at(name: str, size: int) -> None:
    """Shorten a file."""
    os.truncate(name, size)


def state_of(path: str) -> dict[str, Any]:
    """The content of ``state.json``."""
    with open(f"{path}/state.json", encoding="utf-8") as file:
        found: dict[str, Any] = json.load(file)
    return found


def quarantined(path: str) -> dict[str, bytes]:
    """What is in the quarantine, notes left out."""
    folder = f"{path}/quarantine"
    found = {}
    for name in os.listdir(folder) if os.path.isdir(folder) else []:
        if not name.endswith(".note.json"):
            with open(f"{folder}/{name}", "rb") as file:
                found[name] = file.read()
    return found


def levels(path: str) -> dict[str, list[str]]:
    """What ``check`` says, by level; each as path and reason."""
    found: dict[str, list[str]] = {"error": [], "warning": [], "note": []}
    with open_on(QuickFs(), path, read_only=True) as store:
        for finding in store.check():
            found[finding.level].append(f"{finding.path}: {finding.reason}")
    return found
