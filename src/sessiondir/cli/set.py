"""``sessiondir set``"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import click

from sessiondir.cli import output
from sessiondir.cli.fields import Assignment, assign, differences, parse_assignment, remove
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
from sessiondir.cli.reading import check_version, not_found

if TYPE_CHECKING:
    from sessiondir.store import SessionStore


class _Change:
    """What to do to the entry, and what it did the last time that it was done."""

    def __init__(self, assignments: list[Assignment], unset: tuple[str, ...]) -> None:
        names = [item.field for item in assignments] + list(unset)
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise click.UsageError(f"{twice} is named twice")
        self._assignments = assignments
        self._unset = unset
        self.made: list[dict[str, Any]] = []
        self.doubts: list[str] = []

    def apply(self, before: dict[str, Any]) -> dict[str, Any]:
        after = copy.deepcopy(before)
        self.doubts = []
        for item in self._assignments:
            replaced = assign(after, item.field, item.value)
            # An account number typed without its quotes: a program that expects text may then fail.
            if isinstance(replaced, str) and isinstance(item.value, int | float):
                meant = f"""{item.field}="{output.json_text(item.value)}\""""
                self.doubts.append(
                    f"{item.field} was text and is a number or truth value now; for text: '{meant}'"
                )
        for field in self._unset:
            remove(after, field)
        self.made = differences(before, after)
        return after


@click.command(
    "set",
    epilog=examples(
        "sessiondir set agent:main:main label=Monday thinkingLevel=high",
        """sessiondir set agent:main:main 'deliveryContext={"channel":"telegram","to":"42"}'""",
        """sessiondir set agent:main:main 'deliveryContext.to="43"' --unset label --dry-run""",
        "sessiondir set agent:main:main model=null --if-version 17",
        "sessiondir set bot:new --create sessionId=s-1 updatedAt=1767225600000",
    ),
)
@click.argument("key")
@click.argument("assignments", metavar="FIELD=JSON...", nargs=-1)
@click.option("--unset", metavar="FIELD", multiple=True, help="Remove a field; may be given several times.")
@click.option("--create", is_flag=True, help="Make the session if there is none.")
@if_version_option
@dry_run_option
@timeout_option
@json_option
@store_option
def set_fields(
    *,
    path: str,
    key: str,
    assignments: tuple[str, ...],
    unset: tuple[str, ...],
    create: bool,
    if_version: int | None,
    dry_run: bool,
    lock_timeout: float,
    as_json: bool,
) -> None:
    """Set fields of the session KEY, in one commit.

    A value is JSON; anything that is not JSON is taken as text, so `label=Monday` and
    `label="Monday"` are the same. `FIELD=` is the empty text, `FIELD=null` is null. FIELD may
    lead into an object, `deliveryContext.channel=slack`; objects that are missing are made. The entry
    is read and changed in one step, whatever other programs do to it.
    """
    if not (assignments or unset or create):
        raise click.UsageError("nothing to set: give FIELD=JSON or --unset FIELD")
    change = _Change([parse_assignment(text) for text in assignments], unset)
    with open_for_reading(path) if dry_run else open_for_writing(path, lock_timeout) as store:
        existed = store.version_of(key) is not None
        if dry_run:
            _try(store, key, change, create, if_version)
        else:
            _commit(store, key, change, create, if_version)
        version = store.version_of(key) or 0
    for text in change.doubts:
        output.warn(text)
    _tell(key, version, change.made, dry_run=dry_run, created=not existed, as_json=as_json)


def _try(store: SessionStore, key: str, change: _Change, create: bool, if_version: int | None) -> None:
    check_version(store, key, if_version)
    entry = store.get(key)
    if entry is None and not create:
        raise not_found(store, key)
    change.apply(entry or {})


def _commit(store: SessionStore, key: str, change: _Change, create: bool, if_version: int | None) -> None:
    def compute(entry: dict[str, Any]) -> dict[str, Any]:
        # The session is held here. If a whole-store edit moves it all the same, the commit is
        # refused and this runs again, so the version that was checked is the one replaced.
        check_version(store, key, if_version)
        return change.apply(entry)

    if store.update(key, compute, create=create) is None:
        check_version(store, key, if_version)
        raise not_found(store, key)


def _tell(
    key: str, version: int, made: list[dict[str, Any]], *, dry_run: bool, created: bool, as_json: bool
) -> None:
    if as_json:
        output.print_json({"key": key, "version": version, "created": created, "dryRun": dry_run, "changes": made})
        return
    if not made and not created:
        output.note("nothing to change: the entry is like that already")
        return
    verb = "created" if created else "changed"
    what = f"would be {verb}; nothing was written" if dry_run else f"{verb}, now version {version}"
    output.note(f"{output.clean(key)}: {what}")
    for item in made:
        before = output.short(item["before"]) if "before" in item else "(not set)"
        after = output.short(item["after"]) if "after" in item else "(not set)"
        output.echo(f"{output.clean(item['field'])}: {before} -> {after}")
