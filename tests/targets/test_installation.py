"""Where a gateway keeps its state: environment variables, older names, configuration (F8)."""

from __future__ import annotations

import errno
import json
import os
import pwd
from pathlib import Path
from typing import Any

import pytest
from support.seams import RuledFileSystem

from sessiondir.errors import CorruptFile, UnreadableFile
from sessiondir.installation import Config, Installation, home_directory, read_config


def find(tmp_path: Path, **env: str) -> Installation:
    return Installation.find({"HOME": str(tmp_path)} | env)


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"OPENCLAW_HOME": "/oc", "HOME": "/h"}, "/oc"),
        ({"OPENCLAW_HOME": " ~/x ", "HOME": "/h"}, "/h/x"),
        ({"OPENCLAW_HOME": "~", "HOME": "/h"}, "/h"),
        ({"OPENCLAW_HOME": "undefined", "HOME": "/h"}, "/h"),
        ({"OPENCLAW_HOME": "null", "HOME": " ", "USERPROFILE": "/u"}, "/u"),
        ({}, pwd.getpwuid(os.getuid()).pw_dir),
    ],
)
def test_home(env: dict[str, str], expected: str) -> None:
    """The first variable that is set counts; two words of another language count as not set."""
    assert home_directory(env) == expected


def test_state_directory(tmp_path: Path) -> None:
    """The usual name, an older one that exists, the variable; the present name before any older one."""
    assert find(tmp_path).state_dir == f"{tmp_path}/.openclaw"
    (tmp_path / ".moldbot").mkdir()
    assert find(tmp_path).state_dir == f"{tmp_path}/.moldbot"
    (tmp_path / ".clawdbot").mkdir()
    assert find(tmp_path).state_dir == f"{tmp_path}/.clawdbot"
    assert find(tmp_path, OPENCLAW_TEST_FAST="1").state_dir == f"{tmp_path}/.openclaw"
    (tmp_path / ".openclaw").mkdir()
    assert find(tmp_path).state_dir == f"{tmp_path}/.openclaw"
    assert find(tmp_path, OPENCLAW_STATE_DIR=" ~/elsewhere ").state_dir == f"{tmp_path}/elsewhere"
    assert find(tmp_path, OPENCLAW_STATE_DIR="~").state_dir == str(tmp_path)
    assert find(tmp_path, OPENCLAW_STATE_DIR=" ").state_dir == f"{tmp_path}/.openclaw"
    assert find(tmp_path, OPENCLAW_STATE_DIR="/x/y/").state_dir == "/x/y"
    assert find(tmp_path, OPENCLAW_STATE_DIR="~user/x").state_dir == f"{Path.cwd()}/~user/x"


@pytest.mark.parametrize("name", ["STATE_DIR", "CONFIG_PATH"])
def test_variables_under_older_names(tmp_path: Path, name: str) -> None:
    """The present name, then the older ones, the latest of them last; a blank one counts as not set."""
    for prefix in ("openclaw", "clawdbot", "moltbot"):
        (tmp_path / prefix).mkdir()
        (tmp_path / prefix / "openclaw.json").write_text(f"{{agents: {{list: [{{id: '{prefix}'}}]}}}}")
    ending = "/openclaw.json" if name == "CONFIG_PATH" else ""
    env = {f"{prefix}_{name}": f"~/{prefix.lower()}{ending}" for prefix in ("OPENCLAW", "CLAWDBOT", "MOLTBOT")}
    assert find(tmp_path, **env).config.agents == ("openclaw",)
    env[f"OPENCLAW_{name}"] = " "
    assert find(tmp_path, **env).config.agents == ("clawdbot",)
    del env[f"CLAWDBOT_{name}"]
    assert find(tmp_path, **env).config.agents == ("moltbot",)


def test_configuration_file(tmp_path: Path) -> None:
    """By variable, else the first name that exists, in the state directory or an older one."""

    def put(name: str, agent: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{{agents: {{list: [{{id: '{agent}'}}]}}}}")

    put(".clawdbot/moldbot.json", "third")
    assert find(tmp_path).config.agents == ("third",)
    put(".clawdbot/clawdbot.json", "second")
    assert find(tmp_path).config.agents == ("second",)
    put(".openclaw/openclaw.json", "first")
    assert find(tmp_path).config.agents == ("first",)
    put("mine.json", "own")
    assert find(tmp_path, OPENCLAW_CONFIG_PATH="~/mine.json").config.agents == ("own",)
    put("state/openclaw.json", "state")
    assert find(tmp_path, OPENCLAW_STATE_DIR=f"{tmp_path}/state").config.agents == ("state",)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({}, Config()),
        ({"agents": {"list": []}}, Config()),
        (
            {"agents": {"list": [{"id": "B"}, 7, {"id": "a b", "default": True}, {"id": " b "}]}},
            (("b", "a-b"), "a-b"),
        ),
        ({"agents": {"list": [{"id": "x"}, {}]}}, (("x", "main"), "x")),
        ({"agents": {"list": [{"id": "x", "default": True}, {"id": "y", "default": True}]}}, (("x", "y"), "x")),
        ({"session": {"store": "  "}}, Config()),
        ({"session": {"store": 5}, "agents": 5}, Config()),
        ({"session": {"store": "~/s/{agentId}.json"}}, Config("~/s/{agentId}.json")),
    ],
)
def test_what_the_configuration_says(tmp_path: Path, value: Any, expected: Any) -> None:
    """Agents in order and once each, the default one, the store setting; odd values do not count."""
    path = tmp_path / "openclaw.json"
    path.write_text(json.dumps(value))
    wanted = expected if isinstance(expected, Config) else Config(None, *expected)
    assert read_config(str(path)) == wanted


