"""What sessiondir aims at, beside what was measured: met, missed, or not measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.entries import OC240, OC4919, SLIM
from benchmarks.parts.holder import bad_window_us, is_unchanged
from benchmarks.parts.importing import preset_row
from benchmarks.parts.sizes import growth, hot_us
from benchmarks.stats import ratio
from benchmarks.stores import LOOP, OURS, title
from benchmarks.text import microseconds, size, times

Results = Mapping[str, Any]
MANY = 8


@dataclass(frozen=True, slots=True)
class Verdict:
    """``met`` is None where it was not measured, whole or with the competitor that counts."""

    aim: str
    measured: str
    met: bool | None

    @property
    def word(self) -> str:
        """For the table."""
        return {True: "met", False: "MISSED", None: "not measured"}[self.met]


class _NotMeasured(LookupError):
    """A figure that an aim needs is not in the results."""


def judge(results: Results) -> list[Verdict]:
    """Every aim beside what these results say."""
    found = []
    for aim, check in _AIMS:
        try:
            measured, met = check(results)
        except (_NotMeasured, KeyError) as exc:
            found.append(Verdict(aim, str(exc.args[0]) if isinstance(exc, _NotMeasured) else "", None))
        else:
            found.append(Verdict(aim, measured, met))
    return found


_Check = Callable[[Results], tuple[str, bool]]


def _cell(
    results: Results, store: str, durability: str, preset: str, writers: int, *, shared: bool = False
) -> Any:
    for row in results.get("contention", ()):
        found = (row["durability"], row["preset"], row["writers"], row["shared"], row["operation"])
        if found == (durability, preset, writers, shared, "update"):
            if store not in row:
                raise _NotMeasured(f"no figure of {store}")
            return row[store]
    raise _NotMeasured("")


def _faster(durability: str, preset: str, writers: int, least: Mapping[str, float]) -> _Check:
    """Throughput over that of each competitor named, which has to reach its factor."""

    def check(results: Results) -> tuple[str, bool]:
        ours = _cell(results, OURS, durability, preset, writers)["ops_per_s"]
        found = {
            name: ratio(ours, _cell(results, name, durability, preset, writers)["ops_per_s"]) for name in least
        }
        words = ", ".join(f"{times(value)} {title(name)}" for name, value in found.items())
        return f"{ours:,.0f}/s: {words}", all(found[name] >= factor for name, factor in least.items())

    return check


def _calmer(durability: str) -> _Check:
    def check(results: Results) -> tuple[str, bool]:
        ours, theirs = (_cell(results, name, durability, SLIM.name, MANY)["max_us"] for name in (OURS, "sqlite"))
        words = f"{microseconds(ours)}, SQLite {microseconds(theirs)}"
        return words + _beside(results, durability, shared=False, figure="max_us"), ours <= theirs / 10

    return check


def _beside(results: Results, durability: str, *, shared: bool, figure: str) -> str:
    """The same figure of processes that only compute: what the scheduler alone makes of so many of them."""
    try:
        found = _cell(results, LOOP, durability, SLIM.name, MANY, shared=shared)[figure]
    except _NotMeasured:
        return ""
    return f"; {title(LOOP)} {microseconds(found) if figure == 'max_us' else f'{found:.2f}'}"


def _fair(durability: str, *, shared: bool) -> _Check:
    def check(results: Results) -> tuple[str, bool]:
        found = _cell(results, OURS, durability, SLIM.name, MANY, shared=shared)["fairness"]
        return f"{found:.2f}" + _beside(results, durability, shared=shared, figure="fairness"), found >= 0.8

    return check


def _shared(durability: str) -> _Check:
    def check(results: Results) -> tuple[str, bool]:
        found = _cell(results, OURS, durability, SLIM.name, MANY, shared=True)
        lost = found["acknowledged"] - found["found"]
        words = f"{lost} lost, worst wait {microseconds(found['max_us'])}"
        words += _beside(results, durability, shared=True, figure="max_us")
        return words, not lost and found["max_us"] < 100_000

    return check


def _held(results: Results) -> tuple[str, bool]:
    idle, held = (
        next((row for row in results["holder"] if row["store"] == OURS and row["held"] is held), None)
        for held in (False, True)
    )
    if idle is None or held is None:
        raise _NotMeasured("")
    pairs = {where: (idle["from"][where], held["from"][where]) for where in idle["from"]}
    words = ", ".join(
        f"{where} {microseconds(a['p99_us'])}, single windows to {microseconds(bad_window_us(a))} -> "
        f"{microseconds(b['p99_us'])}"
        for where, (a, b) in pairs.items()
    )
    met = held["seconds"] >= 30 and all(is_unchanged(a, b) for a, b in pairs.values())
    return f"P99 {words}, held {held['seconds']:g} s; waits of others: {_held_others(results)}", met


def _held_others(results: Results) -> str:
    """The longest waits of the stores in the other aims; a session is held for less than a second there."""
    rows = (row for row in results["holder"] if row["held"] and row["store"] in ("sqlite", "lmdb"))
    worst = {title(row["store"]): max(one["max_us"] for one in row["from"].values()) for row in rows}
    return ", ".join(f"{name} {microseconds(us)}" for name, us in worst.items())


def _hot(operation: str, most_us: float, *, below_sqlite: bool) -> _Check:
    def check(results: Results) -> tuple[str, bool]:
        ours = hot_us(results["sizes"], OURS, operation)
        theirs = hot_us(results["sizes"], "sqlite", operation)
        if not ours or not theirs:
            raise _NotMeasured("")
        # In stores of every size: the sessions that are read are hot in all of them.
        met = max(ours.values()) <= most_us
        met = met and (not below_sqlite or all(us < theirs[count] for count, us in ours.items()))
        return f"{_span(ours)}, SQLite {_span(theirs)}", met

    return check


def _span(found: Mapping[str, float]) -> str:
    return f"{microseconds(min(found.values()))} to {microseconds(max(found.values()))}"


def _flat(results: Results) -> tuple[str, bool]:
    if max(results["sizes"]["sizes"]) < 100_000:
        raise _NotMeasured("only up to fewer sessions")
    found = growth(results["sizes"], OURS)
    if found is None:
        raise _NotMeasured("")
    return f"dearest / cheapest size {found:.2f}", found <= 1.2


def _row(rows: Sequence[Mapping[str, Any]], sessions: int) -> Mapping[str, Any]:
    for row in rows:
        if row["sessions"] == sessions:
            stores: Mapping[str, Any] = row["stores"]
            return stores
    raise _NotMeasured("only with fewer sessions")


def _opening(results: Results) -> tuple[str, bool]:
    found = _row(results["opening"], 10_000)[OURS]["get_us"]
    return microseconds(found), found < 5_000


def _first_page(results: Results) -> tuple[str, bool]:
    stores = _row(results["listing"]["rows"], 10_000)
    ours, theirs = stores[OURS], stores["sqlite"]
    words = f"warm {microseconds(ours['warm_us'])}, cold {microseconds(ours['cold_us'])}"
    met = ours["warm_us"] < 1_000 and ours["cold_us"] <= 2 * theirs["cold_us"]
    return f"{words} (SQLite cold {microseconds(theirs['cold_us'])})", met


def _memory(results: Results) -> tuple[str, bool]:
    for row in results["full_store"]["rows"]:
        if row["preset"] == OC4919.name and row["sessions"] == OC4919.count:
            found = row["stores"][OURS]["peak"] - results["full_store"]["bare"]
            return size(found), found < 20e6
    raise _NotMeasured("only with fewer sessions")


def _bytes(results: Results) -> tuple[str, bool]:
    found = results["written"][OURS]
    changed = max(found[name] for name in found if "one field" in name)
    unchanged = max(found[name] for name in found if "same" in name or "nothing" in name)
    return f"{size(changed)}; unchanged {size(unchanged)}", changed < 1_000 and unchanged == 0


def _migration(results: Results) -> tuple[str, bool]:
    words, met = [], True
    for preset, most_s in ((OC240, 1.5), (OC4919, 6.0)):
        row = preset_row(results["importing"], preset)
        if row is None or OURS not in row:
            raise _NotMeasured("only parts of the files")
        words.append(f"{row[OURS]['seconds']:.2f} s")
        met = met and row[OURS]["seconds"] < most_s
    return " and ".join(words), met


def _help(results: Results) -> tuple[str, bool]:
    found = results["command"]["sessiondir --help"]
    return microseconds(found), found < 150_000


_AIMS: Sequence[tuple[str, _Check]] = (
    (
        "read-modify-write, 1 writer, 1 KB: at least 2x SQLite NORMAL",
        _faster("process", SLIM.name, 1, {"sqlite": 2}),
    ),
    (
        "read-modify-write, 1 writer, 20 KB: at least 6x SQLite, at least LMDB",
        _faster("process", OC4919.name, 1, {"sqlite": 6, "lmdb": 1}),
    ),
    (
        "read-modify-write, 1 writer, 233 KB: at least 30x SQLite, at least LMDB",
        _faster("process", OC240.name, 1, {"sqlite": 30, "lmdb": 1}),
    ),
    (
        "8 writers on different sessions, 1 KB: at least 1.5x SQLite",
        _faster("process", SLIM.name, MANY, {"sqlite": 1.5}),
    ),
    (
        "8 writers on different sessions, 20 KB: at least 5x SQLite",
        _faster("process", OC4919.name, MANY, {"sqlite": 5}),
    ),
    (
        "power durability, 1 writer: at least 1.2x SQLite FULL, at least LMDB",
        _faster("power", SLIM.name, 1, {"sqlite": 1.2, "lmdb": 1}),
    ),
    (
        "power durability, 8 writers: at least 4x SQLite FULL and LMDB",
        _faster("power", SLIM.name, MANY, {"sqlite": 4, "lmdb": 4}),
    ),
    ("worst latency with 8 writers, process: at most a tenth of SQLite's", _calmer("process")),
    ("worst latency with 8 writers, power: at most a tenth of SQLite's", _calmer("power")),
    ("fairness of 8 processes, different sessions, process: at least 0.8", _fair("process", shared=False)),
    ("fairness of 8 processes, one shared session, process: at least 0.8", _fair("process", shared=True)),
    ("fairness of 8 processes, different sessions, power: at least 0.8", _fair("power", shared=False)),
    ("fairness of 8 processes, one shared session, power: at least 0.8", _fair("power", shared=True)),
    ("8 processes, one shared session, process: nothing lost, worst wait under 100 ms", _shared("process")),
    ("8 processes, one shared session, power: nothing lost, worst wait under 100 ms", _shared("power")),
    ("update with another session held for 30 s: unchanged P99", _held),
    ("hot read, 1 KB: at most 4 us, below SQLite", _hot("get", 4.0, below_sqlite=True)),
    ("updated_at: at most 2 us", _hot("updated_at", 2.0, below_sqlite=False)),
    ("update cost from 240 to 10,000 and 100,000 sessions: flat within 20 %", _flat),
    ("open a store of 10,000 sessions, then one read: under 5 ms", _opening),
    ("first page of 50 out of 10,000: warm under 1 ms, cold at most twice SQLite's", _first_page),
    ("memory to update one session of a 99 MB store: under 20 MB above the interpreter", _memory),
    ("bytes of a one-field change of 233 KB: under 1 KB; unchanged value: 0", _bytes),
    ("migration of 56 MB / 240 and 99 MB / 4,919: under 1.5 s and 6 s", _migration),
    ("sessiondir --help: under 150 ms", _help),
)
