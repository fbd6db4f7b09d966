"""``sessiondir watch``"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import click

from sessiondir.cli import output
from sessiondir.cli.options import examples, json_option, open_for_reading, store_option
from sessiondir.cli.reading import normal_prefix

if TYPE_CHECKING:
    from sessiondir.model import Change


@click.command(
    epilog=examples(
        "sessiondir watch",
        "sessiondir watch --prefix agent:main:telegram: --json | jq -r .key",
        "sessiondir watch --since 1200 --timeout 0",
    )
)
@click.option(
    "--since",
    metavar="VERSION",
    type=click.IntRange(min=0),
    help="Begin behind this version.  [default: now]",
)
@click.option("--prefix", default="", help="Only sessions whose key begins with this.")
@click.option("--limit", metavar="N", type=click.IntRange(min=1), help="End after N changes.")
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    help="End when nothing was committed for so long.  [default: never]",
)
@json_option
@store_option
def watch(
    *, path: str, since: int | None, prefix: str, limit: int | None, timeout: float | None, as_json: bool
) -> None:
    """Print what is committed, by whatever program, until interrupted.

    One line a change: time, version, kind, key and, for a patch, the fields. With --json one
    JSON object a line. How far back --since can reach depends on the journal; beyond that the
    command fails and nothing is left out silently.
    """
    with open_for_reading(path) as store:
        prefix = normal_prefix(store, prefix)
        changes = (change for change in store.watch(since, timeout=timeout) if change.key.startswith(prefix))
        for change in islice(changes, limit):
            output.echo(_json_line(change) if as_json else _line(change))


def _json_line(change: Change) -> str:
    told = {
        "version": change.version,
        "key": change.key,
        "kind": change.kind,
        "fields": list(change.fields),
        "at": change.at_ms,
    }
    return output.json_text(told, indent=None)


def _line(change: Change) -> str:
    fields = ", ".join(change.fields) if change.kind == "patch" else ""
    parts = (output.time_text(change.at_ms), str(change.version), f"{change.kind:<6}", change.key, fields)
    return "  ".join(output.clean(part) for part in parts).rstrip()
