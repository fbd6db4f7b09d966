"""``sessiondir migrate``"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from sessiondir.cli import output
from sessiondir.cli.options import dry_run_option, examples, json_option, store_option, timeout_option
from sessiondir.errors import CorruptFile, StoreNotFound

if TYPE_CHECKING:
    from sessiondir.migration import Inspection, MigrationResult


@click.command(
    epilog=examples(
        "sessiondir migrate --store ~/.openclaw/agents/main/sessions/sessions.json --dry-run",
        "sessiondir migrate --store ~/.openclaw/agents/main/sessions/sessions.json",
        "for file in ~/.openclaw/agents/*/sessions/sessions.json; do sessiondir migrate --store $file; done",
    )
)
@dry_run_option
@timeout_option
@json_option
@store_option
def migrate(*, path: str, dry_run: bool, lock_timeout: float, as_json: bool) -> None:
    """Take over from a legacy NAME.json: make NAME.d of it.

    The legacy file is kept beside it as NAME.json.bak.<milliseconds>. It may be interrupted
    at any moment and run again: one whole store is there at all times. A program that still
    writes the legacy file should be stopped first; what it writes afterwards is reported and
    not taken over. --dry-run shows what would be made of the file.
    """
    from sessiondir import migration

    if dry_run:
        inspection = migration.inspect(path)
        _refuse(inspection.status, inspection.path, inspection.store_path, inspection.warnings)
        _tell_inspection(inspection, as_json=as_json)
        return
    with _progress(shown=not as_json) as progress:
        result = migration.migrate(path, lock_timeout=lock_timeout, progress=progress)
    if result.error is not None:
        raise result.error
    _refuse(result.outcome, result.path, result.store_path, result.warnings)
    _tell_result(result, as_json=as_json)


def _refuse(outcome: str, path: str, store_path: str, warnings: tuple[str, ...]) -> None:
    """Raise for what is a failure to the person who asked for a migration."""
    if outcome == "missing":
        raise StoreNotFound(f"there is no store at {store_path} and no {path}", path=store_path)
    if outcome in ("invalid_legacy", "skipped_invalid"):
        reason = "; ".join(warnings)
        raise CorruptFile(f"{path} cannot be used and was left as it is: {reason}", path=path, reason=reason)


def _tell_inspection(found: Inspection, *, as_json: bool) -> None:
    if as_json:
        told: dict[str, Any] = {
            "dryRun": True,
            "status": found.status,
            "legacyPath": found.path,
            "storePath": found.store_path,
            "legacyCount": found.legacy_count,
            "sessionCount": found.session_count,
            "directoryCount": found.directory_count,
            "aliases": [
                {"key": alias.key, "spellings": list(alias.spellings), "winner": alias.winner}
                for alias in found.aliases
            ],
            "rolledBack": found.rolled_back,
            "warnings": list(found.warnings),
        }
        output.print_json(told)
        return
    output.print_facts([("legacy file", found.path), ("store", found.store_path), ("finding", found.preview)])
    for alias in found.aliases:
        spellings = ", ".join(repr(name) for name in alias.spellings)
        output.warn(f"{spellings} are one session, {alias.key!r}; the entry of {alias.winner!r} is taken")
    for text in found.warnings:
        output.warn(text)
    output.note("nothing was written")


def _tell_result(result: MigrationResult, *, as_json: bool) -> None:
    if as_json:
        output.print_json(
            {
                "dryRun": False,
                "outcome": result.outcome,
                "legacyPath": result.path,
                "storePath": result.store_path,
                "legacyCount": result.legacy_count,
                "migratedCount": result.migrated_count,
                "backupPath": result.backup_path,
                "warnings": list(result.warnings),
            }
        )
        return
    if result.outcome == "migrated":
        facts = [("store", result.store_path), ("sessions", f"{result.migrated_count:,}")]
        if result.legacy_count != result.migrated_count:
            facts.append(("legacy entries", f"{result.legacy_count:,}"))
        if result.backup_path is not None:
            facts.append(("original", f"{result.backup_path} (kept)"))
        output.print_facts(facts)
    elif result.outcome == "already_directory":
        output.note(f"{output.clean(result.store_path)}: a directory already; nothing to migrate")
    else:
        output.note(f"{output.clean(result.path)}: holds no session; nothing to migrate")
    for text in result.warnings:
        output.warn(text)


@contextmanager
def _progress(*, shown: bool) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on the terminal while sessions are written; it leaves nothing behind."""
    if not shown or not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("writing sessions"), BarColumn(), MofNCompleteColumn())
    screen = output.console(err=True)
    with Progress(*columns, console=screen, transient=True, disable=screen.is_dumb_terminal) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
