"""``sessions``, ``route``, ``depth``, ``recipients``: what they show, and of which stores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_support import Run
from support.files import listing

from sessiondir import SessionStore
from sessiondir.cli import session_rows
from sessiondir.cli.stores import agent_stores
from sessiondir.clock import SYSTEM_CLOCK

NOW_MS = 1_773_964_800_000
MINUTE_MS = 60_000


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENCLAW_STATE_DIR", "OPENCLAW_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(type(SYSTEM_CLOCK), "now", lambda _: NOW_MS / 1000)


def legacy(path: Path, entries: Any) -> str:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text(entries if isinstance(entries, str) else json.dumps(entries))
    path.chmod(0o600)
    return str(path)


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory: agent main with a legacy file, ops with a migrated store, one directory without."""
    root = tmp_path / "state"
    legacy(
        root / "agents" / "main" / "sessions" / "sessions.json",
        {
            "agent:main:main": {
                "sessionId": "m",
                "updatedAt": NOW_MS - 5 * MINUTE_MS,
                "lastChannel": "whatsapp",
                "lastTo": "+1",
            },
            "agent:main:subagent:a": {
                "sessionId": "a",
                "updatedAt": NOW_MS - 90 * MINUTE_MS,
                "spawnedBy": "agent:ops:subagent:o",
            },
        },
    )
    ops = root / "agents" / "Ops Team" / "sessions"
    ops.mkdir(mode=0o700, parents=True)
    with SessionStore.open(str(ops / "sessions.json"), keys="lowercase") as store:
        store.put("agent:ops-team:main", {"sessionId": "om", "updatedAt": NOW_MS - 1})
        store.put("bare", {"sessionId": "ob"})
    (root / "agents" / "empty" / "sessions").mkdir(parents=True)
    monkeypatch.setenv("OPENCLAW_STATE_DIR", str(root))
    return root


# -- rows -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("age_ms", "wanted"),
    [
        (None, "unknown"),
        (-1, "unknown"),
        (0, "just now"),
        (29_499, "just now"),
        (30_000, "1m ago"),
        (59.4 * MINUTE_MS, "59m ago"),
        (59.5 * MINUTE_MS, "1h ago"),
        (47.4 * 60 * MINUTE_MS, "47h ago"),
        (47.5 * 60 * MINUTE_MS, "2d ago"),
        (1e15, "11574074d ago"),
    ],
)
def test_ages(age_ms: Any, wanted: str) -> None:
    """11.1: minutes below 60, hours below 48, days; halves round up."""
    assert session_rows.age_text(age_ms) == wanted


@pytest.mark.parametrize(
    ("total", "window", "wanted"),
    [
        (68213, 200000, "68k/200k (34%)"),
        (9999, 200000, "10.0k/200k (5%)"),
        (950, 2000, "0.9k/2.0k (48%)"),
        (12500, 100000, "13k/100k (13%)"),
        (0, 1000, "0.0k/1.0k (0%)"),
        (10**9, 1000, "1000000k/1.0k (999%)"),
        (5000, None, "5.0k/? (?%)"),
        (5000, "x", "5.0k/? (?%)"),
        (None, 200000, "unknown/200k (?%)"),
        (None, 0, "unknown/? (?%)"),
    ],
)
def test_tokens(total: Any, window: Any, wanted: str) -> None:
    """11.1: thousands, one decimal below 10,000, at most 999 per cent; unknown when not fresh."""
    assert session_rows.tokens_text(total, window) == wanted


def test_long_keys() -> None:
    """11.1: 16 characters, dots, 6 characters, where a key has more than 26."""
    assert session_rows.short_key("k" * 26) == "k" * 26
    assert session_rows.short_key("agent:main:telegram:group:1") == "agent:main:teleg...roup:1"


def test_flags() -> None:
    """11.1: what is set, in order; what JavaScript takes for false is not."""
    row = {
        "thinkingLevel": "low", "verboseLevel": "", "reasoningLevel": "on", "elevatedLevel": "ask",
        "responseUsage": "full", "groupActivation": "always", "systemSent": True, "abortedLastRun": 1,
        "sessionId": "s",
    }  # fmt: skip
    assert session_rows.flags_text(row) == (
        "think:low reasoning:on elev:ask usage:full activation:always system aborted id:s"
    )
    assert session_rows.flags_text({"systemSent": False, "sessionId": None}) == ""


# -- sessions ---------------------------------------------------------------------------------


