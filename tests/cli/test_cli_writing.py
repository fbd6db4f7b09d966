"""set and delete: one commit each, checked against versions, shown before done."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest
from cli_support import ENTRIES, Run

from sessiondir import SessionStore

MAIN = "agent:main:main"


def entry_of(store_path: str, key: str = MAIN) -> dict[str, object] | None:
    with SessionStore.open(store_path, read_only=True) as store:
        return store.get(key)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Monday", "Monday"), ('"Monday"', "Monday"), ("", ""), ("null", None), ("true", True), ("1", 1),
        ("1.5", 1.5), ("-3", -3), ("01", "01"), ("NaN", "NaN"), ("a=b", "a=b"), ("[1,2]", [1, 2]),
        ('{"a":{"b":null}}', {"a": {"b": None}}), ("12345678901234567890123", 12345678901234567890123),
    ],
)  # fmt: skip
def test_a_value_is_json_or_else_text(run: Run, store_path: str, text: str, value: object) -> None:
    """Text needs no quotes; whatever is JSON is JSON."""
    run("set", MAIN, f"field={text}", "--store", store_path)
    assert entry_of(store_path) == {**ENTRIES[MAIN], "field": value}


@pytest.mark.parametrize("text", ['{"a":', "[1,", '"open', "{a:1}"])
def test_a_mistyped_structure_is_refused(run: Run, store_path: str, text: str) -> None:
    """Half an object is a slip of the fingers, not text."""
    result = run("set", MAIN, f"field={text}", "--store", store_path, code=2)
    assert "field" in result.stderr
    assert entry_of(store_path) == ENTRIES[MAIN]


@pytest.mark.parametrize("arguments", [(), ("model",), ("=x",), ("a=1", "a=2"), ("a=1", "--unset", "a")])
def test_unclear_assignments_are_refused(run: Run, store_path: str, arguments: tuple[str, ...]) -> None:
    """Nothing to set, no value, no name, the same field twice."""
    run("set", MAIN, *arguments, "--store", store_path, code=2)
    assert entry_of(store_path) == ENTRIES[MAIN]


def test_set_is_one_commit_and_tells_what_changed(run: Run, store_path: str) -> None:
    """Several fields, one version; before and after in the output."""
    arguments = ("model=n", "deliveryContext.to=43", "items.1.a=c", "new.deep.er=1", "--unset", "sessionId")
    told = json.loads(run("set", MAIN, *arguments, "--store", store_path, "--json").stdout)
    assert (told["key"], told["version"], told["created"], told["dryRun"]) == (MAIN, 4, False, False)
    assert told["changes"] == [
        {"field": "sessionId", "before": "s-main"},
        {"field": "model", "before": "m", "after": "n"},
        {
            "field": "deliveryContext",
            "before": {"channel": "telegram", "to": "42"},
            "after": {"channel": "telegram", "to": 43},
        },
        {"field": "items", "before": [1, {"a": "b"}], "after": [1, {"a": "c"}]},
        {"field": "new", "after": {"deep": {"er": 1}}},
    ]
    assert entry_of(store_path) == {
        "updatedAt": 1767225600000,
        "model": "n",
        "deliveryContext": {"channel": "telegram", "to": 43},
        "items": [1, {"a": "c"}],
        "new": {"deep": {"er": 1}},
    }
    line = run("set", MAIN, "model=o", "--store", store_path).stdout
    assert line == 'model: "n" -> "o"\n'


def test_text_that_becomes_a_number_is_pointed_out(run: Run, store_path: str) -> None:
    """An account number typed without its quotes is a number; that is done, and said."""
    result = run("set", MAIN, "deliveryContext.to=43", "model=true", "items.0=2", "--store", store_path)
    assert result.stderr.count("warning:") == 2
    assert """'deliveryContext.to="43"'""" in result.stderr
    assert "warning" not in run("set", MAIN, 'deliveryContext.to="44"', "model=null", "--store", store_path).stderr


def test_true_is_not_one(run: Run, store_path: str) -> None:
    """A change that Python would hold to be none is one in JSON."""
    run("set", MAIN, "flag=1", "--store", store_path)
    told = json.loads(run("set", MAIN, "flag=true", "--store", store_path, "--json").stdout)
    assert told["changes"] == [{"field": "flag", "before": 1, "after": True}]
    assert entry_of(store_path)["flag"] is True  # type: ignore[index]


def test_no_difference_is_no_commit(run: Run, store_path: str) -> None:
    """Setting what is there already, or removing what is not, commits nothing."""
    result = run("set", MAIN, "model=m", "--unset", "nope", "--unset", "no.such", "--store", store_path)
    assert "nothing to change" in result.stderr
    assert json.loads(run("info", "--store", store_path, "--json").stdout)["version"] == 3


@pytest.mark.parametrize("field", ["model.x=1", "items.5=1", "items.x=1", "a..b=1", ".a=1", "a.=1"])
def test_a_path_that_leads_nowhere_is_refused(run: Run, store_path: str, field: str) -> None:
    """A text is no object, an array does not grow, names are not blank."""
    run("set", MAIN, field, "--store", store_path, code=2)
    assert entry_of(store_path) == ENTRIES[MAIN]


def test_an_element_of_an_array_is_not_removed(run: Run, store_path: str) -> None:
    """Removing one would renumber the others."""
    run("set", MAIN, "--unset", "items.0", "--store", store_path, code=2)


def test_create(run: Run, store_path: str) -> None:
    """A missing session is not made by mistake."""
    run("set", "bot:new", "a=1", "--store", store_path, code=10)
    assert entry_of(store_path, "bot:new") is None
    told = json.loads(run("set", "bot:new", "a=1", "--create", "--store", store_path, "--json").stdout)
    assert (told["created"], told["version"]) == (True, 4)
    assert entry_of(store_path, "bot:new") == {"a": 1}
    run("set", "bot:empty", "--create", "--store", store_path)
    assert entry_of(store_path, "bot:empty") == {}


def test_set_if_version(run: Run, store_path: str) -> None:
    """The version is checked under the session's lock; a conflict changes nothing."""
    told = json.loads(
        run("set", MAIN, "a=1", "--if-version", "9", "--store", store_path, "--json", code=12).stderr
    )
    assert (told["error"], told["expected"], told["actual"]) == ("ConflictError", 9, 1)
    assert told["retryable"] is True
    run("set", MAIN, "a=1", "--if-version", "0", "--store", store_path, code=12)
    run("set", MAIN, "a=1", "--if-version", "0", "--create", "--store", store_path, code=12)
    run("set", "bot:new", "a=1", "--if-version", "1", "--store", store_path, code=12)
    run("set", "bot:new", "a=1", "--if-version", "1", "--create", "--store", store_path, code=12)
    run("set", MAIN, "a=1", "--if-version", "2", "--dry-run", "--store", store_path, code=12)
    assert entry_of(store_path) == ENTRIES[MAIN]
    run("set", MAIN, "a=1", "--if-version", "1", "--store", store_path)
    run("set", "bot:new", "a=1", "--if-version", "0", "--create", "--store", store_path)
    run("set", MAIN, "a=2", "--if-version", "-1", "--store", store_path, code=2)


