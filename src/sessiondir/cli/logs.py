"""``sessiondir logs``"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from sessiondir.cli import output
from sessiondir.cli.conversations import find_transcript
from sessiondir.cli.options import examples, json_option, open_for_reading, store_option

if TYPE_CHECKING:
    from sessiondir.transcripts import Record, TranscriptReader

_TEXT_LIMIT = 2000


@click.command(
    epilog=examples(
        "sessiondir logs agent:main:main --tail 20",
        "sessiondir logs agent:main:main --follow --role user --role assistant",
        "sessiondir logs agent:main:main --tool exec --json | jq .message.content",
    )
)
@click.argument("session")
@click.option("--tail", metavar="N", type=click.IntRange(min=0), help="Only the last N records that match.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is appended, until interrupted.")
@click.option(
    "--role", "roles", metavar="ROLE", multiple=True, help="Only messages of this role, or records of this type."
)
@click.option("--tool", "tools", metavar="NAME", multiple=True, help="Only calls and results of this tool.")
@click.option("--full", is_flag=True, help="Long texts whole.")
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    help="With --follow: end when nothing was appended for so long.  [default: never]",
)
@json_option
@store_option
def logs(
    *,
    path: str,
    session: str,
    tail: int | None,
    follow: bool,
    roles: tuple[str, ...],
    tools: tuple[str, ...],
    full: bool,
    timeout: float | None,
    as_json: bool,
) -> None:
    """Print the transcript of a session.

    SESSION is its key, a session id, or the name of an archive beside the store. On a terminal
    each record has a line with time and role, and its text below; through a pipe it is one line:
    time, role and text with tabs between them. With --json the records as they are, one a line.
    """
    from sessiondir.transcripts import TranscriptFolder

    if timeout is not None and not follow:
        raise click.UsageError("--timeout goes with --follow")
    wanted = _filter(roles, tools)
    show = _as_json if as_json else _printer(full)
    with open_for_reading(path) as store, TranscriptFolder.beside(path, read_only=True) as folder:
        transcript = find_transcript(store, folder, session, may_be_missing=follow)
        position = _print_what_is_there(transcript, tail, wanted, show)
        if follow:
            for record in transcript.follow(position, timeout=timeout):
                if wanted(record):
                    show(record)


def _filter(roles: tuple[str, ...], tools: tuple[str, ...]) -> Callable[[Record], bool]:
    from sessiondir.transcripts.messages import role_of, tools_of

    def wanted(record: Record) -> bool:
        value = record.value
        return (not roles or role_of(value) in roles) and (not tools or not tools_of(value).isdisjoint(tools))

    return wanted


def _print_what_is_there(
    transcript: TranscriptReader,
    tail: int | None,
    wanted: Callable[[Record], bool],
    show: Callable[[Record], None],
) -> int:
    """Print it; the offset from which on to follow."""
    position = 0
    if tail is None or transcript.name.endswith(".zst"):
        kept: list[Record] | None = [] if tail is not None else None
        for record in transcript.records():
            position = record.end
            if not wanted(record):
                continue
            if kept is None:
                show(record)
            else:
                kept.append(record)
                del kept[: max(0, len(kept) - (tail or 0))]
        for record in kept or ():
            show(record)
        return position
    newest_first: list[Record] = []
    for record in transcript.records(reverse=True):
        position = position or record.end
        if tail and wanted(record):
            newest_first.append(record)
        # At once: the record before may be a gigabyte away.
        if len(newest_first) == tail:
            break
    for record in reversed(newest_first):
        show(record)
    return position


def _as_json(record: Record) -> None:
    output.echo(output.json_text(record.value, indent=None))


def _printer(full: bool) -> Callable[[Record], None]:
    from sessiondir.transcripts.messages import role_of, text_of, time_of

    terminal = output.on_terminal()

    def show(record: Record) -> None:
        text = text_of(record.value)
        if not full and len(text) > _TEXT_LIMIT:
            text = f"{text[:_TEXT_LIMIT]}... ({len(text):,} characters)"
        when, role = output.time_text(time_of(record.value)), output.clean(role_of(record.value))
        if not terminal:
            output.echo(f"{when}\t{role}\t{output.clean(text)}")
            return
        output.render_heading(f"{when}  {role}" if when else role)
        for line in text.split("\n") if text else ():
            output.echo(f"  {output.clean(line)}")

    return show
