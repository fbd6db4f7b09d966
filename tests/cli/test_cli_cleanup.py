"""cleanup and trash: shown before done, done only when told, and brought back."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from cli_support import Run

from sessiondir import SessionStore

DAY = 86_400_000


@pytest.fixture
def old_store(tmp_path: Path) -> str:
    """Four stale sessions, two others, transcripts of three of them, and one of nobody."""
    path = str(tmp_path / "sessions.d")
    now = int(time.time() * 1000)
    with SessionStore.open(path) as store:
        for number in range(4):
            store.put(f"old:{number}", {"sessionId": f"o{number}", "updatedAt": now - (40 + number) * DAY})
        for number in range(2):
            store.put(f"new:{number}", {"sessionId": f"n{number}", "updatedAt": now - number * DAY})
    for name in ("o0", "n0", "n1", "nobody"):
        (tmp_path / f"{name}.jsonl").write_text("{}\n")
    return path


def keys(path: str) -> list[str]:
    with SessionStore.open(path, read_only=True) as store:
        return sorted(store)


def test_a_dry_run_shows_what_enforcing_would_do(run: Run, old_store: str) -> None:
    """Even in the mode warn; nothing changes."""
    result = run("cleanup", "--dry-run", "--store", old_store)
    assert result.stdout.count("prune-stale") == 4
    assert "orphan\t3\tnobody.jsonl" in result.stdout
    assert "sessions 6 -> 2 (prune-stale 4)" in result.stderr
    told = json.loads(run("cleanup", "--dry-run", "--json", "--store", old_store).stdout)
    names = ("mode", "dryRun", "beforeCount", "afterCount", "missing", "pruned", "capped")
    assert {name: told[name] for name in names} == {
        "mode": "warn", "dryRun": True, "beforeCount": 6, "afterCount": 2, "missing": 0, "pruned": 4, "capped": 0,
    }  # fmt: skip
    assert (told["wouldMutate"], told["orphans"], told["diskBudget"]) == (True, ["nobody.jsonl"], None)
    assert len(told["sessions"]) == 6
    assert "applied" not in told
    assert len(keys(old_store)) == 6


def test_without_enforce_nothing_is_removed(run: Run, old_store: str) -> None:
    """G9: the mode is warn unless somebody says otherwise."""
    result = run("cleanup", "--store", old_store)
    assert "4 sessions or files would go with --enforce" in result.stderr
    assert "nothing was changed; 6 sessions" in result.stderr
    assert len(keys(old_store)) == 6
    assert not os.path.exists(f"{old_store}/trash")


def test_enforce_then_restore(run: Run, old_store: str, tmp_path: Path) -> None:
    """G9: what was removed is listed, comes back with its transcript, and goes for good only when told."""
    told = json.loads(run("cleanup", "--enforce", "--active-key", "old:3", "--json", "--store", old_store).stdout)
    assert (told["applied"], told["appliedCount"], told["refused"]) == (True, 3, [])
    assert sorted(told["removed"]) == ["old:0", "old:1", "old:2"]
    listed = json.loads(run("trash", "list", "--json", "--store", old_store).stdout)
    assert {item["key"]: item["rule"] for item in listed["items"]} == dict.fromkeys(told["removed"], "prune-stale")
    lines = run("trash", "list", "--store", old_store).stdout.splitlines()
    assert len(lines) == 3
    assert not (tmp_path / "o0.jsonl").exists()
    result = run("trash", "restore", "old:0", "--store", old_store)
    assert "restored, now version 8, with 1 transcript" in result.stderr
    assert (tmp_path / "o0.jsonl").read_text() == "{}\n"
    run("trash", "restore", "old:0", "--store", old_store, code=10)
    with SessionStore.open(old_store) as store:
        store.put("old:1", {"n": 1})
    run("trash", "restore", "old:1", "--store", old_store, code=12)
    name = next(item["file"] for item in listed["items"] if item["key"] == "old:1")
    back = json.loads(run("trash", "restore", name, "--overwrite", "--json", "--store", old_store).stdout)
    assert back["key"] == "old:1"
    assert back["replaced"].startswith("removed-")
    assert "would be deleted" in run("trash", "empty", "--dry-run", "--store", old_store).stderr
    assert (
        json.loads(run("trash", "empty", "--older-than", "1d", "--json", "--store", old_store).stdout)["count"]
        == 0
    )
    assert json.loads(run("trash", "empty", "--json", "--store", old_store).stdout)["count"] == 2
    assert "the trash is empty" in run("trash", "list", "--store", old_store).stderr


def test_the_disk_budget_as_json(run: Run, old_store: str, tmp_path: Path) -> None:
    """As the legacy program tells it: bytes, files and entries before, after and gone."""
    (tmp_path / "n0.jsonl.bak.2026-01-01T00-00-00.000Z").write_text("x" * 200_000)
    (tmp_path / "n1.jsonl.bak.2026-01-02T00-00-00.000Z").write_text("x" * 200_000)
    dry = ("cleanup", "--dry-run", "--json", "--store", old_store, "--max-disk-bytes")
    told = json.loads(run(*dry, "300kb").stdout)["diskBudget"]
    assert (told["removedFiles"], told["removedEntries"], told["overBudget"]) == (1, 0, True)
    assert told["totalBytesBefore"] - told["totalBytesAfter"] == told["freedBytes"] == 200_000
    assert (told["maxBytes"], told["highWaterBytes"]) == (300 << 10, (300 << 10) * 4 // 5)
    told = json.loads(run(*dry, "1b").stdout)["diskBudget"]
    assert (told["removedFiles"], told["removedEntries"]) == (2, 5), "the last one was updated just now"
    told = json.loads(run(*dry, "1gb").stdout)["diskBudget"]
    assert (told["removedFiles"], told["removedEntries"], told["freedBytes"]) == (0, 0, 0)
    assert told["overBudget"] is False


def test_fix_missing_and_orphans(run: Run, old_store: str, tmp_path: Path) -> None:
    """Both work in the mode warn, because somebody asked for just that."""
    told = json.loads(run("cleanup", "--fix-missing", "--archive-orphans", "--json", "--store", old_store).stdout)
    assert told["missing"] == 3
    assert sorted(told["removed"]) == ["old:1", "old:2", "old:3"]
    assert not (tmp_path / "nobody.jsonl").exists()


def test_settings_from_a_configuration_and_options(run: Run, old_store: str, tmp_path: Path) -> None:
    """The file is read forgivingly and told about; an option counts more and must be right."""
    config = tmp_path / "openclaw.json"
    config.write_text("{session: {maintenance: {mode: 'enforce', pruneAfter: '99d', maxEntries: 4, typo: 1}}}")
    dry = ("cleanup", "--config", str(config), "--dry-run", "--json", "--store", old_store)
    result = run(*dry)
    assert "typo" in json.loads(result.stderr.splitlines()[0])["warning"]
    assert (json.loads(result.stdout)["mode"], json.loads(result.stdout)["capped"]) == ("enforce", 2)
    assert json.loads(run(*dry, "--max-entries", "5").stdout)["capped"] == 1
    for wrong in (("--max-entries", "0"), ("--prune-after", "soon"), ("--high-water-bytes", "1")):
        assert "must be" in run(*dry, *wrong, code=2).stderr or wrong[0] == "--high-water-bytes"
    budget = json.loads(run(*dry, "--max-disk-bytes", "1kb", "--trash-retention", "never").stdout)["diskBudget"]
    assert (budget["maxBytes"], budget["highWaterBytes"], budget["overBudget"]) == (1024, 819, True)


def test_an_unmet_bound_is_told(run: Run, old_store: str) -> None:
    """F21: what cannot be removed and why."""
    arguments = ("cleanup", "--dry-run", "--max-entries", "1", "--grace", "9d", "--store", old_store)
    assert "warning: maxEntries is 1, there would be 2" in run(*arguments).stderr


def test_a_clock_that_is_not_believed(run: Run, tmp_path: Path) -> None:
    """F20: exit code 22, nothing removed; told to go on, it does."""
    path = str(tmp_path / "sessions.d")
    with SessionStore.open(path) as store:
        store.put("old", {"updatedAt": 1})
        store.put("future", {"updatedAt": int(time.time() * 1000) + 9 * DAY})
    assert "--trust-clock" in run("cleanup", "--enforce", "--store", path, code=22).stderr
    assert keys(path) == ["future", "old"]
    run("cleanup", "--enforce", "--trust-clock", "--store", path)
    assert keys(path) == ["future"]


def test_all_agents(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every agent's store below the state directory; links are not followed; contradictions are refused."""
    monkeypatch.setenv("OPENCLAW_STATE_DIR", str(tmp_path))
    run("cleanup", "--all-agents", "--dry-run", code=10)
    now = int(time.time() * 1000)
    for agent in ("main", "work"):
        os.makedirs(tmp_path / "agents" / agent / "sessions", mode=0o700)
        with SessionStore.open(str(tmp_path / "agents" / agent / "sessions" / "sessions.json")) as store:
            store.put(f"agent:{agent}:x", {"updatedAt": now - 50 * DAY})
    os.symlink(tmp_path / "agents" / "main", tmp_path / "agents" / "same")
    os.makedirs(tmp_path / "outside" / "sessions", mode=0o700)
    with SessionStore.open(str(tmp_path / "outside" / "sessions" / "sessions.json")) as store:
        store.put("x", {"updatedAt": now - 50 * DAY})
    os.symlink(tmp_path / "outside", tmp_path / "agents" / "outside")
    os.mkdir(tmp_path / "agents" / "empty")
    told = json.loads(run("cleanup", "--all-agents", "--dry-run", "--json").stdout)
    assert (told["allAgents"], told["mode"], told["dryRun"]) == (True, "warn", True)
    assert [(one["agentId"], one["pruned"]) for one in told["stores"]] == [("main", 1), ("work", 1)]
    one = json.loads(run("cleanup", "--agent", "work", "--enforce", "--json").stdout)
    assert (one["agentId"], one["removed"]) == ("work", ["agent:work:x"])
    run("cleanup", "--agent", "work", "--all-agents", code=2)
    run("cleanup", "--store", "x.d", "--all-agents", code=2)
    run("cleanup", "--agent", "nobody", code=10)
    run("cleanup", "--store", str(tmp_path / "none.d"), code=10)


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory with three agents, each with a session of 50 days and one of today."""
    state = tmp_path / "state"
    monkeypatch.setenv("OPENCLAW_STATE_DIR", str(state))
    now = int(time.time() * 1000)
    for agent in ("a", "b", "main"):
        os.makedirs(state / "agents" / agent / "sessions", mode=0o700)
        with SessionStore.open(store_of(state, agent)) as store:
            store.put(f"agent:{agent}:old", {"updatedAt": now - 50 * DAY})
            store.put(f"agent:{agent}:new", {"updatedAt": now})
    return state


def store_of(state: Path, agent: str) -> str:
    return str(state / "agents" / agent / "sessions" / "sessions.d")


def test_one_failing_store_does_not_hide_the_others(run: Run, gateway: Path) -> None:
    """G8, G9: what was removed is told, the stores behind it have their turn, the exit code is the failure's."""
    entries = gateway / "agents" / "b" / "sessions" / "sessions.d" / "entries"
    entries.rename(gateway / "elsewhere")
    entries.symlink_to(gateway / "elsewhere")
    result = run("cleanup", "--all-agents", "--enforce", "--json", code=15)
    told = json.loads(result.stdout)
    assert {one["agentId"]: one["removed"] for one in told["stores"]} == {
        "main": ["agent:main:old"],
        "a": ["agent:a:old"],
    }
    assert [(one["agentId"], "symbolic link" in one["error"]) for one in told["failed"]] == [("b", True)]
    assert "agents/b" in json.loads(result.stderr.splitlines()[-1])["warning"]
    entries.unlink()
    (gateway / "elsewhere").rename(entries)
    assert keys(store_of(gateway, "main")) == ["agent:main:new"]
    assert keys(store_of(gateway, "b")) == ["agent:b:new", "agent:b:old"]