def test_json_of_one_store(run: Run, tmp_path: Path) -> None:
    """11.1: path, count, and of each session what is stored, the latest first; stale totals are null."""
    path = legacy(
        tmp_path / "sessions.json",
        {
            "a": {
                "sessionId": "a",
                "updatedAt": 5,
                "totalTokens": 7,
                "totalTokensFresh": False,
                "contextTokens": 9,
            },
            "agent:X:group": {
                "updatedAt": NOW_MS,
                "chatType": "group",
                "model": " m ",
                "modelOverride": "o",
                "totalTokens": 7,
            },
            "cron:j": {"modelOverride": "o", "label": "not shown"},
            "gone": None,
        },
    )
    before = listing(tmp_path)
    told = json.loads(
        run("sessions", "--store", path, "--json", "--default-model", "d", "--context-tokens", "8").stdout
    )
    assert listing(tmp_path) == before
    assert {name: told[name] for name in told if name != "sessions"} == {
        "path": path,
        "count": 3,
        "activeMinutes": None,
    }
    assert told["sessions"] == [
        {
            "key": "agent:X:group",
            "updatedAt": NOW_MS,
            "ageMs": 0,
            "totalTokens": 7,
            "model": "m",
            "modelOverride": "o",
            "agentId": "x",
            "kind": "group",
            "totalTokensFresh": True,
            "contextTokens": 8,
        },
        {
            "key": "a",
            "updatedAt": 5,
            "ageMs": NOW_MS - 5,
            "sessionId": "a",
            "totalTokens": None,
            "totalTokensFresh": False,
            "contextTokens": 9,
            "agentId": "main",
            "kind": "direct",
            "model": "d",
        },
        {
            "key": "cron:j",
            "updatedAt": None,
            "ageMs": None,
            "modelOverride": "o",
            "agentId": "main",
            "kind": "direct",
            "totalTokens": None,
            "totalTokensFresh": False,
            "contextTokens": 8,
            "model": "o",
        },
    ]


def test_all_agents(run: Run, state: Path) -> None:
    """11.1: every agent's store, migrated or not; keys without an agent belong to the store's."""
    told = json.loads(run("sessions", "--all-agents", "--json").stdout)
    assert told["path"] is None
    assert told["allAgents"] is True
    assert [one["agentId"] for one in told["stores"]] == ["main", "ops-team"]
    assert [(one["agentId"], one["key"]) for one in told["sessions"]] == [
        ("ops-team", "agent:ops-team:main"),
        ("main", "agent:main:main"),
        ("main", "agent:main:subagent:a"),
        ("ops-team", "bare"),
    ]
    shown = run("sessions", "--all-agents").stdout.splitlines()
    assert shown[0].split("\t")[:3] == ["ops-team", "direct", "agent:ops-team:main"]


def test_one_agent_and_the_default(run: Run, state: Path) -> None:
    """11.1: ``--agent`` in any spelling, and agent main without any option; the environment's store gives way."""
    ops = run("sessions", "--agent", "OPS team").stdout
    assert "agent:ops-team:main" in ops
    assert "agent:main:main" not in ops
    assert "agent:main:main" in run("sessions").stdout
    path = legacy(state / "other.json", {"other": {}})
    assert "other" in run("sessions", env={"SESSIONDIR_STORE": path}).stdout
    assert "other" not in run("sessions", "--agent", "main", env={"SESSIONDIR_STORE": path}).stdout
    assert "other" in run("--store", path, "sessions").stdout


@pytest.mark.parametrize(
    ("given", "count"), [("5", 2), ("4", 1), ("90x", 3), (" 90", 3), ("89.9", 2), ("100000", 3)]
)
def test_active(run: Run, state: Path, given: str, count: int) -> None:
    """11.1: updated in the last minutes, read like a leading whole number; without a time never."""
    told = json.loads(run("sessions", "--all-agents", "--active", given, "--json").stdout)
    assert told["count"] == count == len(told["sessions"])
    assert told["activeMinutes"] == int(given.strip("x ").split(".")[0])


@pytest.mark.parametrize("given", ["0", "-5", "x", "", ".5"])
def test_active_is_a_number(run: Run, state: Path, given: str) -> None:
    """11.1: anything else is an error."""
    assert "--active" in run("sessions", "--active", given, code=2).stderr


@pytest.mark.parametrize(
    "options",
    [
        ("--agent", "main", "--all-agents"),
        ("--store", "x.d", "--agent", "main"),
        ("--store", "x.d", "--all-agents"),
    ],
)
def test_options_that_contradict(run: Run, state: Path, options: tuple[str, ...]) -> None:
    """7.4: at most one of store, agent and all agents."""
    run("sessions", *options, code=2)
    if options[0] == "--store":
        run("--store", "x.d", "sessions", *options[2:], code=2)


def test_what_is_not_there(run: Run, state: Path) -> None:
    """A store or agent that was named has to exist; no sessions are no error."""
    assert "main, ops-team" in run("sessions", "--agent", "nobody", code=10).stderr
    run("sessions", "--store", str(state / "none.d"), code=10)
    run("recipients", "--store", str(state / "none.d"), code=10)
    assert "no sessions" in run("sessions", "--store", legacy(state / "none.json", "{}")).stderr
    assert "no sessions" in run("sessions", "--active", "1").stderr


@pytest.mark.expect_findings(r"error .*")
def test_a_store_that_cannot_be_read(run: Run, state: Path) -> None:
    """G8: alone it is an error; among others it is told of, the rest is listed, and the exit code tells."""
    path = legacy(state / "agents" / "bad" / "sessions" / "sessions.json", "{")
    run("sessions", "--store", path, code=20)
    result = run("sessions", "--all-agents", code=20)
    assert "'bad'" in result.stderr
    assert "agent:main:main" in result.stdout


