"""G3, G8: callers that leave next to no room on the stack: what is sound never counts as damaged.

Parsing needs room of its own, in C, so it fails at depths at which everything around it still works.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from typing import TypeVar

import pytest
from harness.story import open_on
from harness.watched import QuickFs

from sessiondir import SessionStore, codec, jsnumbers, legacyparse

T = TypeVar("T")
ROOMS = range(1, 60)
"""Frames left: from too few for anything to more than enough."""


def _call_with_room(frames: int, work: Callable[[], T]) -> T:
    """``work()`` with so many frames left on the stack."""
    depth, frame = 0, sys._getframe()
    while frame is not None:
        depth, frame = depth + 1, frame.f_back  # type: ignore[assignment]

    def deeper(steps: int) -> T:
        return deeper(steps - 1) if steps else work()

    return deeper(sys.getrecursionlimit() - depth - frames - 1)


@pytest.mark.parametrize(
    "decode",
    [
        codec.decode, codec.decode_fields, codec.split_object, jsnumbers.decode,
        lambda data: legacyparse.entry_fields(data, "k"),
    ],
    ids=["decode", "decode_fields", "split_object", "jsnumbers", "legacyparse"],
)  # fmt: skip
@pytest.mark.parametrize("text", ["plain", "\\ud800", '\\"[[['])
def test_g8_text_is_not_damaged_because_its_reader_has_no_room(
    decode: Callable[[bytes], object], text: str
) -> None:
    """There is the value or the interpreter's own error, and never the error of bad text."""
    data = f'{{"a":{"[" * 20}"{text}"{"]" * 20}}}'.encode()
    whole, outcomes = decode(data), set()
    for room in ROOMS:
        try:
            assert _call_with_room(room, lambda: decode(data)) == whole
            outcomes.add("read")
        except RecursionError:
            outcomes.add("no room")
    assert outcomes == {"read", "no room"}


@pytest.mark.parametrize("cache_bytes", [1, 1 << 26], ids=["from files", "cached"])
def test_g3_commits_of_others_are_not_skipped_where_there_is_no_room_to_parse_them(
    store_path: str, cache_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each read is current or fails, each update counts or fails, and nothing is set aside."""
    monkeypatch.setattr(logging.getLogger("sessiondir"), "disabled", True)  # writing a log needs room, too

    def count(entry: dict[str, object]) -> dict[str, object]:
        return {"n": int(str(entry.get("n", 0))) + 1, "nested": {"list": [1, [2, [3]]]}}

    def get(store: SessionStore) -> None:
        assert store["k"]["n"] == counted

    with (
        open_on(QuickFs(), store_path) as other,
        open_on(QuickFs(), store_path, cache_bytes=cache_bytes) as store,
    ):
        counted, no_room = 0, 0
        calls: list[Callable[[SessionStore], object]] = [
            get,
            lambda store: store.update("k", count),
            lambda store: store.put("k", count({"n": counted})),
        ]
        for room in ROOMS:
            for call in calls:
                other.update("k", count, create=True)
                counted += 1
                before = counted
                try:
                    _call_with_room(room, lambda call=call: call(store))
                    counted += call is not get
                except RecursionError:
                    no_room += 1
                    now = other["k"]["n"]  # it may have been committed all the same
                    assert now in (before, before + (call is not get))
                    counted = now
                assert store["k"]["n"] == other["k"]["n"] == counted
            if room % 10 == 0:
                other.flush()
        assert 0 < no_room < 3 * len(ROOMS)
    quarantine = os.path.join(store_path, "quarantine")
    assert not os.path.isdir(quarantine) or os.listdir(quarantine) == []
