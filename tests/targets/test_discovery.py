"""Which stores are found, which are skipped, and what may be asked for together."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from support.files import listing
from support.seams import RuledFileSystem

from sessiondir import migration
from sessiondir.errors import CorruptFile, InvalidOption, InvalidPath
from sessiondir.targets import Installation, discover, select

ENTRIES = {"k": {"sessionId": "s", "updatedAt": 1}}


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory without agents."""
    path = tmp_path / "state"
    path.mkdir()
    return path


def put(path: Path, entries: Any = ENTRIES, *, migrated: bool = False) -> Path:
    """A store with a session, as a legacy file or as a directory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(entries))
    if migrated:
        assert migration.migrate(path).outcome == "migrated"
    return path


def agent_store(state: Path, name: str, *, migrated: bool = False) -> Path:
    return put(state / "agents" / name / "sessions" / "sessions.json", migrated=migrated)


def configure(state: Path, *agents: str, store: str | None = None) -> None:
    value: dict[str, Any] = {"agents": {"list": [{"id": agent} for agent in agents]}}
    if store is not None:
        value["session"] = {"store": store}
    (state / "openclaw.json").write_text(json.dumps(value))


def installation(state: Path) -> Installation:
    return Installation.find({"OPENCLAW_STATE_DIR": str(state), "HOME": str(state)})


def found(state: Path) -> list[tuple[str, str]]:
    """Agent and path below the state directory of everything that is found."""
    return [(target.agent, os.path.relpath(target, state)) for target in discover(installation(state))]


def usual(*names: str) -> list[tuple[str, str]]:
    return [(name.lower().replace(" ", "-"), f"agents/{name}/sessions/sessions.json") for name in names]


@pytest.mark.parametrize("migrated", [False, True], ids=["legacy files", "directories"])
def test_configured_first_then_what_is_on_disk(state: Path, migrated: bool) -> None:
    """Configured agents in their order, retired ones sorted behind them, each once, in either form."""
    for name in ("main", "b", "zeta", "Retired Agent"):
        agent_store(state, name, migrated=migrated)
    configure(state, "zeta", "main", "absent")
    before = listing(state)
    assert found(state) == usual("zeta", "main", "Retired Agent", "b")
    assert [target.configured for target in discover(installation(state))] == [True, True, False, False]
    assert listing(state) == before


def test_directories_without_a_store_are_no_stores(state: Path) -> None:
    """No sessions directory, an empty one, a foreign file, an empty store directory: nothing, and no noise."""
    for path in ("a", "b/sessions", "c/sessions/sessions.d", "d/sessions/other.json"):
        (state / "agents" / path).mkdir(parents=True)
    (state / "agents" / "file").write_text("")
    result = discover(installation(state))
    assert (result.targets, result.skipped) == ((), ())


def test_nothing_there(state: Path) -> None:
    """A state directory that does not exist is no error."""
    assert len(discover(installation(state / "nowhere"))) == 0


def test_an_odd_name_does_not_pass_for_main(state: Path) -> None:
    """A directory whose normalised name would be main is skipped and told."""
    agent_store(state, "###")
    agent_store(state, "main")
    result = discover(installation(state))
    assert [target.agent for target in result] == ["main"]
    assert [one.path for one in result.skipped] == [f"{state}/agents/###"]


@pytest.mark.parametrize("migrated", [False, True])
def test_aliases_by_links_are_found_once(state: Path, migrated: bool) -> None:
    """An agent's directory by two names, and the whole state directory by a link, are one store each."""
    real = agent_store(state, "main", migrated=migrated)
    (state / "agents" / "alias").symlink_to("main")
    (state.parent / "by-link").symlink_to(state)
    configure(state, "main", store=str(state.parent / "by-link/agents/{agentId}/sessions/sessions.json"))
    result = discover(installation(state.parent / "by-link"))
    assert [target.path for target in result] == [str(real)]


def test_links_that_lead_away_are_skipped(state: Path, tmp_path: Path) -> None:
    """F9: neither a directory nor a file outside of the root is taken for an agent's store."""
    outside = put(tmp_path / "outside" / "sessions" / "sessions.json")
    (state / "agents").mkdir()
    (state / "agents" / "away").symlink_to(outside.parent.parent)
    (state / "agents" / "file" / "sessions").mkdir(parents=True)
    (state / "agents" / "file" / "sessions" / "sessions.json").symlink_to(outside)
    (state / "agents" / "store" / "sessions").mkdir(parents=True)
    (state / "agents" / "store" / "sessions" / "sessions.d").symlink_to(outside.parent)
    (state / "agents" / "loop").symlink_to("loop")
    agent_store(state, "ok")
    result = discover(installation(state))
    assert [target.agent for target in result] == ["ok"]
    assert {os.path.relpath(one.path, state / "agents").split("/")[0] for one in result.skipped} == {
        "away",
        "file",
        "store",
        "loop",
    }
    assert all(one.reason for one in result.skipped)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.ESTALE, errno.EIO])
