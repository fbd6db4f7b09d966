"""Options that several commands share, and opening the store that they name."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from sessiondir.cli import output
from sessiondir.errors import StoreError

if TYPE_CHECKING:
    from sessiondir.store import SessionStore

STORE_VARIABLE: Final = "SESSIONDIR_STORE"

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Common:
    """What was given before the command's name; the command's own options come first."""

    store: str | None = None
    as_json: bool = False


def common_options(context: click.Context | None = None) -> Common:
    """What was given before the name of the running command."""
    return (context or click.get_current_context()).find_object(Common) or Common()


def _as_json(context: click.Context, _parameter: click.Parameter, value: bool) -> bool:
    return value or common_options(context).as_json


def store_option(command: Command) -> Command:
    """``--store PATH`` and ``--agent ID`` as the argument ``path``, never None or blank: the one store they mean.

    Without either it is the variable's store, else the default agent's.
    """

    @functools.wraps(command)
    def with_store(*, path: str | None, agent: str | None, **rest: Any) -> Any:
        return command(path=_one_store(path, agent), **rest)

    return store_or_agent(with_store)  # type: ignore[return-value]


def _one_store(path: str | None, agent: str | None) -> str:
    if agent is None and (named := path or common_options().store):
        return named
    from sessiondir.cli.stores import choose

    return choose(path, agent).stores()[0].path


def not_blank(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """A path that was typed: a blank one is most likely a shell's unset variable, and means no other store."""
    for one in value if isinstance(value, tuple) else (value,):
        if one is not None and not one.strip():
            raise click.BadParameter("the path is empty", context, parameter)
    return value


def store_or_agent(command: Command) -> Command:
    """``--store PATH`` and ``--agent ID`` as the arguments ``path`` and ``agent``, text or None."""
    command = click.option(
        "--agent",
        metavar="ID",
        help="The store of this agent, in the gateway's state directory.  [default: its default agent]",
    )(command)
    return click.option(
        "--store",
        "path",
        metavar="PATH",
        callback=not_blank,
        help=f"The store: .../NAME.d, or a legacy .../NAME.json.  [default: ${STORE_VARIABLE}, else the agent's]",
    )(command)


def json_option(command: Command) -> Command:
    """``--json`` as the argument ``as_json``."""
    option = click.option(
        "--json", "as_json", is_flag=True, callback=_as_json, help="Print JSON; errors as a JSON object, too."
    )
    return option(command)


def timeout_option(command: Command) -> Command:
    """``--lock-timeout SECONDS`` as the argument ``lock_timeout``."""
    option = click.option(
        "--lock-timeout",
        metavar="SECONDS",
        type=click.FloatRange(min=0),
        default=10.0,
        show_default=True,
        help="How long to wait for a busy lock; 0 tries once.",
    )
    return option(command)


def if_version_option(command: Command) -> Command:
    """``--if-version N`` as the argument ``if_version``: an int or None."""
    option = click.option(
        "--if-version",
        metavar="N",
        type=click.IntRange(min=0),
        help="Only if the session's version is N; 0: only if there is no such session.",
    )
    return option(command)


def dry_run_option(command: Command) -> Command:
    """``--dry-run`` as the argument ``dry_run``."""
    return click.option("--dry-run", is_flag=True, help="Show what would be done; change nothing.")(command)


def examples(*lines: str) -> str:
    """The end of a command's help; the mark keeps click from re-wrapping it."""
    return "\n".join(["\b", "Examples:", *(f"  $ {line}" for line in lines)])


def open_for_reading(path: str) -> SessionStore:
    """Open a store that must exist; nothing in it will be written."""
    from sessiondir.store import SessionStore

    return SessionStore.open(path, create=False, read_only=True)


@contextmanager
def open_for_writing(path: str, lock_timeout: float) -> Iterator[SessionStore]:
    """Open a store that must exist. ``lock_timeout`` in seconds.

    The first change of an unmigrated legacy store migrates it, which is told on the way out.
    """
    from sessiondir.store import SessionStore

    store = SessionStore.open(path, create=False, lock_timeout=lock_timeout)
    unmigrated = not os.path.isdir(store.path)
    try:
        yield store
    except BaseException:
        # What went wrong first is what to report, not that closing failed for the same reason.
        with suppress(StoreError):
            store.close()
        raise
    try:
        store.close()
    except StoreError as exc:
        # The change is committed and durable: to call it failed would have it made twice.
        number = getattr(exc, "errno", None)
        reason = os.strerror(number) if number else str(exc)
        output.warn(f"committed, but the session files could not be brought level: {reason}; the journal has it")
    if unmigrated and os.path.isdir(store.path):
        output.warn(f"the legacy store was migrated to {store.path}; see sessiondir info")