# -- route, depth, recipients -------------------------------------------------------------------


def test_route(run: Run, tmp_path: Path) -> None:
    """2.5: the route that counts, from a legacy file as from a store; old names are understood."""
    entries = {
        "agent:main:x": {"lastChannel": "Telegram", "lastTo": " 1 ", "lastAccountId": "A", "lastThreadId": 7},
        "agent:main:y": {"provider": "irc"},
        "agent:main:z": {},
    }
    path = legacy(tmp_path / "old" / "sessions.json", entries)
    assert (
        run("route", "Agent:Main:X", "--store", path).stdout == "channel\ttelegram\nto\t1\naccount\ta\nthread\t7\n"
    )
    assert json.loads(run("route", "agent:main:y", "--store", path, "--json").stdout) == {
        "key": "agent:main:y",
        "route": {"channel": "irc"},
        "routeKey": None,
    }
    assert json.loads(run("route", "agent:main:z", "--store", path, "--json").stdout)["route"] is None
    assert "no route" in run("route", "agent:main:z", "--store", path).stderr
    run("route", "agent:main:none", "--store", path, code=10)


def test_route_finds_the_agents_store(run: Run, state: Path) -> None:
    """Without options the key tells the agent."""
    with SessionStore.open(str(state / "agents" / "Ops Team" / "sessions" / "sessions.d")) as store:
        store.patch("agent:ops-team:main", {"lastTo": "9"})
        store.patch("bare", {"lastTo": "8"})
    assert run("route", "agent:ops-team:main").stdout == "to\t9\n"
    assert run("route", "bare", "--agent", "ops-team").stdout == "to\t8\n"
    run("route", "bare", code=10)


def test_depth(run: Run, state: Path) -> None:
    """8.4: one store alone, or the chain through several agents' stores; a session id will do."""
    main = state / "agents" / "main" / "sessions" / "sessions.json"
    with SessionStore.open(str(state / "agents" / "Ops Team" / "sessions" / "sessions.d")) as store:
        store.put("agent:ops-team:work", {"sessionId": "w", "spawnDepth": 3})
    assert run("depth", "agent:main:subagent:a", "--store", str(main)).stdout == "2\n"
    assert run("depth", "a").stdout == "2\n"
    assert run("depth", "work", "--agent", "ops-team").stdout == "3\n"
    assert run("depth", "work").stdout == "0\n"
    assert json.loads(run("depth", "agent:nobody:subagent:x", "--json").stdout) == {
        "key": "agent:nobody:subagent:x",
        "depth": 1,
    }


@pytest.mark.expect_findings(r"error .*")
def test_depth_reads_what_people_write(run: Run, tmp_path: Path) -> None:
    """8.4: JSON5 is accepted; what cannot be read counts as empty, and that is said."""
    path = legacy(tmp_path / "a" / "sessions.json", "{x: {spawnDepth: 2,},}")
    assert run("depth", "x", "--store", path).stdout == "2\n"
    broken = legacy(tmp_path / "b" / "sessions.json", "{x")
    result = run("depth", "x:subagent:y", "--store", broken)
    assert result.stdout == "1\n"
    assert "warning" in result.stderr


def test_recipients(run: Run, state: Path) -> None:
    """9: of agent main's sessions and the allow list; nobody is no error, several are told of."""
    assert run("recipients").stdout == "+1\n"
    assert run("recipients", "--agent", "ops-team").stderr == "nobody\n"
    assert run("recipients", "--allow", "2", "--allow", "+3").stdout == "+2\n+3\n"
    assert run("recipients", "--all", "--allow", "2").stdout == "+1\n+2\n"
    assert run("recipients", "--to", "whatsapp:5").stdout == "+5\n"
    assert run("recipients", "--scope", "global").stdout == ""
    told = json.loads(run("recipients", "--json").stdout)
    assert told == {
        "recipients": ["+1"],
        "source": "session-single",
        "sessions": [{"key": "agent:main:main", "to": "+1", "updatedAt": NOW_MS - 5 * MINUTE_MS}],
    }
    two = legacy(state / "two.json", {name: {"lastChannel": "whatsapp", "lastTo": name} for name in ("+1", "+2")})
    assert "--to" in run("recipients", "--store", two).stderr


# -- where the state is -------------------------------------------------------------------------


def test_directories_that_are_no_agents(tmp_path: Path) -> None:
    """7.4: a name of which nothing is left does not pose as main; without a store there is no agent."""
    for name in ("###", "Main", "no store"):
        (tmp_path / "agents" / name / "sessions").mkdir(parents=True)
    for name in ("###", "Main"):
        legacy(tmp_path / "agents" / name / "sessions" / "sessions.json", "{}")
    environ = {"OPENCLAW_STATE_DIR": str(tmp_path)}
    assert [one.agent for one in agent_stores(environ)] == ["main"]
    assert agent_stores({"OPENCLAW_STATE_DIR": str(tmp_path / "none")}) == []
