"""The settings that ``cleanup`` goes by: options, and the gateway's configuration."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from sessiondir.cli import output
from sessiondir.cli.options import Command
from sessiondir.cli.stores import AgentStore
from sessiondir.installation import Installation
from sessiondir.layout import store_path
from sessiondir.targets import discover

if TYPE_CHECKING:
    from sessiondir.maintenance import Policy

_SETTINGS = (
    ("prune-after", "pruneAfter", "DURATION", "Age at which sessions are stale; a bare number is days."),
    ("max-entries", "maxEntries", "N", "How many sessions may stay."),
    ("max-disk-bytes", "maxDiskBytes", "SIZE", "What the store may take on disk."),
    ("high-water-bytes", "highWaterBytes", "SIZE", "Where removing for --max-disk-bytes ends."),
    (
        "reset-archive-retention",
        "resetArchiveRetention",
        "DURATION",
        "Age at which .reset. archives go; or never.",
    ),
    ("trash-retention", "trashRetention", "DURATION", "How long removed sessions can be restored; or never."),
    ("cron-retention", "cronRetention", "DURATION", "Age at which single cron runs go; a bare number is hours."),
    ("grace", "grace", "DURATION", "What was updated within it is not evicted; a bare number is minutes."),
)


def settings_options(command: Command) -> Command:
    """``--config``, ``--no-config``, and an option for each setting, as the argument of the setting's name."""
    for option, name, metavar, text in reversed(_SETTINGS):
        command = click.option(f"--{option}", name, metavar=metavar, help=text)(command)
    command = click.option("--no-config", is_flag=True, help="Take no settings from the gateway's configuration.")(
        command
    )
    return click.option(
        "--config",
        metavar="PATH",
        help="Take the settings of session.maintenance from this file (JSON5).  "
        "[default: the gateway's, for its stores]",
    )(command)


def config_path(given: dict[str, Any], chosen: list[AgentStore]) -> str | None:
    """The configuration that settings come from: the one named, else the gateway's for the gateway's stores."""
    if given["config"] is not None and given["no_config"]:
        raise click.UsageError("--config and --no-config exclude each other")
    if given["config"] is not None or given["no_config"]:
        return given["config"]  # type: ignore[no-any-return]
    here = Installation.find(os.environ)
    if not os.path.lexists(here.config_path):
        return None
    known = {os.path.realpath(target.store_path) for target in discover(here)}
    is_gateways = any(os.path.realpath(store_path(one.path)[0]) in known for one in chosen)
    return here.config_path if is_gateways else None


def policy_of(given: dict[str, Any], config: str | None, *, dry_run: bool) -> Policy:
    """The policy of the configuration and the options.

    Raises ``UsageError`` rather than remove sessions by defaults that stand for settings nobody understood.
    """
    from sessiondir.maintenance import Policy, read_config

    settings: dict[str, Any] = {}
    problems: tuple[str, ...] = ()
    if config is not None:
        reading = read_config(config, env=os.environ)
        settings, problems = reading.settings, reading.problems
    for problem in problems:
        output.warn(problem)
    for _, name, _, _ in _SETTINGS:
        value = given[name]
        if value is not None:
            settings[name] = _value(name, value)
    if given["enforce"]:
        settings["mode"] = "enforce"
    policy = Policy.from_config(settings)
    if problems and policy.mode == "enforce" and not dry_run:
        raise click.UsageError(
            f"{config} has settings that cannot be used, so nothing was removed: correct them, or leave them out "
            "with --no-config and give what is to count as options"
        )
    return policy


def _value(name: str, text: str) -> Any:
    if name == "maxEntries" and text.strip().isascii() and text.strip().isdigit():
        return int(text)
    return False if text.strip().lower() == "never" and name.endswith("Retention") else text
