"""``python -m benchmarks``: measure, print, and keep the results."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks import documents, machine, place, plots, report, stores
from benchmarks.parts import WORKLOADS, part
from benchmarks.parts.base import Bench
from benchmarks.workers import Workers

_RESULTS = Path(__file__).resolve().parent / "results"
_EPILOG = "parts:\n" + "\n".join(f"  {name:<14} {what}" for name, what in WORKLOADS.items())


def main() -> int:
    """Run the parts that were asked for; 1 if anything failed, be it an acknowledged update that was lost."""
    options = _parse()
    if options.results:
        results = json.loads(options.results.read_text(encoding="utf-8"))
        text = report.render(results)
    else:
        # Whichever way a run is ended, it must unmount its image.
        signal.signal(signal.SIGTERM, _interrupt)
        signal.signal(signal.SIGINT, _interrupt)
        try:
            results = _measure(options)
        except KeyboardInterrupt:
            print("\ninterrupted; nothing was kept", file=sys.stderr)
            return 130
        text = report.render(results)
    print("\n" + text)
    if options.results:
        # The report may know more tables than when the run was made.
        options.results.with_suffix(".txt").write_text(text)
    else:
        print(f"kept in {report.save(results, text, options.output)}")
    drawn = plots.draw(results, options.output / f"plots{results['run']['suffix']}")
    print(f"drawn: {', '.join(path.name for path in drawn) or plots.obstacle() or 'nothing to draw'}")
    if options.update_docs:
        for path in documents.update(results):
            print(f"tables renewed in {path}")
    return 1 if results["failures"] else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="every part once, briefly, in under a minute")
    parser.add_argument("--large", action="store_true", help="sizes that take long, too")
    parser.add_argument("--rounds", type=int, help="rounds of the interleaved parts (default 2; 1 with --quick)")
    parser.add_argument("--seconds", type=float, help="length of a window (default 0.5; 0.1 with --quick)")
    parser.add_argument("--part", choices=list(WORKLOADS), action="append", help="only this part; may be repeated")
    parser.add_argument("--dir", type=Path, help="where to work (default: the temporary directory)")
    parser.add_argument(
        "--ext4-image",
        dest="image",
        action=argparse.BooleanOptionalAction,
        help="work in a fresh ext4 image, which needs root (default: where possible, without --dir)",
    )
    parser.add_argument("--output", type=Path, default=_RESULTS, help="where results are kept")
    parser.add_argument("--update-docs", action="store_true", help="renew the tables in README and docs")
    parser.add_argument("--from", dest="results", type=Path, help="measure nothing; report on the JSON of a run")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 2)
    options.seconds = options.seconds or (0.1 if options.quick else 0.5)
    options.part = [name for name in WORKLOADS if name in (options.part or WORKLOADS)]
    if options.update_docs and not options.results and (options.quick or len(options.part) < len(WORKLOADS)):
        parser.error("--update-docs needs a whole run")
    return options


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _suffix(options: argparse.Namespace) -> str:
    """A partial or short run never replaces the results of a whole one."""
    chosen = [] if len(options.part) == len(WORKLOADS) else options.part
    return "".join(f"-{word}" for word in (*(["quick"] if options.quick else []), *chosen))


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    started = time.monotonic()
    # Processes are started by the thousand; an installed package has its modules compiled.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

    def say(text: str) -> None:
        print(f"[{time.monotonic() - started:5.0f} s] {text}", flush=True)

    for name, why in stores.missing().items():
        say(f"MISSING: {name} cannot be measured: {why}; make bench installs what it needs")
    with place.choose(options.dir, options.image) as where, Workers() as workers:
        say(f"running on {where.description}")
        bench = Bench(where.path, workers, options.rounds, options.seconds, options.quick, options.large, say)
        results: dict[str, Any] = {
            "machine": machine.facts(where.description),
            "run": {
                "suffix": _suffix(options),
                "rounds": options.rounds,
                "seconds": options.seconds,
                "quick": options.quick,
                "parts": {},
            },
            "missing": stores.missing(),
        }
        for name in options.part:
            begun = time.monotonic()
            with bench.excused(f"part {name}"):
                # JSON knows no integer keys and no tuples: what is rendered is what is kept.
                results[name] = json.loads(json.dumps(part(name).measure(bench)))
            took_s = results["run"]["parts"][name] = round(time.monotonic() - begun, 1)
            say(f"{name} took {took_s:.1f} s")
    results["failures"] = bench.failures
    results["machine"]["load_after"] = round(os.getloadavg()[0], 2)
    results["run"]["took_s"] = round(time.monotonic() - started, 1)
    return results


if __name__ == "__main__":
    sys.exit(main())
