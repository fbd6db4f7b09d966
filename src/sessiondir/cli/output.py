"""Everything that is printed goes through here.

Data goes to standard output: for people on a terminal as tables, through a pipe as lines of
columns separated by tabs, for programs as JSON. Notes go to standard error. Keys and values
come from chat users, so nothing that could steer a terminal is passed on.
"""

from __future__ import annotations

import datetime
import json
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import click

from sessiondir.cli import exit_codes

if TYPE_CHECKING:
    from rich.console import Console

_UNSEEN: Final = "\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff"
"""Controls, marks that reorder or hide text, odd line ends, lone surrogates; not what joins emoji."""
_STEERING: Final = re.compile(f"[\x00-\x1f{_UNSEEN}]")
_STEERING_IN_JSON: Final = re.compile(f"[{_UNSEEN}]")
_SHORT: Final = 200
_GAP: Final = 2


def echo(text: str, *, err: bool = False, newline: bool = True) -> None:
    """Print ``text``. When nobody reads it any more, ends the command as SIGPIPE would, but tidily."""
    try:
        click.echo(text, err=err, nl=newline)
    except BrokenPipeError:
        drop_stdout()
        raise click.exceptions.Exit(exit_codes.READER_GONE) from None


def drop_stdout() -> None:
    """Let standard output lead nowhere: it is flushed once more at exit, which must not fail again."""
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, sys.stdout.fileno())
    os.close(sink)


def note(text: str) -> None:
    """Something for the person who typed the command; never part of the data."""
    echo(text, err=True)


def warn(text: str) -> None:
    """Something that went otherwise than one may have expected; printed as the library's warnings are."""
    logging.getLogger("sessiondir.cli").warning("%s", text)


def on_terminal() -> bool:
    """Whether standard output is a terminal."""
    return sys.stdout.isatty()


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def clean(text: str) -> str:
    """``text`` with everything that could steer a terminal shown as an escape."""
    return _STEERING.sub(_escape, text)


def json_text(value: Any, *, indent: int | None = 2) -> str:
    """``value`` as JSON that is safe on a terminal and encodable on this standard output."""
    plain = "utf" not in (getattr(sys.stdout, "encoding", None) or "").lower()
    separators = (",", ":") if indent is None else None
    text = json.dumps(value, ensure_ascii=plain, indent=indent, separators=separators, default=str)
    return _STEERING_IN_JSON.sub(_escape, text)


def print_json(value: Any, *, indent: int | None = 2) -> None:
    """Print ``value`` as JSON; coloured on a terminal."""
    text = json_text(value, indent=indent)
    if not on_terminal():
        echo(text)
        return
    from rich.highlighter import JSONHighlighter

    render(JSONHighlighter()(text))


def short(value: Any, limit: int = _SHORT) -> str:
    """``value`` as one line of JSON of at most about ``limit`` characters."""
    text = json_text(value, indent=None)
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text):,} characters)"


def console(*, err: bool = False) -> Console:
    """A rich console that takes text as it is: no markup, no emoji names; NO_COLOR turns bold off, too."""
    from rich.console import Console

    system: Literal["auto"] | None = None if os.environ.get("NO_COLOR") else "auto"
    return Console(stderr=err, markup=False, emoji=False, highlight=False, color_system=system)


def render_heading(text: str) -> None:
    """A line above others: bold on a terminal that has it."""
    from rich.text import Text

    render(Text(text, style="bold"))


