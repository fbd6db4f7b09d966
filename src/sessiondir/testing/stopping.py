"""A file system that stops at the n-th call: the simulated death of a process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from sessiondir.testing.failing import UNLOCKING, kind_of
from sessiondir.testing.watching import Handle, WatchedFileSystem


class Stopped(BaseException):
    """The process is dead: nothing it would still do reaches the disk."""


class StoppingFileSystem(WatchedFileSystem):
    """Dies in place of call number ``stop_at`` (1 is the first), or, with ``torn``, half-way through it.

    From then on every call raises ``Stopped``, so that no cleanup touches the disk; ``last`` names
    the call. Only letting go of a lock does nothing instead: the file stays locked, and the other
    threads of the dead process find out at their next call rather than wait for a mutex.
    ``bury`` closes the descriptors, which frees the locks, as the kernel does. Closing is
    not counted: dying before it leaves the disk as dying before the next call does.
    Open stores with a ``checkpoint_interval`` that is never reached: a thread in the background makes
    calls of its own, so that call n is another one in each run.
    ``count`` is how many calls there were; a run with ``stop_at=0`` tells how many ways to die it has.
    """

    def __init__(self, stop_at: int = 0, *, torn: bool = False) -> None:
        super().__init__()
        self.stop_at = stop_at
        self.torn = torn
        self.count = 0
        self.dead = False
        self.last = ""
        self._counting = threading.Lock()

    def call(self, name: str, real: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Make the call, or die in its place."""
        if name == "close":
            return None if self.dead else super().call(name, real, args, kwargs)  # bury() does it
        if self.dead:
            if kind_of(name, args) == UNLOCKING:
                return None
            raise Stopped
        with self._counting:
            self.count += 1
            dies = self.count == self.stop_at
        if dies:
            self.last = name
            if self.torn and name == "pwrite":
                fd, data, position = args
                real(fd, bytes(data)[: max(1, len(data) * 2 // 3)], position)
            self.dead = True
            raise Stopped
        return super().call(name, real, args, kwargs)

    def bury(self, *handles: Handle | None) -> None:
        """Close what the dead process had open, ``handles`` included."""
        self.dead = True
        self.leave(*handles)
