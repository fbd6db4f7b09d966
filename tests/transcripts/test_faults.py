"""G1, G2: full disks, failed syncs, power cuts and killed writers; the rest is in tests/crash (F3, F6)."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness.seeds import seeded

from sessiondir import DiskFull, DurabilityUnknown
from sessiondir.fs import FileSystem
from sessiondir.testing import FailingFileSystem, PowerLossFileSystem, Rule, write_tree
from sessiondir.transcripts import TranscriptFolder
from transcripts.folders import ID, Value, both_ways, numbered, quick, values

OLD = numbered(1, 2, 3)
ARCHIVED = "other.jsonl.reset.2026-01-01T00-00-00.000Z"


def prepare(path: Path) -> None:
    """A transcript with a batch at its end, and an archive."""
    path.mkdir()
    with quick(path) as folder:
        folder.transcript(ID).append(OLD[0])
        folder.transcript(ID).extend(OLD[1:])
        folder.transcript("other").extend(numbered(7, 8))
        archived = folder.transcript("other").archive("reset")
        (path / archived).rename(path / ARCHIVED)


def state(path: Path) -> dict[str, list[Value]]:
    """What the files of the folder hold, by transcript, an archive by the name that it was made of."""
    with quick(path) as folder:
        found: dict[str, list[Value]] = {}
        for file in folder.files():
            if not file.size:
                continue  # a name that was only reserved
            reader = folder.file(file.name)
            held = values(reader) if file.told.compressed else both_ways(reader)
            label = f"{file.told.base}!" if file.told.kind == "archive" else file.name
            assert held == found.get(label, held), f"{label} twice, and different"
            found[label] = held
        return found


HERE, AWAY, OTHER = f"{ID}.jsonl", f"{ID}.jsonl!", "other.jsonl!"
BEGIN = {HERE: OLD, OTHER: numbered(7, 8)}


def without_empty(found: dict[str, list[Value]]) -> dict[str, list[Value]]:
    """A file without records is as good as none."""
    return {name: held for name, held in found.items() if held}


@pytest.mark.parametrize("count", [1, 3])
def test_a_full_disk_leaves_no_trace(tmp_path: Path, count: int) -> None:
    """G1: what could be written of a refused append is cut off again, unless somebody wrote behind it."""
    prepare(tmp_path / "f")
    fs = FailingFileSystem()
    with TranscriptFolder.open(tmp_path / "f", fs=fs) as folder:
        transcript = folder.transcript(ID)
        before = Path(transcript.path).read_bytes()
        fs.arm(1, errno.ENOSPC, forever=True, short=True, kinds=lambda kind, _: kind == "pwrite")
        with pytest.raises(DiskFull, match="nothing was changed"):
            transcript.extend(numbered(*range(count)))
        assert fs.failed == 2
        assert Path(transcript.path).read_bytes() == before

        def refuse(kind: str, _args: tuple[Any, ...]) -> bool:
            if kind == "pwrite" and fs.failed == 1:
                with open(transcript.path, "ab") as file:
                    file.write(b'\n{"foreign":1}\n')
            return kind == "pwrite"

        fs.arm(1, errno.ENOSPC, forever=True, short=True, kinds=refuse)
        with pytest.raises(DiskFull):
            transcript.extend(numbered(*range(count)))
        fs.disarm()
        assert values(transcript) == [*OLD, {"foreign": 1}]


def test_a_failed_sync_is_final(tmp_path: Path) -> None:
    """G2: the handle changes that transcript no more, others it does; a new handle finds what was written."""
    prepare(tmp_path / "f")
    fs = FailingFileSystem(real_sync=True)
    with TranscriptFolder.open(tmp_path / "f", fs=fs) as folder:
        transcript = folder.transcript(ID)
        fs.arm(1, errno.EIO, kinds=lambda kind, _: kind == "fdatasync")
        with pytest.raises(DurabilityUnknown, match="open the folder again") as caught:
            transcript.append({"n": 4})
        assert caught.value.errno == errno.EIO
        fs.disarm()
        for change in (
            lambda: transcript.append({"n": 5}),
            transcript.pop,
            lambda: folder.transcript(ID).archive("bak"),
        ):
            with pytest.raises(DurabilityUnknown):
                change()
        folder.transcript("another").append({})
        assert values(transcript) == [*OLD, {"n": 4}]
    with quick(tmp_path / "f") as folder:
        folder.transcript(ID).append({"n": 5})
        assert values(folder.transcript(ID)) == [*OLD, {"n": 4}, {"n": 5}]


def play(path: Path, fs: FileSystem, mark: Callable[[int], None]) -> list[dict[str, list[Value]]]:
    """Some changes one after the other, and what the folder holds after each."""
    states = [BEGIN]
    with TranscriptFolder.open(path, fs=fs, allow_network=True) as folder:
        transcript = folder.transcript(ID)
        steps: list[tuple[Callable[[], Any], dict[str, list[Value]]]] = [
            (lambda: transcript.append({"n": 4}), {HERE: [*OLD, {"n": 4}]}),
            (lambda: transcript.extend(numbered(5, 6)), {HERE: [*OLD, {"n": 4}, *numbered(5, 6)]}),
            (transcript.pop, {HERE: [*OLD, {"n": 4}, *numbered(5)]}),
            (lambda: transcript.archive("reset"), {AWAY: [*OLD, {"n": 4}, *numbered(5)], HERE: []}),
            (lambda: transcript.extend(numbered(8, 9)), {HERE: numbered(8, 9)}),
            (lambda: folder.restore(ARCHIVED), {OTHER: [], "other.jsonl": numbered(7, 8)}),
            (lambda: folder.transcript("other").append({"n": 10}), {"other.jsonl": [*numbered(7, 8), {"n": 10}]}),
        ]  # fmt: skip
        for number, (step, changed) in enumerate(steps, 1):
            step()
            mark(number)
            states.append(without_empty(states[-1] | changed))
    return states


@pytest.mark.parametrize("rule", ["ordered", "strict"])
def test_a_power_cut_at_any_moment(tmp_path: Path, rule: Rule) -> None:
    """G2: with durability "power" every image holds what had returned, and the next step whole or not at all."""
    prepare(tmp_path / "modelled")
    fs = PowerLossFileSystem(str(tmp_path / "modelled"))
    fs.mark(0)
    states = play(tmp_path / "modelled", fs, fs.mark)
    seen = 0
    for seen, (tree, mark) in enumerate(fs.images(rule, seeded(f"power cut, {rule}"), most=40), 1):
        assert isinstance(mark, int)
        image = tmp_path / "image"
        write_tree(str(image), tree)
        found = without_empty(state(image))
        assert found in states[mark : mark + 2], f"image {seen}, after step {mark}"
        with quick(image) as folder:  # and it goes on from there
            folder.transcript(ID).extend(numbered(98, 99))
            assert both_ways(folder.transcript(ID))[-2:] == numbered(98, 99)
        for path in image.iterdir():
            path.unlink()
        image.rmdir()
    assert seen > 20


APPENDER = """
import json, os, sys
from sessiondir.transcripts import TranscriptFolder
path, who, count, batch = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
with TranscriptFolder.open(path, durability="process") as folder:
    transcript = folder.transcript("shared")
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(count):
        same = {"who": who, "n": number, "of": batch, "text": "x" * 300}
        transcript.extend([{**same, "part": part} for part in range(batch)])
        print(number, flush=True)
