"""Judging store directories from outside, after a test."""

from __future__ import annotations

import gc
import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from sessiondir import Limits, StoreError
from sessiondir.check import check_store
from sessiondir.clock import SYSTEM_CLOCK
from sessiondir.fs import SYSTEM_FS


def store_directories(root: Path) -> Iterator[Path]:
    """The store directories below ``root``; no symbolic link is followed."""
    for directory, names, files in os.walk(root):
        if directory.endswith(".d") and ("state.json" in files or "entries" in names):
            yield Path(directory)
            names.clear()


def findings(path: Path) -> list[str]:
    """What ``check`` says about a store, one text each: ``level name: reason``."""
    try:
        found = check_store(SYSTEM_FS, SYSTEM_CLOCK, str(path), Limits())
    except (StoreError, OSError) as exc:
        return [f"error {path.name}: check raised {type(exc).__name__}: {exc}"]
    return [f"{one.level} {os.path.relpath(one.path, path)}: {one.reason}" for one in found]


def unexpected(root: Path, expected: Iterable[str], forgiven: Iterable[str] = ()) -> list[str]:
    """Findings below ``root`` that match none of the ``expected`` patterns and no ``forgiven`` level."""
    patterns = [re.compile(text) for text in expected]
    levels = tuple(f"{level} " for level in forgiven)
    return [
        f"{path.name}: {text}"
        for path in store_directories(root)
        for text in findings(path)
        if not text.startswith(levels or ("\0",)) and not any(pattern.search(text) for pattern in patterns)
    ]


def loose_modes(root: Path) -> list[str]:
    """Directories that are not 0700 and files that are not 0600 in the stores below ``root``."""
    found = []
    for store in store_directories(root):
        paths = [store, *(Path(d) / name for d, names, files in os.walk(store) for name in names + files)]
        for path in paths:
            status = path.lstat()
            wanted = {stat.S_IFDIR: 0o700, stat.S_IFREG: 0o600}.get(stat.S_IFMT(status.st_mode))
            if wanted is not None and stat.S_IMODE(status.st_mode) != wanted:
                found.append(f"{path.relative_to(root)} has mode {stat.S_IMODE(status.st_mode):04o}")
    return found


def open_descriptors() -> dict[int, str]:
    """The descriptors of this process and what they are open on."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue  # the descriptor of the listing itself
    return found


def leaked(before: dict[int, str]) -> list[str]:
    """Descriptors that are open now and were not before."""

    def added() -> list[str]:
        return [f"{fd} -> {name}" for fd, name in open_descriptors().items() if before.get(fd) != name]

    # A raised exception that a test still refers to may keep frames alive; that is no leak.
    return added() and (gc.collect(), added())[1]
