"""``sessiondir demo``"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

import click

from sessiondir.cli import output
from sessiondir.cli.options import examples

if TYPE_CHECKING:
    from sessiondir.cli.demo_crew import Crew, Task, Worker
    from sessiondir.store import SessionStore

Entries = dict[str, dict[str, Any]]

_MAIN: Final = "agent:main:main"
_SESSIONS: Final = 400
_WATCH_EVERY_S: Final = 0.5
_AT_REST: Final = ("entries", "listing.jsonl", "lock", "state.json")


@click.command(epilog=examples("sessiondir demo", "sessiondir demo --seconds 10 --writers 4 --keep"))
@click.option(
    "--seconds", type=click.FloatRange(1, 20), default=6.0, show_default=True, help="How long they write."
)
@click.option(
    "--writers", type=click.IntRange(2, 32), default=8, show_default=True, help="Processes that write at once."
)
@click.option("--keep", is_flag=True, help="Keep the directory to look at.")
def demo(*, seconds: float, writers: int, keep: bool) -> None:
    """See the store at work, in a directory of its own.

    Makes a legacy sessions.json with some hundred sessions, migrates it, lets several
    processes update it at once, kills one of them, verifies everything that was
    acknowledged, and rolls back. Ends with 1 if anything did not hold.
    """
    place = tempfile.mkdtemp(prefix="sessiondir-demo-")
    try:
        failed = _Demo(place, seconds, writers).run()
    finally:
        if keep:
            output.echo(f"\nkept: {place}")
        else:
            shutil.rmtree(place, ignore_errors=True)
    output.echo("")
    if failed:
        output.echo("DID NOT HOLD: " + "; ".join(failed))
        raise click.exceptions.Exit(1)
    output.echo("Everything held.")


class _Demo:
    """The story, told step by step; what did not hold is collected in ``failed``."""

    def __init__(self, place: str, seconds: float, writers: int) -> None:
        self._legacy = os.path.join(place, "sessions.json")
        self._directory = os.path.join(place, "sessions.d")
        self._seconds = seconds
        self._writers = writers
        self._halves = 0
        self._looks = 0
        self.failed: list[str] = []

    def run(self) -> list[str]:
        """The whole story; what did not hold."""
        before = self._make_legacy_file()
        self._migrate(before)
        workers = self._let_them_write(before)
        final = self._verify(before, workers)
        self._roll_back(final)
        return self.failed

    def _expect(self, holds: bool, what: str, detail: str = "") -> None:
        mark = "ok" if holds else "FAILED"
        output.echo(f"  {mark:<6} {what}{f' ({detail})' if detail else ''}")
        if not holds:
            self.failed.append(what)

    # -- before ---------------------------------------------------------------------------

    def _make_legacy_file(self) -> Entries:
        """Write the legacy file; what it means, that is, without the outdated spellings."""
        from sessiondir.cli.sample import make_sessions

        sessions = make_sessions(_SESSIONS)
        with open(self._legacy, "w", encoding="utf-8") as file:
            json.dump(sessions, file, indent=2, ensure_ascii=False)
        size = output.size_text(os.path.getsize(self._legacy))
        output.echo(f"1. A legacy store: sessions.json with {len(sessions)} entries, {size}\n")
        return {key: entry for key, entry in sessions.items() if key == key.lower()}

    def _migrate(self, before: Entries) -> None:
        from sessiondir import migration
        from sessiondir.store import SessionStore

        output.echo("2. Migrate it\n")
        begun = time.monotonic()
        result = migration.migrate(self._legacy)
        took_s = time.monotonic() - begun
        _tell("outcome", f"{result.outcome} in {took_s:.2f} s")
        _tell(
            "sessions", f"{result.migrated_count}, from {result.legacy_count} entries (some under two spellings)"
        )
        _tell("original", f"{os.path.basename(result.backup_path or '-')} (kept)")
        for text in result.warnings:
            _tell("note", text)
        with SessionStore.open(self._directory, read_only=True) as store:
            self._expect(dict(store.snapshot()) == before, "every session is there and equal")
        output.echo("")

    # -- at work --------------------------------------------------------------------------

    def _tasks(self, keys: list[str]) -> list[Task]:
        from sessiondir.cli.demo_crew import Task

        pair = [key for key in keys if ":subagent:" in key][:2]
        own = [key for key in keys if key != _MAIN and key not in pair]
        return [
            Task(self._directory, number, tuple(own[number :: self._writers]), _MAIN, (pair[0], pair[1]))
            for number in range(self._writers)
        ]

    def _let_them_write(self, before: Entries) -> list[Worker]:
        from sessiondir.cli.demo_crew import Crew
        from sessiondir.store import SessionStore

        output.echo(
            f"3. {self._writers} processes update it for {self._seconds:g} s: sessions of their own, one that\n"
            "   all share, now and then two in one transaction; half-way one is killed (SIGKILL)\n"
        )
        tasks = self._tasks(list(before))
        with (
            SessionStore.open(self._directory, read_only=True) as watched,
            Crew(tasks) as crew,
            _progress(self._seconds) as show,
        ):
            crew.run(self._seconds, self._watcher(crew, watched, tasks[0].pair, show))
        _print_workers(crew.workers, self._seconds)
        output.echo("")
        return crew.workers

    def _watcher(
        self, crew: Crew, store: SessionStore, pair: tuple[str, str], show: Callable[[float, int], None]
    ) -> Callable[[float], None]:
        """A reader that looks at the whole store while the others write."""
        next_look_s = 0.0

        def tick(gone_s: float) -> None:
            nonlocal next_look_s
            show(gone_s, sum(worker.commits for worker in crew.workers))
            if gone_s >= next_look_s:
                next_look_s = gone_s + _WATCH_EVERY_S
                seen = store.snapshot()
                self._looks += 1
                self._halves += seen[pair[0]].get("handovers") != seen[pair[1]].get("handovers")

        return tick

    # -- afterwards -----------------------------------------------------------------------

    def _verify(self, before: Entries, workers: list[Worker]) -> Entries:
        from sessiondir.store import SessionStore

        output.echo("4. Open it again and compare with what the parent was told\n")
        ended = [worker.task.number for worker in workers if worker.process.exitcode and not worker.killed]
        self._expect(not ended, "no other process failed", ", ".join(map(str, ended)))
        killed = next(worker for worker in workers if worker.killed)
        begun = time.perf_counter()
        with SessionStore.open(self._directory) as store:
            store.patch(killed.task.own[0], {"abortedLastRun": True})
            took_ms = (time.perf_counter() - begun) * 1000
            self._expect(
                took_ms < 1000, "open, and write to a session of the killed process, at once", f"{took_ms:.1f} ms"
            )
            final = dict(store.snapshot())
        self._compare(before, workers, final)
        pair = workers[0].task.pair
        self._expect(
            self._halves == 0 and self._looks > 0,
            "a reader never saw half a transaction",
            f"{self._looks} snapshots meanwhile",
        )
        self._expect(
            all(final[pair[0]].get(name) == final[pair[1]].get(name) for name in ("handovers", "handoversBy")),
            "both sides of all transactions are equal",
            f"{final[pair[0]].get('handovers', 0):,} transactions",
        )
        with SessionStore.open(self._directory) as store:
            findings = store.check()
        self._expect(not findings, "check finds nothing", "; ".join(f"{f.path}: {f.reason}" for f in findings))
        names = sorted(os.listdir(self._directory))
        known = [name for name in names if name in _AT_REST or name.startswith("journal-")]
        self._expect(names == known, "no file to remove by hand", ", ".join(names))
        output.echo("")
        return final

    def _compare(self, before: Entries, workers: list[Worker], final: Entries) -> None:
        from sessiondir.cli.demo_crew import BOTH, SHARED

        pair, total = workers[0].task.pair, 0
        missing: list[str] = []
        surplus: list[str] = []
        for worker in workers:
            share = str(worker.task.number)
            found = {key: final[key]["inputTokens"] - before[key]["inputTokens"] for key in worker.task.own}
            told: dict[str, int] = dict.fromkeys(worker.task.own, 0) | dict(worker.own)
            for name, key, kind in (("runs", _MAIN, SHARED), ("handovers", pair[0], BOTH)):
                found[name] = final[key].get(f"{name}By", {}).get(share, 0)
                told[name] = worker.counts[kind]
            missing += [f"worker {share}: {name}" for name, count in told.items() if found[name] < count]
            # Killed between its last commit and telling of it, a process leaves one more than it told.
            more = sum(found.values()) - sum(told.values())
            if more > int(worker.killed):
                surplus.append(f"worker {share} made {more} more than it told")
            total += sum(told.values())
        self._expect(not missing, f"all {total:,} acknowledged commits are there", ", ".join(missing[:5]))
        self._expect(not surplus, "and no other, but for the one that was cut short", ", ".join(surplus))
        shared = final[_MAIN]
        runs, shares = shared.get("runs", 0), sum(shared.get("runsBy", {}).values())
        self._expect(runs == shares, "no update of the shared session is lost", f"{runs:,} updates")
        changed = {key for worker in workers for key in worker.task.own} | {_MAIN, *pair}
        self._expect(
            final.keys() == before.keys() and all(final[key] == before[key] for key in before.keys() - changed),
            "nothing else was touched",
        )

    def _roll_back(self, final: Entries) -> None:
        from sessiondir import migration

        output.echo("5. Go back to a single file, for the old program\n")
        result = migration.rollback(self._directory)
        _tell("outcome", result.outcome)
        _tell("file", f"sessions.json, {result.session_count} sessions, {output.size_text(result.size)}")
        _tell("directory", f"{os.path.basename(result.backup_path or '-')} (kept)")
        for text in result.warnings:
            _tell("note", text)
        with open(self._legacy, encoding="utf-8") as file:
            self._expect(json.load(file) == final, "it holds exactly the final state")


def _tell(name: str, value: str) -> None:
    output.echo(f"  {name:<10} {output.clean(value)}")


def _print_workers(workers: list[Worker], seconds: float) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 0, 0, 2))
    for title in ("process", "commits", "a second", "median", "P99", "slowest", ""):
        table.add_column(title, justify="right" if title else "left", no_wrap=True)
    for worker in workers:
        ordered = sorted(worker.latencies) or [0]
        active_s = seconds / 2 if worker.killed else seconds
        marks = [ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100], ordered[-1]]
        table.add_row(
            f"{worker.task.number}",
            f"{worker.commits:,}",
            f"{worker.commits / active_s:,.0f}",
            *(f"{us / 1000:,.2f} ms" for us in marks),
            "killed" if worker.killed else "",
        )
    total = sum(worker.commits for worker in workers)
    table.add_row("all", f"{total:,}", f"{total / seconds:,.0f}", "", "", "", "")
    output.render(table)


@contextlib.contextmanager
def _progress(seconds: float) -> Iterator[Callable[[float, int], None]]:
    """A bar on the terminal; nothing through a pipe."""
    import sys

    if not sys.stderr.isatty():
        yield lambda _gone_s, _commits: None
        return
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("   writing"), BarColumn(), TextColumn("{task.fields[commits]:,} commits acknowledged"))
    with Progress(*columns, console=output.console(err=True), transient=True) as bar:
        task = bar.add_task("", total=seconds, commits=0)
        yield lambda gone_s, commits: bar.update(task, completed=gone_s, commits=commits)
