"""What a failed command says, and the exit code it ends with."""

from __future__ import annotations

import logging
import os
import traceback
from typing import Any, Final

import click

from sessiondir.cli import exit_codes, output
from sessiondir.errors import StoreError

DEBUG_VARIABLE: Final = "SESSIONDIR_DEBUG"


def report(exc: BaseException, *, as_json: bool) -> int:
    """Tell of ``exc`` on standard error, in one line or one JSON object; the exit code.

    The object is ``{"error": class name, "message": str, "exitCode": int, "retryable": bool}``
    and the facts that the exception carries, such as ``"session"`` or ``"path"``.
    """
    code, message, facts = _explain(exc)
    expected = isinstance(exc, KeyboardInterrupt | click.ClickException | click.Abort)
    if os.environ.get(DEBUG_VARIABLE) == "1" and not expected:
        output.note("".join(traceback.format_exception(exc)).rstrip("\n"))
    if as_json:
        kind = "Interrupted" if code == exit_codes.INTERRUPTED else type(exc).__name__
        retryable = isinstance(exc, StoreError) and exc.retryable
        told = {"error": kind, "message": message, "exitCode": code, "retryable": retryable}
        output.note(output.json_text({**told, **facts, **told}, indent=None))
    elif message:
        output.note(f"sessiondir: {output.clean(message)}")
    return code


def _explain(exc: BaseException) -> tuple[int, str, dict[str, Any]]:
    if isinstance(exc, StoreError):
        return exc.exit_code, exc.message, {_camel(name): value for name, value in exc.facts.items()}
    if isinstance(exc, click.UsageError):
        command = exc.ctx.command_path if exc.ctx is not None else "sessiondir"
        return exit_codes.USAGE, f"{exc.format_message().rstrip('.')}; see {command} --help", {}
    if isinstance(exc, click.ClickException):
        return exc.exit_code, exc.format_message(), {}
    if isinstance(exc, KeyboardInterrupt | click.Abort):
        return exit_codes.INTERRUPTED, "", {}
    if isinstance(exc, OSError):
        message = f"{exc.filename or 'system call'}: {exc.strerror or exc}"
        return exit_codes.SYSTEM, message, {"errno": exc.errno}
    what = " ".join(str(exc).split())
    text = f"unexpected {type(exc).__name__}: {what}; please report it, with what {DEBUG_VARIABLE}=1 shows"
    return exit_codes.UNEXPECTED, text, {}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


class WarningPrinter(logging.Handler):
    """Hands warnings, the library's and ours, to standard error in the form that errors have."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__(logging.WARNING)
        self._as_json = as_json

    def emit(self, record: logging.LogRecord) -> None:
        """Print one warning."""
        message = record.getMessage()
        if self._as_json:
            output.note(output.json_text({"warning": message}, indent=None))
        else:
            output.note(f"warning: {output.clean(message)}")
