"""``python -m benchmarks``: measure, print, and keep the results."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks import contention, growth, holder, hot, place, report, subagents, transcripts
from benchmarks.workers import Workers, WorkersFailed

PARTS = ("contention", "growth", "holder", "hot", "transcripts", "subagents")
_RESULTS = Path(__file__).resolve().parent / "results"


def main() -> int:
    """Run the parts that were asked for; 1 if an acknowledged operation was lost."""
    options = _parse()
    # Whichever way a run is ended, it must unmount its image.
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, _interrupt)
    started = time.monotonic()
    try:
        with place.choose(options.dir, options.image) as where, Workers(contention.MOST_WRITERS) as workers:
            results = _measure(options, where, workers, started)
    except WorkersFailed as exc:
        print(f"\nFAILED: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; nothing was kept", file=sys.stderr)
        return 130
    text = report.render(results)
    print("\n" + text)
    print(f"kept in {report.save(results, text, options.output)}")
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round and smaller stores")
    parser.add_argument("--rounds", type=int, help="rounds of the first part (default 3; 1 with --quick)")
    parser.add_argument("--seconds", type=float, help="length of a window (default 1.5; 0.4 with --quick)")
    parser.add_argument("--part", choices=PARTS, action="append", help="only this part; may be repeated")
    parser.add_argument("--dir", type=Path, help="where to work (default: the temporary directory)")
    parser.add_argument(
        "--ext4-image",
        dest="image",
        action=argparse.BooleanOptionalAction,
        help="work in a fresh ext4 image, which needs root (default: where possible, without --dir)",
    )
    parser.add_argument("--output", type=Path, default=_RESULTS, help="where results are kept")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.seconds = options.seconds or (0.4 if options.quick else 1.5)
    options.part = options.part or list(PARTS)
    return options


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _suffix(options: argparse.Namespace) -> str:
    parts = [] if set(options.part) == set(PARTS) else options.part
    return "".join(f"-{word}" for word in (*(["quick"] if options.quick else []), *parts))


def _measure(options: argparse.Namespace, where: place.Place, workers: Workers, started: float) -> dict[str, Any]:
    def progress(text: str) -> None:
        print(f"[{time.monotonic() - started:5.0f} s] {text}", flush=True)

    results: dict[str, Any] = {
        "machine": report.machine_facts(where.description),
        # A partial or short run never replaces the results of a whole one.
        "suffix": _suffix(options),
        "rounds": options.rounds,
        "seconds": options.seconds,
    }
    progress(f"running on {where.description}")
    if "contention" in options.part:
        results["contention"] = contention.measure(workers, where.path, options.rounds, options.seconds, progress)
    if "growth" in options.part:
        sizes = (100, 1_000) if options.quick else (100, 1_000, 10_000)
        results["growth"] = growth.measure_growth(where.path, sizes, progress)
        results["bytes"] = growth.measure_bytes(where.path)
    if "holder" in options.part:
        seconds = 0.5 if options.quick else 3.0
        results["holder"] = holder.measure(workers, where.path, seconds, progress)
    if "hot" in options.part:
        results["hot"] = hot.measure(where.path, (1_000,) if options.quick else (1_000, 10_000), progress)
    if "transcripts" in options.part:
        sizes = (1, 50) if options.quick else (1, 100, 800)
        results["transcripts"] = transcripts.measure(where.path, options.seconds, sizes, progress)
    if "subagents" in options.part:
        counts, held_s = ((1, 10, 50), 3.0) if options.quick else ((1, 3, 5, 10, 15, 20, 50), 30.0)
        results["children"] = subagents.measure_children(where.path, counts, held_s, progress)
        results["cron"] = subagents.measure_cron(where.path, 2.0 if options.quick else 10.0, progress)
    results["machine"]["load_after"] = round(os.getloadavg()[0], 2)
    progress("done")
    return results


if __name__ == "__main__":
    sys.exit(main())
