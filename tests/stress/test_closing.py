"""G7, G12: closing a store ends, whatever its background thread is doing at that moment."""

from __future__ import annotations

import queue
import threading
import weakref

from harness.story import open_on
from harness.watched import QuickFs

from sessiondir import pacing

_BOUND_S = 10.0


class _ClosedMeanwhile(threading.Event):
    """A stop signal that is given just after the thread has seen that there is none."""

    def __init__(self, wake: queue.SimpleQueue[None]) -> None:
        super().__init__()
        self._wake = wake

    def wait(self, timeout: float | None = None) -> bool:
        if self.is_set():
            return True
        self.set()
        self._wake.put(None)
        return False


def test_a_close_between_two_looks_of_the_background_thread_is_noticed(store_path: str) -> None:
    """G12: the thread ends although it took the wake-up of close() for one of a commit."""
    with open_on(QuickFs(), store_path) as store:
        store.put("a", {"n": 1})
        wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        stop = _ClosedMeanwhile(wake)
        threading.Event().wait(0.1)  # older than what a checkpoint leaves for the next one
        wake.put(None)
        arguments = (weakref.ref(store._core), wake, stop, 0.01)
        thread = threading.Thread(target=pacing.level_in_background, args=arguments, daemon=True)
        thread.start()
        thread.join(_BOUND_S)
        ended = not thread.is_alive()
        wake.put(None)
        thread.join(_BOUND_S)
    assert ended, "close() would wait for ever"


def test_closing_right_when_a_checkpoint_is_due_ends(store_path: str) -> None:
    """G12: many closes at the moment when the background thread wakes all come to an end."""
    stuck = []
    for number in range(150):
        store = open_on(QuickFs(), store_path, checkpoint_interval=0.002)
        store.put("a", {"n": number})
        threading.Event().wait(0.0018 + 0.000005 * number)
        closing = threading.Thread(target=store.close, daemon=True)
        closing.start()
        closing.join(_BOUND_S)
        if closing.is_alive():
            stuck.append(number)
            break
    assert not stuck
