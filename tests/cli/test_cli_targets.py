"""Commands on several stores: selectors, tables, JSON, exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_support import ENTRIES, Run, command, on_terminal


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory with two agents, which the environment points to."""
    path = tmp_path / "state"
    for agent in ("main", "writer"):
        put(path, agent, json.dumps(ENTRIES))
    monkeypatch.setenv("OPENCLAW_STATE_DIR", str(path))
    monkeypatch.setenv("HOME", str(tmp_path))
    return path


def put(state: Path, agent: str, text: str) -> Path:
    path = state / "agents" / agent / "sessions" / "sessions.json"
    path.parent.mkdir(mode=0o700, parents=True)
    path.write_text(text)
    return path


def told(run: Run, *args: str, code: int = 0) -> dict[str, Any]:
    return json.loads(run(*args, "--json", code=code).stdout)  # type: ignore[no-any-return]


def test_all_there_and_back(run: Run, state: Path) -> None:
    """Every agent's store is migrated, listed, checked and rolled back, with the agent beside each."""
    planned = told(run, "migrate", "--all", "--dry-run")
    assert planned["counts"] == {"ready_to_migrate": 2}
    assert [store["agent"] for store in planned["stores"]] == ["main", "writer"]
    done = told(run, "migrate", "--all")
    assert done["counts"]["migrated"] == 2
    assert told(run, "migrate", "--all-agents")["counts"]["already_directory"] == 2
    listed = told(run, "list", "--all-agents", "bot:")
    assert [(store["agent"], store["items"][0]["key"]) for store in listed["stores"]] == [
        ("main", "bot:old"),
        ("writer", "bot:old"),
    ]
    assert run("list", "--all-agents", "bot:").stdout.startswith("main\tbot:old\t")
    assert [store["errors"] for store in told(run, "check", "--all-agents")["stores"]] == [0, 0]
    assert [store["outcome"] for store in told(run, "rollback", "--all", "--dry-run")["stores"]] == [
        "would_roll_back",
        "would_roll_back",
    ]
    assert [store["outcome"] for store in told(run, "rollback", "--all")["stores"]] == ["rolled_back"] * 2
    assert told(run, "migrate", "--all", "--automatic")["counts"]["rolled_back"] == 2
    for store in told(run, "migrate", "--all", "--automatic", "--dry-run")["stores"]:
        assert store["warnings"] == ["it was rolled back: --automatic leaves it alone"]
    assert [store["warnings"] for store in told(run, "migrate", "--all", "--dry-run")["stores"]] == [[], []]
    assert told(run, "migrate", "--all")["counts"]["migrated"] == 2


ONE_STORE = {
    "list": ("list",),
    "show": ("show", "bot:old"),
    "get": ("get", "bot:old"),
    "set": ("set", "bot:old", "n=1"),
    "delete": ("delete", "bot:old", "--dry-run"),
    "post": ("post", "bot:old", "{}"),
    "inbox": ("inbox",),
    "leases": ("leases",),
    "watch": ("watch", "--timeout", "0"),
    "info": ("info",),
    "check": ("check",),
    "sessions": ("sessions",),
    "logs": ("logs", "s-here"),
    "search": ("search", "hello"),
    "usage": ("usage",),
    "cleanup": ("cleanup",),
    "trash list": ("trash", "list"),
    "trash empty": ("trash", "empty"),
}


@pytest.mark.parametrize("arguments", ONE_STORE.values(), ids=ONE_STORE)
def test_one_rule_for_which_store(run: Run, state: Path, arguments: tuple[str, ...]) -> None:
    """``--store`` or ``--agent``, else the variable, else the default agent of the gateway: every command."""
    sessions = state / "agents" / "writer" / "sessions"
    for agent in ("main", "writer"):
        folder = state / "agents" / agent / "sessions"
        (folder / "s-here.jsonl").write_text('{"type":"message","message":{"role":"user","content":"hello"}}\n')
    run("migrate", "--all")
    run(*arguments)
    run(*arguments, "--agent", "writer")
    run(*arguments, "--agent", "writer", env={"SESSIONDIR_STORE": "/nowhere/none.d"})
    run(*arguments, "--store", str(sessions / "sessions.d"), env={"SESSIONDIR_STORE": "/nowhere/none.d"})
    run(*arguments, env={"SESSIONDIR_STORE": "/nowhere/none.d"}, code=10)
    run(*arguments, "--agent", "main", "--store", str(sessions / "sessions.d"), code=2)
    assert run(*arguments, "--agent", "nobody", code=2 if arguments[0] in ("list", "check") else 10).stdout == ""


def test_the_default_agent_is_the_configured_one(run: Run, state: Path) -> None:
    """Without any option the store is that of the agent which the configuration calls the default."""
    (state / "openclaw.json").write_text('{agents: {list: [{id: "main"}, {id: "writer", default: true}]}}')
    run("set", "bot:old", "label=mine")
    assert json.loads(run("get", "bot:old", "label", "--agent", "writer").stdout) == "mine"
    run("get", "bot:old", "label", "--agent", "main")
    assert json.loads(run("get", "bot:old", "label").stdout) == "mine"
    assert json.loads(run("get", "bot:old", "label", "--agent", "main").stdout) == "no time"
    (state / "openclaw.json").write_text("{agents: [")
    assert "openclaw.json" in run("set", "bot:old", "label=x", code=20).stderr
    run("set", "bot:old", "label=x", "--agent", "main")


