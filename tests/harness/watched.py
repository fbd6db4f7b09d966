"""The real file system with every call passing through one place."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any

from sessiondir import SessionStore, registry
from sessiondir.fs import FileSystem

CALLS = tuple(name for name, value in vars(FileSystem).items() if isinstance(value, staticmethod))
"""Names of all system calls that the store may make."""

CHANGING = frozenset(
    ("pwrite", "ftruncate", "fchmod", "fchown", "mkdir", "rmdir", "rename", "link", "unlink", "fsync", "fdatasync")
)
"""Calls that alter something on disk; ``open`` with ``O_CREAT`` or for writing comes on top."""

SYNCS = ("fsync", "fdatasync")


def alters(name: str, args: tuple[Any, ...]) -> bool:
    """Whether a call writes, or asks for the right to."""
    if name == "open":
        return bool(args[1] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))
    return name in CHANGING


class WatchedFs(FileSystem):
    """Real calls, noted one by one.

    ``calls`` lists their names, ``open_fds`` the descriptors that were opened and not closed.
    Syncs do nothing unless ``real_sync``: what they are for is tested by ``CrashFs``.
    """

    def __init__(self, *, real_sync: bool = False) -> None:
        self.calls: list[str] = []
        self.altering: list[str] = []
        self.open_fds: set[int] = set()
        self.abandoned = False
        for name in CALLS:
            real = getattr(FileSystem, name)
            if name in SYNCS and not real_sync:
                real = _check_descriptor
            setattr(self, name, self._wrap(name, real))

    def _wrap(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            return self.call(name, real, args, kwargs)

        return call

    def call(self, name: str, real: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Make one call; subclasses fail it, stop before it, or model it."""
        if name == "close" and self.abandoned:
            return None
        self.calls.append(name)
        if alters(name, args):
            self.altering.append(name)
        result = real(*args, **kwargs)
        if name == "open":
            self.open_fds.add(result)
        elif name == "close":
            self.open_fds.discard(args[0])
        return result


def _check_descriptor(fd: int) -> None:
    os.fstat(fd)


class QuickFs(WatchedFs):
    """The real file system without waiting for the disk, for opening many images."""


def leave(store: SessionStore | None, fs: WatchedFs) -> None:
    """Let go of everything opened through ``fs`` as the death of a process does."""
    abandon(store)
    drop_cores(fs)
    fs.abandoned = True
    for fd in fs.open_fds:
        os.close(fd)
    fs.open_fds.clear()


def drop_cores(fs: FileSystem) -> None:
    """Forget what this process holds of stores opened on ``fs``, as its death would."""
    for identity, core in list(registry._cores.items()):
        if core.fs is fs:
            del registry._cores[identity]
            core._stop.set()
            core._wake.put(None)
            if core._thread is not None:
                core._thread.join()


def abandon(store: SessionStore | None) -> None:
    """Leave a handle as a dead process leaves it: not closed, and without a warning."""
    if store is not None:
        store._closed = True
        store._core = None


def close_quietly(store: SessionStore | None) -> None:
    """Close a handle that may be unable to."""
    if store is not None:
        with contextlib.suppress(Exception):
            store.close()
