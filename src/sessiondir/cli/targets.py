"""Options that say which stores a command works on, for commands that take several."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from sessiondir.cli import exit_codes, output
from sessiondir.cli.options import STORE_VARIABLE, Common, not_blank
from sessiondir.errors import StoreNotFound

if TYPE_CHECKING:
    from sessiondir.errors import StoreError
    from sessiondir.targets import Target

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Chosen:
    """The stores that a command line names.

    ``several``: it could name more than one, so output says which store each line is of.
    ``named``: by their paths, not found. ``skipped`` is path and reason of places that were passed over.
    """

    targets: tuple[Target, ...]
    several: bool
    skipped: tuple[tuple[str, str], ...] = ()
    named: bool = False

    def __iter__(self) -> Iterator[Target]:
        return iter(self.targets)

    @property
    def path(self) -> str:
        """The one store's path, for commands that show a single one as they always did."""
        return self.targets[0].path

    def must_exist(self, target: Target) -> bool:
        """Whether it is a failure if the store is missing: not if an agent of many has none yet."""
        return not (self.several and target.configured)

    def skipped_as_json(self) -> list[dict[str, str]]:
        """What was skipped, for ``--json``."""
        return [{"path": path, "reason": reason} for path, reason in self.skipped]


def target_options(*names: str, default_agent: bool = False) -> Callable[[Command], Command]:
    """``--store`` (several times), ``--agent`` and ``--all-agents`` as the argument ``chosen`` (``Chosen``).

    ``names`` are further names of ``--all-agents``. Without any of them the store is that
    of ``--store`` before the command, or of the variable, else with ``default_agent`` that of the gateway's
    default agent. Contradictions are wrong use (2), and so is nothing at all.
    """

    default = f"${STORE_VARIABLE}" + (", else the default agent's" if default_agent else "")

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def with_targets(*, stores: tuple[str, ...], agent: str | None, all_agents: bool, **rest: Any) -> Any:
            return command(chosen=_choose(stores, agent, all_agents, default_agent), **rest)

        options = (
            click.option(
                "--store",
                "stores",
                metavar="PATH",
                multiple=True,
                callback=not_blank,
                help=f"A store, .../NAME.d or .../NAME.json; may be repeated.  [default: {default}]",
            ),
            click.option("--agent", metavar="ID", help="The store of one agent."),
            click.option(
                *names,
                "--all-agents",
                "all_agents",
                is_flag=True,
                help="All agents' stores, found on disk too.",
            ),
        )
        for option in options:
            with_targets = option(with_targets)
        return with_targets  # type: ignore[return-value]

    return decorate


def _choose(stores: tuple[str, ...], agent: str | None, all_agents: bool, default_agent: bool) -> Chosen:
    context = click.get_current_context()
    if not stores and (before := _store_before_the_command(context, agent is not None or all_agents)):
        stores = (before,)
    if not stores and agent is None and not all_agents and not default_agent:
        raise click.UsageError(
            f"no store given: use --store PATH, --agent ID or --all-agents, or set {STORE_VARIABLE}", context
        )
    from sessiondir.errors import InvalidOption
    from sessiondir.targets import Installation, select

    try:
        found = select(Installation.find(os.environ), stores=stores, agent=agent, all_agents=all_agents)
    except InvalidOption as exc:
        raise click.UsageError(str(exc), context) from exc
    if not stores and agent is None and not all_agents:
        _require_store(*found)
    skipped = tuple((one.path, one.reason) for one in found.skipped)
    for path, reason in skipped:
        output.warn(f"{path} was skipped: {reason}")
    several = all_agents or len(stores) > 1 or len(found) != 1
    return Chosen(found.targets, several, skipped, named=bool(stores))


def _require_store(target: Target) -> None:
    """Raise ``StoreNotFound`` with what can be done about it if the default agent has none."""
    if not os.path.lexists(target.path) and not os.path.lexists(target.store_path):
        raise StoreNotFound(
            f"agent {target.agent!r} has no store at {target.store_path}; name a store with --store or "
            f"{STORE_VARIABLE}, or an agent with --agent",
            path=target.store_path,
        )


def _store_before_the_command(context: click.Context, other: bool) -> str | None:
    """``--store`` of the whole command line; the variable only if nothing else names a store."""
    common = context.find_object(Common)
    group = context.find_root()
    if other and group.get_parameter_source("store") is ParameterSource.ENVIRONMENT:
        return None
    return common.store if common is not None else None


def first_failure(errors: Iterable[StoreError | None]) -> int:
    """The exit code of the first error, where each store's outcome is an error or None."""
    return next((error.exit_code for error in errors if error is not None), exit_codes.OK)