def test_set_if_version_lets_one_of_many_win(run: Run, store_path: str) -> None:
    """Of writers that saw the same version one commits, the others are told."""
    from sessiondir.cli.reading import check_version

    won: list[int] = []

    def write(number: int) -> None:
        with SessionStore.open(store_path) as store:

            def compute(entry: dict[str, object]) -> dict[str, object]:
                check_version(store, MAIN, 1)
                return {**entry, "winner": number}

            try:
                store.update(MAIN, compute)
                won.append(number)
            except Exception as exc:
                assert type(exc).__name__ == "ConflictError", exc

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert json.loads(run("get", MAIN, "winner", "--store", store_path).stdout) == won[0]


def test_set_dry_run_says_the_same_and_writes_nothing(run: Run, store_path: str) -> None:
    """The preview names the changes that the commit then makes."""
    arguments = ("set", MAIN, "model=n", "--unset", "items", "--store", store_path)
    told = json.loads(run(*arguments, "--dry-run", "--json").stdout)
    assert (told["dryRun"], told["version"]) == (True, 1)
    assert entry_of(store_path) == ENTRIES[MAIN]
    assert "nothing was written" in run(*arguments, "--dry-run").stderr
    assert json.loads(run(*arguments, "--json").stdout)["changes"] == told["changes"]
    run("set", "nope", "a=1", "--dry-run", "--store", store_path, code=10)


