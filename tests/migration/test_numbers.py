"""Numbers that JavaScript cannot hold cost their own field: the rest migrates, each is named with its place."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from support.seed import SEED

from migration.stores import put_legacy, sessions
from sessiondir import SessionStore, jsjson, jsnumbers, migration
from sessiondir.codec import DecodeError

INFINITE = ["1e400", "-1e400", "9" * 309, "1" * 5000, "-" + "1" * 5000, "1" + "0" * 400 + ".5", "2" + "0" * 308]
HELD = ["1e308", "9" * 308, "123456789012345678901", "-0", "0.1", "1e-400", "17976931348623157" + "0" * 292]
OTHER = '"other": {"sessionId": "s", "updatedAt": 1}'


def legacy(folder: Path, *members: str) -> Path:
    return put_legacy(folder, ("{" + ", ".join((*members, OTHER)) + "}").encode())


@pytest.mark.parametrize("number", INFINITE, ids=lambda text: f"{text[:6]}({len(text)})")
@pytest.mark.parametrize("noise", ["", "NaN and Infinity"], ids=["plain", "with the words"])
def test_a_number_that_javascript_cannot_hold(tmp_path: Path, number: str, noise: str) -> None:
    """Null, as that program writes it; named with key and place, by inspection and by migration."""
    path = legacy(
        tmp_path, f'"K": {{"n": {number}, "text": "{noise}", "a": {{"b": [1, {{"c": {number}}}]}}, "x": 1}}'
    )
    told = "in 'K' null stands in place of numbers that JavaScript cannot hold: n, a.b[1].c"
    wanted = {"n": None, "text": noise, "a": {"b": [1, {"c": None}]}, "x": 1}
    assert sessions(path)["k"] == wanted
    found = migration.inspect(path)
    assert (found.status, found.warnings) == ("ready_to_migrate", (told,))
    result = migration.migrate(path)
    assert (result.outcome, result.warnings) == ("migrated", (told,))
    assert sessions(path) == {"k": wanted, "other": {"sessionId": "s", "updatedAt": 1}}


@pytest.mark.parametrize("number", HELD, ids=lambda text: f"{text[:6]}({len(text)})")
def test_a_number_that_it_can(tmp_path: Path, number: str) -> None:
    """It is kept, integers with all their digits, and there is nothing to say of it."""
    path = legacy(tmp_path, f'"k": {{"n": {number}, "text": "{"1" * 400}"}}')
    result = migration.migrate(path)
    assert result.warnings == ()
    assert sessions(path)["k"] == {"n": json.loads(number), "text": "1" * 400}


@pytest.mark.parametrize("number", INFINITE, ids=lambda text: f"{text[:6]}({len(text)})")
def test_in_place_of_an_entry(tmp_path: Path, number: str) -> None:
    """No entry, so it is left out as every other value that is no object."""
    path = legacy(tmp_path, f'"k": {number}')
    result = migration.migrate(path)
    assert (result.outcome, result.warnings) == ("migrated", ("'k' was left out: the entry is not an object",))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "+Infinity", *INFINITE])
def test_in_a_file_that_is_json5(tmp_path: Path, number: str) -> None:
    """The same rule, and the same words."""
    path = legacy(tmp_path, f"k: {{a: {{n: {number},}}, x: 0x10}}", f"'bare': {number}")
    *_, told, dropped = migration.migrate(path).warnings
    assert told == "in 'k' null stands in place of numbers that JavaScript cannot hold: a.n"
    assert dropped == "'bare' was left out: the entry is not an object"
    assert sessions(path)["k"] == {"a": {"n": None}, "x": 16}


@pytest.mark.parametrize("text", ["NaN", "Infinity", "01", "1.", ".5", "+1", "0x1", "1e", "--1"])
def test_what_is_no_json_is_no_number_either(text: str) -> None:
    """Reading is no more lenient than it was."""
    with pytest.raises(DecodeError):
        jsnumbers.decode(f'{{"a": {text}}}'.encode())


def test_an_update_time_that_is_none(tmp_path: Path) -> None:
    """It counts as no time: the other spelling wins, and a late file with it is not newer."""
    path = legacy(tmp_path, '"K": {"updatedAt": 1e400, "n": 1}', '"k": {"updatedAt": 5, "n": 2}')
    migration.migrate(path)
    assert sessions(path)["k"] == {"updatedAt": 5, "n": 2}
    legacy(tmp_path, '"k": {"updatedAt": 1e400, "n": 3}')
    assert migration.migrate(path).migrated_count == 0
    assert sessions(path)["k"] == {"updatedAt": 5, "n": 2}


def test_going_back_names_what_the_file_cannot_hold(tmp_path: Path) -> None:
    """A program that has no such limit stored it: the file has null there, and the rollback says where."""
    path = tmp_path / "sessions.json"
    huge = int("7" * 400)
    with SessionStore.open(path) as store:
        store.put("k", {"n": huge, "deep": [{"m": huge}], "fine": 2**64, "text": "7" * 400})
    for result in (migration.rollback(path, dry_run=True), migration.rollback(path)):
        assert result.warnings == (
            "in 'k' null stands in place of numbers that JavaScript cannot hold: n, deep[0].m",
        )
    found = json.loads(path.read_bytes())["k"]
    assert (found["n"], found["deep"], found["text"]) == (None, [{"m": None}], "7" * 400)


def test_many_places_are_counted(tmp_path: Path) -> None:
    """The line on one entry stays short."""
    path = legacy(tmp_path, f'"k": {{"n": [{", ".join(["1e400"] * 50)}]}}')
    (told,) = migration.migrate(path).warnings
    assert told.endswith(" hold: n[0], n[1], n[2], n[3], n[4] and 45 more places")


def test_finite_is_what_javascript_writes() -> None:
    """For random values: what is left writes the same text as before, and has nothing infinite in it."""
    rng = random.Random(SEED)

    def value(depth: int) -> Any:
        kind = rng.randrange(6 if depth < 5 else 4)
        if kind == 4:
            return [value(depth + 1) for _ in range(rng.randrange(4))]
        if kind == 5:
            return {f"m{n}": value(depth + 1) for n in range(rng.randrange(4))}
        exponent = rng.choice([1, 1023, 1024, 1025, 2000])
        exact = rng.choice([1, -1]) * (
            2**exponent - rng.choice([0, 1, 2**969, 2**970, 2**971]) * (exponent > 1000)
        )
        return [exact, rng.choice([1.5, float("inf"), float("-inf"), float("nan")]), "text", None][kind]

    for _ in range(300):
        before = [value(0)]
        text = jsjson.encode(before)
        places = jsnumbers.infinite(before)
        after, found = jsnumbers.finite(before)
        assert found == places
        assert jsnumbers.infinite(after) == []
        assert jsjson.encode(after) == text


@pytest.mark.parametrize("digits", [307, 308, 309, 310, 417])
def test_a_number_that_may_be_infinite_is_found_wherever_it_stands(digits: int) -> None:
    """G11: looking at every hundredth byte first overlooks no number of 309 digits, and takes no shorter one."""
    for at in range(250):
        text = b'{"n":' + b" " * at + b"9" * digits + b',"m":1}'
        assert jsnumbers.may_be_infinite(text) is (digits >= 309), at
    assert not jsnumbers.may_be_infinite(b"x" + b"1234567890" * 30 + b"x" + b"1234567890" * 30)
