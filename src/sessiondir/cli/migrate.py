"""``sessiondir migrate``"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from sessiondir.cli import exit_codes, output
from sessiondir.cli.options import dry_run_option, examples, json_option, timeout_option
from sessiondir.cli.output import Column
from sessiondir.cli.targets import Chosen, first_failure, target_options
from sessiondir.errors import CorruptFile, StoreError, StoreNotFound

if TYPE_CHECKING:
    from sessiondir.migration import Inspection, MigrationReport, MigrationResult
    from sessiondir.model import Limits

_COLUMNS = (
    Column("AGENT"),
    Column("OUTCOME"),
    Column("ENTRIES", "number"),
    Column("SESSIONS", "number"),
    Column("LEGACY FILE", gives_way=True),
)


@click.command(
    epilog=examples(
        "sessiondir migrate --store ~/.openclaw/agents/main/sessions/sessions.json --dry-run",
        "sessiondir migrate --agent main",
        "sessiondir migrate --all --dry-run --json | jq '.counts'",
    )
)
@dry_run_option
@click.option(
    "--automatic",
    is_flag=True,
    help="For scripts that run at every start: leave stores alone that were rolled back.",
)
@click.option(
    "--max-bytes",
    metavar="BYTES",
    type=click.IntRange(min=1),
    help="Longest legacy file to take over.  [default: 64 MiB]",
)
@click.option(
    "--max-entry-bytes",
    metavar="BYTES",
    type=click.IntRange(min=1),
    help="Longest entry to take over; programs need the same limit to write it.  [default: 8 MiB]",
)
@click.option(
    "--any-content",
    is_flag=True,
    help="Take the files named with --store for stores although nothing in them looks like a session.",
)
@timeout_option
@json_option
@target_options("--all")
def migrate(
    *,
    chosen: Chosen,
    dry_run: bool,
    automatic: bool,
    max_bytes: int | None,
    max_entry_bytes: int | None,
    any_content: bool,
    lock_timeout: float,
    as_json: bool,
) -> int:
    """Take over from a legacy NAME.json: make NAME.d of it.

    The legacy file is kept beside it as NAME.json.bak.<milliseconds>. It may be interrupted
    at any moment and run again: one whole store is there at all times. A program that still
    writes the legacy file should be stopped first; where what it writes afterwards is newer,
    the next migration takes it over and says so. --dry-run shows what would be made of the file.

    With several stores each is migrated on its own; one that fails does not stop the others,
    and the exit code is that of the first failure.
    """
    if any_content and not chosen.named:
        raise click.UsageError(
            "--any-content is for files that are named with --store", click.get_current_context()
        )
    limits = _limits(max_bytes, max_entry_bytes)
    if dry_run:
        return _inspect(chosen, limits, automatic=automatic, any_content=any_content, as_json=as_json)
    from sessiondir import migration

    results = []
    for target in chosen:
        with _progress(shown=not as_json) as progress:
            results.append(
                migration.migrate(
                    target,
                    automatic=automatic,
                    any_content=any_content,
                    limits=limits,
                    lock_timeout=lock_timeout,
                    progress=progress,
                )
            )
    problems = [
        _problem(result, must_exist=chosen.must_exist(target))
        for target, result in zip(chosen, results, strict=True)
    ]
    if chosen.several:
        _tell_report(chosen, migration.MigrationReport(tuple(results)), as_json=as_json)
        return first_failure(problems)
    if problems[0] is not None:
        raise problems[0]
    _tell_result(results[0], as_json=as_json)
    return exit_codes.OK


def _limits(max_bytes: int | None, max_entry_bytes: int | None) -> Limits:
    from sessiondir.model import Limits

    usual = Limits()
    return Limits(
        legacy_bytes=max_bytes or max(usual.legacy_bytes, max_entry_bytes or 0),
        entry_bytes=max_entry_bytes or usual.entry_bytes,
    )


def _problem(result: MigrationResult, *, must_exist: bool) -> StoreError | None:
    """What is a failure to the person who asked for a migration."""
    if result.outcome == "missing" and must_exist:
        return _missing(result.path, result.store_path)
    if result.outcome == "skipped_invalid":
        return _unusable(result.path, result.warnings)
    return result.error


def _missing(path: str, store_path: str) -> StoreError:
    return StoreNotFound(f"there is no store at {store_path} and no {path}", path=store_path)


def _unusable(path: str, warnings: tuple[str, ...]) -> StoreError:
    reason = "; ".join(warnings)
    text = reason if len(warnings) == 1 and reason.startswith(path) else f"{path} cannot be used: {reason}"
    return CorruptFile(text, path=path, reason=reason)


# -- looking only -----------------------------------------------------------------------------


def _inspect(chosen: Chosen, limits: Limits, *, automatic: bool, any_content: bool, as_json: bool) -> int:
    from sessiondir import migration

    found: list[Inspection | StoreError] = []
    for target in chosen:
        try:
            one = migration.inspect(target, any_content=any_content, limits=limits)
            told = ("it was rolled back: --automatic leaves it alone",) if automatic and one.rolled_back else ()
            found.append(replace(one, warnings=one.warnings + told))
        except StoreError as exc:
            found.append(exc)
    problems = [
        _found_problem(one, must_exist=chosen.must_exist(target))
        for target, one in zip(chosen, found, strict=True)
    ]
    if chosen.several:
        _tell_inspections(chosen, found, as_json=as_json)
        return first_failure(problems)
    ((single, problem),) = zip(found, problems, strict=True)
    if isinstance(single, StoreError):
        raise single
    if problem is not None:
        raise problem
    _tell_inspection(single, as_json=as_json)
    return exit_codes.OK


def _found_problem(found: Inspection | StoreError, *, must_exist: bool) -> StoreError | None:
    """What the migration itself would fail with, as far as looking tells."""
    if isinstance(found, StoreError):
        return found
    if found.status == "missing" and must_exist:
        return _missing(found.path, found.store_path)
    return _unusable(found.path, found.warnings) if found.status == "invalid_legacy" else None


def _inspection_as_json(found: Inspection) -> dict[str, Any]:
    return {
        "dryRun": True,
        "status": found.status,
        "legacyPath": found.path,
        "storePath": found.store_path,
        "legacyCount": found.legacy_count,
        "legacyBytes": found.size,
        "sessionCount": found.session_count,
        "directoryCount": found.directory_count,
        "aliases": [
            {"key": alias.key, "spellings": list(alias.spellings), "winner": alias.winner}
            for alias in found.aliases
        ],
        "dropped": [{"name": name, "reason": reason} for name, reason in found.dropped.items()],
        "backups": list(found.backups),
        "rolledBack": found.rolled_back,
        "warnings": list(found.warnings),
    }


def _tell_inspection(found: Inspection, *, as_json: bool) -> None:
    if as_json:
        output.print_json(_inspection_as_json(found))
        return
    output.print_facts([("legacy file", found.path), ("store", found.store_path), ("finding", found.preview)])
    for alias in found.aliases:
        spellings = ", ".join(repr(name) for name in alias.spellings)
        output.warn(f"{spellings} are one session, {alias.key!r}; the entry of {alias.winner!r} is taken")
    for text in found.warnings:
        output.warn(text)
    output.note("nothing was written")


def _tell_inspections(chosen: Chosen, found: list[Inspection | StoreError], *, as_json: bool) -> None:
    statuses = Counter("failed" if isinstance(one, StoreError) else one.status for one in found)
    if as_json:
        stores = [
            {"agent": target.agent, "legacyPath": target.path, "status": "failed", "warnings": [str(one)]}
            if isinstance(one, StoreError)
            else {"agent": target.agent, **_inspection_as_json(one)}
            for target, one in zip(chosen, found, strict=True)
        ]
        output.print_json(
            {"dryRun": True, "counts": statuses, "stores": stores, "skipped": chosen.skipped_as_json()}
        )
        return
    rows = [
        (target.agent, "failed", None, None, target.path)
        if isinstance(one, StoreError)
        else (target.agent, one.status, one.legacy_count, one.session_count or one.directory_count, one.path)
        for target, one in zip(chosen, found, strict=True)
    ]
    if rows:
        output.print_table(_COLUMNS, rows)
    for target, one in zip(chosen, found, strict=True):
        for text in (str(one),) if isinstance(one, StoreError) else one.warnings:
            output.warn(text if text.startswith(target.path) else f"{target.path}: {text}")
    counts = ", ".join(f"{status} {count}" for status, count in statuses.items())
    output.note(f"{counts or 'no stores'}; nothing was written")


# -- what was done ----------------------------------------------------------------------------


def _result_as_json(result: MigrationResult) -> dict[str, Any]:
    return {
        "dryRun": False,
        "outcome": result.outcome,
        "legacyPath": result.path,
        "storePath": result.store_path,
        "legacyCount": result.legacy_count,
        "migratedCount": result.migrated_count,
        "backupPath": result.backup_path,
        "warnings": list(result.warnings),
    }


def _tell_result(result: MigrationResult, *, as_json: bool) -> None:
    if as_json:
        output.print_json(_result_as_json(result))
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
    elif result.outcome == "skipped_empty":
        output.note(f"{output.clean(result.path)}: holds no session; nothing to migrate")
    for text in result.warnings:
        output.warn(text)


def _tell_report(chosen: Chosen, report: MigrationReport, *, as_json: bool) -> None:
    if as_json:
        stores = [
            {"agent": target.agent, **_result_as_json(result)}
            for target, result in zip(chosen, report.results, strict=True)
        ]
        output.print_json(
            {"dryRun": False, "counts": report.counts, "stores": stores, "skipped": chosen.skipped_as_json()}
        )
        return
    rows = [
        (target.agent, result.outcome, result.legacy_count, result.migrated_count, result.path)
        for target, result in zip(chosen, report.results, strict=True)
    ]
    if rows:
        output.print_table(_COLUMNS, rows)
    for result in report.results:
        # The table says it of empty stores and of those left alone, at every start again.
        for text in result.warnings if result.outcome not in ("skipped_empty", "rolled_back") else ():
            output.warn(text if text.startswith(result.path) else f"{result.path}: {text}")
    counts = ", ".join(f"{outcome} {count}" for outcome, count in report.counts.items() if count)
    output.note(counts or "no stores")


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
