"""When session files are brought level in the background, and how commits wait for that.

What a process remembers of a session until its file is level, it would keep without bound
if commits to ever new sessions came faster than files can be written. So a checkpoint that
has much to do comes early, and every commit beyond it waits a little, the longer the more.
"""

from __future__ import annotations

import logging
import queue
import threading
import weakref
from typing import Protocol

from sessiondir.clock import Clock
from sessiondir.errors import StoreError
from sessiondir.view import View

_log = logging.getLogger("sessiondir")
MANY_SESSIONS = 8192
"""With so many lagging session files a checkpoint comes early and commits begin to wait."""
_PAUSE_S = 1e-3
_LONGEST_PAUSE_S = 0.1
_SHORTEST_PAUSE_S = 5e-5
_LOOK_S = 1.0
_LONGEST_CHECKPOINT_SHARE = 10
"""A checkpoint that takes t is followed by at least 10 t without one."""


class Levelled(Protocol):
    """A core, to the background thread."""

    view: View
    clock: Clock
    failed: StoreError | None

    @property
    def path(self) -> str:
        """The store directory."""

    def checkpoint(self, timeout_s: float, *, youngest_s: float = 0.0, at_leisure: bool = False) -> bool:
        """Bring the session files level."""


def has_many_behind(view: View) -> bool:
    """Whether so many session files lag that a commit more may have to wait."""
    return len(view.dirty) >= MANY_SESSIONS


def pause_s(view: View) -> float:
    """How long the next commit of this thread waits, in seconds; 0 if the session files keep up.

    It grows with what lags, so that any number of writers comes down to what the checkpoint gets done.
    """
    pause = _PAUSE_S * (len(view.dirty) / MANY_SESSIONS - 1)
    return min(pause, _LONGEST_PAUSE_S) if pause > _SHORTEST_PAUSE_S else 0.0


def level_in_background(
    reference: weakref.ref[Levelled], wake: queue.SimpleQueue[None], stop: threading.Event, interval_s: float
) -> None:
    """Body of the background thread: a checkpoint a while after the first commit it has not seen."""
    pause = interval_s
    while True:
        wake.get()
        if _wait(reference, stop, pause):
            break
        while not wake.empty():
            wake.get()
        # Looked at after that: close() sets stop first, so its wake-up cannot be lost.
        core = reference()
        if stop.is_set() or core is None or core.failed is not None:
            break
        started = core.clock.monotonic()
        try:
            youngest_s = 0.8 * (min(interval_s, _LOOK_S) if has_many_behind(core.view) else interval_s)
            if not core.checkpoint(0, youngest_s=youngest_s, at_leisure=True):
                wake.put(None)
        except (OSError, StoreError) as exc:
            _log.error("checkpoint of %s: %s; commits go on, it is tried again", core.path, str(exc))
            wake.put(None)
        pause = max(interval_s, _LONGEST_CHECKPOINT_SHARE * (core.clock.monotonic() - started))
        del core
    wake.put(None)  # if starting this thread was interrupted there may be a second one


def _wait(reference: weakref.ref[Levelled], stop: threading.Event, pause: float) -> bool:
    """Wait ``pause`` seconds, or until much lags; whether to stop."""
    while pause > _LOOK_S:
        if stop.wait(_LOOK_S):
            return True
        pause -= _LOOK_S
        core = reference()  # not kept over a wait: a store that nobody holds must be able to go
        if core is None or has_many_behind(core.view):
            return False
    return stop.wait(pause)
