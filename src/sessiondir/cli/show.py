"""``sessiondir show``"""

from __future__ import annotations

import time
from typing import Any

import click

from sessiondir.cli import output
from sessiondir.cli.leases import lease_as_json, lease_text
from sessiondir.cli.options import examples, json_option, open_for_reading, store_option
from sessiondir.cli.reading import find_session, not_found

_TEXT = 500
_ITEMS = 20


@click.command(
    epilog=examples(
        "sessiondir show agent:main:main",
        "sessiondir show agent:main:main --full | less",
        "sessiondir show agent:main:main --json | jq .version",
    )
)
@click.argument("key")
@click.option("--full", is_flag=True, help="Long texts and arrays whole.")
@json_option
@store_option
def show(*, path: str, key: str, full: bool, as_json: bool) -> None:
    """Show the session KEY: version, time, size, lease, inbox and entry.

    Long texts and arrays within the entry are cut short, and say so; --full and --json give
    everything. To get the entry alone use `sessiondir get`. A session that has only messages
    or a lease so far has no entry.
    """
    with open_for_reading(path) as store:
        entry, version = find_session(store, key)
        lease = store.lease_of(key)
        messages = store.peek(key, taken=True)
        if entry is None and lease is None and not messages:
            raise not_found(store, key)
    taken = sum(message.taken_by is not None for message in messages)
    size = (
        len(output.json_text(entry, indent=None).encode("utf-8", "surrogatepass")) if entry is not None else None
    )
    updated_at = entry.get("updatedAt") if entry is not None else None
    if isinstance(updated_at, bool) or not isinstance(updated_at, int | float):
        updated_at = None
    if as_json:
        told: dict[str, Any] = {"key": key, "version": version, "updatedAt": updated_at, "size": size}
        told["lease"] = lease_as_json(lease) if lease is not None else None
        told["inbox"] = {"messages": len(messages), "taken": taken}
        output.print_json({**told, "entry": entry})
        return
    facts = [("session", key), ("version", str(version)) if entry is not None else ("entry", "none yet")]
    if updated_at is not None:
        age = output.age_text(updated_at, time.time() * 1000)
        facts.append(("updated", output.time_text(updated_at) + (f" ({age})" if age else "")))
    if size is not None:
        facts.append(("size", output.size_text(size)))
    if lease is not None:
        facts.append(("lease", lease_text(lease)))
    if messages:
        count = f"{len(messages):,} messages" if len(messages) > 1 else "1 message"
        facts.append(("inbox", f"{count}, {taken:,} taken; see: sessiondir inbox KEY"))
    output.print_facts(facts)
    if entry is not None:
        output.print_json(entry if full else cut_short(entry))


def cut_short(value: Any) -> Any:
    """``value`` with long texts and arrays cut; what is missing is told in their place."""
    if isinstance(value, str) and len(value) > _TEXT:
        return f"{value[:_TEXT]}... ({len(value) - _TEXT:,} more characters)"
    if isinstance(value, list):
        items = [cut_short(item) for item in value[:_ITEMS]]
        if len(value) > _ITEMS:
            items.append(f"... ({len(value) - _ITEMS:,} more items)")
        return items
    if isinstance(value, dict):
        return {name: cut_short(item) for name, item in value.items()}
    return value
