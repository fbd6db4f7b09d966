"""Exceptions out of nowhere: what a signal handler that raises does to the code it interrupts.

CPython runs a pending signal handler after a call has returned, at the start of a function
and on a backward jump; nowhere else. Each of these is a *moment*. An ``Interruption``
raises at one of them, counted from its beginning, and so stands for a handler that happened
to run exactly there. Moments in the standard library's own code (``threading``,
``contextlib``) count too, if the package called it. A handler that runs inside a system
call, which the signal interrupts, is what ``InterruptedCalls`` is for.
"""

from __future__ import annotations

import contextlib
import dis
import functools
import gc
import os
import sys
import threading
from types import CodeType, FrameType, TracebackType
from typing import Any

import sessiondir
from harness.watched import QuickFs
from sessiondir.errors import StoreError

_PACKAGE = os.path.dirname(sessiondir.__file__) + os.sep
_SEAM = _PACKAGE + "testing" + os.sep
"""What stands for the system itself: a handler never runs in the middle of a system call's own work."""
_LIBRARY = frozenset((contextlib.__file__, threading.__file__))


class Interrupt(BaseException):
    """What the handler raises."""


class Interruption:
    """Raises ``error`` inside its block at moment number ``at`` (1 is the first).

    Afterwards ``reached`` tells whether there were that many, ``function`` and ``where`` which one it was.
    The error, or what the store made of it, does not leave the block; ``error`` keeps it and its traceback.
    """

    def __init__(self, at: int, error: type[BaseException] = Interrupt) -> None:
        self._left = at
        self._error = error
        self.reached = False
        self.function = self.where = ""
        self.error: BaseException | None = None

    def __enter__(self) -> Interruption:
        self._caller = sys._getframe(1).f_code.co_filename
        self._collecting = gc.isenabled()
        gc.disable()  # what a collection calls is no part of the call, and must not be interrupted
        self._before = sys.gettrace()
        sys.settrace(self._begin_frame)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> bool:
        sys.settrace(self._before)
        if self._collecting:
            gc.enable()
        self.error = exc
        expected = (self._error, StoreError)
        if self.where.startswith("threading.py"):
            expected += (RuntimeError,)  # the locks of a Condition do not survive it
        return self.reached and isinstance(exc, expected)

    def _begin_frame(self, frame: FrameType, event: str, arg: Any) -> Any:
        name = frame.f_code.co_filename
        package = name.startswith(_PACKAGE) and not name.startswith(_SEAM)
        ours = package or name in _LIBRARY or name == self._caller
        if not ours or _in_finaliser(frame):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        code = frame.f_code
        operations, handlers = _operations(code), _handlers(code)
        before = -1
        self._count(frame)

        def follow(frame: FrameType, event: str, arg: Any) -> Any:
            nonlocal before
            if event == "opcode":
                now = frame.f_lasti
                # Here ``now`` has not been carried out. After a call the handler raises under the call's
                # own exception handlers; only if the next operation has the same can it stand in.
                if _jumps_back(operations[now]) or (
                    before >= 0 and _is_call(operations[before]) and handlers[before] == handlers[now]
                ):
                    self._count(frame)
                before = now
            return follow

        return follow

    def _count(self, frame: FrameType) -> None:
        self._left -= 1
        if self._left == 0:
            self.reached = True
            self.function = f"{frame.f_code.co_filename.rpartition('/')[2]} {frame.f_code.co_name}"
            self.where = f"{self.function}, line {frame.f_lineno}"
            raise self._error


@functools.cache
def _operations(code: CodeType) -> dict[int, str]:
    return {one.offset: one.opname for one in dis.get_instructions(code)}


@functools.cache
def _handlers(code: CodeType) -> dict[int, int | None]:
    found: dict[int, int | None] = dict.fromkeys(_operations(code))
    for entry in dis.Bytecode(code).exception_entries:  # type: ignore[attr-defined]
        found |= {offset: entry.target for offset in found if entry.start <= offset < entry.end}
    return found


def _is_call(operation: str) -> bool:
    return operation.startswith("CALL") and not operation.startswith("CALL_INTRINSIC")


def _jumps_back(operation: str) -> bool:
    return "JUMP_BACKWARD" in operation and "NO_INTERRUPT" not in operation


def _in_finaliser(frame: FrameType | None) -> bool:
    """Whether a frame is below ``__del__`` or a weak reference's callback, whose exceptions go nowhere."""
    while frame is not None:
        if frame.f_code.co_name in ("__del__", "_remove"):
            return True
        frame = frame.f_back
    return False


class InterruptedCalls(QuickFs):
    """The real file system, with a handler that raises inside a system call, which then did nothing."""

    def __init__(self) -> None:
        super().__init__()
        self._left = 0
        self._error: type[BaseException] = Interrupt
        self.where = ""

    def arm(self, at: int, error: type[BaseException] = Interrupt) -> None:
        """Call number ``at`` from now raises ``error`` (1 is the next; 0: none does). ``close`` does not wait."""
        self._left, self._error, self.where = at, error, ""

    def call(self, name: str, real: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._left -= name != "close"
        if self._left == 0 and name != "close":
            self.where = name
            raise self._error
        return super().call(name, real, args, kwargs)