def test_a_configuration_that_cannot_be_used(tmp_path: Path) -> None:
    """Damaged is remembered as the problem, unreadable is raised, missing is the default."""
    assert read_config(str(tmp_path / "none.json")) == Config()
    (tmp_path / ".openclaw").mkdir()
    path = tmp_path / ".openclaw" / "openclaw.json"
    for text in ("{", "[]"):
        path.write_text(text)
        here = find(tmp_path)
        assert isinstance(here.problem, CorruptFile)
        assert here.config == Config()
    fs = RuledFileSystem()
    fs.fail("open", errno.EACCES)
    with pytest.raises(UnreadableFile):
        read_config(str(path), fs)


def test_store_paths(tmp_path: Path) -> None:
    """Default place, template in directory and file name, one path for all."""
    here = find(tmp_path)
    assert here.store_path("A b") == f"{tmp_path}/.openclaw/agents/a-b/sessions/sessions.json"
    assert here.store_path("X", "~/{agentId}/s-{agentId}.json") == f"{tmp_path}/x/s-x.json"
    assert here.store_path("x", "/one.json") == "/one.json"


def test_included_files_count(tmp_path: Path) -> None:
    """Objects are merged, lists joined, what stands beside the include comes last; names are relative."""
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "store.json5").write_text(
        "{session: {store: '/old/{agentId}.json', $include: './deep.json5'}}"
    )
    (tmp_path / "parts" / "deep.json5").write_text("{store: '/deep.json', maintenance: {mode: 'warn'}}")
    (tmp_path / "agents.json5").write_text("{agents: {list: [{id: 'a'}]}}")
    path = tmp_path / "openclaw.json"
    path.write_text(
        "{$include: ['parts/store.json5', 'agents.json5'], agents: {list: [{id: 'b', default: true}]}}"
    )
    assert read_config(str(path)) == Config("/old/{agentId}.json", ("a", "b"), "b")
    path.write_text("{$include: 'parts/store.json5', session: {store: '/own.json'}}")
    assert read_config(str(path)) == Config("/own.json")


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"openclaw.json": "{$include: 'none.json'}"}, "which is not there"),
        ({"openclaw.json": "{$include: 'a.json'}", "a.json": "{$include: 'openclaw.json'}"}, "includes itself"),
        ({"openclaw.json": "{$include: 'a.json'}", "a.json": "[1]"}, "not an object"),
        ({"openclaw.json": "{$include: 'a.json'}", "a.json": "{"}, "not JSON5"),
        ({"openclaw.json": "{$include: 7}"}, "names files, not int"),
        ({f"{n}.json": f"{{$include: '{n + 1}.json'}}" for n in range(20)}, "levels deep"),
        ({"openclaw.json": f"{{$include: {['a.json'] * 300}}}", "a.json": "{}"}, "files are included"),
    ],
)
def test_includes_that_cannot_be_used(tmp_path: Path, files: dict[str, str], reason: str) -> None:
    """Each is a problem that names the file; nothing is guessed, and nothing goes on for ever."""
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    path = tmp_path / ("openclaw.json" if "openclaw.json" in files else "0.json")
    here = Installation.find({"HOME": str(tmp_path), "OPENCLAW_CONFIG_PATH": str(path)})
    assert here.problem is not None
    assert reason in here.problem.reason
    assert here.config == Config()


def test_variables_in_the_configuration(tmp_path: Path) -> None:
    """Those that say where stores are must be set; others, such as keys of services, are no matter."""
    path = tmp_path / ".openclaw" / "openclaw.json"
    path.parent.mkdir()
    path.write_text("{session: {store: '${DATA}/{agentId}/s.json'}, models: {key: '${SERVICE_KEY}'}}")
    assert find(tmp_path, DATA="/data").config == Config("/data/{agentId}/s.json")
    problem = find(tmp_path).problem
    assert problem is not None
    assert "the variable DATA, which is not set" in problem.reason
    path.write_text("{session: {store: '/x/$${lower}/${lower}'}}")
    assert find(tmp_path).config == Config("/x/$${lower}/${lower}")
    path.write_text("{agents: {list: [{id: '${WHO}'}]}}")
    assert find(tmp_path, WHO="me").config.agents == ("me",)
    assert find(tmp_path).problem is not None
