"""Several processes update sessions at once: own sessions, and one session that all share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.entries import OC240, OC4919, PRESETS, SLIM, Preset, make_entry
from benchmarks.parts.base import ONE_LOCK, Bench, fill, verify, work
from benchmarks.stats import curve_us, fairness, latencies_us, over_rounds, ratio
from benchmarks.stores import LOOP, OURS, title
from benchmarks.stores.base import Durability
from benchmarks.tasks import Operation, Outcome, hammer
from benchmarks.text import microseconds, rate, size, table, times

TITLE = "Writers at once: read-modify-write of one field, each writer on 20 sessions of its own or all on one"
SESSIONS_EACH = 20
MANY = 8
_FEW = 3
"""With ``quick``: that they exclude each other shows with three."""
_OTHER_OPERATIONS = ("sessiondir", "sqlite", "lmdb")
"""The stores for which it makes a difference what is changed; the others write the whole entry anyway."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One comparison."""

    durability: Durability
    preset: str
    writers: int
    shared: bool = False
    operation: Operation = "update"

    @property
    def name(self) -> str:
        """What is compared, in words."""
        who = f"{self.writers} writer{'s' if self.writers > 1 else ''}"
        where = " on one session" if self.shared else ""
        what = {"update": "", "resize": ", a text of another length"}.get(self.operation, f", {self.operation}")
        return f"{PRESETS[self.preset].label}, {who}{where}{what}"

    def keys(self, writer: int) -> tuple[str, ...]:
        """The sessions of one writer."""
        if self.shared:
            return ("agent:main:main",)
        return tuple(f"agent:main:telegram:direct:{writer}{n:04d}" for n in range(SESSIONS_EACH))


def cells(*, quick: bool) -> list[Cell]:
    """All comparisons, in the order of the table."""
    if quick:
        chosen = [Cell("process", SLIM.name, n) for n in (1, _FEW)]
        return [*chosen, Cell("process", SLIM.name, _FEW, shared=True), Cell("power", SLIM.name, _FEW)]
    found = [Cell("process", preset.name, n) for preset in (SLIM, OC4919) for n in (1, MANY)]
    found += [Cell("process", OC240.name, 1), Cell("process", SLIM.name, MANY, shared=True)]
    found += [Cell("process", preset.name, 1, operation="resize") for preset in (OC4919, OC240)]
    found += [Cell("process", OC4919.name, 1, operation="patch")]
    found += [Cell("power", preset.name, n) for preset in (SLIM, OC4919) for n in (1, MANY)]
    return [*found, Cell("power", SLIM.name, MANY, shared=True)]


def measure(bench: Bench) -> list[dict[str, Any]]:
    """Every cell with every store; medians of the rounds."""
    return measure_cells(bench, cells(quick=bench.quick), (*bench.stores(), LOOP))


def measure_cells(bench: Bench, chosen: Sequence[Cell], names: Sequence[str]) -> list[dict[str, Any]]:
    """Some cells with some stores, round by round."""
    rounds: dict[tuple[Cell, str], list[dict[str, Any]]] = {(cell, name): [] for cell in chosen for name in names}
    for number, cell, name in bench.interleaved(chosen, names):
        if not _takes_part(cell, name, quick=bench.quick):
            continue
        bench.say(f"round {number} of {bench.rounds}: {cell.durability}, {cell.name}: {title(name)}")
        with bench.excused(f"{title(name)}: {cell.durability}, {cell.name}"):
            rounds[cell, name].append(_run_once(bench, cell, name))
    return [
        asdict(cell)
        | {"name": cell.name}
        | {name: over_rounds(rounds[cell, name]) for name in names if rounds[cell, name]}
        for cell in chosen
    ]


def _takes_part(cell: Cell, name: str, *, quick: bool) -> bool:
    """Whether a store's figure in a cell tells more than its figure in another one."""
    if name == LOOP:
        return cell.writers in (_FEW, MANY) and cell.durability == "process" and cell.preset == SLIM.name
    if cell.operation != "update":
        return name in _OTHER_OPERATIONS
    if name not in ONE_LOCK:
        return True
    return cell.writers == 1 if quick else cell.durability == "process" or cell.preset == SLIM.name


