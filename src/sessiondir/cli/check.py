"""``sessiondir check``"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from sessiondir.cli import exit_codes, output
from sessiondir.cli.options import examples, json_option, open_for_reading
from sessiondir.cli.output import Column
from sessiondir.cli.targets import Chosen, first_failure, target_options
from sessiondir.errors import StoreError

if TYPE_CHECKING:
    from sessiondir.model import Finding

_COLUMNS = (Column("LEVEL"), Column("FILE"), Column("SESSION"), Column("FINDING"))


@click.command(
    epilog=examples(
        "sessiondir check",
        "sessiondir check --all-agents",
        "sessiondir check --json | jq '.findings[] | select(.level == \"error\")'",
    )
)
@json_option
@target_options(default_agent=True)
def check(*, chosen: Chosen, as_json: bool) -> int:
    """Read everything in the store and tell what is not as it should be.

    Nothing is changed, and it may run beside programs that use the store. An `error` is
    damaged or lost data: the command then ends with exit code 20. A `warning` is something
    that stands where it should not; a `note` is normal after a crash and mended by the next
    program that writes.
    """
    told = []
    failures: list[StoreError] = []
    damaged = False
    for target in chosen:
        try:
            place, findings = _findings(target.path)
        except StoreError as exc:
            if not chosen.several:
                raise
            failures.append(exc)
            told.append({"agent": target.agent, "storePath": target.store_path, "error": str(exc)})
            output.warn(f"{target.path}: {exc}")
            continue
        counts: Counter[str] = Counter(finding.level for finding in findings)
        damaged = damaged or counts["error"] > 0
        told.append({"agent": target.agent, **_as_json(place, findings, counts)})
        if not as_json:
            _tell(place, findings, counts)
    if as_json and chosen.several:
        output.print_json({"stores": told, "skipped": chosen.skipped_as_json()})
    elif as_json:
        del told[0]["agent"]
        output.print_json(told[0])
    return exit_codes.DAMAGE_FOUND if damaged else first_failure(failures)


def _findings(path: str) -> tuple[str, list[Finding]]:
    with open_for_reading(path) as store:
        findings = store.check()
        place = store.path
    return place, findings + _legacy_findings(path, beside_store=os.path.isdir(place))


def _as_json(place: str, findings: list[Finding], counts: Counter[str]) -> dict[str, Any]:
    return {
        "storePath": place,
        "errors": counts["error"],
        "warnings": counts["warning"],
        "notes": counts["note"],
        "findings": [asdict(finding) for finding in findings],
    }


def _tell(place: str, findings: list[Finding], counts: Counter[str]) -> None:
    if findings:
        output.print_table(_COLUMNS, (_row(finding, place) for finding in findings))
    told = [f"{count} {level}{'s' if count > 1 else ''}" for level, count in counts.items()]
    output.note(f"{output.clean(place)}: {', '.join(told) or 'nothing found'}")


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
