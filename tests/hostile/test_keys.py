"""G10: keys of every kind are told apart, read back, and lead nowhere outside (F12)."""

from __future__ import annotations

import itertools
import os
import unicodedata
from pathlib import Path

import pytest
from support.factories import Opener
from support.files import listing

from sessiondir import InvalidKey

KEYS = [
    "a", "A", "straße", "STRASSE", unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é"),
    "name.", "name ", " name", "name", "CON", "con", "NUL.txt", "COM¹", "LPT1", "a:b", "a/b", "a-b", "a\\b", "a_b",
    ".", "..", "../../outside", "/etc/passwd", "~", "$HOME", "*", "?", "-rf", "a\nb", "a\tb", "\x01", "\x7f",
    "\u202e", "\u200b", "😀", "\U0010ffff", "%2e%2e", "session-YQ.json", ".tmp-0123456789abcdef", "state.json",
    '"', "'", "{}", "null", "İ", "ı", "ﬀ",
    *("k" * size for size in (119, 120, 121, 143, 144, 255, 256, 2200, 4096)),
    *("é" * size for size in (60, 61)),
]  # fmt: skip
REFUSED = {
    "": "blank", "   ": "blank", "\u00a0\ufeff": "blank", "a\0b": "NUL", "\ud800": "lone surrogate",
    "k" * 4097: "too long", "k" * 65536: "too long", "__proto__": "reserved", "constructor": "reserved",
    "prototype": "reserved",
}  # fmt: skip


def test_g10_keys_of_every_kind(tmp_path: Path, open_directory: Opener) -> None:
    """Every key has a session of its own, in the store and in its files, and nothing is made elsewhere."""
    assert len(set(KEYS)) == len(KEYS)
    wanted = {key: {"key": key, "n": number} for number, key in enumerate(KEYS)}
    store = open_directory(durability="process")
    for key, entry in wanted.items():
        store.put(key, entry, if_version=0)
    assert {key: store[key] for key in wanted} == wanted
    store.close()
    again = open_directory()
    assert dict(again.snapshot()) == wanted
    assert sorted(again.keys()) == sorted(KEYS)
    names = os.listdir(Path(open_directory.path) / "entries")
    assert len({name.casefold() for name in names}) >= len(KEYS) - 4, "base64 tells few keys apart by case alone"
    assert os.listdir(tmp_path) == ["sessions.d"]
    for key in KEYS:
        assert again.delete(key)
    assert len(again) == 0


@pytest.mark.parametrize("key", REFUSED, ids=lambda key: f"{REFUSED[key]} {len(key)}")
def test_g10_keys_that_are_refused(tmp_path: Path, open_directory: Opener, key: str) -> None:
    """No writing call takes such a key, each says why, and nothing was made."""
    store = open_directory()
    store.put("a", {"n": 1})
    store.flush()
    before = listing(tmp_path)
    for call in (
        lambda: store.put(key, {}),
        lambda: store.patch(key, {"n": 1}, create=True),
        lambda: store.update(key, lambda entry: entry, create=True),
        lambda: store.post(key, 1),
        lambda: store.lease(key, owner="o", ttl=1),
        lambda: store.replace({key: {}}),
    ):
        with pytest.raises(InvalidKey) as caught:
            call()
        assert caught.value.reason == REFUSED[key]
    assert store.get(key) is None
    assert key not in store
    assert listing(tmp_path) == before


def test_two_keys_share_no_file(open_directory: Opener) -> None:
    """What differs by case, by normalisation or by a separator only is never one session."""
    store = open_directory(durability="process", checkpoint_interval=0)
    for one, two in itertools.combinations(["A-b", "a-b", "a/b", "a_b", "a.b", "a:b", "a b"], 2):
        store.put(one, {"of": one})
        store.put(two, {"of": two})
        assert (store[one], store[two]) == ({"of": one}, {"of": two})