def bar(share: float, cells: int) -> str:
    """A bar of ``share`` (0 to 1) of ``cells`` characters; plain ones where the terminal has no blocks."""
    eighths = round(max(0.0, min(1.0, share)) * cells * 8)
    if "utf" not in (getattr(sys.stdout, "encoding", None) or "").lower():
        return "#" * round(eighths / 8)
    return "\u2588" * (eighths // 8) + " \u258f\u258e\u258d\u258c\u258b\u258a\u2589"[eighths % 8].strip()


def render(what: Any) -> None:
    """Print a rich object on standard output, by way of ``echo``."""
    target = console()
    with target.capture() as captured:
        target.print(what, soft_wrap=isinstance(what, str) or hasattr(what, "plain"))
    echo(captured.get(), newline=False)


# -- tables -------------------------------------------------------------------------------


def size_text(size: int | None) -> str:
    """Bytes for people: ``812 B``, ``1.4 kB``, ``20 MB``; a thousand to the step."""
    if size is None:
        return ""
    if size < 1000:
        return f"{size} B"
    value = float(size)
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        if value < 999.5 or unit == "GB":
            break
    return f"{value:.1f} {unit}" if value < 9.95 else f"{value:.0f} {unit}"


def time_text(at_ms: float | None) -> str:
    """Epoch milliseconds as RFC 3339 in UTC, to the second; numbers that are no time stay numbers."""
    if at_ms is None:
        return ""
    try:
        at = datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC)
    except (OverflowError, ValueError, OSError):
        return str(at_ms)
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def age_text(at_ms: float | None, now_ms: float) -> str:
    """How long ago, in the largest unit that gives at least two: ``3 min ago``. Blank beyond 3,000 years."""
    if at_ms is None:
        return ""
    seconds = (now_ms - at_ms) / 1000
    if not -1e11 < seconds < 1e11:
        return ""
    for length, unit in ((86400, "days"), (3600, "h"), (60, "min"), (1, "s")):
        if abs(seconds) >= 2 * length or unit == "s":
            break
    count = int(abs(seconds) // length)
    return f"{count} {unit} ago" if seconds >= 0 else f"in {count} {unit}"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    ``kind`` says what the values are: text, a number, a number that is a name (of a process, say), bytes,
    US dollars, or epoch milliseconds, as a time or, where there is no room, as an age.
    ``gives_way``: on a narrow terminal this one is cut before others are folded.
    """

    title: str
    kind: Literal["text", "number", "id", "size", "cost", "time", "age"] = "text"
    gives_way: bool = False


_ON_TERMINAL: Final[dict[str, Callable[[Any], str]]] = {
    "number": lambda value: f"{value:,}",
    "size": size_text,
    "cost": lambda value: f"${value:,.2f}",
    "time": time_text,
    "age": lambda value: age_text(value, time.time() * 1000) or time_text(value),
}
_PIPED: Final[dict[str, Callable[[Any], str]]] = {
    "cost": lambda value: f"{value:.6f}",
    "time": time_text,
    "age": time_text,
}


def _cell(column: Column, value: Any, *, terminal: bool) -> str:
    if value is None:
        return ""
    if column.kind == "text":
        return clean(str(value))
    return (_ON_TERMINAL if terminal else _PIPED).get(column.kind, str)(value)


def room_beside(columns: Sequence[Column], rows: Sequence[Sequence[Any]], at_least: int) -> int:
    """Characters that a terminal has left beside a table, if what gives way keeps ``at_least``."""
    from rich.cells import cell_len

    taken = 0
    for number, column in enumerate(columns):
        cells = (cell_len(_cell(column, row[number], terminal=True)) for row in rows)
        widest = max(len(column.title), *cells)
        taken += _GAP + (min(widest, at_least) if column.gives_way else widest)
    return console().width - taken


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[Any]]) -> None:
    """A table on a terminal; through a pipe one line a row, full values between tabs, no title."""
    terminal = on_terminal()
    cells = [
        [_cell(column, value, terminal=terminal) for column, value in zip(columns, row, strict=True)]
        for row in rows
    ]
    if terminal:
        _draw(columns, cells)
        return
    for line in cells:
        echo("\t".join(line))


def _draw(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> None:
    from rich.cells import cell_len
    from rich.table import Table

    widths = [
        max(map(cell_len, texts)) for texts in zip([column.title for column in columns], *cells, strict=True)
    ]
    room = console().width - _GAP * (len(columns) - 1)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, _GAP, 0, 0))
    for number, column in enumerate(columns):
        others = sum(widths[:number] + widths[number + 1 :])
        table.add_column(
            column.title,
            justify="right" if column.kind in ("number", "id", "size", "cost") else "left",
            # Half a number must not pass for a whole one.
            overflow="ellipsis" if column.gives_way or column.kind != "text" else "fold",
            no_wrap=column.gives_way or column.kind != "text",
            max_width=max(room - others, len(column.title)) if column.gives_way else None,
        )
    for line in cells:
        table.add_row(*line)
    render(table)


def print_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Names and values below each other; through a pipe with a tab between them."""
    pairs = [(name, clean(value)) for name, value in facts]
    width = max((len(name) for name, _ in pairs), default=0)
    for name, value in pairs:
        echo(f"{name:<{width}}  {value}" if on_terminal() else f"{name}\t{value}")
