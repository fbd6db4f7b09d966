"""``sessiondir recipients``"""

from __future__ import annotations

from typing import Literal

import click

from sessiondir.cli import output
from sessiondir.cli.options import examples, json_option, store_or_agent
from sessiondir.cli.stores import choose


@click.command(
    epilog=examples(
        "sessiondir recipients",
        "sessiondir recipients --allow +15555550123 --allow +15555550124",
        "sessiondir recipients --all --json | jq -r '.recipients[]'",
    )
)
@click.option("--to", metavar="NUMBER", help="This number, whatever else is known.")
@click.option("--all", "everyone", is_flag=True, help="Everybody with a session, then the whole allow list.")
@click.option(
    "--allow",
    "allowed",
    metavar="NUMBER",
    multiple=True,
    help="A number on the allow list; may be given several times.",
)
@click.option(
    "--scope",
    type=click.Choice(["per-sender", "global"]),
    default="per-sender",
    show_default=True,
    help="The gateway's session scope; global sessions tell nothing of people.",
)
@json_option
@store_or_agent
def recipients(
    *,
    path: str | None,
    agent: str | None,
    to: str | None,
    everyone: bool,
    allowed: tuple[str, ...],
    scope: Literal["per-sender", "global"],
    as_json: bool,
) -> None:
    """Tell who would get a heartbeat message over WhatsApp, one number a line. Nothing is sent.

    Without an allow list these are the people with a session. If several come out the gateway
    does not choose, which is said on standard error.
    """
    from sessiondir.sessions.recipients import choose_recipients, session_recipients
    from sessiondir.sessions.summary import read_summary

    entries = read_summary(choose(path, agent).stores()[0].path)
    chosen = choose_recipients(entries, to=to, everyone=everyone, configured=allowed, scope=scope)
    if as_json:
        sessions = session_recipients(entries, scope=scope)
        output.print_json(
            {
                "recipients": list(chosen.numbers),
                "source": chosen.source,
                "sessions": [{"key": one.key, "to": one.to, "updatedAt": one.updated_at} for one in sessions],
            }
        )
        return
    for number in chosen.numbers:
        output.echo(output.clean(number))
    if not chosen.numbers:
        output.note("nobody")
    elif chosen.source == "session-ambiguous":
        output.note("several sessions fit; choose with --to, or take all with --all")
