"""G10: what lies where a template points but is no store is neither found nor touched."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest
from support.files import listing

from sessiondir import SessionStore, migration
from sessiondir.errors import InvalidPath, MigrationError
from sessiondir.targets import Installation, discover, select

SESSIONS = {"k": {"sessionId": "s", "updatedAt": 1}}
CREDENTIALS = {"version": 1, "profiles": {"a": {"type": "oauth", "access": "x", "expires": 1}}}
CACHE = {"provider/a": {"updatedAt": 1773964800000, "models": []}, "provider/b": {"updatedAt": 1}}


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory whose agents' stores lie between its other files."""
    path = tmp_path / "state"
    path.mkdir()
    write(path / "openclaw.json", {"session": {"store": f"{path}/{{agentId}}.json"}})
    write(path / "work.json", SESSIONS)
    return path


def write(path: Path, value: Any) -> None:
    path.write_text(value if isinstance(value, str) else json.dumps(value))


def installation(state: Path) -> Installation:
    return Installation.find({"OPENCLAW_STATE_DIR": str(state), "HOME": str(state)})


def migrated(state: Path) -> list[str]:
    """Migrate whatever is found; the names of what was migrated."""
    report = migration.migrate_all(discover(installation(state)))
    return [os.path.basename(one.path) for one in report.results if one.outcome == "migrated"]


@pytest.mark.parametrize(
    "value",
    [
        CREDENTIALS,
        CACHE,
        {"a": {}, "b": {"c": 1}},
        [SESSIONS],
        "not JSON {",
        '"text"',
        {"last": "s", "updatedAt": 1},
    ],
    ids=["credentials", "cache", "objects", "array", "damaged", "text", "scalars"],
)
@pytest.mark.parametrize("name", ["auth.json", "clawdbot.json", "x-1.json"])
def test_other_files_that_fit_the_template(state: Path, name: str, value: Any) -> None:
    """They are skipped with a reason; migrating everything leaves every byte and name of them."""
    write(state / name, value)
    before = listing(state)
    skipped = {os.path.basename(one.path): one.reason for one in discover(installation(state)).skipped}
    assert skipped.keys() == {"openclaw.json", name}
    assert all(skipped.values())
    assert migrated(state) == ["work.json"]
    after = listing(state)
    assert {one: after[one] for one in ("openclaw.json", name)} == {
        one: before[one] for one in ("openclaw.json", name)
    }
    assert not (state / "openclaw.d").exists()


def test_a_configuration_that_looks_like_a_store(state: Path) -> None:
    """The file that configuration was read from is known by what it is, not by what is in it."""
    value = {"session": {"store": f"{state}/{{agentId}}.json", "sessionId": "s", "updatedAt": 1}}
    write(state / "openclaw.json", value)
    assert migrated(state) == ["work.json"]
    assert json.loads((state / "openclaw.json").read_text()) == value


@pytest.mark.parametrize("way", ["included", "by the variable", "by a link", "by a second name", "damaged"])
def test_whatever_configuration_was_read_from(state: Path, way: str) -> None:
    """Included files, a configuration elsewhere, one that a link leads to, one that cannot be understood."""
    more = {"note": {"sessionId": "s", "updatedAt": 1}}
    own = {"session": {"store": f"{state}/{{agentId}}.json"}} | more
    environment = {"OPENCLAW_STATE_DIR": str(state), "HOME": str(state)}
    path = state / "settings.json"
    write(path, own)
    if way == "included":
        write(state / "openclaw.json", {"$include": "settings.json"})
    elif way == "by the variable":
        environment["OPENCLAW_CONFIG_PATH"] = str(path)
    elif way == "by a link":
        (state / "openclaw.json").unlink()
        (state / "openclaw.json").symlink_to("settings.json")
    elif way == "by a second name":
        (state / "openclaw.json").unlink()
        (state / "openclaw.json").hardlink_to(path)
    else:
        write(state / "openclaw.json", {"$include": ["settings.json", "missing.json"]})
    here = Installation.find(environment)
    found = discover(here)
    assert str(path) not in [one.path for one in found]
    with pytest.raises(InvalidPath, match="configuration is read from it"):
        select(here, stores=[path])
    assert (here.problem is not None) == (way == "damaged")


