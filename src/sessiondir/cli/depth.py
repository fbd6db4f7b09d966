"""``sessiondir depth``"""

from __future__ import annotations

import os

import click

from sessiondir.cli import output
from sessiondir.cli.options import examples, json_option, store_or_agent
from sessiondir.cli.stores import agent_stores, choose
from sessiondir.sessions.ids import agent_id


@click.command(
    epilog=examples(
        "sessiondir depth agent:main:subagent:1f0e2d3c-4b5a-4697-8877-665544332211",
        "sessiondir depth --store sessions.d agent:main:main",
    )
)
@click.argument("key")
@json_option
@store_or_agent
def depth(*, key: str, path: str | None, agent: str | None, as_json: bool) -> None:
    """Tell how deep the session KEY is nested below the one that a person talks to; 0 is that one.

    KEY may be a session id. With a store, only that is asked; else the chain is followed
    through the stores of all agents, and --agent says whose a key without an agent is. What
    cannot be read counts as empty here, with a warning; a legacy file may be JSON5.
    """
    from sessiondir.sessions.depth import session_depth
    from sessiondir.sessions.state import read_entries

    def entries(store_path: str) -> dict[str, object]:
        return read_entries(store_path, allow_json5=True, tolerant=True)

    choice = choose(path, agent)
    if choice.path is not None:
        found = session_depth(key, entries(choice.stores()[0].path))
    else:
        paths = {store.agent: store.path for store in agent_stores(os.environ)}
        found = session_depth(
            key,
            default_agent=agent_id(choice.agent),
            open_agent=lambda name: entries(paths[name]) if name in paths else {},
        )
    if as_json:
        output.print_json({"key": key, "depth": found})
    else:
        output.echo(str(found))
