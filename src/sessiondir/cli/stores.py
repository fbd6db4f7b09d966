"""Which stores a command looks at: the one named, one agent's, or those of all agents."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import click
from click.core import ParameterSource

from sessiondir.cli import output
from sessiondir.cli.options import STORE_VARIABLE, common_options
from sessiondir.errors import StoreNotFound
from sessiondir.installation import Installation
from sessiondir.layout import store_path
from sessiondir.sessions.ids import DEFAULT_AGENT, agent_id
from sessiondir.sessions.keys import parse_key
from sessiondir.targets import discover


@dataclass(frozen=True, slots=True)
class AgentStore:
    """A store and the agent whose it is; ``path`` is that of the legacy file, there or not."""

    agent: str
    path: str


@dataclass(frozen=True, slots=True)
class Choice:
    """What the options say: a path, an agent, all agents, or nothing."""

    path: str | None
    agent: str | None
    all_agents: bool = False

    def stores(self) -> list[AgentStore]:
        """The stores to look at. Raises ``StoreNotFound`` if what was named is not there."""
        if self.path is not None:
            directory, legacy = store_path(self.path)
            if not os.path.lexists(directory) and not os.path.lexists(legacy):
                raise StoreNotFound(f"there is no store at {directory} and no {legacy}", path=directory)
            return [AgentStore(DEFAULT_AGENT, self.path)]
        found = agent_stores(os.environ)
        if self.all_agents:
            return found
        wanted = agent_id(self.agent) if self.agent is not None else default_agent(os.environ)
        chosen = [one for one in found if one.agent == wanted]
        if chosen:
            return chosen
        where = Installation.find(os.environ).agents_dir
        known = ", ".join(one.agent for one in found) or "none"
        raise StoreNotFound(
            f"agent {wanted!r} has no store in {where} (agents with one: {known}); name a store with --store "
            f"or {STORE_VARIABLE}",
            path=where,
        )

    def store_of(self, key: str) -> str:
        """The path of the store that a session is in; without options the key tells the agent."""
        if self.path is None and self.agent is None:
            parsed = parse_key(key)
            return Choice(None, parsed.agent_id if parsed is not None else None).stores()[0].path
        return self.stores()[0].path


def choose(path: str | None, agent: str | None, *, all_agents: bool = False) -> Choice:
    """What the options of the running command say. Raises ``UsageError`` if they contradict each other.

    A store in the environment counts only where no agent is named.
    """
    context = click.get_current_context()
    common = common_options(context)
    typed = context.find_root().get_parameter_source("store") is ParameterSource.COMMANDLINE
    by_agent = agent is not None or all_agents
    if agent is not None and all_agents:
        raise click.UsageError("--agent and --all-agents cannot be used together", context)
    if by_agent and (path is not None or (common.store is not None and typed)):
        raise click.UsageError("--store cannot be combined with --agent or --all-agents", context)
    return Choice(path or (None if by_agent else common.store), agent, all_agents)


def default_agent(environ: Mapping[str, str]) -> str:
    """The agent that is meant where none is named. Raises ``CorruptFile`` if the configuration does not tell."""
    here = Installation.find(environ)
    if here.problem is not None:
        raise here.problem
    return here.config.default_agent


def agent_stores(environ: Mapping[str, str]) -> list[AgentStore]:
    """The stores that exist: configured agents' first, then every agent's in the state directory."""
    here = Installation.find(environ)
    found = discover(here)
    for place in found.skipped:
        output.warn(f"{place.path} was skipped: {place.reason}")
    return [
        AgentStore(target.agent, target.path)
        for target in found
        if os.path.isfile(target.path) or os.path.isdir(target.store_path)
    ]
