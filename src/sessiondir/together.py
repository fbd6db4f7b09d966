"""Calls that mostly wait for the disk, made by a few threads at once.

File systems gather: eight files synced one after the other take eight waits, and synced at
once hardly more than one.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from queue import SimpleQueue
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")
MANY = 8
"""Threads enough for a disk to gather what they wait for."""

_WAITING = 16
"""So many items are given and not done at most; they are held in memory."""


class Together(Generic[T]):
    """Has threads call ``work`` with each item that is given; use as a context manager.

    When the block has ended all calls are done. The first failure of any of them is raised by
    ``give`` or at the end of the block, and what was not begun by then is not done any more;
    so it is when the block is interrupted. No call goes on when the block was left.
    With no threads, and where none can be started, the caller's own makes the calls.
    """

    def __init__(self, work: Callable[[T], object], threads: int, name: str) -> None:
        self._work = work
        self._items: SimpleQueue[T | None] = SimpleQueue()
        self._room = threading.Semaphore(_WAITING)
        self._failure: BaseException | None = None
        self._threads: list[threading.Thread] = []
        try:
            for _ in range(threads if not sys.is_finalizing() else 0):
                thread = threading.Thread(target=self._run, name=name, daemon=True)
                try:
                    thread.start()
                except RuntimeError:
                    break  # the system gives no more
                self._threads.append(thread)
        except BaseException:
            for _ in range(threads):  # the last may run although it is not in the list yet
                self._items.put(None)
            raise

    def give(self, item: T) -> None:
        """Have ``item`` worked on soon; waits while too many others are."""
        if not self._threads:
            self._work(item)
            return
        self._room.acquire()
        self._raise_failure()
        self._items.put(item)

    def _run(self) -> None:
        while (item := self._items.get()) is not None:
            try:
                if self._failure is None:
                    self._work(item)
            except BaseException as exc:  # the giver's to handle, whatever it is
                self._failure = self._failure or exc
            finally:
                self._room.release()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        interruption: BaseException | None = None
        if kind is not None and not issubclass(kind, Exception):
            self._failure = self._failure or exc  # nobody wants what was not begun
        while True:
            try:
                self._end()
                break
            except BaseException as again:
                # Threads that went on behind the caller's back would write where it is tidying up.
                interruption = again
                self._failure = self._failure or again
        if interruption is not None:
            raise interruption
        if kind is None or issubclass(kind, Exception):
            self._raise_failure()

    def _end(self) -> None:
        """Wait until all calls are done; may be interrupted and called again."""
        for _ in self._threads:
            self._items.put(None)
        for thread in self._threads:
            thread.join()