"""


def start(path: Path, who: int, count: int, batch: int) -> Any:
    """Another process that appends."""
    import subprocess
    import sys

    from support.processes import environment

    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", APPENDER, str(path), str(who), str(count), str(batch)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip


def begin(processes: list[Any]) -> None:
    """All at once."""
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()


def test_twenty_processes_append_to_one_transcript(tmp_path: Path) -> None:
    """W17, G3: every record of every process is there once, in its order, and batches are never mixed."""
    count = 40
    processes = [start(tmp_path, who, count, 1 + who % 3) for who in range(20)]
    begin(processes)
    for process in processes:
        process.communicate(timeout=100)
        assert process.returncode == 0
    with quick(tmp_path) as folder:
        found = both_ways(folder.transcript("shared"))
    assert len(found) == sum(count * (1 + who % 3) for who in range(20))
    for who in range(20):
        own = [(one["n"], one["part"]) for one in found if one["who"] == who]
        assert own == [(number, part) for number in range(count) for part in range(1 + who % 3)]
    at = 0
    while at < len(found):
        whole = found[at : at + found[at]["of"]]
        assert [(one["who"], one["n"], one["part"]) for one in whole] == [
            (whole[0]["who"], whole[0]["n"], part) for part in range(whole[0]["of"])
        ]
        at += len(whole)


def test_killed_writers_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """G2, G7: after kill -9 everything acknowledged is there, batches are whole, nobody is blocked."""
    rng: random.Random = seeded("killed appenders")
    acknowledged: dict[int, int] = {}
    for round_ in range(4):
        processes = [start(tmp_path, 10 * round_ + number, 100_000, 3) for number in range(3)]
        begin(processes)
        time.sleep(rng.uniform(0.05, 0.3))
        for number, process in enumerate(processes):
            process.send_signal(signal.SIGKILL)
            said = process.communicate()[0].split("\n")[:-1]
            acknowledged[10 * round_ + number] = int(said[-1]) if said else -1
        with quick(tmp_path, lock_timeout=1.0) as folder:
            folder.transcript("shared").append({"who": -1, "n": round_})
            found = both_ways(folder.transcript("shared"))
        for who, last in acknowledged.items():
            own = [(one["n"], one["part"]) for one in found if one["who"] == who]
            assert own == [(number, part) for number in range(len(own) // 3) for part in range(3)]
            assert last + 1 <= len(own) // 3 <= last + 2
        assert [one["n"] for one in found if one["who"] == -1] == list(range(round_ + 1))
        lines = (tmp_path / "shared.jsonl").read_bytes().splitlines()
        assert sum(1 for line in lines if line.strip() and not _is_json(line)) <= 3 * (round_ + 1)


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def test_a_forked_child_may_append(tmp_path: Path) -> None:
    """A child uses the folder that it inherited, and its lock excludes the parent's."""
    import warnings

    with quick(tmp_path) as folder:
        transcript = folder.transcript(ID)
        transcript.append({"who": "parent"})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if not child:
            code = 1
            try:
                for number in range(50):
                    transcript.append({"who": "child", "n": number})
                code = 0
            finally:
                os._exit(code)
        for number in range(50):
            transcript.append({"who": "parent", "n": number})
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        found = both_ways(transcript)
    for who in ("parent", "child"):
        assert [one["n"] for one in found if one["who"] == who and "n" in one] == list(range(50))
