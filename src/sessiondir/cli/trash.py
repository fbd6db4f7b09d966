"""``sessiondir trash list | restore | empty``"""

from __future__ import annotations

from typing import Any

import click

from sessiondir.cli import output
from sessiondir.cli.options import (
    dry_run_option,
    examples,
    json_option,
    open_for_reading,
    open_for_writing,
    store_option,
    timeout_option,
)
from sessiondir.cli.output import Column

_COLUMNS = (
    Column("REMOVED", "time"),
    Column("SIZE", "size"),
    Column("SESSION"),
    Column("WHY"),
    Column("FILE"),
)


@click.group(
    epilog=examples(
        "sessiondir trash list",
        "sessiondir trash restore agent:main:telegram:direct:42",
        "sessiondir trash empty --older-than 7d --dry-run",
    )
)
def trash() -> None:
    """Look at sessions that were removed, bring them back, or delete them for good."""


@trash.command("list", epilog=examples("sessiondir trash list --json"))
@json_option
@store_option
def list_items(*, path: str, as_json: bool) -> None:
    """List what is in the trash, the latest removal first."""
    from sessiondir import maintenance

    with open_for_reading(path) as store:
        listing = maintenance.list_trash(store)
        place = store.path
    if as_json:
        items = [_told(item) for item in listing.items]
        output.print_json({"storePath": place, "items": items, "damaged": listing.damaged})
        return
    if listing.items:
        rows = ((item.note.at_ms, item.size, item.key, item.note.reason, item.name) for item in listing.items)
        output.print_table(_COLUMNS, rows)
    for name, reason in listing.damaged.items():
        output.warn(f"{name} cannot be read: {reason}")
    total = output.size_text(sum(item.size for item in listing.items))
    output.note(f"{_sessions(len(listing.items))}, {total}" if listing.items else "the trash is empty")


def _sessions(count: int) -> str:
    return f"{count:,} removed session{'' if count == 1 else 's'}"


def _told(item: Any) -> dict[str, Any]:
    return {
        "file": item.name,
        "key": item.key,
        "version": item.version,
        "removedAt": item.note.at_ms,
        "rule": item.note.rule,
        "reason": item.note.reason,
        "transcripts": list(item.note.transcripts),
        "sessionId": item.session_id,
        "updatedAt": item.updated_at,
        "size": item.size,
    }


@trash.command(
    epilog=examples(
        "sessiondir trash restore agent:main:telegram:direct:42",
        "sessiondir trash restore removed-1767225600000-0123456789abcdef.json --overwrite",
    )
)
@click.argument("what", metavar="KEY|FILE")
@click.option(
    "--overwrite",
    is_flag=True,
    help="If the session lives again, put that into the trash instead; not while it is leased.",
)
@timeout_option
@json_option
@store_option
def restore(*, path: str, what: str, overwrite: bool, lock_timeout: float, as_json: bool) -> None:
    """Bring a session back as it was, with its transcripts.

    KEY stands for the latest removal of that session; a FILE of `trash list` is exact. A session
    that lives again is not touched without --overwrite (exit code 12), and not at all while a
    run has its lease (18).
    """
    from sessiondir import maintenance

    with open_for_writing(path, lock_timeout) as store:
        done = maintenance.restore(store, what, overwrite=overwrite)
    if as_json:
        output.print_json(
            {
                "key": done.item.key,
                "version": done.version,
                "file": done.item.name,
                "transcripts": list(done.transcripts),
                "replaced": done.replaced,
                "problems": list(done.problems),
            }
        )
        return
    for problem in done.problems:
        output.warn(problem)
    count = len(done.transcripts)
    more = f", with {count} transcript{'' if count == 1 else 's'}" if count else ""
    output.note(f"{output.clean(done.item.key)}: restored, now version {done.version:,}{more}")


@trash.command(epilog=examples("sessiondir trash empty --dry-run", "sessiondir trash empty --older-than 7d"))
@click.option("--older-than", metavar="DURATION", help="Only what was removed longer ago; a bare number is days.")
@click.option("--damaged", is_flag=True, help="Delete files, too, that cannot be read.")
@dry_run_option
@timeout_option
@json_option
@store_option
def empty(
    *, path: str, older_than: str | None, damaged: bool, dry_run: bool, lock_timeout: float, as_json: bool
) -> None:
    """Delete what is in the trash for good. Archives of transcripts stay."""
    from sessiondir import maintenance
    from sessiondir.maintenance.units import duration_ms

    age_ms = None if older_than is None else duration_ms(older_than, "d", "--older-than")
    with open_for_reading(path) if dry_run else open_for_writing(path, lock_timeout) as store:
        done = maintenance.empty_trash(store, older_than_ms=age_ms, damaged=damaged, dry_run=dry_run)
    if as_json:
        output.print_json({"count": done.count, "size": done.size, "dryRun": dry_run})
        return
    verb = "would be deleted; nothing was changed" if dry_run else "deleted for good"
    output.note(f"{_sessions(done.count)}, {output.size_text(done.size)}: {verb}")
