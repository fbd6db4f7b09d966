"""Making legacy stores, and judging from outside which store counts and what it holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sessiondir import SessionStore
from sessiondir.fs import SYSTEM_FS
from sessiondir.legacy import read_legacy
from sessiondir.model import Limits

DATA = Path(__file__).parent.parent / "data"
CORPUS = sorted(path for path in (DATA / "corpus").glob("*.json") if path.stem != "empty")

SMALL: dict[str, Any] = {
    "agent:main:main": {"sessionId": "a", "updatedAt": 1000, "skills": ["x", {"y": 1.5}]},
    "Agent:Main:Main": {"sessionId": "older", "updatedAt": 900},
    "42": {"sessionId": "n", "updatedAt": 5, "provider": "telegram"},
}
"""Three entries that give two sessions: one alias, one old field name, one key that JavaScript sorts first."""

SMALL_SESSIONS: dict[str, Any] = {
    "42": {"sessionId": "n", "updatedAt": 5, "channel": "telegram"},
    "agent:main:main": {"sessionId": "a", "updatedAt": 1000, "skills": ["x", {"y": 1.5}]},
}


def legacy_bytes(value: Any) -> bytes:
    """A legacy file as the legacy program writes it (for values without JavaScript's special cases)."""
    return json.dumps(value, indent=2, ensure_ascii=False).encode()


def put_legacy(folder: Path, value: Any = None) -> Path:
    """A legacy file in ``folder``, holding ``SMALL`` unless told otherwise."""
    path = folder / "sessions.json"
    path.write_bytes(value if isinstance(value, bytes) else legacy_bytes(SMALL if value is None else value))
    path.chmod(0o600)
    return path


def expected_sessions(path: Path) -> dict[str, Any]:
    """The sessions that a legacy file holds, by the reader alone."""
    found = read_legacy(SYSTEM_FS, str(path), Limits())
    return {key: doc.entry() for key, doc in found.documents.items()}


def sessions(path: Path) -> dict[str, Any]:
    """What a user sees who opens the store, whichever side counts."""
    with SessionStore.open(str(path), read_only=True) as store:
        return dict(store.snapshot())


def names(folder: Path, *parts: str) -> list[str]:
    """Names in ``folder`` that contain all of ``parts``, sorted."""
    return sorted(item.name for item in folder.iterdir() if all(part in item.name for part in parts))


def leftovers(folder: Path) -> list[str]:
    """What only an interrupted run leaves: staging directories, temporary and lock files."""
    return [name for part in (".staging-", ".tmp-", ".lock") for name in names(folder, part)]