def test_the_gateways_stores_go_by_its_configuration(run: Run, gateway: Path, old_store: str) -> None:
    """G9, P7: whoever has told the gateway to keep sessions for years does not lose them to a default."""
    config = gateway / "openclaw.json"
    config.write_text("{session: {maintenance: {pruneAfter: '99999d'}}}")
    for which in (["--agent", "main"], ["--store", store_of(gateway, "main")], ["--all-agents"], []):
        result = run("cleanup", "--enforce", *which)
        assert f"settings of {config}" in result.stderr
        assert "nothing was changed" in result.stderr
        assert json.loads(run("cleanup", "--json", "--dry-run", "--agent", "a").stdout)["config"] == str(config)
    told = json.loads(run("cleanup", "--enforce", "--json", "--store", old_store).stdout)
    assert (told["config"], len(told["removed"])) == (None, 4), "a store that is not the gateway's"
    one = json.loads(run("cleanup", "--enforce", "--json", "--agent", "a", "--no-config").stdout)
    assert one["removed"] == ["agent:a:old"]
    config.write_text("{session: {maintenance: {mode: 'enforce', maxEntries: 1}}}")
    assert json.loads(run("cleanup", "--json").stdout)["removed"] == ["agent:main:old"], "the configured mode"
    run("cleanup", "--no-config", "--config", str(config), code=2)


