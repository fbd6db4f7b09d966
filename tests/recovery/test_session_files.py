"""G8: one bad session file costs one session, whatever is wrong with it (F5, F9)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

import pytest
from harness.files import session_files
from harness.journals import levels, quarantined
from harness.story import BASE, A, B, at_rest, contents, errors_of, open_on
from harness.watched import QuickFs

from sessiondir.errors import CorruptFile
from sessiondir.layout import session_file_names

Damage = Callable[[str, str], None]
"""Does something to the session file ``path``; the second argument is a folder outside of the store."""


def _write(path: str, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _link(path: str, outside: str) -> None:
    _write(f"{outside}/target.json", _read(path))
    os.unlink(path)
    os.symlink(f"{outside}/target.json", path)


def _fifo(path: str, outside: str) -> None:
    os.unlink(path)
    os.mkfifo(path, 0o600)


def _directory(path: str, outside: str) -> None:
    os.unlink(path)
    os.mkdir(path, 0o700)


def _other_key(path: str, outside: str) -> None:
    other = os.path.join(os.path.dirname(path), session_file_names(B)[0])
    _write(path, _read(other))


_DAMAGE: dict[str, Damage] = {
    "truncated": lambda path, outside: os.truncate(path, os.path.getsize(path) // 2),
    "one byte short": lambda path, outside: os.truncate(path, _read(path).rindex(b"}")),
    "empty": lambda path, outside: os.truncate(path, 0),
    "NUL bytes": lambda path, outside: _write(path, bytes(os.path.getsize(path))),
    "NUL block": lambda path, outside: _write(path, _read(path)[:40] + bytes(20) + _read(path)[60:]),
    "concatenated": lambda path, outside: _write(path, _read(path) * 2),
    "trailing garbage": lambda path, outside: _write(path, _read(path) + b"x"),
    "not UTF-8": lambda path, outside: _write(path, _read(path).replace(b"a-1", b"\xff\xfe\x80")),
    "an array": lambda path, outside: _write(path, b"[1, 2]\n"),
    "no entry": lambda path, outside: _write(path, b'{"sessionKey": "agent:main:a", "version": 1}'),
    "entry is null": lambda path, outside: _write(path, b'{"sessionKey": "agent:main:a", "entry": null}'),
    "bad version": lambda path, outside: _write(path, _read(path).replace(b'"version": 1', b'"version": -1')),
    "wrong key inside": _other_key,
    "symbolic link": _link,
    "FIFO": _fifo,
    "directory": _directory,
}


@pytest.fixture(params=_DAMAGE, ids=lambda name: name.replace(" ", "-"))
def damaged(request: pytest.FixtureRequest, store_path: str, tmp_path: object) -> str:
    """A store whose session A is damaged."""
    at_rest(store_path)
    outside = f"{tmp_path}/outside"
    os.mkdir(outside)
    _DAMAGE[request.param](_path(store_path), outside)
    return store_path


def _path(store_path: str) -> str:
    return f"{store_path}/entries/{session_file_names(A)[0]}"


def _others() -> dict[str, object]:
    return {key: entry for key, entry in BASE.items() if key != A}


@pytest.mark.expect_findings("error entries/")
def test_damage_is_reported_and_costs_one_session(damaged: str) -> None:
    """G8: the session raises CorruptFile with path and reason, check names it, all others are served."""
    with open_on(QuickFs(), damaged, read_only=True) as store:
        with pytest.raises(CorruptFile) as caught:
            store.get(A)
        assert caught.value.path == _path(damaged)
        assert caught.value.reason
        assert {key: store.get(key) for key in _others()} == _others()
        assert set(_others()) <= set(store.keys())
        assert {info.key for info in store.list(limit=100)} == set(_others())
        snapshot = store.snapshot()
        assert dict(snapshot) == _others()
        assert set(snapshot.damaged) == {A}
        findings = [finding for finding in store.check() if finding.level == "error"]
        assert [(finding.path, finding.session) for finding in findings] == [(_path(damaged), A)]


@pytest.mark.expect_findings("error entries/")
def test_nothing_overwrites_what_cannot_be_read(damaged: str) -> None:
    """G8: "cannot read" is not "empty": update, patch and a transaction raise, and the file stays as it is."""
    mode = os.lstat(_path(damaged))
    before = session_files(damaged) if os.path.isfile(_path(damaged)) else {}
    with open_on(QuickFs(), damaged) as store:
        for attempt in (
            lambda: store.update(A, lambda entry: {"n": 1}, create=True),
            lambda: store.patch(A, {"n": 1}, create=True),
            lambda: store.transaction(A, B).__enter__(),
        ):
            with pytest.raises(CorruptFile):
                attempt()
        store.patch(B, {"n": 9})
    after = session_files(damaged) if os.path.isfile(_path(damaged)) else {}
    name = f"entries/{session_file_names(A)[0]}"
    assert after.get(name) == before.get(name)
    assert (mode.st_ino, mode.st_mode) == (os.lstat(_path(damaged)).st_ino, os.lstat(_path(damaged)).st_mode)


@pytest.mark.any_modes("the damage keeps the mode it was planted with")
@pytest.mark.expect_findings("quarantine/.*set aside earlier")
def test_put_sets_the_damaged_file_aside_unchanged(damaged: str, tmp_path: object) -> None:
    """G8, G10: a whole new entry replaces the session; the damaged file is in the quarantine as it was."""
    path = _path(damaged)
    regular = os.path.isfile(path) and not os.path.islink(path)
    data = _read(path) if regular else None
    outside = {name: _read(f"{tmp_path}/outside/{name}") for name in os.listdir(f"{tmp_path}/outside")}
    with open_on(QuickFs(), damaged) as store:
        store.put(A, {"new": True})
        assert contents(store) == _others() | {A: {"new": True}}
        store.flush()
    assert not errors_of(damaged)
    with open_on(QuickFs(), damaged, read_only=True) as store:
        assert contents(store) == _others() | {A: {"new": True}}
    names = [name for name in os.listdir(f"{damaged}/quarantine") if not name.endswith(".note.json")]
    assert len(names) == 1
    if regular:
        assert list(quarantined(damaged).values()) == [data]
    assert outside == {name: _read(f"{tmp_path}/outside/{name}") for name in os.listdir(f"{tmp_path}/outside")}


@pytest.mark.expect_findings("error entries/")
def test_replacing_the_rest_leaves_a_damaged_session_alone(damaged: str) -> None:
    """G8: a whole-store save that does not name the damaged session leaves its file where it is."""
    inode = os.lstat(_path(damaged)).st_ino
    with open_on(QuickFs(), damaged) as store:
        store.replace({B: {"n": 1}})
        assert dict(store.snapshot()) == {B: {"n": 1}}
    assert os.lstat(_path(damaged)).st_ino == inode


@pytest.mark.expect_findings("error entries/")
def test_an_edit_does_not_take_a_damaged_session_for_missing(damaged: str) -> None:
    """G8: reading a damaged session inside an edit raises CorruptFile, not KeyError."""
    with open_on(QuickFs(), damaged) as store, pytest.raises(CorruptFile), store.edit() as sessions:
        sessions[A]


def test_a_copy_under_the_name_of_another_session_is_never_served(store_path: str) -> None:
    """G8: a session's file under another one's hashed name is reported and raises CorruptFile for that one."""
    at_rest(store_path)
    planted = f"{store_path}/entries/{session_file_names('someone else')[1]}"
    shutil.copy2(_path(store_path), planted)
    assert any(planted in text for text in levels(store_path)["error"])
    with open_on(QuickFs(), store_path, read_only=True) as store:
        with pytest.raises(CorruptFile):
            store.get("someone else")
        assert store.get(A) == BASE[A]
    os.unlink(planted)
