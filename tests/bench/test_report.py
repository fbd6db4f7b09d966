"""The arithmetic of the report, its aims, and the tables in the documents."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks import aims, counting, documents, report, stats, text
from benchmarks.parts import WORKLOADS, holder, part
from benchmarks.stats import CURVE

ROOT = Path(__file__).parents[2]


def test_percentiles_are_of_the_nearest_rank() -> None:
    """Percentiles in microseconds of latencies in nanoseconds, in any order."""
    found = stats.latencies_us([n * 1000 for n in range(1000, 0, -1)])
    assert found == {"p50_us": 501, "p90_us": 901, "p99_us": 991, "p999_us": 1000, "max_us": 1000, "count": 1000}
    assert stats.latencies_us([7000])["p999_us"] == 7
    assert stats.curve_us([5000] * 10) == [5.0] * (len(CURVE) + 1)


def test_fairness_is_slowest_over_fastest() -> None:
    """One process that did nothing makes it zero."""
    assert stats.fairness([50, 100, 75]) == 0.5
    assert stats.fairness([0, 100]) == 0
    assert stats.fairness([0, 0]) == 0


def test_rounds_become_medians_but_the_worst_is_the_worst() -> None:
    """Medians of figures and curves, sums of counts, the maximum of maxima."""
    rounds = [
        {"ops_per_s": ops, "max_us": worst, "acknowledged": 10, "curve_us": [1.0, float(ops)]}
        for ops, worst in ((100, 5), (300, 9), (200, 7))
    ]
    assert stats.over_rounds(rounds) == {
        "ops_per_s": 200, "max_us": 9, "acknowledged": 30, "curve_us": [1.0, 200.0]
    }  # fmt: skip


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.5, "0.50 us"), (4.2, "4.20 us"), (42, "42.0 us"), (999, "999 us"), (1500, "1.50 ms"), (3.1e6, "3.10 s")],
)
def test_durations_for_people(value: float, shown: str) -> None:
    """Three digits that count, and the unit."""
    assert text.microseconds(value) == shown


def test_sizes_for_people() -> None:
    """Bytes with the unit."""
    assert [text.size(value) for value in (0, 120, 4100, 12.5e6)] == ["0 B", "120 B", "4.10 KB", "12.5 MB"]


def test_a_trace_is_counted_between_its_marks() -> None:
    """Calls of all threads count once, also those that another thread interrupts."""
    trace = """\
