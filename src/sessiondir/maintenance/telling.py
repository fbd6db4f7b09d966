"""What maintenance tells the program, each thing once for as long as it holds."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

_log = logging.getLogger("sessiondir")
_TOLD = 10_000
Identity = tuple[str, ...]
"""What makes two notices the same: the kind, and what it is about."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that the keeper tells.

    ``kind``: "session": a session that was just changed would go (mode "warn"); "store": how many
    would go; "unmet": a bound cannot be met; "stopped": a clock is not believed and nothing is
    deleted; "failed": a round failed and is tried again. ``key`` and ``rule`` are given for a session.
    """

    kind: Literal["session", "store", "unmet", "stopped", "failed"]
    message: str
    key: str | None = None
    rule: str | None = None


class Teller:
    """Hands notices on, from any thread, and remembers which.

    What ``on_notice`` raises is logged and goes no further: a write that is told of has happened.
    """

    def __init__(self, on_notice: Callable[[Notice], object] | None) -> None:
        self._on_notice = on_notice or _log_notice
        self._lock = threading.Lock()
        self._told: dict[Identity, int] = {}
        """With the round in which it was told."""
        self._rules: dict[str, Identity] = {}
        """Sessions that were told of."""
        self._round = 0

    def begin_round(self) -> None:
        """What is told from now on is not taken back by this round, which may not know of it."""
        with self._lock:
            self._round += 1

    def tell(self, identity: Identity, notice: Notice) -> None:
        """Tell it, unless it was told already."""
        with self._lock:
            if identity in self._told:
                return
            if len(self._told) >= _TOLD:
                # Told twice is better than not at all.
                self._drop([next(iter(self._told))])
            self._told[identity] = self._round
            if notice.kind == "session" and notice.key is not None:
                self._rules[notice.key] = identity
        try:
            self._on_notice(notice)
        except Exception as exc:
            _log.error("on_notice raised %s: %s", type(exc).__name__, str(exc))

    def is_told_of(self, key: str) -> bool:
        """Whether a session was told of and may have to be taken back."""
        return key in self._rules

    def take_back(self, key: str) -> None:
        """A session no longer would go: the next time is told again."""
        with self._lock:
            identity = self._rules.pop(key, None)
            if identity is not None:
                self._told.pop(identity, None)

    def keep_only(self, holds: Iterable[Identity]) -> None:
        """What no longer holds is told again the next time; failures are taken back by ``recovered``."""
        kept = set(holds)
        with self._lock:
            self._drop(
                identity
                for identity, told in self._told.items()
                if identity[0] != "failed" and identity not in kept and told < self._round
            )

    def recovered(self) -> None:
        """A round has come to its end: the next failure is told again."""
        with self._lock:
            self._drop(identity for identity in self._told if identity[0] == "failed")

    def _drop(self, over: Iterable[Identity]) -> None:
        for identity in list(over):
            del self._told[identity]
            if identity[0] == "session" and self._rules.get(identity[1]) == identity:
                del self._rules[identity[1]]


def _log_notice(notice: Notice) -> None:
    _log.warning("%s", notice.message)
