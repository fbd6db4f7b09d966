"""``sessiondir sessions``"""

from __future__ import annotations

import re
from typing import Any

import click

from sessiondir.cli import output
from sessiondir.cli.options import examples, json_option, store_or_agent
from sessiondir.cli.output import Column
from sessiondir.cli.session_rows import (
    MEMBERS,
    Row,
    age_text,
    finished,
    flags_text,
    is_active,
    row_of,
    short_key,
    tokens_text,
    updated_at_of,
)
from sessiondir.cli.stores import AgentStore, choose
from sessiondir.clock import SYSTEM_CLOCK
from sessiondir.errors import StoreError

_COLUMNS = (
    Column("AGENT"),
    Column("KIND"),
    Column("SESSION"),
    Column("AGE"),
    Column("MODEL"),
    Column("TOKENS (CTX %)"),
    Column("FLAGS", gives_way=True),
)
_LEADING_INTEGER = re.compile(r"\s*([+-]?[0-9]+)")


def _minutes(_context: click.Context, _parameter: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    found = _LEADING_INTEGER.match(value)
    if found is None or int(found[1]) <= 0:
        raise click.BadParameter(f"{value!r} is not a positive number of minutes")
    return int(found[1])


@click.command(
    epilog=examples(
        "sessiondir sessions",
        "sessiondir sessions --agent ops --active 60",
        "sessiondir sessions --all-agents --json | jq -r '.sessions[].key'",
    )
)
@click.option("--active", metavar="MINUTES", callback=_minutes, help="Only sessions updated in the last MINUTES.")
@click.option("--all-agents", is_flag=True, help="The stores of all agents in the gateway's state directory.")
@click.option("--default-model", metavar="NAME", help="Shown for sessions that name no model.")
@click.option(
    "--context-tokens",
    metavar="N",
    type=click.IntRange(min=1),
    help="Size of the context window where the session does not tell.",
)
@json_option
@store_or_agent
def sessions(
    *,
    path: str | None,
    agent: str | None,
    all_agents: bool,
    active: int | None,
    default_model: str | None,
    context_tokens: int | None,
    as_json: bool,
) -> int:
    """List what the gateway knows of its sessions, the latest first: kind, age, model, tokens, flags.

    Reads only, without a lock; a legacy file need not be migrated. With several stores one that
    cannot be read is told of, and the others are listed.
    """
    stores = choose(path, agent, all_agents=all_agents).stores()
    rows, code = _read(stores)
    rows = [row for row in rows if active is None or is_active(row, active)]
    rows.sort(key=lambda row: -updated_at_of(row))
    rows = [finished(row, default_model, context_tokens) for row in rows]
    several = all_agents or len(stores) > 1
    if as_json:
        output.print_json(_as_json(rows, stores, active, several=several, all_agents=all_agents))
        return code
    _print(rows, stores, active, several=several)
    return code


def _read(stores: list[AgentStore]) -> tuple[list[Row], int]:
    from sessiondir.sessions.state import read_members

    now_ms = int(SYSTEM_CLOCK.now() * 1000)
    rows: list[Row] = []
    code = 0
    for store in stores:
        try:
            entries = read_members(store.path, MEMBERS)
        except StoreError as exc:
            if len(stores) == 1:
                raise
            output.warn(f"the store of agent {store.agent!r} is left out: {exc}")
            code = exc.exit_code
            continue
        found = [row_of(key, entry, store.agent, now_ms) for key, entry in entries.items()]
        rows += sorted(found, key=lambda row: -updated_at_of(row))
    return rows, code


def _as_json(
    rows: list[Row], stores: list[AgentStore], active: int | None, *, several: bool, all_agents: bool
) -> dict[str, Any]:
    told: dict[str, Any] = {"path": None if several else stores[0].path}
    if several:
        told["stores"] = [{"agentId": store.agent, "path": store.path} for store in stores]
    if all_agents:
        told["allAgents"] = True
    return {**told, "count": len(rows), "activeMinutes": active, "sessions": rows}


def _print(rows: list[Row], stores: list[AgentStore], active: int | None, *, several: bool) -> None:
    if several:
        agents = ", ".join(store.agent for store in stores)
        output.note(f"{len(stores)} session stores ({output.clean(agents)})" if stores else "no session stores")
    else:
        output.note(f"session store: {output.clean(stores[0].path)}")
    if active is not None:
        output.note(f"only the last {active} minutes")
    if not rows:
        output.note("no sessions")
        return
    columns = _COLUMNS if several else _COLUMNS[1:]
    output.print_table(columns, (_cells(row, several=several) for row in rows))


def _cells(row: Row, *, several: bool) -> list[Any]:
    cells = [
        row["agentId"],
        row["kind"],
        short_key(row["key"]) if output.on_terminal() else row["key"],
        age_text(row["ageMs"]),
        row["model"] or "unknown",
        tokens_text(row["totalTokens"], row["contextTokens"]),
        flags_text(row),
    ]
    return cells if several else cells[1:]
