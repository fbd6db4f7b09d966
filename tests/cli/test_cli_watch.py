"""watch: changes as they are committed, until told to end."""

from __future__ import annotations

import json
import signal
import subprocess

import pytest
from cli_support import Run, command, environment

from sessiondir import SessionStore

MAIN = "agent:main:main"


def test_watch_since_prints_what_the_journal_holds(run: Run, store_path: str) -> None:
    """One line a change: time, version, kind, key, fields of a patch."""
    run("set", MAIN, "model=n", "label=x", "--store", store_path)
    run("delete", "bot:old", "--store", store_path)
    lines = run("watch", "--since", "0", "--timeout", "0", "--store", store_path).stdout.splitlines()
    assert lines[0].endswith(f"Z  1  put     {MAIN}")
    assert lines[3].endswith(f"4  patch   {MAIN}  model, label")
    assert lines[4].endswith("5  delete  bot:old")
    assert len(lines) == 5


def test_watch_json_lines(run: Run, store_path: str) -> None:
    """Each line is an object by itself."""
    run("set", MAIN, "model=n", "--store", store_path)
    lines = run("watch", "--since", "3", "--timeout", "0", "--json", "--store", store_path).stdout.splitlines()
    (told,) = map(json.loads, lines)
    assert told.pop("at") > 1_700_000_000_000
    assert told == {"version": 4, "key": MAIN, "kind": "patch", "fields": ["model"]}


def test_watch_prefix_and_limit(run: Run, store_path: str) -> None:
    """Only what was asked for, and no more."""
    result = run("watch", "--since", "0", "--timeout", "0", "--prefix", "agent:", "--json", "--store", store_path)
    assert result.stdout.count("\n") == 2
    result = run("watch", "--since", "0", "--limit", "1", "--json", "--store", store_path)
    assert json.loads(result.stdout)["version"] == 1


def test_a_prefix_follows_the_key_rule(run: Run, legacy_path: str) -> None:
    """In a store whose keys are lower-cased, the prefix is, too."""
    run("set", MAIN, "model=n", "--store", legacy_path)
    since = str(json.loads(run("info", "--json", "--store", legacy_path).stdout)["version"] - 1)
    result = run("watch", "--since", since, "--timeout", "0", "--prefix", "AGENT:", "--store", legacy_path)
    assert MAIN in result.stdout
    assert MAIN in run("list", "AGENT:", "--store", legacy_path).stdout


def test_watch_since_a_version_that_is_gone(run: Run, store_path: str) -> None:
    """Nothing is left out silently: exit code 13, with the oldest usable version."""
    with SessionStore.open(store_path) as store:
        store.put("filler", {"a": "x" * 300_000})  # enough for a new journal at close
    told = json.loads(run("watch", "--since", "0", "--json", "--store", store_path, code=13).stderr)
    assert (told["error"], told["since"], told["oldest"]) == ("ChangesUnavailable", 0, 4)


@pytest.mark.parametrize("option", [(), ("--json",)])
def test_watch_streams_and_ends_with_130_on_interrupt(store_path: str, option: tuple[str, ...]) -> None:
    """A change of another process shows while watching; Ctrl-C ends without a traceback."""
    with subprocess.Popen(
        command("watch", "--since", "2", "--store", store_path, *option),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        assert "bot:old" in process.stdout.readline()
        with SessionStore.open(store_path) as store:
            store.patch(MAIN, {"model": "seen"})
        assert MAIN in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        told = process.stderr.read().strip()
    assert json.loads(told)["error"] == "Interrupted" if option else not told
