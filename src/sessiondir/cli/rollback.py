"""``sessiondir rollback``"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from sessiondir.cli import output
from sessiondir.cli.options import dry_run_option, examples, json_option, store_option, timeout_option
from sessiondir.errors import StoreNotFound

if TYPE_CHECKING:
    from sessiondir.migration import RollbackResult


@click.command(
    epilog=examples(
        "sessiondir rollback --dry-run",
        "sessiondir rollback",
        "sessiondir rollback --overwrite",
    )
)
@click.option(
    "--overwrite",
    is_flag=True,
    help="If a NAME.json is in the way that this store knows nothing of, move it aside.",
)
@dry_run_option
@timeout_option
@json_option
@store_option
def rollback(*, path: str, overwrite: bool, dry_run: bool, lock_timeout: float, as_json: bool) -> None:
    """Go back: write NAME.json as the legacy program reads it, and move NAME.d away.

    The file holds what the store holds now, changes since the migration included. The
    directory is kept as NAME.d.bak.<milliseconds>. Programs that have the store open can no
    longer write to it. Afterwards nothing migrates the file again but `sessiondir migrate`.
    """
    from sessiondir import migration

    result = migration.rollback(path, overwrite=overwrite, dry_run=dry_run, lock_timeout=lock_timeout)
    if result.outcome == "missing":
        raise StoreNotFound(
            f"there is no store at {result.store_path} and no {result.path}", path=result.store_path
        )
    if as_json:
        output.print_json(
            {
                "dryRun": dry_run,
                "outcome": result.outcome,
                "legacyPath": result.path,
                "storePath": result.store_path,
                "sessionCount": result.session_count,
                "size": result.size,
                "backupPath": result.backup_path,
                "previousPath": result.previous_path,
                "warnings": list(result.warnings),
            }
        )
    else:
        _tell(result)


def _tell(result: RollbackResult) -> None:
    if result.outcome == "already_legacy":
        output.note(f"{output.clean(result.path)}: a legacy file already; nothing to roll back")
        return
    facts = [
        ("legacy file", result.path),
        ("sessions", f"{result.session_count:,}, {output.size_text(result.size)}"),
    ]
    if result.backup_path is not None:
        facts.append(("directory", f"{result.backup_path} (kept)"))
    if result.previous_path is not None:
        facts.append(("previous file", f"{result.previous_path} (kept)"))
    output.print_facts(facts)
    for text in result.warnings:
        output.warn(text)
    if result.outcome == "would_roll_back":
        output.note("nothing was written")
