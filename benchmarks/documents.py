"""The tables in README and docs, renewed from a run.

What stands between ``<!-- bench:NAME -->`` and ``<!-- /bench -->`` is replaced by the table of
that name. Text around the marks is written by people and stays.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import aims, report
from benchmarks.entries import PRESETS
from benchmarks.parts.syscalls import LEAST
from benchmarks.stores import NAMES, OURS, title
from benchmarks.text import import_time, markdown, microseconds, rate, size

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = (ROOT / "README.md", ROOT / "docs" / "benchmarks.md")
_BLOCK = re.compile(r"(<!-- bench:([a-z_]+) -->\n).*?(\n?<!-- /bench -->)", re.DOTALL)

_OPERATIONS = {"update": "", "resize": ", a text of another length"}
Results = Mapping[str, Any]


def update(results: Results, documents: tuple[Path, ...] = DOCUMENTS) -> list[Path]:
    """Renew the tables; the documents that changed. ``KeyError`` for a name that there is no table of."""
    changed = []
    for path in documents:
        before = path.read_text(encoding="utf-8")
        after = _BLOCK.sub(lambda found: found[1] + TABLES[found[2]](results) + "\n<!-- /bench -->", before)
        if after != before:
            path.write_text(after, encoding="utf-8")
            changed.append(path)
    return changed


def _about(results: Results) -> str:
    facts, run = results["machine"], results["run"]
    packages = ", ".join(f"{name} {facts[name]}" for name in ("lmdb", "diskcache", "filelock", "openai-agents"))
    where = f"{facts['cpu']}, {facts['cores']} cores, {facts['kernel']}, {facts['file_system']}"
    form = facts.get("sessiondir", "interpreted")  # older results are of before it could be compiled
    versions = f"sessiondir {form}, Python {facts['python']}, SQLite {facts['sqlite']}, {packages}"
    rounds = f"{run['rounds']} rounds of {run['seconds']:g} s a cell"
    kept = f"[All figures](benchmarks/results/{report.stem(dict(results))}.txt)"
    lines = [f"Run of {facts['date'][:10]}: {where}; {versions}; {rounds}. {kept}."]
    lines += [
        f"Not measured, because it is missing here: {name} ({why})." for name, why in results["missing"].items()
    ]
    lines += [f"Failed: {text}." for text in results["failures"]]
    if report.is_busy(dict(results)):
        lines.append(
            f"**The machine was busy (load {facts['load_before']} before the run): these figures are rough.**"
        )
    return "\n\n".join(lines)


def _about_below_docs(results: Results) -> str:
    return _about(results).replace("(benchmarks/results/", "(../benchmarks/results/")


def _aims(results: Results) -> str:
    rows = [
        [verdict.aim, verdict.measured or "-", {"MISSED": "**missed**"}.get(verdict.word, verdict.word)]
        for verdict in aims.judge(results)
    ]
    return markdown(["aim", "measured", ""], rows)


def _headline(results: Results) -> str:
    """Operations a second, the worst latency and fairness of every contention cell, of the best known stores."""
    return _contention(results, (OURS, "sqlite", "lmdb", "files", "legacy"), results["contention"])


def _short(results: Results) -> str:
    """The same for the README: read-modify-write only, and the two competitors that people ask for."""
    cells = [cell for cell in results["contention"] if cell["operation"] == "update"]
    return _contention(results, (OURS, "sqlite", "lmdb"), cells)


def _contention(results: Results, names: Sequence[str], cells: Sequence[Mapping[str, Any]]) -> str:
    there = [name for name in names if name not in results["missing"]]
    rows = []
    for cell in cells:
        where = " on *one* session" if cell["shared"] else ""
        what = _OPERATIONS.get(cell["operation"], f", {cell['operation']}")
        label = f"{cell['durability']}, {PRESETS[cell['preset']].label}, {cell['writers']}{where}{what}"
        best = max((cell[name]["ops_per_s"] for name in there if name in cell), default=0)
        rows.append([label, *(_headline_cell(cell, name, best) for name in there)])
    return markdown(["durability, entry, writers", *map(title, there)], rows)


def _headline_cell(cell: Mapping[str, Any], name: str, best: float) -> str:
    if name not in cell:
        return "-"
    one = cell[name]
    per_s = rate(one["ops_per_s"])
    shown = f"**{per_s}**" if one["ops_per_s"] == best else per_s
    fair = f", {one['fairness']:.2f}" if cell["writers"] > 1 else ""
    return f"{shown} ({microseconds(one['max_us'])}{fair})"


def _syscalls(results: Results) -> str:
    rows = []
    for row in results["syscalls"]:
        least, why = LEAST[row["operation"], row["durability"]]
        ours = row["stores"][OURS]
        calls = ", ".join(f"`{name}` {count:.3g}" for name, count in ours["by_name"].items() if count >= 0.1)
        others = "; ".join(
            f"{title(name)} {one['calls']:.0f}" for name, one in row["stores"].items() if name != OURS
        )
        operation = f"{row['operation']}, {row['durability']}"
        rows.append([operation, f"{ours['calls']:.1f}", calls, f"{least}: {why}", others or "not counted"])
    return markdown(["operation", "calls", "which", "least possible", "others"], rows)


def _full_store(results: Results) -> str:
    found = results["full_store"]
    rows = []
    for row in found["rows"]:
        for name in (name for name in NAMES if name in row["stores"]):
            one = row["stores"][name]
            rows.append(
                [
                    f"{row['sessions']:,} sessions, {size(row['bytes'])}",
                    title(name),
                    import_time(one),
                    microseconds(one["first_us"]),
                    microseconds(one["p50_us"]),
                    size(one["written_per_op"]),
                    size(one["peak"] - found["bare"]),
                ]
            )
    return markdown(["store", "", "import", "open and update", "next update", "written for it", "memory"], rows)


def _listing(results: Results) -> str:
    rows = []
    for row in results["listing"]["rows"]:
        for name in (name for name in NAMES if name in row["stores"]):
            one = row["stores"][name]
            rows.append(
                [f"{row['sessions']:,}", title(name), *(microseconds(one[k]) for k in ("cold_us", "warm_us"))]
            )
    return markdown(["sessions", "", "first page, cold", "first page, warm"], rows)


TABLES: dict[str, Callable[[Results], str]] = {
    "about": _about,
    "about_here": _about_below_docs,
    "aims": _aims,
    "headline": _headline,
    "short": _short,
    "syscalls": _syscalls,
    "full_store": _full_store,
    "listing": _listing,
}
