"""Looking at store directories as plain files, and making them without the package."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

KIND = "openclaw-session-store-directory"


def listing(root: str | Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Everything below ``root``: inode, mode, modification time and content by relative path."""
    found = {}
    for directory, names, files in os.walk(root):
        for name in [".", *names, *files]:
            path = Path(directory) / name
            status = path.lstat()
            content = path.read_bytes() if name in files and path.is_file() else b""
            found[os.path.relpath(path, root)] = (status.st_ino, status.st_mode, status.st_mtime_ns, content)
    return found


def copy_store(source: str | Path, target: str | Path) -> str:
    """A copy of a store directory as it stands, as ``cp -r`` makes it."""
    shutil.copytree(source, target, symlinks=True)
    return str(target)


@contextlib.contextmanager
def umask(mask: int) -> Iterator[None]:
    """Another umask for the length of a block."""
    old = os.umask(mask)
    try:
        yield
    finally:
        os.umask(old)


def session_name(key: str) -> str:
    """The session file name of ``key``, by the rule in the format description."""
    data = key.encode()
    if len(data) > 120:
        return f"session-hash-{_base64url(hashlib.sha256(data).digest())}.json"
    return f"session-{_base64url(data)}.json"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def session_path(store: str | Path, key: str) -> Path:
    """Where the session file of ``key`` stands."""
    return Path(store) / "entries" / session_name(key)


def write_session(store: str | Path, key: str, entry: Mapping[str, Any], **more: Any) -> Path:
    """Put a session file in place by hand; ``more`` are members beside key and entry."""
    path = session_path(store, key)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text(json.dumps({"sessionKey": key, **more, "entry": entry}), encoding="utf-8")
    path.chmod(0o600)
    return path


def write_state(store: str | Path, version: int, **more: Any) -> Path:
    """A state file as a program that knows only layout 1 writes it."""
    path = Path(store) / "state.json"
    value = {"kind": KIND, "layoutVersion": 1, "version": version, "updatedAt": 1700000000000, **more}
    path.write_text(json.dumps(value), encoding="utf-8")
    path.chmod(0o600)
    return path


def make_layout1(store: str | Path, entries: Mapping[str, Mapping[str, Any]], version: int) -> None:
    """A store as a program that knows only layout 1 leaves it: no journal, documents without a version."""
    Path(store).mkdir(mode=0o700, parents=True)
    (Path(store) / "entries").mkdir(mode=0o700)
    for key, entry in entries.items():
        write_session(store, key, entry)
    write_state(store, version)


def read_layout1(store: str | Path) -> dict[str, Any]:
    """Every session as a program that knows only layout 1 reads it."""
    state = json.loads((Path(store) / "state.json").read_text(encoding="utf-8"))
    assert state["kind"] == KIND
    assert state["layoutVersion"] == 1
    assert isinstance(state["version"], int)
    assert isinstance(state["updatedAt"], int)
    found = {}
    for path in sorted((Path(store) / "entries").iterdir()):
        document = json.loads(path.read_text(encoding="utf-8"))
        assert path.name == session_name(document["sessionKey"])
        found[document["sessionKey"]] = document["entry"]
    return found
