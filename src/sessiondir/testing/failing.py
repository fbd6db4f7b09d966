"""A file system whose n-th call fails."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable
from typing import Any

from sessiondir.fs import F_UNLCK, LOCK_UN
from sessiondir.testing.watching import WatchedFileSystem

UNLOCKING = "unlock"
"""The kind of a call that lets a lock go."""

CLOSING = "close"
"""The kind of a call that closes a descriptor."""

ERRNOS = tuple(
    getattr(errno, name)
    for name in (
        "EIO", "ENOSPC", "EDQUOT", "EACCES", "EPERM", "EROFS", "EMFILE", "ENFILE", "EINTR", "ESTALE",
        "ENAMETOOLONG", "EBUSY",
    )
)  # fmt: skip
"""The errors that a store has to live with: broken, full, forbidden, exhausted, gone."""


class FailingFileSystem(WatchedFileSystem):
    """Fails calls, counted from ``arm`` on.

    ``count`` tells how many were counted, ``failed`` how many failed, ``failed_call`` the first that did.

    Only calls that ``kinds`` accepts are counted; ``kinds`` gets the call's kind (its name, or
    "unlock" for letting a lock go) and its arguments. A call of ``close`` fails after closing,
    as it does on Linux.
    """

    def __init__(self, *, real_sync: bool = False) -> None:
        super().__init__(real_sync=real_sync)
        self.disarm()

    def arm(
        self,
        nth: int,
        number: int,
        *,
        forever: bool = False,
        short: bool = False,
        kinds: Callable[[str, tuple[Any, ...]], bool] | None = None,
    ) -> None:
        """Fail the ``nth`` call from now (1 is the next) with errno ``number``, or that and all later ones.

        With ``short`` a failing ``pwrite`` first writes half of its bytes: once, it reports
        the short count and later calls succeed; for ever, every further write is refused.
        """
        self.count = 0
        self.failed = 0
        self.failed_call = ""
        self._plan: tuple[int, int, bool, bool] | None = (nth, number, forever, short)
        self._kinds = kinds

    def disarm(self) -> None:
        """All calls succeed again."""
        self.count = 0
        self.failed = 0
        self.failed_call = ""
        self._plan = None
        self._kinds = None

    def call(self, name: str, real: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Make the call, or fail it in its place."""
        plan = self._plan
        kind = kind_of(name, args)
        if plan is None or (self._kinds is not None and not self._kinds(kind, args)):
            return super().call(name, real, args, kwargs)
        self.count += 1
        nth, number, forever, short = plan
        if self.count < nth or (self.failed and not forever):
            return super().call(name, real, args, kwargs)
        self.failed += 1
        self.failed_call = self.failed_call or f"{kind} (call {self.count})"
        if short and name == "pwrite":
            fd, data, position = args
            half = len(data) // 2
            if self.failed == 1 and half:
                return super().call(name, real, (fd, bytes(data)[:half], position), kwargs)
        if name == "close":
            super().call(name, real, args, kwargs)
        raise OSError(number, os.strerror(number))


def kind_of(name: str, args: tuple[Any, ...]) -> str:
    """The name of a call, or ``"unlock"``."""
    if name == "flock" and args[1] & LOCK_UN:
        return UNLOCKING
    if name == "fcntl" and len(args) > 2 and struct.unpack_from("h", args[2])[0] == F_UNLCK:
        return UNLOCKING
    return name