def test_tables(run: Run, state: Path) -> None:
    """One row a store: on a terminal under titles, through a pipe between tabs."""
    shown = run("migrate", "--all", "--dry-run")
    assert shown.stdout.splitlines()[0].split("\t")[:4] == ["main", "ready_to_migrate", "3", "3"]
    assert "ready_to_migrate 2; nothing was written" in shown.stderr
    drawn = on_terminal(command("migrate", "--all"), OPENCLAW_STATE_DIR=str(state))
    assert "AGENT" in drawn
    assert "migrated 2" in drawn
    assert run("rollback", "--all").stdout.splitlines()[1].split("\t")[:3] == ["writer", "rolled_back", "3"]


def test_one_failure_does_not_stop_the_rest(run: Run, state: Path) -> None:
    """Damaged and unsafe stores are told; the exit code is that of the first failure, also of a dry run."""
    put(state, "a-damaged", "[1]")
    put(state, "b-empty", "{}")
    unsafe = put(state, "c-unsafe", '{"k": {}}')
    (unsafe.parent / "sessions.d").symlink_to("nowhere")
    assert told(run, "migrate", "--all", "--dry-run", code=20)["counts"] == {
        "ready_to_migrate": 2,
        "invalid_legacy": 1,
        "empty_legacy": 1,
        "failed": 1,
    }
    done = told(run, "migrate", "--all", code=20)
    assert done["counts"] == {
        "migrated": 2,
        "already_directory": 0,
        "skipped_empty": 1,
        "skipped_invalid": 1,
        "missing": 0,
        "failed": 1,
    }
    assert "c-unsafe" in run("list", "--all-agents", code=20).stderr
    assert len(told(run, "check", "--all-agents", code=20)["stores"]) == 5
    outcomes = [store["outcome"] for store in told(run, "rollback", "--all", code=15)["stores"]]
    assert outcomes.count("rolled_back") == 2


def test_a_dry_run_fails_where_the_migration_would(run: Run, state: Path) -> None:
    """Of several stores that were named, one is missing."""
    paths = (state / "agents" / name / "sessions" / "sessions.json" for name in ("main", "nobody"))
    named = [part for path in paths for part in ("--store", str(path))]
    assert told(run, "migrate", "--dry-run", *named, code=10)["counts"] == {"ready_to_migrate": 1, "missing": 1}
    assert told(run, "migrate", *named, code=10)["counts"]["missing"] == 1


def test_one_agent(run: Run, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shown as a single store, and named in spite of the variable, which names another."""
    monkeypatch.setenv("SESSIONDIR_STORE", "/nowhere/sessions.json")
    done = told(run, "migrate", "--agent", "writer")
    assert done["outcome"] == "migrated"
    assert done["storePath"] == str(state / "agents" / "writer" / "sessions" / "sessions.d")
    assert len(told(run, "list", "--agent", "writer")["items"]) == 3
    run("list", code=10)


def test_several_stores_by_path(run: Run, state: Path) -> None:
    """--store may be repeated; the same store named twice is one."""
    main, writer = (str(state / "agents" / agent / "sessions" / "sessions.json") for agent in ("main", "writer"))
    done = told(run, "migrate", "--store", main, "--store", writer, "--store", main.replace(".json", ".d"))
    assert done["counts"]["migrated"] == 2
    assert [store["outcome"] for store in told(run, "rollback", "--store", main, "--store", writer)["stores"]] == [
        "rolled_back",
        "rolled_back",
    ]


def test_contradictions(run: Run, state: Path) -> None:
    """What cannot be meant is wrong use, before anything is done."""
    for args in (
        ("--agent", "main", "--all-agents"),
        ("--store", "x.json", "--agent", "main"),
        ("--store", "x.json", "--all"),
        ("--agent", "nobody"),
        (),
    ):
        run("migrate", *args, code=2)
    run("--store", "x.json", "migrate", "--all", code=2)
    run("list", "--all-agents", "--cursor", "x", code=2)
    assert not list(state.rglob("*.d"))


def test_what_is_skipped_is_told(run: Run, state: Path, tmp_path: Path) -> None:
    """A link that leads away: a warning, and path and reason in JSON."""
    (state / "agents" / "away").symlink_to(tmp_path)
    (tmp_path / "sessions").mkdir()
    result = run("migrate", "--all", "--dry-run", "--json")
    assert json.loads(result.stdout)["skipped"][0]["path"].endswith("/away/sessions/sessions.json")
    assert "was skipped" in result.stderr


def test_limits(run: Run, state: Path) -> None:
    """Too large is exit code 20 and names the limit; flags raise it."""
    run("migrate", "--agent", "main", "--max-bytes", "100", code=20)
    run("migrate", "--agent", "main", "--max-entry-bytes", "100", code=20)
    run("migrate", "--agent", "main", "--max-bytes", "100000000")


def test_agents_without_a_store_are_no_failure(run: Run, state: Path, tmp_path: Path) -> None:
    """A start goes on where a configured agent has no store yet; a store that was named must be there."""
    template = f"{tmp_path}/own/{{agentId}}.json"
    config = {"session": {"store": template}, "agents": {"list": [{"id": "main"}, {"id": "new"}]}}
    (state / "openclaw.json").write_text(json.dumps(config))
    for name in ("migrate", "rollback"):
        found = told(run, name, "--all")
        assert [store["outcome"] for store in found["stores"] if store["agent"] == "new"] == ["missing"]
        assert "warning" not in run(name, "--all").stderr
    path = str(tmp_path / "own" / "new.json")
    for options in (("--agent", "new"), ("--store", path), ("--store", path, "--store", path + "2.json")):
        assert run("migrate", *options, code=10).exit_code == 10
        assert run("rollback", *options, code=10).exit_code == 10