def _run_once(bench: Bench, cell: Cell, name: str) -> dict[str, Any]:
    preset: Preset = PRESETS[cell.preset]
    keys = sorted({key for writer in range(cell.writers) for key in cell.keys(writer)})
    with bench.directory() as here:
        fill(name, here, {key: make_entry(preset, seed) for seed, key in enumerate(keys)})
        os.sync()  # nobody measures what another store left for the disk
        outcomes = bench.workers.run(
            [
                work(
                    hammer,
                    name,
                    here,
                    cell.durability,
                    keys=cell.keys(writer),
                    seconds=bench.seconds,
                    operation=cell.operation,
                )
                for writer in range(cell.writers)
            ]
        )
        figures = summary(outcomes, bench.seconds)
        if name != LOOP:
            figures["found"] = verify(name, here, figures["acknowledged"], cell.name)
        return figures


def summary(outcomes: Sequence[Outcome], seconds: float) -> dict[str, Any]:
    """The figures of one run."""
    latencies = [latency for outcome in outcomes for latency in outcome.latencies]
    counts = [outcome.in_window for outcome in outcomes]
    return latencies_us(latencies) | {
        "ops_per_s": round(sum(counts) / seconds, 1),
        "fairness": fairness(counts),
        "acknowledged": sum(outcome.acknowledged for outcome in outcomes),
        "close_s": round(max(outcome.close_s for outcome in outcomes), 4),
        "written_per_op": round(sum(outcome.bytes_written for outcome in outcomes) / len(latencies)),
        "dirtied_per_op": round(sum(outcome.bytes_dirtied for outcome in outcomes) / len(latencies)),
        "curve_us": curve_us(latencies),
    }


HEADER = ["", "store", "ops/s", "P50", "P90", "P99", "P99.9", "worst", "fairness", "close", "written/op"]


def figures(found: dict[str, Any]) -> list[str]:
    """One store's figures as cells of the table."""
    return [
        rate(found["ops_per_s"]),
        *(microseconds(found[name]) for name in ("p50_us", "p90_us", "p99_us", "p999_us", "max_us")),
        f"{found['fairness']:.2f}",
        f"{found['close_s']:.2f} s",
        size(found["written_per_op"]),
    ]


def render(rows: Sequence[dict[str, Any]]) -> str:
    """One table for each durability; the last columns say how we compare."""
    parts = []
    for durability in ("process", "power"):
        lines = []
        for row in rows:
            if row["durability"] != durability:
                continue
            ours = row.get(OURS)
            for number, name in enumerate(each for each in row if isinstance(row[each], dict)):
                compared = ["", ""] if name in (OURS, LOOP) or ours is None else _compared(ours, row[name])
                lines.append([row["name"] if number == 0 else "", title(name), *figures(row[name]), *compared])
        if lines:
            parts += [f"durability {durability}", table([*HEADER, "ours/its ops", "its/ours worst"], lines)]
    return "\n\n".join([*parts, NOTES])


def _compared(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    both = (ratio(ours["ops_per_s"], theirs["ops_per_s"]), ratio(theirs["max_us"], ours["max_us"]))
    return [f"{times(value)}{'' if value >= 1 else ' <'}" for value in both]


NOTES = """\
Ratios above 1 favour sessiondir; '<' marks what it loses. Figures are medians of the rounds, the worst latency is
that of all rounds. fairness: operations of the slowest process / of the fastest. close: until the last handle was
closed after the window; sessiondir brings its session files level then. written/op: bytes given to write calls
until then, all processes, per operation. "a loop without a store" does the same decoding and encoding in memory:
its worst wait and its fairness are what the scheduler alone makes of so many processes. Every run counted the
acknowledged operations in the store afterwards. A change that keeps the entry's length suits SQLite, which then
writes only the pages that differ; "a text of another length" is the other case."""
