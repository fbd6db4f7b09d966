"""``sessiondir leases``"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from sessiondir.cli import output
from sessiondir.cli.options import examples, json_option, open_for_reading, store_option
from sessiondir.cli.output import Column

if TYPE_CHECKING:
    from sessiondir.leases import LeaseInfo

_COLUMNS = (
    Column("SESSION"),
    Column("OWNER"),
    Column("PROCESS", "id"),
    Column("GRANTED", "age"),
    Column("TOKEN", "id"),
    Column("STATE"),
)


@click.command(epilog=examples("sessiondir leases", "sessiondir leases --all --json | jq -r '.items[].owner'"))
@click.option("--all", "free", is_flag=True, help="Those, too, that nobody holds any more.")
@json_option
@store_option
def leases(*, path: str, free: bool, as_json: bool) -> None:
    """Show which sessions are leased, that is, have a run in progress, and to whom.

    A lease is free again when its term is over, when its process has died, and after a
    reboot; nothing has to be removed by hand.
    """
    with open_for_reading(path) as store:
        found = store.leases(free=free)
    if as_json:
        output.print_json({"items": [lease_as_json(one) for one in found]})
    elif found:
        output.print_table(
            _COLUMNS,
            ((one.key, one.owner, one.pid, one.granted_at_ms, one.token, state_text(one)) for one in found),
        )
    else:
        output.note("no leases")


def lease_as_json(lease: LeaseInfo) -> dict[str, Any]:
    """A lease for programs; ``endsIn`` in seconds, ``free`` is null while it is held."""
    return {
        "key": lease.key,
        "owner": lease.owner,
        "token": lease.token,
        "pid": lease.pid,
        "grantedAt": lease.granted_at_ms,
        "ttl": lease.ttl_s,
        "endsIn": round(lease.ends_in_s, 3),
        "free": lease.free,
    }


def state_text(lease: LeaseInfo) -> str:
    """Whether it is held, and for how long, or why it is not."""
    return f"free: {lease.free}" if lease.free else f"ends in {lease.ends_in_s:,.0f} s"


def lease_text(lease: LeaseInfo) -> str:
    """A lease on one line."""
    unless = "" if lease.free else " unless renewed"
    return f"{lease.owner}, process {lease.pid}, {state_text(lease)}{unless}"
