"""Swapping a part of a store for something else, and back."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path

from support.files import session_path

TARGETS = (
    ".", "entries", "waiting", "trash", "quarantine", "lock", "state.json", "journal", "session", "temporary",
)  # fmt: skip
"""Parts of a store: its directory, directories in it, files, and the temporary file of the moment."""

DIRECTORIES = frozenset((".", "entries", "waiting", "trash", "quarantine"))


def find(store: Path, target: str) -> Path | None:
    """Where a part of the store is now; None if there is none of it."""
    if target == "journal":
        return next(iter(sorted(store.glob("journal-*"))), None)
    if target == "session":
        return next(iter(sorted((store / "entries").glob("session-*"))), None)
    if target == "temporary":
        return next((path for below in ("entries", "trash", ".") for path in (store / below).glob(".tmp-*")), None)
    path = store / target
    return path if path.exists() else None


def twin(outside: Path, store: Path, path: Path) -> Path:
    """What corresponds to ``path`` in the store outside; for a temporary file, a session file."""
    same = outside / path.relative_to(store)
    return same if same.exists() else session_path(outside, "session 0")


def _hard_link(lure: Path, other: Path) -> None:
    if other.is_dir():
        lure.mkdir(mode=0o700)
    else:
        os.link(other, lure)


LURES: dict[str, Callable[[Path, Path], None]] = {
    "link": lambda lure, other: lure.symlink_to(other),
    "dangling": lambda lure, other: lure.symlink_to(other.parent / "nowhere"),
    "hard link": _hard_link,
    "fifo": lambda lure, other: os.mkfifo(lure, 0o600),
    "directory": lambda lure, other: lure.mkdir(mode=0o700),
    "device": lambda lure, other: os.mknod(lure, 0o600 | 0o020000, os.makedev(1, 5)),
}
"""What stands there instead, given its path and what corresponds to it outside; the device is /dev/zero."""

_libc = ctypes.CDLL(None, use_errno=True)
_EXCHANGE = 2


def exchange(one: Path, other: Path) -> bool:
    """Swap two names in one step, so that there is no moment at which neither is there; False if one is gone."""
    done = _libc.renameat2(-100, os.fsencode(one), -100, os.fsencode(other), _EXCHANGE)
    return bool(done == 0)