def test_an_agent_whose_store_would_be_the_configuration(state: Path) -> None:
    """Neither all agents nor this one by name leads to it."""
    own = {"session": {"store": f"{state}/{{agentId}}.json"}, "agents": {"list": [{"id": "openclaw"}]}}
    write(state / "openclaw.json", own)
    here = installation(state)
    assert [one.agent for one in discover(here)] == ["work"]
    with pytest.raises(InvalidPath, match="configuration is read from it"):
        select(here, agent="openclaw")
    write(state / "openclaw.json", own | {"session": {"store": f"{state}/openclaw.json"}})
    assert len(discover(installation(state))) == 0


def test_a_configured_agent_named_like_another_file(state: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The configuration points at a file of credentials: it is told as invalid and stays."""
    write(
        state / "openclaw.json",
        {"session": {"store": f"{state}/{{agentId}}.json"}, "agents": {"list": [{"id": "auth"}]}},
    )
    write(state / "auth.json", CREDENTIALS)
    before = listing(state)["auth.json"]
    report = migration.migrate_all(discover(installation(state)))
    assert report.counts["skipped_invalid"] == 1
    assert "another program's file" in caplog.text
    assert listing(state)["auth.json"] == before


def test_a_configured_store_is_not_skipped_as_well(state: Path) -> None:
    """One member of the two is enough where the configuration names the agent, and nothing else is said."""
    write(
        state / "openclaw.json",
        {"session": {"store": f"{state}/{{agentId}}.json"}, "agents": {"list": [{"id": "work"}, {"id": "b"}]}},
    )
    write(state / "b.json", {"k": {"updatedAt": 1}})
    found = discover(installation(state))
    assert [(one.agent, one.configured) for one in found] == [("work", True), ("b", True)]
    assert f"{state}/b.json" not in [one.path for one in found.skipped]


@pytest.mark.parametrize("value", ["", "{}", "{ }\n", "// mine\n{k: {sessionId: 's', updatedAt: 1}}"])
def test_what_is_found_all_the_same(state: Path, value: str) -> None:
    """Empty stores, which migration leaves alone, and stores that somebody wrote as JSON5."""
    write(state / "b.json", value)
    assert [one.agent for one in discover(installation(state))] == ["main", "b", "work"]


def test_one_session_behind_many_odd_entries_is_enough(state: Path) -> None:
    """Real stores have entries without either member, and damaged ones; the last may be the one that tells."""
    odd: dict[str, Any] = {f"k{n}": {"text": "x" * 3000} for n in range(200)}
    write(state / "b.json", odd | {"n": None, "z": SESSIONS["k"]})
    assert migrated(state) == ["b.json", "work.json"]


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside a store"])
def test_a_named_file_needs_a_word_more(tmp_path: Path, beside: bool) -> None:
    """Without it: skipped with the reason, inspected the same, a first write refused, nothing changed."""
    path = tmp_path / "auth.json"
    if beside:
        write(path, SESSIONS)
        assert migration.migrate(path).outcome == "migrated"
    write(path, CREDENTIALS)
    before = listing(tmp_path)
    assert migration.inspect(path).status == "invalid_legacy"
    result = migration.migrate(path)
    assert result.outcome == "skipped_invalid"
    assert "--any-content" in result.warnings[-1]
    if not beside:
        with SessionStore.open(path) as store, pytest.raises(MigrationError, match="another program's file"):
            store.put("k", {"a": 1})
    assert listing(tmp_path) == before
    assert migration.inspect(path, any_content=True).status != "invalid_legacy"
    assert migration.migrate(path, any_content=True).outcome == "migrated"


def test_what_we_wrote_ourselves_is_known(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A store without such entries, rolled back, migrates again by hand without a further word."""
    caplog.set_level(logging.ERROR)
    path = tmp_path / "bot.json"
    with SessionStore.open(tmp_path / "bot.d") as store:
        store.put("k", {"mine": 1})
    assert migration.rollback(path).outcome == "rolled_back"
    assert migration.inspect(path).status == "ready_to_migrate"
    assert migration.migrate(path).outcome == "migrated"
