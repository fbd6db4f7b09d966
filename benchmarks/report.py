"""Results as text for people and as JSON; both say on what machine they were measured."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import subprocess
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import hot

_ROOT = Path(__file__).resolve().parent.parent
_NAMES = {"sessiondir": "sessiondir", "sqlite": "SQLite"}
_NOTES = """\
Latencies in microseconds. ops/s, P50, P99 and fairness are medians of the rounds, the worst latency is that
of all rounds. Fairness: operations of the slowest process / of the fastest. Close: seconds until the last
handle was closed after the window; sessiondir brings its session files level then, SQLite its database.
SQLite runs in WAL mode, synchronous=NORMAL for process durability and FULL for power durability; "patch" is
one UPDATE with json_set there. Every run counted the acknowledged operations in the store afterwards."""


def machine_facts(place: str) -> dict[str, Any]:
    """What one has to know to compare with another measurement."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()) + " UTC",
        "commit": _git_commit(),
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "load_before": round(os.getloadavg()[0], 2),
        "kernel": f"{platform.system()} {platform.release()}",
        "file_system": place,
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "msgspec": version("msgspec"),
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def _git_commit() -> str | None:
    try:
        commit = _git("rev-parse", "--short", "HEAD")
        return f"{commit}-dirty" if _git("status", "--porcelain", "--", "src", "benchmarks/*.py") else commit
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(_ROOT), *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def render(results: dict[str, Any]) -> str:
    """The whole report as text."""
    facts = results["machine"]
    parts = ["sessiondir beside SQLite", "", *(f"  {name:<12} {value}" for name, value in facts.items()), ""]
    parts += [f"{results['rounds']} rounds of {results['seconds']:g} s a cell", ""]
    for durability in ("process", "power"):
        rows = [row for row in results.get("contention", ()) if row["durability"] == durability]
        if rows:
            parts += [f"Writers at once, durability {durability}", "", _contention(rows), ""]
    if "contention" in results:
        parts += [_NOTES, ""]
    for part, title, draw in (
        (
            "growth",
            "Cost against the size of the store: median microseconds, one thread, 1 KB entries",
            _growth,
        ),
        ("bytes", "Bytes added to the journal, entry of 230 KB", _bytes),
        ("holder", "Others' updates while one process sits in a callback on one session", _holder),
        (
            "hot",
            "At every message: median microseconds by a hot path, a whole-store save, and a rewritten JSON file",
            _hot,
        ),
        ("transcripts", "Transcripts: microseconds an append of 1 KB, and the last 50 records", _transcripts),
        (
            "children",
            "Children that announce themselves to a parent who holds its session: worst milliseconds",
            _children,
        ),
        ("cron", "Updates of one session, alone and during a burst of 114 cron jobs: microseconds", _cron),
    ):
        if part in results:
            parts += [title, "", draw(results[part]), ""]
    return "\n".join(parts)


def _contention(rows: Sequence[dict[str, Any]]) -> str:
    header = ["", "store", "ops/s", "P50", "P99", "worst", "fairness", "close", "ratio ops/s", "ratio worst"]
    lines = []
    for row in rows:
        ours, theirs = row["sessiondir"], row["sqlite"]
        faster = ours["ops_per_s"] / theirs["ops_per_s"] if theirs["ops_per_s"] else float("inf")
        calmer = theirs["max_us"] / ours["max_us"]
        ratios = [f"{faster:.2f}{mark(faster)}", f"{calmer:.2f}{mark(calmer)}"]
        lines.append([row["name"], "sessiondir", *_figures(ours), *ratios])
        lines.append(["", "SQLite", *_figures(theirs), "", ""])
    return table(header, lines) + "\n\nRatios above 1 favour sessiondir; '<' marks what it loses."


def mark(ratio: float) -> str:
    """Marks a lost comparison."""
    return " <" if ratio < 1 else ""


def _figures(summary: dict[str, Any]) -> list[str]:
    return [
        f"{summary['ops_per_s']:,.0f}",
        f"{summary['p50_us']:,.1f}",
        f"{summary['p99_us']:,.1f}",
        f"{summary['max_us']:,.0f}",
        f"{summary['fairness']:.2f}",
        f"{summary['close_s']:.2f}",
    ]


