"""``sessiondir rollback``"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from sessiondir.cli import exit_codes, output
from sessiondir.cli.options import dry_run_option, examples, json_option, timeout_option
from sessiondir.cli.output import Column
from sessiondir.cli.targets import Chosen, first_failure, target_options
from sessiondir.errors import StoreError, StoreNotFound

if TYPE_CHECKING:
    from sessiondir.migration import RollbackResult
    from sessiondir.targets import Target

_COLUMNS = (
    Column("AGENT"),
    Column("OUTCOME"),
    Column("SESSIONS", "number"),
    Column("SIZE", "size"),
    Column("LEGACY FILE", gives_way=True),
)


@click.command(
    epilog=examples(
        "sessiondir rollback --dry-run",
        "sessiondir rollback --agent main",
        "sessiondir rollback --all --json",
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
@target_options("--all")
def rollback(*, chosen: Chosen, overwrite: bool, dry_run: bool, lock_timeout: float, as_json: bool) -> int:
    """Go back: write NAME.json as the legacy program reads it, and move NAME.d away.

    The file holds what the store holds now, changes since the migration included. The
    directory is kept as NAME.d.bak.<milliseconds>. Programs that have the store open can no
    longer write to it. Afterwards nothing migrates the file again but `sessiondir migrate`.

    With several stores each is rolled back on its own; one that fails does not stop the
    others, and the exit code is that of the first failure.
    """
    from sessiondir import migration

    found: list[RollbackResult | StoreError] = []
    for target in chosen:
        try:
            result = migration.rollback(target, overwrite=overwrite, dry_run=dry_run, lock_timeout=lock_timeout)
        except StoreError as exc:
            found.append(exc)
        else:
            found.append(_missing(result) if result.outcome == "missing" and chosen.must_exist(target) else result)
    if chosen.several:
        _tell_all(chosen, found, dry_run=dry_run, as_json=as_json)
        return first_failure(one for one in found if isinstance(one, StoreError))
    (single,) = found
    if isinstance(single, StoreError):
        raise single
    if as_json:
        output.print_json(_as_json(single, dry_run=dry_run))
    else:
        _tell(single)
    return exit_codes.OK


def _missing(result: RollbackResult) -> StoreError:
    text = f"there is no store at {result.store_path} and no {result.path}"
    return StoreNotFound(text, path=result.store_path)


def _as_json(result: RollbackResult, *, dry_run: bool) -> dict[str, Any]:
    return {
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


def _tell_all(chosen: Chosen, found: list[RollbackResult | StoreError], *, dry_run: bool, as_json: bool) -> None:
    pairs: list[tuple[Target, RollbackResult | StoreError]] = list(zip(chosen, found, strict=True))
    if as_json:
        stores = [
            {"agent": target.agent, "outcome": "failed", "legacyPath": target.path, "warnings": [str(one)]}
            if isinstance(one, StoreError)
            else {"agent": target.agent, **_as_json(one, dry_run=dry_run)}
            for target, one in pairs
        ]
        output.print_json({"dryRun": dry_run, "stores": stores, "skipped": chosen.skipped_as_json()})
        return
    rows = [
        (target.agent, "failed", None, None, target.path)
        if isinstance(one, StoreError)
        else (target.agent, one.outcome, one.session_count, one.size, one.path)
        for target, one in pairs
    ]
    if rows:
        output.print_table(_COLUMNS, rows)
    for target, one in pairs:
        for text in (str(one),) if isinstance(one, StoreError) else one.warnings:
            output.warn(f"{target.path}: {text}")
    if dry_run:
        output.note("nothing was written")
