"""``sessiondir inbox``"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from sessiondir.cli import output
from sessiondir.cli.options import examples, json_option, open_for_reading, store_option
from sessiondir.cli.output import Column

if TYPE_CHECKING:
    from sessiondir.inbox import InboxInfo, Message

_INBOXES = (
    Column("SESSION"),
    Column("MESSAGES", "number"),
    Column("TAKEN", "number"),
    Column("SIZE", "size"),
    Column("OLDEST", "age"),
    Column("ENTRY"),
)
_MESSAGES = (
    Column("ID"),
    Column("POSTED", "age"),
    Column("DELIVERIES", "number"),
    Column("TAKEN BY", "id"),
    Column("MESSAGE", gives_way=True),
)


@click.command(
    epilog=examples(
        "sessiondir inbox",
        "sessiondir inbox agent:main:main",
        "sessiondir inbox agent:main:main --json | jq '.items[].body'",
    )
)
@click.argument("key", required=False)
@json_option
@store_option
def inbox(*, path: str, key: str | None, as_json: bool) -> None:
    """Show which inboxes hold messages, or the messages of the session KEY; takes none of them.

    ENTRY tells whether the session exists: messages may wait for one that does not. A message
    is TAKEN while the process that took it lives and has not acknowledged it.
    """
    with open_for_reading(path) as store:
        if key is None:
            _show_inboxes(store.inboxes(), as_json=as_json)
        else:
            _show_messages(key, store.peek(key, taken=True), as_json=as_json)


def _show_inboxes(found: list[InboxInfo], *, as_json: bool) -> None:
    if as_json:
        output.print_json({"items": [_inbox_as_json(one) for one in found]})
    elif found:
        output.print_table(
            _INBOXES,
            (
                (one.key, one.messages, one.taken, one.size, one.oldest_ms, "yes" if one.has_entry else "no")
                for one in found
            ),
        )
    else:
        output.note("no messages")


def _show_messages(key: str, found: list[Message], *, as_json: bool) -> None:
    if as_json:
        output.print_json({"key": key, "items": [_message_as_json(one) for one in found]})
    elif found:
        output.print_table(
            _MESSAGES,
            ((one.id, one.posted_at_ms, one.deliveries, one.taken_by, output.short(one.body)) for one in found),
        )
    else:
        output.note(f"no messages for {output.clean(key)}")


def _inbox_as_json(one: InboxInfo) -> dict[str, Any]:
    return {
        "key": one.key,
        "messages": one.messages,
        "taken": one.taken,
        "size": one.size,
        "oldest": one.oldest_ms,
        "hasEntry": one.has_entry,
    }


def _message_as_json(one: Message) -> dict[str, Any]:
    return {
        "id": one.id,
        "version": one.version,
        "postedAt": one.posted_at_ms,
        "deliveries": one.deliveries,
        "takenBy": one.taken_by,
        "body": one.body,
    }
