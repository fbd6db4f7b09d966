"""``sessiondir list``"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import click

from sessiondir.cli import output
from sessiondir.cli.options import examples, json_option, open_for_reading, store_option
from sessiondir.cli.output import Column
from sessiondir.cli.reading import normal_prefix

if TYPE_CHECKING:
    from sessiondir.model import SessionInfo

_COLUMNS = (
    Column("SESSION"),
    Column("UPDATED", "time"),
    Column("VERSION", "number"),
    Column("SIZE", "size"),
    Column("SESSION ID", gives_way=True),
)


@click.command(
    "list",
    epilog=examples(
        "sessiondir list --store ~/.openclaw/agents/main/sessions/sessions.json",
        "sessiondir list agent:main:telegram: --limit 10",
        "sessiondir list --all --json | jq -r '.items[].key'",
    ),
)
@click.argument("prefix", default="")
@click.option(
    "--order",
    type=click.Choice(["updated", "key"]),
    default="updated",
    show_default=True,
    help="Latest update first, or by key.",
)
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="Sessions on a page.")
@click.option("--cursor", help="Go on behind the page that ended with this cursor.")
@click.option("--all", "everything", is_flag=True, help="All pages.")
@json_option
@store_option
def list_sessions(
    *,
    path: str,
    prefix: str,
    order: Literal["updated", "key"],
    limit: int,
    cursor: str | None,
    everything: bool,
    as_json: bool,
) -> None:
    """List sessions whose key begins with PREFIX.

    On a terminal as a table; through a pipe one line each: key, time, version, bytes and
    session id with tabs between them.
    """
    items: list[SessionInfo] = []
    with open_for_reading(path) as store:
        prefix = normal_prefix(store, prefix)
        while True:
            page = store.list(prefix=prefix, order=order, limit=limit, cursor=cursor)
            items += page.items
            cursor = page.next_cursor
            if cursor is None or not everything:
                break
    if as_json:
        output.print_json({"items": [_as_json(item) for item in items], "nextCursor": cursor})
        return
    if items:
        output.print_table(
            _COLUMNS,
            ((item.key, item.updated_at, item.version, item.size, item.session_id) for item in items),
        )
    else:
        output.note(f"no sessions beginning with {output.clean(prefix)!r}" if prefix else "no sessions")
    if cursor is not None:
        output.note(f"there are more: add --cursor {cursor}, or --all")


def _as_json(item: SessionInfo) -> dict[str, Any]:
    return {
        "key": item.key,
        "version": item.version,
        "updatedAt": item.updated_at,
        "sessionId": item.session_id,
        "size": item.size,
    }
