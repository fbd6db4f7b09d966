"""The real file system with every call passing through one place."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Protocol

from sessiondir import registry
from sessiondir.fs import SYSTEM_FS, FileSystem

CALLS = tuple(name for name, value in vars(FileSystem).items() if isinstance(value, staticmethod))
"""Names of all system calls that the package may make about files."""

CHANGING = frozenset(
    ("pwrite", "ftruncate", "fchmod", "fchown", "mkdir", "rmdir", "rename", "link", "unlink", "fsync", "fdatasync")
)
"""Calls that alter something on disk; ``open`` with ``O_CREAT`` or for writing comes on top."""

_SYNCS = ("fsync", "fdatasync")


class Handle(Protocol):
    """A ``SessionStore`` or something else that was opened on a file system."""

    _closed: bool
    _core: Any


def alters(name: str, args: tuple[Any, ...]) -> bool:
    """Whether a call writes, or asks for the right to."""
    if name == "open":
        return bool(args[1] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))
    return name in CHANGING


class WatchedFileSystem(FileSystem):
    """Real calls, noted one by one; the others in this package build on it.

    ``calls`` lists their names, ``altering`` those that write, ``open_fds`` the descriptors that
    were opened and not closed. Syncs do nothing unless ``real_sync``, so that tests are quick:
    what syncs are for is shown by ``PowerLossFileSystem``. A subclass overrides ``call``.

    Two file systems are as two processes: handles of one store on different ones share no
    cache, and their locks exclude each other.
    """

    def __init__(self, *, real_sync: bool = False) -> None:
        self.calls: list[str] = []
        self.altering: list[str] = []
        self.open_fds: set[int] = set()
        self.abandoned = False
        for name in CALLS:
            real = getattr(FileSystem, name)
            if name in _SYNCS and not real_sync:
                real = _check_descriptor
            setattr(self, name, self._wrap(name, real))

    def _wrap(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            return self.call(name, real, args, kwargs)

        return call

    def call(self, name: str, real: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Make the call ``name``; ``real`` is what does it."""
        if name == "close" and self.abandoned:
            return None
        self.calls.append(name)
        if alters(name, args):
            self.altering.append(name)
        if name == "close":
            self.open_fds.discard(args[0])  # before, as another thread may be given its number at once
        result = real(*args, **kwargs)
        if name == "open":
            self.open_fds.add(result)
        return result

    def leave(self, *handles: Handle | None) -> None:
        """Let go of everything opened through this file system as the death of a process does.

        Nothing is written any more. Descriptors are closed, which frees the locks; ``handles`` (those
        on this file system) count as closed without having been closed.
        """
        for handle in handles:
            if handle is not None:
                handle._closed = True
                handle._core = None
        self.forget()
        self.abandoned = True
        for fd in self.open_fds:
            SYSTEM_FS.close(fd)
        self.open_fds.clear()

    def forget(self) -> None:
        """Forget what this process holds of stores opened on this file system; descriptors stay open."""
        for identity, core in list(registry._cores.items()):
            if core.fs is self:
                del registry._cores[identity]
                core._stop.set()
                core._wake.put(None)
                if core._thread is not None:
                    core._thread.join()


def _check_descriptor(fd: int) -> None:
    SYSTEM_FS.fstat(fd)
