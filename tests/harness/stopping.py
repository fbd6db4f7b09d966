"""A file system that stops at the n-th call: the simulated death of a process."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from harness.watched import WatchedFs, abandon, drop_cores
from sessiondir import SessionStore


class Dead(BaseException):
    """The process is dead: nothing it would still do reaches the disk."""


class StopFs(WatchedFs):
    """Dies in place of call number ``stop_at`` (1 is the first), or, with ``torn``, half-way through it.

    After death every call raises, so that no cleanup touches the disk. ``bury`` closes the
    descriptors, which frees the locks, as the kernel does. Closing is not counted: dying before
    it leaves the disk as dying before the next call does.
    """

    def __init__(self, stop_at: int = 0, *, torn: bool = False) -> None:
        super().__init__()
        self.stop_at = stop_at
        self.torn = torn
        self.count = 0
        self.dead = False
        self.last = ""

    def call(self, name: str, real: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if name == "close":
            return None if self.dead else super().call(name, real, args, kwargs)  # bury() does it
        if self.dead:
            raise Dead
        self.count += 1
        if self.count == self.stop_at:
            self.last = name
            if self.torn and name == "pwrite":
                fd, data, position = args
                os.pwrite(fd, bytes(data)[: max(1, len(data) * 2 // 3)], position)
            self.dead = True
            raise Dead
        return super().call(name, real, args, kwargs)

    def bury(self, store: SessionStore | None = None) -> None:
        """Close what the dead process had open."""
        self.dead = True
        abandon(store)
        drop_cores(self)
        for fd in self.open_fds:
            os.close(fd)
        self.open_fds.clear()
