"""``sessiondir route``"""

from __future__ import annotations

import click

from sessiondir.cli import output
from sessiondir.cli.options import examples, json_option, open_for_reading, store_or_agent
from sessiondir.cli.reading import not_found
from sessiondir.cli.stores import choose


@click.command(
    epilog=examples(
        "sessiondir route agent:main:main",
        "sessiondir route agent:main:main --json | jq -r .route.channel",
    )
)
@click.argument("key")
@json_option
@store_or_agent
def route(*, key: str, path: str | None, agent: str | None, as_json: bool) -> None:
    """Show where replies of the session KEY go: channel, target, account, thread.

    Without --store or --agent the key tells whose store is asked.
    """
    from sessiondir.sessions.normalise import loaded
    from sessiondir.sessions.route import route_key, route_of
    from sessiondir.sessions.values import number_text

    with open_for_reading(choose(path, agent).store_of(key)) as store:
        entry = store.get(key)
        if entry is None:
            raise not_found(store, key)
    found = route_of(loaded(entry))
    if as_json:
        output.print_json({"key": key, "route": found, "routeKey": route_key(found)})
        return
    if found is None:
        output.note(f"session {output.clean(key)!r} has no route")
        return
    thread = found.get("threadId")
    facts = [
        ("channel", found.get("channel")),
        ("to", found.get("to")),
        ("account", found.get("accountId")),
        ("thread", thread if thread is None or isinstance(thread, str) else number_text(thread)),
    ]
    output.print_facts((name, value) for name, value in facts if value is not None)
