"""Plots of a run, PNG and SVG: made with matplotlib where it is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from math import log10
from pathlib import Path
from typing import Any

from benchmarks.entries import SLIM
from benchmarks.stats import CURVE
from benchmarks.stores import NAMES, OURS, title

_COLOURS = dict(
    zip(NAMES, ("#c8102e", "#1f5fa8", "#2a8c6e", "#c98a1b", "#7a5aa6", "#8a6d5c", "#6b7280"), strict=True)
)
_MARKS = dict(zip(NAMES, "osD^vPX", strict=True))
_MANY = 8
_WRITTEN = ("update one field", "update one field, its length changes", "put the same value")

Results = Mapping[str, Any]


def obstacle() -> str | None:
    """Why nothing can be drawn here; None if it can."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as exc:
        return f"no plots: {exc}; make bench installs what they need"
    return None


def draw(results: Results, directory: Path) -> list[Path]:
    """Draw what the results have figures for; the files."""
    if obstacle():
        return []
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update(_STYLE)
    found = []
    for name, plot in _PLOTS.items():
        figure = None
        with suppress(_NothingToDraw):
            figure = plot(results, plt)
        if figure is None:
            continue
        figure.supxlabel(_origin(results), x=0.99, ha="right", fontsize=7, color="#777777")
        directory.mkdir(parents=True, exist_ok=True)
        for ending in ("png", "svg"):
            path = directory / f"{name}.{ending}"
            # No date inside, so that the same figures make the same file.
            metadata = {"Date": None} if ending == "svg" else {}
            figure.savefig(path, metadata=metadata)
            found.append(path)
        plt.close(figure)
    return found


_STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e3e3",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "figure.dpi": 130,
    "figure.facecolor": "white",
    "svg.hashsalt": "sessiondir",
    "svg.fonttype": "none",
    "legend.frameon": False,
}


class _NothingToDraw(Exception):
    """The run did not measure this."""


def _origin(results: Results) -> str:
    facts = results["machine"]
    return f"{facts['date'][:10]}, {facts['cores']} cores, {facts['file_system']}, {facts['commit']}"


def _line(axes: Any, name: str, xs: list[float], ys: list[float]) -> None:
    ours = name == OURS
    axes.plot(
        xs,
        ys,
        label=title(name),
        color=_COLOURS[name],
        marker=_MARKS[name],
        markersize=6 if ours else 4.5,
        linewidth=2.6 if ours else 1.5,
        # It lies on the line of "file + filelock" for long stretches.
        linestyle="--" if name == "directory" else "-",
        zorder=3 if ours else 2,
    )


def _stores(row: Mapping[str, Any]) -> list[str]:
    return [name for name in NAMES if name in row]


def _throughput(results: Results, plt: Any) -> Any:
    series = results.get("writers", {}).get("series")
    if not series:
        raise _NothingToDraw
    figure, both = plt.subplots(1, 2, figsize=(9.5, 4.2), layout="constrained")
    for axes, durability in zip(both, ("process", "power"), strict=True):
        rows = [row for row in series if row["durability"] == durability]
        for name in dict.fromkeys(name for row in rows for name in _stores(row)):
            there = [row for row in rows if name in row]
            _line(axes, name, [row["writers"] for row in there], [row[name]["ops_per_s"] for row in there])
        axes.set_xscale("log", base=2)
        axes.set_xticks([row["writers"] for row in rows], [str(row["writers"]) for row in rows])
        _log_scale(axes, _thousands)
        axes.set_title(f"{durability} durability")
        axes.set_xlabel("writing processes")
    both[0].set_ylabel("updates a second, all writers")
    _legend_above(figure, both, _TITLES["throughput"])
    return figure


def _latency(results: Results, plt: Any) -> Any:
    rows = [
        row
        for row in results.get("contention", ())
        if (row["preset"], row["writers"], row["shared"]) == (SLIM.name, _MANY, False)
    ]
    if not rows:
        raise _NothingToDraw
    figure, several = plt.subplots(
        1, len(rows), figsize=(4.75 * len(rows), 4.2), layout="constrained", squeeze=False
    )
    # 0 nines is the median's side of the distribution, 4 nines is P99.99; the maximum stands behind it.
    nines = [_nines(share) for share in CURVE] + [_nines(CURVE[-1]) + 0.5]
    for axes, row in zip(several[0], rows, strict=True):
        for name in _stores(row):
            _line(axes, name, nines, row[name]["curve_us"])
        _log_scale(axes, _duration)
        axes.set_xticks(
            [_nines(share) for share in (0.0, 0.5, 0.9, 0.99, 0.999, 0.9999)] + [nines[-1]],
            ["min", "P50", "P90", "P99", "P99.9", "P99.99", "max"],
            rotation=45,
        )
        axes.set_title(f"{row['durability']} durability")
    several[0][0].set_ylabel("latency of one update")
    _legend_above(figure, several[0], _TITLES["latency"])
    return figure