def test_delete(run: Run, store_path: str) -> None:
    """Shown, then done, then not found."""
    assert "would be deleted" in run("delete", MAIN, "--dry-run", "--store", store_path).stderr
    run("delete", MAIN, "--if-version", "9", "--dry-run", "--store", store_path, code=12)
    run("delete", MAIN, "--if-version", "9", "--store", store_path, code=12)
    assert entry_of(store_path) == ENTRIES[MAIN]
    told = json.loads(run("delete", MAIN, "--if-version", "1", "--store", store_path, "--json").stdout)
    assert told == {"key": MAIN, "deleted": True, "dryRun": False}
    assert entry_of(store_path) is None
    run("delete", MAIN, "--store", store_path, code=10)
    run("delete", MAIN, "--dry-run", "--store", store_path, code=10)


def test_a_missing_store_is_not_made(run: Run, tmp_path: Path) -> None:
    """A mistyped --store with --create is an error, not a new store."""
    for arguments in (
        ("set", "k", "a=1", "--create"),
        ("set", "k", "a=1"),
        ("delete", "k"),
        ("list",),
        ("check",),
    ):
        run(*arguments, "--store", str(tmp_path / "typo.d"), code=10)
    assert os.listdir(tmp_path) == []


def test_writing_to_a_legacy_store_migrates_it_and_says_so(run: Run, legacy_path: str) -> None:
    """The first real change takes the file over; one that changes nothing does not."""
    folder = Path(legacy_path).parent
    run("set", MAIN, "model=m", "--store", legacy_path)
    run("set", "nope", "model=m", "--store", legacy_path, code=10)
    run("delete", "nope", "--store", legacy_path, code=10)
    assert os.listdir(folder) == ["sessions.json"]
    version = str(json.loads(run("show", MAIN, "--json", "--store", legacy_path).stdout)["version"])
    run("set", MAIN, "model=n", "--if-version", "1", "--store", legacy_path, code=12)
    result = run("set", MAIN, "model=n", "--if-version", version, "--store", legacy_path)
    assert "migrated" in result.stderr
    assert (folder / "sessions.d").is_dir()
    assert len(run("list", "--store", legacy_path).stdout.splitlines()) == 3
    assert "migrated" not in run("set", MAIN, "model=o", "--store", legacy_path).stderr


def test_what_a_first_write_leaves_out_is_told(run: Run, legacy_path: str) -> None:
    """At once on standard error, and later by ``info``."""
    entries = json.loads(Path(legacy_path).read_text())
    Path(legacy_path).write_text(json.dumps(entries | {"broken": 7}))
    assert "'broken' was left out" in run("set", MAIN, "model=new", "--store", legacy_path).stderr
    assert "at migration" in run("info", "--store", legacy_path).stdout
    told = json.loads(run("info", "--json", "--store", legacy_path).stdout)["migratedFrom"]
    assert told["warnings"] == ["'broken' was left out: the entry is not an object"]


def test_a_version_read_from_a_legacy_file_holds_for_the_same_entry(run: Run, legacy_path: str) -> None:
    """Somebody else migrated the store meanwhile; only a change of the session itself is in the way."""
    version = str(json.loads(run("show", MAIN, "--json", "--store", legacy_path).stdout)["version"])
    run("migrate", "--store", legacy_path)
    run("set", MAIN, "model=n", "--if-version", version, "--store", legacy_path)
    run("set", MAIN, "model=o", "--if-version", version, "--store", legacy_path, code=12)
