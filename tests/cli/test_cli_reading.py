"""list, show, get, info, check: what they print to people, to pipes and to programs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from cli_support import ENTRIES, Run

from sessiondir import SessionStore

MAIN = "agent:main:main"


def test_list_through_a_pipe_is_one_line_each_newest_first(run: Run, store_path: str) -> None:
    """Columns stand between tabs; a session without a time comes last; no title."""
    lines = run("list", "--store", store_path).stdout.splitlines()
    assert [line.split("\t")[0] for line in lines] == ["agent:main:telegram:direct:42", MAIN, "bot:old"]
    assert lines[0].split("\t")[1:] == ["2026-01-01T01:00:00Z", "2", "46", "s-42"]
    assert lines[2].split("\t")[1] == ""


def test_list_json(run: Run, store_path: str) -> None:
    """The shape that programs rely on."""
    found = json.loads(run("list", "--store", store_path, "--json", "--order", "key").stdout)
    assert list(found) == ["items", "nextCursor"]
    assert found["nextCursor"] is None
    assert [item["key"] for item in found["items"]] == sorted(ENTRIES)
    assert found["items"][0] == {
        "key": MAIN,
        "version": 1,
        "updatedAt": 1767225600000,
        "sessionId": "s-main",
        "size": found["items"][0]["size"],
    }


def test_list_pages_lead_to_every_session_once(run: Run, store_path: str) -> None:
    """The cursor of one page is the way to the next; --all follows it."""
    seen: list[str] = []
    more: tuple[str, ...] = ()
    while True:
        found = json.loads(run("list", "--store", store_path, "--json", "--limit", "1", *more).stdout)
        seen += [item["key"] for item in found["items"]]
        if found["nextCursor"] is None:
            break
        more = ("--cursor", found["nextCursor"])
    assert len(seen) == 3
    assert set(seen) == set(ENTRIES)
    every = json.loads(run("list", "--store", store_path, "--json", "--limit", "1", "--all").stdout)
    assert [item["key"] for item in every["items"]] == seen


def test_list_tells_of_more_beside_the_data(run: Run, store_path: str) -> None:
    """The hint is on standard error, so it never becomes a row."""
    result = run("list", "--store", store_path, "--limit", "1")
    assert len(result.stdout.splitlines()) == 1
    assert "--cursor" in result.stderr


def test_list_prefix(run: Run, store_path: str) -> None:
    """Only keys that begin so; none is no failure."""
    assert run("list", "agent:", "--store", store_path).stdout.count("\n") == 2
    assert run("list", "AGENT:", "--store", store_path).stdout == ""
    nothing = run("list", "nope", "--store", store_path)
    assert nothing.stdout == ""
    assert "no sessions" in nothing.stderr
    assert json.loads(run("list", "nope", "--store", store_path, "--json").stdout)["items"] == []


def test_show(run: Run, store_path: str) -> None:
    """Version, time and size above the entry."""
    shown = run("show", MAIN, "--store", store_path).stdout
    assert "version\t1\n" in shown
    assert "updated\t2026-01-01T00:00:00Z" in shown
    assert json.loads(shown[shown.index("{") :]) == ENTRIES[MAIN]
    told = json.loads(run("show", MAIN, "--store", store_path, "--json").stdout)
    assert (told["key"], told["version"], told["updatedAt"]) == (MAIN, 1, 1767225600000)
    assert told["size"] == len(json.dumps(ENTRIES[MAIN], separators=(",", ":")))
    assert told["entry"] == ENTRIES[MAIN]


def test_show_cuts_long_values_and_says_so(run: Run, store_path: str) -> None:
    """A prompt of 100 KB does not flood the screen, unless asked for."""
    entry = {"prompt": "x" * 100_000, "list": list(range(100))}
    with SessionStore.open(store_path) as store:
        store.put("long", entry)
    short = run("show", "long", "--store", store_path).stdout
    assert len(short) < 2000
    assert "99,500 more characters" in short
    assert "80 more items" in short
    full = run("show", "long", "--store", store_path, "--full").stdout
    assert json.loads(full[full.index("{") :]) == entry
    assert json.loads(run("show", "long", "--store", store_path, "--json").stdout)["entry"] == entry


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", "m"),
        ("deliveryContext", {"channel": "telegram", "to": "42"}),
        ("deliveryContext.channel", "telegram"),
        ("items.1.a", "b"),
    ],
)
def test_get_field(run: Run, store_path: str, field: str, value: object) -> None:
    """A path leads into objects and arrays."""
    assert json.loads(run("get", MAIN, field, "--store", store_path).stdout) == value


def test_get_prefers_a_field_whose_name_has_the_dot(run: Run, store_path: str) -> None:
    """Names with dots stay reachable."""
    with SessionStore.open(store_path) as store:
        store.put("dots", {"a.b": 1, "a": {"b": 2}})
    assert run("get", "dots", "a.b", "--store", store_path).stdout == "1\n"


def test_get_entry_and_raw_text(run: Run, store_path: str) -> None:
    """The whole entry is JSON; --raw takes the quotes off text."""
    assert json.loads(run("get", MAIN, "--store", store_path).stdout) == ENTRIES[MAIN]
    assert run("get", MAIN, "model", "--raw", "--store", store_path).stdout == "m\n"


@pytest.mark.parametrize("field", ["nope", "deliveryContext.nope", "items.2", "items.x", "model.x", ""])
def test_get_missing_field(run: Run, store_path: str, field: str) -> None:
    """A missing field is "not found", with the field as a fact."""
    run("get", MAIN, field, "--store", store_path, code=10)
    told = json.loads(run("get", MAIN, field, "--store", store_path, "--json", code=10).stderr)
    assert told["field"] == field
    assert told["session"] == MAIN


def test_info(run: Run, store_path: str) -> None:
    """Facts for people, and all of them for programs."""
    assert "sessions\t3" in run("info", "--store", store_path).stdout
    told = json.loads(run("info", "--store", store_path, "--json").stdout)
    assert told["storePath"] == store_path
    assert (told["version"], told["checkpointVersion"], told["sessions"]) == (3, 3, 3)
    assert (told["layoutVersion"], told["keys"], told["quarantined"]) == (1, "exact", 0)
    assert told["migratedFrom"] is None
    assert set(told) == {
        "storePath",
        "storeId",
        "layoutVersion",
        "version",
        "checkpointVersion",
        "keys",
        "sessions",
        "sessionBytes",
        "journal",
        "journalBytes",
        "quarantined",
        "migratedFrom",
    }


def test_check_of_a_sound_store(run: Run, store_path: str) -> None:
    """Nothing on standard output, exit code 0."""
    result = run("check", "--store", store_path)
    assert result.stdout == ""
    assert "nothing found" in result.stderr
    told = json.loads(run("check", "--store", store_path, "--json").stdout)
    assert told == {"storePath": store_path, "errors": 0, "warnings": 0, "notes": 0, "findings": []}


@pytest.mark.expect_findings("error entries/", "notes.txt")
@pytest.mark.any_modes("a file that somebody else put there")
def test_check_of_a_damaged_store(run: Run, store_path: str) -> None:
    """One damaged file is an error and exit code 20; a foreign file alone is a warning and 0."""
    (Path(store_path) / "notes.txt").write_text("mine")
    run("check", "--store", store_path)
    damage_one(store_path)
    result = run("check", "--store", store_path, code=20)
    rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert [row[0] for row in rows] == ["error", "warning"]
    assert rows[0][1].startswith("entries/session-")
    assert "1 error, 1 warning" in result.stderr
    told = json.loads(run("check", "--store", store_path, "--json", code=20).stdout)
    assert (told["errors"], told["warnings"]) == (1, 1)
    assert set(told["findings"][0]) == {"level", "path", "reason", "session"}


@pytest.mark.expect_findings("error entries/")
def test_a_damaged_session_costs_only_itself(run: Run, store_path: str) -> None:
    """G8: reading it ends with 20, reading others works, listing names it on standard error."""
    key = damage_one(store_path)
    other = next(name for name in ENTRIES if name != key)
    run("get", other, "--store", store_path)
    told = json.loads(run("get", key, "--store", store_path, "--json", code=20).stderr)
    assert told["error"] == "CorruptFile"
    assert told["path"].startswith(store_path)
    listed = run("list", "--store", store_path)
    assert len(listed.stdout.splitlines()) == 2
    assert key in listed.stderr


def damage_one(store_path: str) -> str:
    """Cut short a session file that the journal does not hold any more; its key."""
    from sessiondir.layout import key_of_name

    with SessionStore.open(store_path) as store:
        store.put("filler", {"a": "x" * 300_000})  # enough for a new journal at close
        store.delete("filler")
    entries = Path(store_path) / "entries"
    name = sorted(os.listdir(entries))[0]
    (entries / name).write_bytes(b'{"sessionKey": "')
    key = key_of_name(name)
    assert key is not None
    return key


def test_nothing_read_only_writes(run: Run, store_path: str) -> None:
    """Reading commands leave every file as it was, even its time."""

    def look() -> dict[str, tuple[int, int]]:
        files = list(Path(store_path).rglob("*"))
        return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in files}

    before = look()
    run("list", "--store", store_path)
    run("show", MAIN, "--store", store_path)
    run("get", MAIN, "--store", store_path)
    run("info", "--store", store_path)
    run("check", "--store", store_path)
    run("watch", "--store", store_path, "--since", "0", "--timeout", "0")
    run("set", MAIN, "model=x", "--store", store_path, "--dry-run")
    run("delete", MAIN, "--store", store_path, "--dry-run")
    assert look() == before


def test_a_legacy_file_is_read_as_it_is(run: Run, legacy_path: str) -> None:
    """Reading an unmigrated store migrates nothing."""
    assert len(run("list", "--store", legacy_path).stdout.splitlines()) == 3
    assert json.loads(run("get", MAIN, "--store", legacy_path).stdout) == ENTRIES[MAIN]
    assert json.loads(run("info", "--store", legacy_path, "--json").stdout)["layoutVersion"] == 0
    assert os.listdir(Path(legacy_path).parent) == ["sessions.json"]


def test_check_of_a_legacy_file(run: Run, legacy_path: str) -> None:
    """As long as the legacy file is the store, damage to it is damage to the store."""
    assert "nothing found" in run("check", "--store", legacy_path).stderr
    Path(legacy_path).write_text('{"a": {')
    told = json.loads(run("check", "--store", legacy_path, "--json", code=20).stdout)
    assert [(item["level"], item["path"]) for item in told["findings"]] == [("error", legacy_path)]
    assert "not JSON" in run("check", "--store", legacy_path, code=20).stdout