def _growth(rows: Sequence[dict[str, Any]]) -> str:
    lines = []
    for operation in rows[0]["sessiondir"]:
        ours, theirs = ([row[name][operation] for row in rows] for name in _NAMES)
        lines.append(
            [operation, "sessiondir", *(f"{us:,.1f}" for us in ours), "<" if ours[-1] > theirs[-1] else ""]
        )
        lines.append(["", "SQLite", *(f"{us:,.1f}" for us in theirs), ""])
    return table(["", "store", *(f"{row['sessions']:,} sessions" for row in rows), ""], lines)


def _bytes(found: dict[str, int]) -> str:
    return table(["", "bytes"], [[name.replace("_", " "), f"{value:,}"] for name, value in found.items()])


def _hot(rows: Sequence[dict[str, Any]]) -> str:
    return table(["", "sessions", "hot path", "whole store", "file", "whole / hot"], hot.draw_rows(rows))


def _holder(rows: Sequence[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        for where in ("same_process", "other_process"):
            figures = row[where]
            lines.append(
                [
                    _NAMES[row["contender"]],
                    f"held {row['seconds']:g} s" if row["held"] else "idle",
                    where.replace("_", " "),
                    *(f"{figures[name]:,.1f}" for name in ("p50_us", "p99_us", "max_us")),
                    f"{figures['ops']:,}",
                ]
            )
    return table(["store", "", "updates from", "P50", "P99", "worst", "updates"], lines)


def _transcripts(found: dict[str, Any]) -> str:
    lines = []
    for row in found["append"]:
        for name in ("sessiondir", "plain"):
            figures = [f"{row[name][what]:,.1f}" for what in ("p50_us", "p99_us", "max_us")]
            lines.append([f"append, {row['durability']}, to {row['megabytes']} MB", name, *figures, ""])
    shared = found["shared"]
    figures = [f"{shared[what]:,.1f}" for what in ("p50_us", "p99_us", "max_us")]
    told = f"{shared['per_s']:,.0f} appends/s, fairness {shared['fairness']:.2f}"
    lines.append(["append, process, 20 processes on one", "sessiondir", *figures, told])
    for row in found["tail"]:
        memory = f"{row['resident_kb'] / 1024:,.1f} MB resident"
        lines.append([f"last 50 of {row['megabytes']} MB", "sessiondir", f"{row['tail_us']:,.1f}", "", "", memory])
    return table(["", "", "P50", "P99", "worst", ""], lines)


def _children(rows: Sequence[dict[str, Any]]) -> str:
    lines = [
        [
            str(row["children"]),
            f"spread over {row['spread_s']:g} s" if row["spread_s"] else "all at once",
            f"{row['held_s']:g} s",
            *(f"{row[name]:,.1f}" for name in ("update_ms", "post_ms", "seen_ms")),
        ]
        for row in rows
    ]
    return table(["children", "updates", "parent held", "update", "post", "seen by parent"], lines)


def _cron(rows: Sequence[dict[str, Any]]) -> str:
    lines = [
        [
            "burst" if row["burst"] else "alone",
            *(f"{row[name]:,.1f}" for name in ("p50_us", "p99_us", "max_us")),
            f"{row['updates']:,}",
        ]
        for row in rows
    ]
    ratio = rows[1]["p99_us"] / rows[0]["p99_us"]
    return (
        table(["", "P50", "P99", "worst", "updates"], lines)
        + f"\n\nP99 during the burst is {ratio:.2f} times that alone."
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns under their titles; the first is left-aligned, and so is every column of words."""
    widths = [max(len(row[at]) for row in (header, *rows)) for at in range(len(header))]
    words = [not any(row[at][:1].isdigit() for row in rows) for at in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        return "  ".join(
            cell.ljust(width) if at == 0 or words[at] else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ).rstrip()

    return "\n".join([line(header), line(["-" * width for width in widths]), *map(line, rows)])


def save(results: dict[str, Any], text: str, directory: Path) -> Path:
    """Write text and JSON, named by date, commit and what was left out; the path of the text."""
    directory.mkdir(parents=True, exist_ok=True)
    facts = results["machine"]
    name = f"{facts['date'][:10]}-{facts['commit'] or time.strftime('%H%M%S', time.gmtime())}"
    name += results["suffix"]
    (directory / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n")
    path = directory / f"{name}.txt"
    path.write_text(text)
    return path
