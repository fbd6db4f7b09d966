"""Tells at the end of a run what the matrix tried."""

from __future__ import annotations

import pytest

from crash.matrix import CALLS, CUTS, TOTALS


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Counts, if there are any."""
    if CALLS:
        recoveries = sum(name.startswith("recovery after: ") for name in CALLS)
        terminalreporter.write_line(
            f"matrix of faults: {len(CALLS) - recoveries} operations and {recoveries} recoveries, "
            f"{sum(CALLS.values()):,} calls, {TOTALS['mishaps']:,} mishaps, "
            f"{TOTALS['different results']:,} different results, {TOTALS['violations']} violations"
        )
    if CUTS:
        terminalreporter.write_line(
            f"power cuts: {CUTS['plays']} operations and recoveries, {CUTS['ordered']:,} images with "
            f"ordered names, {CUTS['strict']:,} more with the strict rule, {CUTS['violations']} violations"
        )