def test_unreadable_places_are_skipped_and_told(state: Path, number: int) -> None:
    """A root or an agent that cannot be read does not stop the others."""
    agent_store(state, "a")
    agent_store(state, "b")
    fs = RuledFileSystem()
    fs.fail("stat", number, lambda path, *rest, **more: str(path).endswith("a/sessions/sessions.json"))
    result = discover(installation(state), fs=fs)
    assert [target.agent for target in result] == ["b"]
    assert [one.reason for one in result.skipped] == [os.strerror(number)]
    fs = RuledFileSystem()
    fs.fail("listdir", number)
    result = discover(installation(state), fs=fs)
    assert (len(result), [one.path for one in result.skipped]) == (0, [f"{state}/agents"])


@pytest.mark.parametrize(
    "template", ["custom/{agentId}/store.json", "custom/s-{agentId}.json", "custom/{agentId}/x/{agentId}.json"]
)
@pytest.mark.parametrize("migrated", [False, True])
def test_templates(state: Path, template: str, migrated: bool) -> None:
    """In directory and file names; agents that are no longer configured are found by the template's shape."""
    configure(state, "a", "absent", store=str(state / template))
    for agent in ("a", "retired"):
        put(state / template.replace("{agentId}", agent), migrated=migrated)
    put(state / template.replace("{agentId}", "Not Normal"))
    (state / "custom" / "foreign.txt").write_text("")
    assert found(state) == [
        ("a", template.replace("{agentId}", "a")),
        ("absent", template.replace("{agentId}", "absent")),
        ("retired", template.replace("{agentId}", "retired")),
    ]


def test_a_custom_root_of_the_usual_shape(state: Path) -> None:
    """Its retired agents are found, beside those of the state directory."""
    custom = state / "root" / "agents" / "{agentId}" / "sessions" / "sessions.json"
    configure(state, "a", store=str(custom))
    for agent in ("a", "retired"):
        put(Path(str(custom).replace("{agentId}", agent)))
    agent_store(state, "usual")
    assert [agent for agent, _ in found(state)] == ["a", "retired", "usual"]


def test_one_store_for_all_agents(state: Path) -> None:
    """It is found once, for the first agent."""
    configure(state, "a", "b", store=str(state / "all.json"))
    put(state / "all.json")
    assert found(state) == [("a", "all.json")]


def test_a_damaged_configuration_does_not_hide_what_is_on_disk(state: Path) -> None:
    """It is told, and the agents' directories are found; a question that depends on it is refused."""
    agent_store(state, "a")
    (state / "openclaw.json").write_text("{")
    result = discover(installation(state))
    assert [target.agent for target in result] == ["a"]
    assert "not JSON5" in result.skipped[0].reason
    with pytest.raises(CorruptFile):
        select(installation(state))


# -- selection ------------------------------------------------------------------------------------


def test_selection(state: Path) -> None:
    """The default agent's, one agent's (also one that is only on disk), named ones, all."""
    for name in ("main", "b", "retired"):
        agent_store(state, name)
    configure(state, "b", "main")
    here = installation(state)
    assert [target.agent for target in select(here)] == ["b"]
    assert [target.agent for target in select(here, agent=" MAIN ")] == ["main"]
    assert [target.agent for target in select(here, agent="retired")] == ["retired"]
    assert [target.agent for target in select(here, all_agents=True)] == ["b", "main", "retired"]
    paths = [state / "agents" / "{agentId}" / "sessions" / "sessions.json", "~/one.d", state / "one.json"]
    named = select(here, stores=paths)
    assert [os.path.relpath(target.path, state) for target in named] == [
        "agents/b/sessions/sessions.json",
        "one.json",
    ]


def test_contradictions(state: Path) -> None:
    """What cannot be meant is refused, and an unknown agent is told which there are."""
    agent_store(state, "b")
    here = installation(state)
    with pytest.raises(InvalidOption, match="cannot be used together"):
        select(here, agent="b", all_agents=True)
    for more in ({"agent": "b"}, {"all_agents": True}):
        with pytest.raises(InvalidOption, match="cannot be combined"):
            select(here, stores=["x.json"], **more)
    with pytest.raises(InvalidOption, match="known are: b, main"):
        select(here, agent="nobody")
    with pytest.raises(InvalidPath):
        select(here, stores=["x.txt"])
