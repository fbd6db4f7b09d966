"""The arithmetic of a run: percentiles, fairness, medians over rounds."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

SHARES = {"p50_us": 0.5, "p90_us": 0.9, "p99_us": 0.99, "p999_us": 0.999}
CURVE = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9998, 0.9999)
"""Shares of operations at which the distribution is kept for the plot; the last point is the maximum."""


def percentile(ascending: Sequence[int], share: float) -> float:
    """The nearest-rank percentile of latencies in nanoseconds, in microseconds."""
    return ascending[min(len(ascending) - 1, int(share * len(ascending)))] / 1000


def latencies_us(latencies_ns: Sequence[int]) -> dict[str, float]:
    """P50, P90, P99, P99.9, the maximum and the number of latencies; microseconds."""
    ascending = sorted(latencies_ns)
    found = {name: percentile(ascending, share) for name, share in SHARES.items()}
    return found | {"max_us": ascending[-1] / 1000, "count": len(ascending)}


def curve_us(latencies_ns: Sequence[int]) -> list[float]:
    """The latencies in microseconds at the shares of ``CURVE``, then the maximum."""
    ascending = sorted(latencies_ns)
    return [percentile(ascending, share) for share in CURVE] + [ascending[-1] / 1000]


def fairness(counts: Sequence[int]) -> float:
    """Operations of the slowest process over those of the fastest; 0 if one did nothing."""
    return round(min(counts) / max(counts), 4) if max(counts) else 0.0


def over_rounds(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One summary of several runs: medians, but the worst latency of all, and sums of what must add up."""
    found: dict[str, Any] = {}
    for name, first in rounds[0].items():
        values = [one[name] for one in rounds]
        if name == "max_us":
            found[name] = max(values)
        elif name in ("acknowledged", "found", "count"):
            found[name] = sum(values)
        elif isinstance(first, list):
            found[name] = [median(column) for column in zip(*values, strict=True)]
        else:
            found[name] = median(values)
    return found


def ratio(ours: float, theirs: float) -> float:
    """``ours / theirs``; infinite where theirs is zero."""
    return ours / theirs if theirs else float("inf")
