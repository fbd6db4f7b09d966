"""Session keys: which are possible, which are the same, and that none meets another (F12)."""

from __future__ import annotations

import itertools
import os
from typing import Any

import pytest
from support.factories import Opener

from sessiondir import InvalidKey

HARD = [
    "a", "A", "é", "e\u0301", "a.", "a ", " a", "CON", "con", "NUL.txt", "COM¹", "a:b", "a/b", "a-b", "a\\b",
    "../x",
    "..", ".", "/etc/passwd", "session-YQ.json", "a\nb", "\x01", "😀", "ß", "SS", "İ", "ı", "K", "\u212a", "*?<>|",
    "-", "_", "~", "%2F", "x" * 120, "x" * 121, "x" * 143, "x" * 144, "x" * 255, "x" * 256, "x" * 2200,
    "é" * 60, "é" * 61, "😀" * 1024, "agent:main:telegram:group:-100123:topic:7", "\u2028x", '"', 'a"b', 'a\\"b',
    "\\", '"key":"a"', "0", "00", "1", "01",
    "hasOwnProperty", "toString", "__proto__x", "hash-" + "A" * 43,
]  # fmt: skip
BAD: dict[str, tuple[Any, str]] = {
    "empty": ("", "blank"),
    "blank": (" \t\n\u00a0\u2003\ufeff", "blank"),
    "NUL": ("a\0b", "NUL"),
    "lone surrogate": ("a\ud800", "surrogate"),
    "4097 bytes": ("x" * 4097, "too long"),
    "4098 bytes": ("é" * 2049, "too long"),
    "64 KiB": ("x" * 65536, "too long"),
    "__proto__": ("__proto__", "reserved"),
    "constructor": ("constructor", "reserved"),
    "prototype": ("prototype", "reserved"),
}


def test_g10_every_key_is_a_session_of_its_own(open_store: Opener, tmp_path: object) -> None:
    """Keys that look alike, that name files or devices, or are very long, never meet and stay inside."""
    store = open_store()
    for number, key in enumerate(HARD):
        store.put(key, {"n": number})
    store.flush()
    other = open_store.elsewhere()
    for reader in (store, other):
        assert {key: reader[key]["n"] for key in HARD} == {key: number for number, key in enumerate(HARD)}
        assert sorted(reader.keys()) == sorted(HARD)
        assert sorted(info.key for info in reader.list(limit=1000)) == sorted(HARD)
    assert os.listdir(str(tmp_path)) == ["sessions.d"]
    for number, key in enumerate(HARD):
        store.patch(key, {"m": number})
    assert {key: other[key]["m"] for key in HARD} == {key: number for number, key in enumerate(HARD)}
    for key in HARD[::2]:
        assert store.delete(key) is True
    assert [key for key in HARD if key in other] == HARD[1::2]
    store.close()
    assert sorted(open_store()) == sorted(HARD[1::2])


@pytest.mark.parametrize("name", BAD)
def test_an_impossible_key_reads_as_missing_and_writes_as_an_error(open_store: Opener, name: str) -> None:
    """No session can have such a key: reading finds none, writing says why, with and without a store."""
    key, reason = BAD[name]
    store = open_store()
    for _ in range(2):
        assert store.get(key) is None
        assert key not in store
        assert store.version_of(key) is None
        assert store.updated_at(key) is None
        with pytest.raises(KeyError):
            store[key]
        for write in (
            lambda: store.put(key, {}),
            lambda: store.patch(key, {"n": 1}, create=True),
            lambda: store.update(key, lambda entry: {}, create=True),
            lambda: store.replace({key: {}}),
            lambda: store.transaction("a", key),
        ):
            with pytest.raises(InvalidKey) as caught:
                write()
            assert reason in caught.value.reason
        store.put("a", {})
    assert store.keys() == ["a"]


@pytest.mark.parametrize("key", [None, 5, 1.5, b"bytes", ("a",), ["a"]], ids=repr)
def test_a_key_is_text(open_store: Opener, key: Any) -> None:
    """Anything but text is an error as a key, also when reading."""
    store = open_store()
    store.put("a", {})
    for call in (store.get, store.version_of, store.delete, lambda key: store.put(key, {})):
        with pytest.raises(InvalidKey):
            call(key)
    assert key not in store


def test_the_longest_key_is_4096_bytes(open_store: Opener) -> None:
    """4,096 UTF-8 bytes are allowed, and counted after the key rule."""
    store = open_store(keys="lowercase")
    store.put("  " + "É" * 2048 + "  ", {"n": 1})
    assert store["é" * 2048] == {"n": 1}
    with pytest.raises(InvalidKey):
        store.put("é" * 2048 + "x", {})


def test_exact_keys_differ_in_every_character(open_store: Opener) -> None:
    """A new store keeps keys as they are: case, blanks and composition count."""
    store = open_store()
    keys = ["Main", "main", " main", "main ", "MAIN", "m\u00e4in", "ma\u0308in"]
    for number, key in enumerate(keys):
        store.put(key, {"n": number})
    assert [store[key]["n"] for key in keys] == list(range(len(keys)))
    assert store.info().key_rule == "exact"


BLANKS = "\t\n\v\f\r \u00a0\u1680\u2000\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
NOT_BLANKS = "\x1c\x1d\x1e\x1f\x85\u200b\u180e"


def test_the_lowercase_rule_is_that_of_javascript(open_store: Opener) -> None:
    """Trim and lower-case as JavaScript: its blanks go, Python's further ones stay, text folds fully."""
    store = open_store(keys="lowercase")
    store.put(f"{BLANKS}Agent:MAIN:ÄÖ{BLANKS}", {"n": 1})
    assert store.keys() == ["agent:main:äö"]
    assert store["AGENT:main:äÖ\ufeff"] == {"n": 1}
    for number, blank in enumerate(NOT_BLANKS):
        store.put(f"x{blank}", {"n": number})
    assert sorted(store.keys("x")) == sorted(f"x{blank}" for blank in NOT_BLANKS)
    store.put("İ ΑΣ", {"n": 2})
    assert store["i\u0307 ας"] == {"n": 2}
    for key in ("Constructor", " PROTOTYPE\n", "__PROTO__"):
        with pytest.raises(InvalidKey):
            store.put(key, {})


def test_spellings_of_one_key_are_one_session(open_store: Opener) -> None:
    """Under the lowercase rule every call accepts every spelling."""
    store = open_store(keys="lowercase")
    spellings = [
        f"{left}{text}{right}" for left, text, right in itertools.product(("", " "), ("Ab", "aB"), ("", "\n"))
    ]
    for number, key in enumerate(spellings):
        store.update(key, lambda entry, number=number: {**entry, f"n{number}": 1}, create=True)
    assert len(store) == 1
    assert len(store["ab"]) == len(spellings)
    with store.edit() as sessions:
        assert sessions[" AB "] is sessions["ab"]
        sessions["AB"]["edited"] = True
    assert store["ab"]["edited"] is True
    store.replace({"AB": {"n": 1}})
    assert dict(store.snapshot()) == {"ab": {"n": 1}}
    assert store.delete("AB ") is True
