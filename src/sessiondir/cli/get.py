"""``sessiondir get``"""

from __future__ import annotations

import click

from sessiondir.cli import output
from sessiondir.cli.fields import look_up
from sessiondir.cli.options import examples, json_option, open_for_reading, store_option
from sessiondir.cli.reading import not_found


@click.command(
    epilog=examples(
        "sessiondir get agent:main:main",
        "sessiondir get agent:main:main model",
        "sessiondir get agent:main:main deliveryContext.channel --raw",
    )
)
@click.argument("key")
@click.argument("field", required=False)
@click.option("--raw", is_flag=True, help="Text without quotes and escapes; not for untrusted text on a terminal.")
@json_option
@store_option
def get(*, path: str, key: str, field: str | None, raw: bool, as_json: bool) -> None:  # noqa: ARG001
    """Print the entry of the session KEY as JSON, or one FIELD of it.

    FIELD may lead into objects and arrays: `deliveryContext.channel`, `items.0`. The output
    is JSON in any case; --json makes errors JSON, too.
    """
    with open_for_reading(path) as store:
        entry = store.get(key)
        if entry is None:
            raise not_found(store, key)
    value = entry if field is None else look_up(entry, field, key)
    if raw and isinstance(value, str):
        output.echo(value)
    else:
        output.print_json(value)
