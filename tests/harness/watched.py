"""Leaving stores as a dead process leaves them."""

from __future__ import annotations

import contextlib
import gc
from typing import Protocol

from sessiondir import SessionStore
from sessiondir.testing import WatchedFileSystem


class Closing(Protocol):
    """What has an end."""

    def close(self) -> None: ...


class QuickFs(WatchedFileSystem):
    """The real file system without waiting for the disk, for opening many images."""


def leave(store: SessionStore | None, fs: WatchedFileSystem) -> None:
    """Let go of everything opened through ``fs`` as the death of a process does."""
    fs.leave(store)


def drop_cores(fs: WatchedFileSystem) -> None:
    """Forget what this process holds of stores opened on ``fs``, as its death would."""
    fs.forget()


def close_quietly(store: Closing | None) -> None:
    """Close a handle that may be unable to."""
    if store is not None:
        with contextlib.suppress(Exception):
            store.close()


def leaked(fs: WatchedFileSystem) -> set[int]:
    """Descriptors that nothing will ever close."""
    if fs.open_fds:
        gc.collect()
    return fs.open_fds
