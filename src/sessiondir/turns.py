"""Taking turns on a session that several processes update without a pause.

Whoever lets a session go and wants it again at once is quicker than those who wait, because
they only look now and then. So a waiting process marks the session, with a shared lock on
a byte of its own, which dies with it. Who takes the session looks for marks once a turn, and
lets those who wait come first. The mark is a courtesy: nothing else rests on it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from sessiondir.clock import Clock
from sessiondir.fs import range_request
from sessiondir.layout import WAIT_MARKS_FROM, KeyRef
from sessiondir.lockfile import LockFile

TURN_S = 0.002
"""How often, at most, a process that updates one session without a pause looks for marks."""
_GIVE_WAY_S = 0.004
"""At most so long a session stays free for the others to take it; they look once a millisecond or more."""
_LOOK_S = 100e-6


class Turns:
    """The turns of one process."""

    def __init__(self, file: LockFile, clock: Clock) -> None:
        self._file = file
        self._clock = clock

    def give_way(self, ref: KeyRef, now: float) -> None:
        """Begin a new turn; if another process waits for the session, stay away until it has it."""
        try:
            if not self._file.is_in_the_way(ref.mark):
                ref.turn_ends = now + TURN_S
                return
        except OSError:
            pass  # courtesy must not fail an update
        for pause_s in self.giving_way(ref, now):
            self._clock.sleep(pause_s)

    def giving_way(self, ref: KeyRef, now: float) -> Iterator[float]:
        """The pauses of ``give_way``, in seconds, for a caller who sleeps in his own way."""
        end = now + _GIVE_WAY_S
        file, position = self._file, ref.position
        with contextlib.suppress(OSError):  # courtesy must not fail an update
            while file.is_in_the_way(ref.mark) and now < end:
                if file.is_taken(position):
                    break
                yield _LOOK_S
                now = self._clock.monotonic()
        ref.turn_ends = now + TURN_S

    def mark(self, ref: KeyRef) -> None:
        """Say that this process waits for the session."""
        with contextlib.suppress(OSError):
            self._file.share_byte(ref.position + WAIT_MARKS_FROM)

    def unmark(self, ref: KeyRef) -> None:
        """Take back ``mark``."""
        position = ref.position + WAIT_MARKS_FROM
        with contextlib.suppress(OSError):
            self._file.release_byte(position, range_request(position, unlock=True))

    @staticmethod
    def pause_s(waited_s: float, *, had_turn: bool = False) -> float:
        """How long to wait before the next look: who has waited longest looks most often, to get the next turn.

        At first a moment, as most callbacks take no longer; but who comes from a turn of his own
        (``had_turn``) leaves the others theirs. After a quarter of a second, which is longer than
        any number of turns, somebody is at it who does not take turns, and looking often is in vain.
        """
        if waited_s < 0.0004 and not had_turn:
            return 60e-6
        if waited_s < 0.008:
            return 1e-3
        return 200e-6 if waited_s < 0.25 else 2e-3