def test_nothing_is_removed_by_settings_that_nobody_understood(run: Run, gateway: Path) -> None:
    """G9, P9: a default in place of a setting that cannot be read would remove what was to be kept."""
    config = gateway / "openclaw.json"
    for text in (
        "{session: {maintenance: {pruneAfter: 'ten years'}}}",
        "{session: {maintenance: {pruneafter: '9d'}}}",
    ):
        config.write_text(text)
        result = run("cleanup", "--enforce", code=2)
        assert "nothing was removed" in result.stderr
        assert "pruneAfter must be" in result.stderr or "pruneafter is no setting" in result.stderr
        run("cleanup", "--dry-run")
        run("cleanup")
    run("cleanup", "--enforce", "--config", str(gateway / "none.json"), code=2)
    assert keys(store_of(gateway, "main")) == ["agent:main:new", "agent:main:old"]
    run("cleanup", "--enforce", "--no-config", "--prune-after", "40d")
    assert keys(store_of(gateway, "main")) == ["agent:main:new"]


def test_an_active_key_that_is_misspelt_is_told(run: Run, old_store: str) -> None:
    """It protects nothing."""
    result = run("cleanup", "--dry-run", "--active-key", "old:3", "--active-key", "odl:2", "--store", old_store)
    assert "warning: --active-key odl:2: there is no such session" in result.stderr
    assert "old:3:" not in result.stderr


def test_a_full_disk_is_told(run: Run, old_store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not done is listed, the exit code is that of the error, and nothing is lost."""
    from sessiondir import trash

    def full(*_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(trash.durable, "write_temporary", full)
    result = run("cleanup", "--enforce", "--store", old_store, code=30)
    assert "No space left" in result.stderr
    assert result.stdout.count("not tried") == 4
    monkeypatch.undo()
    assert len(keys(old_store)) == 6
