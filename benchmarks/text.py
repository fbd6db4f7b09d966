"""Tables of plain text and of Markdown, and figures as people read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Rows = Sequence[Sequence[str]]


def table(header: Sequence[str], rows: Rows, *, left: bool = False) -> str:
    """Columns under their titles; the first is left-aligned, and so is every column of words, or all."""
    widths = [max(len(row[at]) for row in (header, *rows)) for at in range(len(header))]
    words = [left or not any(row[at][:1].isdigit() for row in rows) for at in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        return "  ".join(
            cell.ljust(width) if at == 0 or words[at] else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ).rstrip()

    return "\n".join([line(header), line(["-" * width for width in widths]), *map(line, rows)])


def markdown(header: Sequence[str], rows: Rows) -> str:
    """The same as a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def microseconds(value_us: float) -> str:
    """A duration with three digits that count: ``4.21 us``, ``1.9 ms``, ``31 s``."""
    for factor, unit in ((1e6, "s"), (1e3, "ms")):
        if value_us >= factor:
            return f"{_three(value_us / factor)} {unit}"
    return f"{_three(value_us)} us"


def _three(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def rate(per_s: float) -> str:
    """Operations a second."""
    return f"{per_s:,.0f}" if per_s >= 10 else f"{per_s:.1f}"


def size(value: float) -> str:
    """Bytes, for people."""
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "KB")):
        if value >= factor:
            return f"{_three(value / factor)} {unit}"
    return f"{value:,.0f} B"


def times(value: float) -> str:
    """A ratio: ``2.4x``."""
    return f"{value:,.0f}x" if value >= 100 else f"{value:.1f}x" if value >= 10 else f"{value:.2f}x"


def import_time(row: Mapping[str, Any]) -> str:
    """The import time of a row; results kept from before it was measured apart have it in ``first_us``."""
    return microseconds(row["import_us"]) if "import_us" in row else "in the next"
