"""``sessiondir search``"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from sessiondir.cli import output
from sessiondir.cli.conversations import Reading, SessionNames, find_transcript, since_option
from sessiondir.cli.options import examples, json_option, open_for_reading, store_option

if TYPE_CHECKING:
    from sessiondir.transcripts import Record, TranscriptFile

_BEFORE, _AFTER = 40, 120
# In these no JSON writer escapes anything, so the bytes of the line tell whether it is worth parsing.
_PLAIN = re.compile(r"[A-Za-z0-9 _.,:;!?()-]+\Z")
# All that is the same as an ASCII letter in another case and no ASCII letter itself.
_OTHER_CASES = tuple(letter.encode() for letter in "\u0130\u0131\u017f\u212a")


@click.command(
    epilog=examples(
        "sessiondir search 'rate limit'",
        "sessiondir search invoice --role user --since 30d",
        "sessiondir search TODO --session agent:main:main --json | jq -r .text",
    )
)
@click.argument("text")
@click.option(
    "-i", "--ignore-case", is_flag=True, help="Upper and lower case are the same, however TEXT is written."
)
@click.option("-s", "--case-sensitive", is_flag=True, help="They are not, even if TEXT is in lower case.")
@click.option(
    "--role", "roles", metavar="ROLE", multiple=True, help="Only messages of this role, or records of this type."
)
@click.option(
    "--session", metavar="SESSION", help="Only this session's transcript: a key, a session id or a file name."
)
@since_option
@click.option("--limit", metavar="N", type=click.IntRange(min=1), help="End after N records.")
@json_option
@store_option
def search(
    *,
    path: str,
    text: str,
    ignore_case: bool,
    case_sensitive: bool,
    roles: tuple[str, ...],
    session: str | None,
    since_ms: int | None,
    limit: int | None,
    as_json: bool,
) -> None:
    """Look for TEXT in the transcripts beside the store.

    Looks through everything that is text in a record: messages, tool calls and results,
    summaries; live transcripts and those that were reset or deleted. `rome` finds Rome and ROME, too;
    a TEXT with an upper-case letter is looked for as it is. One line for each record: session, time,
    role, and the text around the first place. With --json one object a line, with the file and the
    offset in it. A progress bar is shown on a terminal.
    """
    from sessiondir.transcripts import TranscriptFolder
    from sessiondir.transcripts.messages import role_of, time_of

    if not text:
        raise click.UsageError("TEXT is empty")
    if ignore_case and case_sensitive:
        raise click.UsageError("--ignore-case and --case-sensitive exclude each other")
    any_case = ignore_case or not (case_sensitive or any(map(str.isupper, text)))
    find = _finder(text, any_case)
    found = 0
    problems = 0
    with open_for_reading(path) as store, TranscriptFolder.beside(path, read_only=True) as folder:
        names = SessionNames(store)
        files = list(folder.conversations())
        if session is not None:
            wanted = find_transcript(store, folder, session).name
            files = [file for file in folder.files() if file.name == wanted]
        reading = Reading(folder, files, "searching")
        for file, record in reading:
            place = find(record)
            if place is None:
                problems += record.size > 0 and not record.raw
                continue
            at_ms = time_of(record.value)
            if (roles and role_of(record.value) not in roles) or (
                since_ms is not None and (at_ms or 0) < since_ms
            ):
                continue
            found += 1
            with reading.paused():
                _show(names.of(file), file, record, place, as_json)
            if found == limit:
                break
    if problems:
        output.warn(f"{problems:,} records were too large to be searched")
    if not found and not as_json:
        output.note("nothing found" if any_case else "nothing found; case counted, -i looks in any case")


def _finder(text: str, any_case: bool) -> Callable[[Record], str | None]:
    """What gives the text around the first place in a record, or None."""
    from sessiondir.transcripts.messages import searchable

    pattern = re.compile(re.escape(text), re.IGNORECASE if any_case else 0)
    plain = (text.lower() if any_case else text).encode() if _PLAIN.match(text) else None

    def is_out_of_question(raw: bytes) -> bool:
        """Whether the bytes of a line tell that the text is not in it. An escape may stand for any character."""
        if plain is None or b"\\u" in raw:
            return False
        if not any_case:
            return plain not in raw
        return plain not in raw.lower() and not any(letter in raw for letter in _OTHER_CASES)

    def find(record: Record) -> str | None:
        if is_out_of_question(record.raw):
            return None
        if record.problem:
            return None
        for one in searchable(record.value):
            match = pattern.search(one)
            if match is not None:
                start, end = max(0, match.start() - _BEFORE), match.end() + _AFTER
                return f"{'...' if start else ''}{one[start:end]}{'...' if end < len(one) else ''}"
        return None

    return find


def _show(name: str, file: TranscriptFile, record: Record, place: str, as_json: bool) -> None:
    from sessiondir.transcripts.messages import role_of, time_of

    at_ms, role = time_of(record.value), role_of(record.value)
    if as_json:
        told = {
            "session": name,
            "file": file.name,
            "offset": record.offset,
            "at": at_ms,
            "role": role,
            "text": place,
        }
        output.echo(output.json_text(told, indent=None))
        return
    parts = (name, output.time_text(at_ms), role, " ".join(place.split()))
    output.echo(("  " if output.on_terminal() else "\t").join(map(output.clean, parts)))
