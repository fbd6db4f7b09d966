"""The benchmark runs: workers, parts, the command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from benchmarks import counting
from benchmarks.entries import SLIM, make_store
from benchmarks.parts import WORKLOADS, part
from benchmarks.parts.base import Bench, fill, verify
from benchmarks.parts.contention import Cell, measure_cells
from benchmarks.seam import ours_through_the_seam
from benchmarks.workers import Gate, Workers, WorkersFailed

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.any_modes("competitors make files with modes of their own")


def _moments(gate: Gate, number: int) -> tuple[int, float, float]:
    begun = gate.start()
    time.sleep(0.05 * number)
    gate.finished()
    return number, begun, time.monotonic()


def _fails(gate: Gate) -> None:
    gate.start()
    raise ValueError("on purpose")


def _dies(gate: Gate) -> None:
    gate.start()
    os._exit(3)


def test_workers_start_together_and_wait_for_each_other() -> None:
    """All begin at one moment, nobody goes on before all have finished, results come in order."""
    with Workers() as workers:
        found = workers.run([partial(_moments, number=number) for number in range(3)])
    assert [number for number, _, _ in found] == [0, 1, 2]
    assert len({begun for _, begun, _ in found}) == 1
    assert min(ended for _, _, ended in found) >= found[0][1] + 0.1


@pytest.mark.skipif(not Path("/proc/thread-self/schedstat").exists(), reason="Linux alone tells of the run queue")
def test_the_wait_for_a_processor_is_counted_and_no_other() -> None:
    """Processes that compute on one processor queue for it; one that sleeps does not."""
    before, begun = counting.queued_ns(), time.perf_counter_ns()
    time.sleep(0.05)
    assert counting.queued_ns() - before <= time.perf_counter_ns() - begun - 50_000_000
    allowed, queued = os.sched_getaffinity(0), 0
    child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        os.sched_setaffinity(0, {min(allowed)})
        os.sched_setaffinity(child.pid, {min(allowed)})
        before, end = counting.queued_ns(), time.monotonic() + 10
        while not queued and time.monotonic() < end:
            queued = counting.queued_ns() - before
    finally:
        os.sched_setaffinity(0, allowed)
        child.kill()
        child.wait()
    assert queued > 0


@pytest.mark.parametrize(("task", "words"), [(_fails, "on purpose"), (_dies, "died")])
def test_a_worker_that_fails_is_told_and_replaced(task: object, words: str) -> None:
    """A failure is an error with the worker's own words, and the next run has new workers."""
    with Workers() as workers:
        with pytest.raises(WorkersFailed, match=words):
            workers.run([partial(_moments, number=0), partial(task)])  # type: ignore[arg-type]
        assert len(workers.run([partial(_moments, number=0)])) == 1
    assert threading.active_count() == 1


def test_a_lost_update_voids_the_run(bench: Bench) -> None:
    """Updates that were acknowledged and cannot be found are an error."""
    with bench.directory() as here:
        fill("sqlite", here, make_store(SLIM, 2))
        with pytest.raises(WorkersFailed, match="1 operations were acknowledged, 0 found"):
            verify("sqlite", here, 1, "test")


def test_a_failing_competitor_is_told_and_does_not_end_the_run(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that fails has no figures; the others have, and the failure is kept."""
    monkeypatch.setattr("benchmarks.parts.contention.verify", _lose)
    rows = measure_cells(bench, [Cell("process", SLIM.name, 1)], ("sessiondir", "sqlite"))
    assert rows[0]["sessiondir"]["ops_per_s"] > 0
    assert "sqlite" not in rows[0]
    assert ["lost on purpose" in text for text in bench.failures] == [True]


def _lose(name: str, place: Path, acknowledged: int, what: str) -> int:
    if name == "sqlite":
        raise WorkersFailed("lost on purpose")
    return verify(name, place, acknowledged, what)


def test_bytes_and_memory_are_those_of_this_process(tmp_path: Path) -> None:
    """What was written is counted, and what is resident has a size."""
    before = counting.written()
    (tmp_path / "file").write_bytes(bytes(100_000))
    assert 100_000 <= (counting.written() - before).calls < 200_000
    assert 1e6 < counting.memory() <= counting.peak_memory()


def test_the_seam_counts_what_strace_would(tmp_path: Path) -> None:
    """A get is one call; an update writes once and syncs once."""
    fill("sessiondir", tmp_path, make_store(SLIM, 5))
    keys = list(make_store(SLIM, 5))
    assert ours_through_the_seam(tmp_path, keys, "get", "process", 10) == {"pread64": 10}
    calls = ours_through_the_seam(tmp_path, keys, "update", "power", 10)
    assert calls["fdatasync"] >= 10
    assert calls["pwrite64"] >= 10


def _run(tmp_path: Path, *arguments: str, timeout_s: float = 100) -> tuple[subprocess.CompletedProcess[str], Path]:
    output = tmp_path / "results"
    command = [sys.executable, "-m", "benchmarks", *arguments, "--dir", str(tmp_path), "--output", str(output)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    return done, output


def test_the_command_keeps_what_it_measured(tmp_path: Path) -> None:
    """One quick part leaves JSON and text, and the text can be made again from the JSON."""
    done, output = _run(tmp_path, "--quick", "--part", "command")
    assert done.returncode == 0, done.stdout + done.stderr
    (kept,) = output.glob("*.json")
    results = json.loads(kept.read_text())
    assert results["command"]["sessiondir --help"] > 0
    assert results["run"]["parts"].keys() == {"command"}
    assert results["failures"] == []
    again, _ = _run(tmp_path, "--from", str(kept))
    assert "sessiondir --help" in again.stdout
    assert kept.with_suffix(".txt").read_text().splitlines()[0] in again.stdout
    assert list(tmp_path.glob("sessiondir-bench-*")) == []


def test_documents_are_renewed_only_from_a_whole_run(tmp_path: Path) -> None:
    """A quick or partial run cannot get into the documents."""
    done, output = _run(tmp_path, "--quick", "--update-docs")
    assert done.returncode == 2
    assert "whole run" in done.stderr
    assert not output.exists()


@pytest.mark.stress
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", WORKLOADS)
def test_every_part_runs(name: str, bench: Bench) -> None:
    """A quick run of each part fails nowhere, and what it found can be kept and shown."""
    module = part(name)
    found = json.loads(json.dumps(module.measure(bench)))
    assert bench.failures == []
    assert module.render(found)
