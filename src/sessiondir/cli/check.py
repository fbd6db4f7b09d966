"""``sessiondir check``"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from sessiondir.cli import exit_codes, output
from sessiondir.cli.options import examples, json_option, open_for_reading, store_option
from sessiondir.cli.output import Column

if TYPE_CHECKING:
    from sessiondir.model import Finding

_COLUMNS = (Column("LEVEL"), Column("FILE"), Column("SESSION"), Column("FINDING"))


@click.command(
    epilog=examples(
        "sessiondir check",
        "sessiondir check --json | jq '.findings[] | select(.level == \"error\")'",
    )
)
@json_option
@store_option
@click.pass_context
def check(context: click.Context, *, path: str, as_json: bool) -> None:
    """Read everything in the store and tell what is not as it should be.

    Nothing is changed, and it may run beside programs that use the store. An `error` is
    damaged or lost data: the command then ends with exit code 20. A `warning` is something
    that stands where it should not; a `note` is normal after a crash and mended by the next
    program that writes.
    """
    with open_for_reading(path) as store:
        findings = store.check()
        place = store.path
    findings += _legacy_findings(path, beside_store=os.path.isdir(place))
    counts = Counter(finding.level for finding in findings)
    if as_json:
        output.print_json(
            {
                "storePath": place,
                "errors": counts["error"],
                "warnings": counts["warning"],
                "notes": counts["note"],
                "findings": [asdict(finding) for finding in findings],
            }
        )
    else:
        if findings:
            output.print_table(_COLUMNS, (_row(finding, place) for finding in findings))
        told = [f"{count} {level}{'s' if count > 1 else ''}" for level, count in counts.items()]
        output.note(f"{output.clean(place)}: {', '.join(told) or 'nothing found'}")
    if counts["error"]:
        context.exit(exit_codes.DAMAGE_FOUND)


def _legacy_findings(path: str, *, beside_store: bool) -> list[Finding]:
    """What there is to say of the legacy file, which is the store itself as long as it was not migrated."""
    from sessiondir import migration
    from sessiondir.model import Finding

    found = migration.inspect(path)
    if not beside_store and found.status == "invalid_legacy":
        return [Finding("error", found.path, "; ".join(found.warnings))]
    return [Finding("warning", found.path, text) for text in found.warnings]


def _row(finding: Finding, place: str) -> tuple[str, str, str, str]:
    return finding.level, finding.path.removeprefix(f"{place}/"), finding.session or "", finding.reason
