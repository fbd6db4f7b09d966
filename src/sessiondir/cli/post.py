"""``sessiondir post``"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from sessiondir.cli import output
from sessiondir.cli.fields import parse_value
from sessiondir.cli.options import (
    dry_run_option,
    examples,
    json_option,
    open_for_reading,
    open_for_writing,
    store_option,
    timeout_option,
)

if TYPE_CHECKING:
    from sessiondir.store import SessionStore


@click.command(
    epilog=examples(
        """sessiondir post agent:main:main '{"from":"child-7","result":"done"}' --id child-7""",
        "sessiondir post agent:main:main 'wake up' --ttl 60",
    )
)
@click.argument("key")
@click.argument("message")
@click.option("--id", "given", metavar="TEXT", help="Posting twice with one id delivers once.")
@click.option(
    "--ttl",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    help="Nobody gets it after so long.  [default: it waits]",
)
@dry_run_option
@timeout_option
@json_option
@store_option
def post(
    *,
    path: str,
    key: str,
    message: str,
    given: str | None,
    ttl: float | None,
    dry_run: bool,
    lock_timeout: float,
    as_json: bool,
) -> None:
    """Add MESSAGE to the inbox of the session KEY, which need not exist and may be busy.

    The message is JSON; anything that is not JSON is taken as text.
    """
    body = parse_value("MESSAGE", message)
    with open_for_reading(path) if dry_run else open_for_writing(path, lock_timeout) as store:
        before = _ids(store, key)
        found = given if dry_run else store.post(key, body, id=given, ttl=ttl)
        waiting = len(store.peek(key))
        # An id of a message that was acknowledged, too, is remembered for a while.
        is_known = given is not None and (given in before or given not in _ids(store, key))
        has_entry = key in store
    if as_json:
        output.print_json({"key": key, "id": found, "waiting": waiting, "dryRun": dry_run, "body": body})
    elif dry_run:
        output.note(f"{output.clean(key)}: would be posted; nothing was written")
    else:
        name = output.clean(str(found))
        done = f"{name} was posted before" if is_known else f"posted as {name}"
        missing = "" if has_entry else "; there is no such session yet"
        output.note(f"{output.clean(key)}: {done}; {waiting:,} waiting{missing}")


def _ids(store: SessionStore, key: str) -> set[str]:
    return {message.id for message in store.peek(key, taken=True)}
