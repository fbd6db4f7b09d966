"""``sessiondir usage``"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any, Literal

import click

from sessiondir.cli import output
from sessiondir.cli.conversations import Reading, SessionNames, since_option
from sessiondir.cli.options import examples, json_option, open_for_reading, store_option
from sessiondir.cli.output import Column

if TYPE_CHECKING:
    from sessiondir.transcripts import Summary, Totals

_BAR_CELLS = 24
_FEWEST_BAR_CELLS = 5
_NAME_CELLS = 20
"""How much of a session's name stays before the bars get shorter."""
_BY = ("day", "model", "session")
_FIELDS = ("answers", "input", "output", "cacheRead", "cacheWrite", "totalTokens", "cost")


@click.command(
    epilog=examples(
        "sessiondir usage --since 30d",
        "sessiondir usage --by model --json | jq .total.cost",
        "sessiondir usage --by session --csv > usage.csv",
    )
)
@click.option("--by", type=click.Choice(_BY), default="day", show_default=True, help="What to add up for.")
@since_option
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV with a title line.")
@json_option
@store_option
def usage(
    *, path: str, by: Literal["day", "model", "session"], since_ms: int | None, as_csv: bool, as_json: bool
) -> None:
    """Tokens and cost of the answers in the transcripts beside the store.

    Counts live transcripts and those that were reset or deleted, compressed ones too; copies
    (backups, checkpoints) are not counted. Days are UTC, costs US dollars as the transcripts
    have them. On a terminal with a bar for the cost, or for the tokens where nothing has a cost.
    """
    from sessiondir.transcripts import Summary, Totals, TranscriptFolder

    if as_csv and as_json:
        raise click.UsageError("--csv and --json exclude each other")
    summary = Summary()
    sessions: dict[str, Summary] = {}
    with open_for_reading(path) as store, TranscriptFolder.beside(path, read_only=True) as folder:
        names = SessionNames(store) if by == "session" else None
        for file, record in Reading(folder, list(folder.conversations()), "counting"):
            summary.add(record, since_ms)
            if names is not None:
                sessions.setdefault(names.of(file), Summary()).add(record, since_ms)
    total = summary.total()
    if by == "session":
        rows = {name: own.total() for name, own in sessions.items() if own.usage}
        rows = dict(sorted(rows.items(), key=lambda item: (-item[1].cost, -item[1].total_tokens, item[0])))
    else:
        rows = summary.by_day() if by == "day" else summary.by_model()
    _warn_of(summary)
    if as_json:
        items = [{by: name, **_facts(totals)} for name, totals in rows.items()]
        output.print_json({"by": by, "items": items, "total": _facts(total), **_counts(summary)})
    elif as_csv:
        output.echo(_csv(by, rows), newline=False)
    elif rows:
        _print(by, rows, total if len(rows) > 1 else Totals())
    else:
        output.note("no answers with usage in these transcripts")


def _facts(totals: Totals) -> dict[str, Any]:
    values = (
        *(totals.answers, totals.input, totals.output, totals.cache_read, totals.cache_write),
        *(totals.total_tokens, round(totals.cost, 6)),
    )
    return dict(zip(_FIELDS, values, strict=True))


def _counts(summary: Summary) -> dict[str, Any]:
    return {"records": summary.records, "roles": dict(summary.roles), "tools": dict(summary.tools)}


def _warn_of(summary: Summary) -> None:
    for problem in ("damaged", "too large"):
        if count := summary.problems[problem]:
            output.warn(f"{count:,} lines were not counted: {problem}")


def _csv(by: str, rows: dict[str, Totals]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((by, *_FIELDS))
    for name, totals in rows.items():
        # A text that a spreadsheet would take for a formula is none.
        safe = f"'{name}" if name[:1] in ("=", "+", "-", "@") else name
        writer.writerow((output.clean(safe), *_facts(totals).values()))
    return text.getvalue()


def _print(by: str, rows: dict[str, Totals], total: Totals) -> None:
    columns = [
        Column(by.upper(), gives_way=by == "session"),
        *(Column(title, "number") for title in ("ANSWERS", "INPUT", "OUTPUT", "CACHED", "TOKENS")),
        Column("COST", "cost"),
    ]
    terminal = output.on_terminal()
    shown = [*rows.items(), *([("total", total)] if total.answers and terminal else [])]
    lines = [_line(name, one) for name, one in shown]
    cells = min(output.room_beside(columns, lines, _NAME_CELLS), _BAR_CELLS) if terminal else 0
    if cells >= _FEWEST_BAR_CELLS:
        by_cost = any(one.cost > 0 for one in rows.values())
        amounts = [one.cost if by_cost else one.total_tokens for one in rows.values()]
        most = max(amounts)
        columns.append(Column(""))
        bars = [output.bar(amount / most if most else 0.0, cells) for amount in amounts]
        lines = [[*line, text] for line, text in zip(lines, [*bars, ""], strict=False)]
    output.print_table(columns, lines)


def _line(name: str, one: Totals) -> list[Any]:
    cached = one.cache_read + one.cache_write
    return [name or "(unknown)", one.answers, one.input, one.output, cached, one.total_tokens, one.cost]
