"""``sessiondir info``"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from sessiondir.cli import output
from sessiondir.cli.options import examples, json_option, open_for_reading, store_option

if TYPE_CHECKING:
    from sessiondir.model import StoreInfo

_RULES = {
    "exact": "exact: keys are compared as they are",
    "lowercase": "lowercase: keys are trimmed and lower-cased",
}


@click.command(epilog=examples("sessiondir info", "sessiondir info --json | jq .sessions"))
@json_option
@store_option
def info(*, path: str, as_json: bool) -> None:
    """Print facts about the store: versions, sizes, journal, key rule.

    A legacy file that was not migrated has layout version 0.
    """
    with open_for_reading(path) as store:
        facts = store.info()
    if as_json:
        output.print_json(_as_json(facts))
    else:
        output.print_facts(_lines(facts))


def _as_json(facts: StoreInfo) -> dict[str, Any]:
    return {
        "storePath": facts.path,
        "storeId": facts.store_id or None,
        "layoutVersion": facts.layout_version,
        "version": facts.version,
        "checkpointVersion": facts.checkpoint_version,
        "keys": facts.key_rule,
        "sessions": facts.sessions,
        "sessionBytes": facts.session_bytes,
        "journal": facts.journal or None,
        "journalBytes": facts.journal_bytes,
        "quarantined": facts.quarantined,
        "migratedFrom": dict(facts.migrated_from) if facts.migrated_from is not None else None,
    }


def _lines(facts: StoreInfo) -> list[tuple[str, str]]:
    if not facts.layout_version:
        return [
            ("store", f"{facts.path} (not there yet: a legacy file that was not migrated)"),
            ("sessions", f"{facts.sessions:,}, {output.size_text(facts.session_bytes)}"),
            ("keys", _RULES[facts.key_rule]),
        ]
    behind = facts.version - facts.checkpoint_version
    level = "session files are level" if not behind else f"session files are {behind:,} commits behind, at most"
    lines = [
        ("store", facts.path),
        ("store id", facts.store_id or "none yet: this program has not written here"),
        ("layout version", str(facts.layout_version)),
        ("version", f"{facts.version:,} ({level})"),
        ("sessions", f"{facts.sessions:,}, {output.size_text(facts.session_bytes)} in session files"),
        ("journal", f"{facts.journal}, {output.size_text(facts.journal_bytes)}" if facts.journal else "none"),
        ("keys", _RULES[facts.key_rule]),
        ("quarantined", f"{facts.quarantined:,} files" if facts.quarantined else "nothing"),
    ]
    if facts.migrated_from is not None:
        lines.append(("migrated from", _origin(facts.migrated_from)))
        lines += [("at migration", text) for text in _warnings(facts.migrated_from)]
    return lines


def _warnings(told: Mapping[str, Any]) -> list[str]:
    """What the migration had to say, as far as it is kept."""
    kept = told.get("warnings")
    texts = [text for text in kept if isinstance(text, str)] if isinstance(kept, list) else []
    count = told.get("warningCount")
    more = count - len(texts) if isinstance(count, int) else 0
    return [*texts, f"and {more:,} more"] if more > 0 else texts


def _origin(told: Mapping[str, Any]) -> str:
    """The state file's note about the legacy file; other programs may have written it."""
    at = told.get("at")
    when = output.time_text(at) if isinstance(at, int) else "at an unknown time"
    return f"{told.get('path', 'a legacy file')}, {when}, {told.get('entries', 'unknown')} entries"
