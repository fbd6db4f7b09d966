"""``sessiondir delete``"""

from __future__ import annotations

import click

from sessiondir.cli import output
from sessiondir.cli.options import (
    dry_run_option,
    examples,
    if_version_option,
    json_option,
    open_for_reading,
    open_for_writing,
    store_option,
    timeout_option,
)
from sessiondir.cli.reading import check_version, not_found, read_session


@click.command(
    epilog=examples(
        "sessiondir delete bot:old --dry-run",
        "sessiondir delete bot:old --if-version 17",
    )
)
@click.argument("key")
@if_version_option
@dry_run_option
@timeout_option
@json_option
@store_option
def delete(
    *, path: str, key: str, if_version: int | None, dry_run: bool, lock_timeout: float, as_json: bool
) -> None:
    """Remove the session KEY.

    The entry is gone afterwards; `sessiondir get KEY > FILE` keeps it. Nothing asks whether
    you are sure: --dry-run shows what would go, and --if-version makes certain that it is
    what you looked at.
    """
    with open_for_reading(path) if dry_run else open_for_writing(path, lock_timeout) as store:
        if dry_run:
            check_version(store, key, if_version)
            _, version = read_session(store, key)
        elif not store.delete(key, if_version=if_version):
            raise not_found(store, key)
    if as_json:
        output.print_json({"key": key, "deleted": not dry_run, "dryRun": dry_run})
    elif dry_run:
        output.note(f"{output.clean(key)}: version {version:,} would be deleted; nothing was written")
    else:
        output.note(f"{output.clean(key)}: deleted")