100 openat(AT_FDCWD, "/x", O_RDONLY) = 3
100 newfstatat(AT_FDCWD, "/benchmark-begins/update", 0x7ff, 0) = -1 ENOENT (No such file or directory)
100 pwrite64(3, "a", 1, 0) = 1
101 fdatasync(3 <unfinished ...>
100 fcntl(4, F_OFD_SETLK, {...}) = 0
101 <... fdatasync resumed>) = 0
100 newfstatat(AT_FDCWD, "/benchmark-ends", 0x7ff, 0) = -1 ENOENT (No such file or directory)
100 close(3) = 0
100 newfstatat(AT_FDCWD, "/benchmark-begins/get", 0x7ff, 0) = -1 ENOENT (No such file or directory)
100 pread64(3, "a", 1, 0) = 1
"""
    assert counting.parse_trace(trace) == {
        "update": {"pwrite64": 1, "fdatasync": 1, "fcntl": 1},
        "get": {"pread64": 1},
    }


def _cell(durability: str, preset: str, writers: int, ours: float, theirs: float, **more: Any) -> dict[str, Any]:
    figures = {"max_us": 50_000.0, "fairness": 0.9, "acknowledged": 10, "found": 10}
    row = {"durability": durability, "preset": preset, "writers": writers, "shared": False, "operation": "update"}
    return (
        row
        | {"sessiondir": figures | {"ops_per_s": ours} | more, "sqlite": figures | {"ops_per_s": theirs}}
        | {"lmdb": figures | {"ops_per_s": theirs}}
    )


def _verdict(results: dict[str, Any], start: str) -> aims.Verdict:
    return next(verdict for verdict in aims.judge(results) if verdict.aim.startswith(start))


def test_aims_without_figures_are_not_measured() -> None:
    """Nothing counts as met that was not measured."""
    verdicts = aims.judge({})
    assert len(verdicts) >= 20
    assert {verdict.word for verdict in verdicts} == {"not measured"}


def test_throughput_aims() -> None:
    """An aim is met from its factor on, and missed below; each competitor it names counts."""
    start = "read-modify-write, 1 writer, 1 KB"
    assert _verdict({"contention": [_cell("process", "D-slim", 1, 200, 100)]}, start).word == "met"
    assert _verdict({"contention": [_cell("process", "D-slim", 1, 199, 100)]}, start).word == "MISSED"
    row = _cell("process", "D-oc4919", 1, 600, 100)
    assert _verdict({"contention": [row]}, "read-modify-write, 1 writer, 20 KB").word == "met"
    row["lmdb"]["ops_per_s"] = 601
    assert _verdict({"contention": [row]}, "read-modify-write, 1 writer, 20 KB").word == "MISSED"
    del row["lmdb"]
    assert _verdict({"contention": [row]}, "read-modify-write, 1 writer, 20 KB").word == "not measured"


def test_latency_and_loss_aims() -> None:
    """The worst wait is compared, and a lost update misses the aim however quick it was."""
    row = _cell("process", "D-slim", 8, 100, 100, max_us=5_000.0)
    assert _verdict({"contention": [row]}, "worst latency with 8 writers").word == "met"
    shared = _cell("process", "D-slim", 8, 100, 100) | {"shared": True}
    start = "8 processes, one shared session, process"
    assert _verdict({"contention": [shared]}, start).word == "met"
    shared["sessiondir"]["found"] = 9
    assert _verdict({"contention": [shared]}, start).word == "MISSED"


def test_aims_of_many_processes_stand_beside_a_loop_without_a_store() -> None:
    """What the scheduler alone does is told where it was measured, and changes no verdict."""
    row = _cell("process", "D-slim", 8, 100, 100, max_us=70_000.0)
    row["sessiondir"] |= {"fairness": 0.7}
    start = "fairness of 8 processes, different sessions, process"
    assert _verdict({"contention": [row]}, start).measured == "0.70"
    row["loop"] = {"fairness": 0.75, "max_us": 40_000.0}
    assert _verdict({"contention": [row]}, start).measured == "0.70; a loop without a store 0.75"
    assert _verdict({"contention": [row]}, start).word == "MISSED"
    worst = _verdict({"contention": [row]}, "worst latency with 8 writers, process")
    assert worst.measured.endswith("; a loop without a store 40.0 ms")


def _held_rows(idle: list[float], held: list[float], seconds: float = 30.0) -> list[dict[str, object]]:
    def row(store: str, is_held: bool, each: list[float]) -> dict[str, object]:
        figures = {"p99_us": sorted(each)[len(each) // 2], "max_us": 10 * max(each), "windows_p99_us": each}
        where = {"same process": figures, "other process": figures}
        return {"store": store, "held": is_held, "seconds": seconds if is_held else 1.0, "from": where}

    return [row(store, *both) for store in ("sessiondir", "sqlite") for both in ((False, idle), (True, held))]


@pytest.mark.parametrize(
    ("held", "seconds", "word"),
    [
        ([110.0, 90.0, 300.0], 30.0, "met"),
        ([130.0, 125.0, 90.0], 30.0, "MISSED"),
        ([100.0, 100.0, 100.0], 3.0, "MISSED"),
    ],
    ids=["as idle ones differ", "slower", "held too short"],
)
def test_a_hold_is_compared_with_what_idle_windows_differ(held: list[float], seconds: float, word: str) -> None:
    """The middle held window must be no worse than the worst idle one but one, and the hold of 30 seconds."""
    rows = _held_rows([100.0, 80.0, 500.0, 120.0], held, seconds)
    verdict = _verdict({"holder": rows}, "update with another session held")
    assert verdict.word == word
    assert "SQLite" in verdict.measured
    assert "single windows to 120 us" in verdict.measured


@pytest.mark.parametrize(("last_us", "word"), [(3.9, "met"), (4.1, "MISSED")])
def test_a_hot_read_is_judged_in_stores_of_every_size(last_us: float, word: str) -> None:
    """One that is quick in a small store only has missed the aim."""
    stores = {
        name: {"get": {count: {"p50_us": us} for count, us in zip(("240", "10000"), both, strict=True)}}
        for name, both in (("sessiondir", (3.0, last_us)), ("sqlite", (10.0, 9.0)))
    }
    verdict = _verdict({"sizes": {"sizes": [240, 10_000], "stores": stores}}, "hot read")
    assert verdict.word == word
    assert verdict.measured == f"3.00 us to {last_us:.2f} us, SQLite 9.00 us to 10.0 us"


def test_a_change_of_length_counts_among_the_bytes() -> None:
    """Every change of one field has to be short."""
    found = {"update one field": 140, "update one field, its length changes": 2_000, "patch one field": 140}
    rows = {"written": {"sessiondir": found | {"put the same value": 0}}}
    assert _verdict(rows, "bytes of a one-field change").word == "MISSED"


def test_older_results_have_no_windows() -> None:
    """One P99 before and one after say nothing: not measured."""
    rows = _held_rows([100.0], [100.0])
    for row in rows:
        for figures in row["from"].values():  # type: ignore[attr-defined]
            figures.pop("windows_p99_us", None)
    assert _verdict({"holder": rows}, "update with another session held").word == "not measured"


def test_windows_cover_what_was_planned() -> None:
    """A long hold has a window a second; the last one ends with the plan."""
    plan = holder.periods("sessiondir", quick=False)
    windows = holder._windows(plan)
    assert sum(held for held, _ in windows) == 36
    assert windows[-1][1] == pytest.approx(sum(period.seconds for period in plan))
    assert holder._windows(holder.periods("lmdb", quick=True)) == [(False, 0.15), (True, 0.3)]


def test_every_part_has_a_module_with_its_words() -> None:
    """Parts are chosen by name; each can measure and render."""
    for name in WORKLOADS:
        module = part(name)
        assert module.TITLE
        assert callable(module.measure)
        assert callable(module.render)


def test_tables_are_renewed_between_their_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what stands between the marks changes, and it can be renewed again."""
    monkeypatch.setitem(documents.TABLES, "aims", lambda results: f"| {results['n']} |")
    page = tmp_path / "page.md"
    page.write_text("before\n\n<!-- bench:aims -->\nold\n<!-- /bench -->\n\nafter <!-- bench -->\n")
    assert documents.update({"n": 1}, (page,)) == [page]
    assert page.read_text() == "before\n\n<!-- bench:aims -->\n| 1 |\n<!-- /bench -->\n\nafter <!-- bench -->\n"
    assert documents.update({"n": 1}, (page,)) == []
    documents.update({"n": 2}, (page,))
    assert "| 2 |" in page.read_text()
    assert "| 1 |" not in page.read_text()


def test_documents_ask_for_tables_that_exist() -> None:
    """Every mark in README and docs has a table, and every mark is closed."""
    asked = set()
    for path in documents.DOCUMENTS:
        words = path.read_text(encoding="utf-8")
        names = re.findall(r"<!-- bench:([a-z_]+) -->", words)
        assert len(names) == words.count("<!-- /bench -->"), path
        asked |= set(names)
    assert asked <= documents.TABLES.keys()
    assert asked


# Of whole runs: a part alone, or a short run, has its name behind.
KEPT = [
    path
    for path in sorted((ROOT / "benchmarks" / "results").glob("*.json"))
    if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}-[0-9a-f]+(-dirty)?", path.stem)
]


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_kept_results_can_be_rendered(path: Path) -> None:
    """What is kept in the repository still makes a report, every table and every verdict."""
    results = json.loads(path.read_text(encoding="utf-8"))
    words = report.render(results)
    assert results["machine"]["cpu"] in words
    for name, table in documents.TABLES.items():
        assert table(results), name
