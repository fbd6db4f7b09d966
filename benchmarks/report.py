"""Results as text for people and as JSON; both say on what machine they were measured."""

from __future__ import annotations

import json
import textwrap
import time
from pathlib import Path
from typing import Any

from benchmarks import aims, stores
from benchmarks.parts import WORKLOADS, part
from benchmarks.text import table


def render(results: dict[str, Any]) -> str:
    """The whole report as text."""
    facts = results["machine"]
    run = results["run"]
    blocks = [
        "sessiondir beside other stores",
        "\n".join(f"  {name:<14} {value}" for name, value in facts.items()),
        f"{run['rounds']} rounds of {run['seconds']:g} s a cell; {run['took_s']:.0f} s in all"
        + ("; QUICK: far too short for figures" if run["quick"] else ""),
        _times(run),
        _loud(results),
        _heading("Aims") + aims_table(results),
    ]
    for name in WORKLOADS:
        if name in results:
            module = part(name)
            blocks.append(_heading(module.TITLE) + module.render(results[name]))
    blocks.append(_heading("How each store is set up") + _setups())
    return "\n\n".join(block for block in blocks if block) + "\n"


def _times(run: dict[str, Any]) -> str:
    """How long each part took, so that one sees what to leave out."""
    words = ", ".join(f"{name} {took_s:.1f}" for name, took_s in run["parts"].items())
    return textwrap.fill(f"Seconds a part: {words}", 115, subsequent_indent="  ")


def _heading(title: str) -> str:
    return f"{title}\n{'=' * len(title)}\n\n"


def _loud(results: dict[str, Any]) -> str:
    lines = [f"MISSING: {name} was not measured: {why}" for name, why in results["missing"].items()]
    lines += [f"FAILED: {text}" for text in results["failures"]]
    if is_busy(results):
        load = results["machine"]["load_before"]
        lines.append(f"BUSY: the load was {load} before the run began; the figures are rough, and many too low")
    return "\n".join(lines)


def is_busy(results: dict[str, Any]) -> bool:
    """Whether others were using the machine when the run began."""
    return bool(results["machine"]["load_before"] > results["machine"]["cores"] / 2)


def aims_table(results: dict[str, Any]) -> str:
    """Every aim, what was measured, and whether it was met."""
    verdicts = aims.judge(results)
    met = sum(verdict.met is True for verdict in verdicts)
    lines = [[verdict.aim, verdict.measured or "-", verdict.word] for verdict in verdicts]
    return f"{table(['', 'measured', ''], lines, left=True)}\n\n{met} of {len(verdicts)} met"


def _setups() -> str:
    blocks = []
    for name in stores.available():
        about = stores.store_class(name).about
        blocks.append(
            textwrap.fill(f"{stores.title(name)}: {about}", 115, subsequent_indent="  ", break_on_hyphens=False)
        )
    return "\n".join(blocks)


def stem(results: dict[str, Any]) -> str:
    """The name of a run: date, commit, and what was left out."""
    facts = results["machine"]
    commit = facts["commit"] or time.strftime("%H%M%S", time.gmtime())
    return f"{facts['date'][:10]}-{commit}{results['run']['suffix']}"


def save(results: dict[str, Any], text: str, directory: Path) -> Path:
    """Write text and JSON; the path of the text."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{stem(results)}.json").write_text(json.dumps(results, indent=1) + "\n")
    path = directory / f"{stem(results)}.txt"
    path.write_text(text)
    return path
