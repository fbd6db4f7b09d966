"""G8, G10: a file system that takes two names for one when they differ in case alone (F12, F25)."""

from __future__ import annotations

import os
from typing import Any

import pytest
from harness.watched import QuickFs

from hostile.test_keys import KEYS
from sessiondir import SessionStore, entries, layout

TWINS = ("aaa", "aaG")
"""Keys whose plain file names differ in case alone, as base64 has it."""


class CaseFoldingFs(QuickFs):
    """Finds a name in whatever case it is asked for, and keeps the case in which it was made."""

    def call(self, name: str, real: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if name in ("open", "stat", "unlink", "mkdir", "rmdir") and isinstance(args[0], str):
            args = (_stored(args[0], kwargs.get("dir_fd")), *args[1:])
        elif name in ("rename", "link"):
            args = (_stored(args[0], kwargs.get("src_dir_fd")), _stored(args[1], kwargs.get("dst_dir_fd")))
        return super().call(name, real, args, kwargs)


def _stored(path: str, dir_fd: int | None) -> str:
    folder, name = os.path.split(path)
    try:
        fd = os.open(folder or ".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=dir_fd)
    except OSError:
        return path
    try:
        found = next((one for one in os.listdir(fd) if one.casefold() == name.casefold()), name)
    finally:
        os.close(fd)
    return os.path.join(folder, found)


def _round_trip(path: str) -> list[str]:
    """Write sessions under keys that are easily taken for each other; the keys that another one took over."""
    wanted = {key: {"key": key} for key in (*KEYS, *TWINS)}
    with SessionStore.open(path, fs=CaseFoldingFs(), durability="process") as store:
        for key, entry in wanted.items():
            store.put(key, entry, if_version=0)
    with SessionStore.open(path, fs=CaseFoldingFs(), durability="process") as store:
        found = dict(store.snapshot())
    return [key for key, entry in wanted.items() if found.get(key) != entry]


def test_the_names_of_the_twins_differ_in_case_alone() -> None:
    """The test below is about something."""
    one, two = (layout.session_file_names(key)[0] for key in TWINS)
    assert one != two
    assert one.casefold() == two.casefold()


def test_every_session_keeps_a_file_of_its_own(store_path: str) -> None:
    """No session overwrites another, none is lost, and each can be deleted."""
    assert _round_trip(store_path) == []
    with SessionStore.open(store_path, fs=CaseFoldingFs(), durability="process") as store:
        for key in list(store):
            assert store.delete(key)
            assert not [other for other in TWINS if other in store and store[other] != {"key": other}]
        assert len(store) == 0


@pytest.mark.expect_findings(".")
def test_plain_names_would_be_caught(store_path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above notices a store that does not ask whether case counts."""
    monkeypatch.setattr(entries, "ignores_case", lambda directory: False)
    assert {*_round_trip(store_path)} & {*TWINS}