def _log_scale(axes: Any, words: Callable[[float, object], str]) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    # Marks between the powers of ten where there are few of those.
    axes.yaxis.set_major_locator(LogLocator(subs=(1,) if high / low > 1000 else (1, 2, 5), numticks=12))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(words)


def _nines(share: float) -> float:
    return -log10(1 - share)


def _sizes(results: Results, plt: Any) -> Any:
    found = results.get("sizes")
    if not found:
        raise _NothingToDraw
    figure, both = plt.subplots(1, 2, figsize=(9.5, 4.2), layout="constrained", sharey=True)
    for axes, operation, words in zip(both, ("update", "get"), ("update of one session", "hot read"), strict=True):
        for name in _stores(found["stores"]):
            figures = found["stores"][name][operation]
            _line(axes, name, [int(count) for count in figures], [one["p50_us"] for one in figures.values()])
        axes.set_xscale("log")
        axes.set_xticks(found["sizes"], [f"{count:,}" for count in found["sizes"]])
        axes.xaxis.minorticks_off()
        _log_scale(axes, _duration)
        axes.set_title(words)
        axes.set_xlabel("sessions in the store")
    both[0].set_ylabel("median")
    _legend_above(figure, both, _TITLES["sizes"])
    return figure


def _written(results: Results, plt: Any) -> Any:
    found = results.get("written")
    if not found:
        raise _NothingToDraw
    names = _stores(found)[::-1]
    figure, axes = plt.subplots(figsize=(9.5, 5.4), layout="constrained")
    height = 0.27
    for number, operation in enumerate(_WRITTEN):
        values = [found[name][operation] for name in names]
        bars = axes.barh(
            [at + (1 - number) * height for at in range(len(names))],
            [max(value, 1) for value in values],
            height,
            color=[_COLOURS[name] for name in names],
            alpha=(1.0, 0.6, 0.25)[number],
        )
        axes.bar_label(bars, [_bytes(value) for value in values], fontsize=8, padding=3)
    axes.set_xlim(1, 8 * max(max(one[operation] for operation in _WRITTEN) for one in found.values()))
    axes.set_xscale("log")
    axes.xaxis.minorticks_off()
    axes.xaxis.set_major_formatter(lambda value, _: _bytes(value))
    axes.set_yticks(range(len(names)), [title(name) for name in names])
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("bytes given to write calls")
    words = ("one field changed, same length", "one field changed, another length", "the same value again")
    shades = [plt.Rectangle((0, 0), 1, 1, color="#444444", alpha=alpha) for alpha in (1.0, 0.6, 0.25)]
    _legend(figure, shades, words, _TITLES["written"])
    return figure


def _legend_above(figure: Any, axes: Any, words: str) -> None:
    handles: dict[str, Any] = {}
    for one in axes:
        for handle, label in zip(*one.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    _legend(figure, list(handles.values()), list(handles), words)


def _legend(figure: Any, handles: Sequence[Any], labels: Sequence[str], words: str) -> None:
    """The legend above everything, the figure's title over it: two texts of their own would overlap."""
    figure.legend(
        handles,
        labels,
        loc="outside upper left",
        ncols=len(labels),
        fontsize=9,
        title=words,
        alignment="left",
        title_fontproperties={"weight": "bold", "size": 12},
    )


def _thousands(value: float, _: object) -> str:
    return f"{value:,.0f}"


def _duration(value_us: float, _: object) -> str:
    for factor, unit in ((1e6, "s"), (1e3, "ms")):
        if value_us >= factor:
            return f"{value_us / factor:g} {unit}"
    return f"{value_us:g} µs"


def _bytes(value: float) -> str:
    for factor, unit in ((1e6, "MB"), (1e3, "KB")):
        if value >= factor:
            return f"{value / factor:.3g} {unit}"
    return f"{value:.0f} B"


_TITLES = {
    "throughput": "Throughput against writers: read-modify-write of 1 KB entries",
    "latency": "Latency of updates: 8 writers on sessions of their own, 1 KB entries",
    "sizes": "Cost against the number of sessions: 1 KB entries, one process",
    "written": "Bytes written for one operation on a 233 KB entry",
}
_PLOTS: dict[str, Callable[[Results, Any], Any]] = {
    "throughput": _throughput,
    "latency": _latency,
    "sizes": _sizes,
    "written": _written,
}
