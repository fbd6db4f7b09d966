"""``sessiondir list``"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import click

from sessiondir.cli import output
from sessiondir.cli.options import examples, json_option, open_for_reading
from sessiondir.cli.output import Column
from sessiondir.cli.reading import normal_prefix
from sessiondir.cli.targets import Chosen, first_failure, target_options
from sessiondir.errors import StoreError

if TYPE_CHECKING:
    from sessiondir.model import SessionInfo
    from sessiondir.targets import Target

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
        "sessiondir list --all-agents --limit 5",
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
@target_options(default_agent=True)
def list_sessions(
    *,
    chosen: Chosen,
    prefix: str,
    order: Literal["updated", "key"],
    limit: int,
    cursor: str | None,
    everything: bool,
    as_json: bool,
) -> int:
    """List sessions whose key begins with PREFIX.

    On a terminal as a table; through a pipe one line each: key, time, version, bytes and
    session id with tabs between them. With several stores each has a page of its own, and
    the agent stands in front.
    """
    if chosen.several and cursor is not None:
        raise click.UsageError("--cursor goes with a single store")
    pages: list[_StorePage] = []
    failures: list[StoreError] = []
    for target in chosen:
        try:
            pages.append(_read(target, prefix, order, limit, cursor, everything))
        except StoreError as exc:
            if not chosen.several:
                raise
            failures.append(exc)
            output.warn(f"{target.path}: {exc}")
    if not as_json:
        _print_rows(chosen, pages, prefix)
    elif chosen.several:
        stores = [
            {"agent": page.target.agent, "storePath": page.target.store_path, **page.as_json()} for page in pages
        ]
        output.print_json({"stores": stores, "skipped": chosen.skipped_as_json()})
    else:
        output.print_json(pages[0].as_json())
    return first_failure(failures)


@dataclass(frozen=True, slots=True)
class _StorePage:
    """What there is to show of one store; ``prefix`` is spelt as its keys are."""

    target: Target
    prefix: str
    items: list[SessionInfo]
    cursor: str | None

    def as_json(self) -> dict[str, Any]:
        return {"items": [_as_json(item) for item in self.items], "nextCursor": self.cursor}


def _read(
    target: Target, prefix: str, order: Literal["updated", "key"], limit: int, cursor: str | None, everything: bool
) -> _StorePage:
    items: list[SessionInfo] = []
    with open_for_reading(target.path) as store:
        prefix = normal_prefix(store, prefix)
        while True:
            page = store.list(prefix=prefix, order=order, limit=limit, cursor=cursor)
            items += page.items
            cursor = page.next_cursor
            if cursor is None or not everything:
                return _StorePage(target, prefix, items, cursor)


def _print_rows(chosen: Chosen, pages: list[_StorePage], prefix: str) -> None:
    rows = [
        ((page.target.agent,) if chosen.several else ())
        + (item.key, item.updated_at, _number(item.version), item.size, item.session_id)
        for page in pages
        for item in page.items
    ]
    if rows:
        output.print_table((Column("AGENT"), *_COLUMNS) if chosen.several else _COLUMNS, rows)
    else:
        spelt = pages[0].prefix if len(pages) == 1 else prefix
        output.note(f"no sessions beginning with {output.clean(spelt)!r}" if spelt else "no sessions")
    for page in pages:
        if page.cursor is not None and chosen.several:
            output.note(f"{output.clean(page.target.path)}: there are more: name this store alone, or add --all")
        elif page.cursor is not None:
            output.note(f"there are more: add --cursor {page.cursor}, or --all")


def _number(version: int) -> int | None:
    """The number of a commit; None for an entry that none has stored yet."""
    from sessiondir.entrysum import is_entry_sum

    return None if is_entry_sum(version) else version


def _as_json(item: SessionInfo) -> dict[str, Any]:
    return {
        "key": item.key,
        "version": item.version,
        "updatedAt": item.updated_at,
        "sessionId": item.session_id,
        "size": item.size,
    }
