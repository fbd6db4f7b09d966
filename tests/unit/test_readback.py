"""A large array that was written anew is read back as its text says, with what was left alone taken over."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
from support.seed import SEED

from sessiondir import SessionStore, codec, readback, steps


def member(rng: random.Random) -> Any:
    """Something small."""
    return rng.choice(
        [
            rng.randrange(200),
            rng.random(),
            None,
            "é\n" * rng.randrange(9),
            "\ud800",
            [rng.randrange(20)] * rng.randrange(3),
            {"text": "x" * rng.randrange(20), "usage": {"in": rng.randrange(1000)}},
            {},
        ]
    )


def changed(rng: random.Random, value: list[Any]) -> list[Any]:
    """What a callback may make of an array, perhaps the same object."""
    for _ in range(rng.randrange(3)):
        place = rng.randrange(len(value) + 1)
        kind = rng.randrange(8)
        if kind == 0:
            value = [*value, member(rng)]
        elif kind == 1:
            value.append(member(rng))
        elif kind == 2:
            value.insert(place, member(rng))
        elif kind == 3:
            del value[place : place + rng.randrange(3)]
        elif kind == 4:
            value = [copy.deepcopy(one) for one in value]
        elif kind == 5:
            value[place:] = [member(rng)]
        elif place < len(value) and isinstance(value[place], dict):
            value[place][rng.choice(["text", "more"])] = rng.choice([member(rng), (1, 2)])
        elif kind == 7:
            value = sorted(value, key=repr)
    return value


@pytest.mark.parametrize("block", [1, 7, 1 << 16])
def test_it_is_read_back_as_parsing_all_of_it_would(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    """Whatever a callback did, the value is the one of the text, types included."""
    monkeypatch.setattr(readback, "_BLOCK", block)
    rng = random.Random(SEED)
    taken_over = 0
    for _ in range(3000):
        text_before = codec.encode([member(rng) for _ in range(rng.randrange(12))])
        value = codec.decode(text_before)
        before = list(value)
        value = changed(rng, value)
        text = codec.encode(value)
        found = readback.read_back(text, value, before, text_before)
        assert repr(found) == repr(codec.decode(text))
        taken_over += sum(one is two for one, two in zip(found, value, strict=True) if type(one) in (dict, list))
    assert taken_over > 1000


def test_a_number_that_grew_longer_is_not_taken_for_the_old_one() -> None:
    """Texts may have the same beginning without having the same members."""
    for old, new in (
        ("[1,12]", "[1,123]"),
        ("[1,123]", "[1,12]"),
        ("[1]", "[1,2]"),
        ("[1,2]", "[1]"),
        ("[1]", "[]"),
    ):
        value = codec.decode(new.encode())
        found = readback.read_back(new.encode(), value, codec.decode(old.encode()), old.encode())
        assert found == value


@pytest.fixture
def large(store_path: str) -> Any:
    """A store with a session whose messages are large, and one message."""
    messages = [{"at": number, "text": "lorem ipsum " * 8, "usage": {"in": number}} for number in range(3000)]
    with SessionStore.open(store_path, checkpoint_interval=3600) as store:
        store.put("a", {"n": 1, "messages": messages})
        yield store


def test_what_a_callback_appends_is_not_what_it_gets_back(large: SessionStore) -> None:
    """The caller's message stays the caller's; the rest is the caller's copy, which the store does not share."""
    message = {"at": -1, "text": "new", "usage": {"in": 0}}
    seen: list[Any] = []

    def fn(entry: dict[str, Any]) -> dict[str, Any]:
        seen.append(entry["messages"][7])
        return {**entry, "messages": [*entry["messages"], message]}

    result = large.update("a", fn)
    assert result is not None
    assert result == large["a"]
    assert result["messages"][-1] == message
    assert result["messages"][-1] is not message
    assert result["messages"][7] is seen[0]
    result["messages"][7]["text"] = "changed"
    result["messages"].clear()
    assert len(large["a"]["messages"]) == 3001
    assert large["a"]["messages"][7]["text"] != "changed"
    assert large.update("a", lambda entry: None) == large["a"]


def test_what_a_callback_puts_in_as_a_tuple_comes_back_as_a_list(large: SessionStore) -> None:
    """What was written anew has plain types."""
    result = large.update("a", lambda entry: {**entry, "messages": [*entry["messages"], (1, 2)]})
    assert result is not None
    assert result["messages"][-1] == [1, 2]
    result = large.update("a", lambda entry: {**entry, "messages": (*entry["messages"], "more")})
    assert result is not None
    assert type(result["messages"]) is list
    assert len(codec.encode(result["messages"])) > steps.LARGE_BYTES
