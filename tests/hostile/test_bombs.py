"""G8, G10: huge files and JSON bombs cost little memory and one session (F13, F30, F32)."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.watched import QuickFs
from support.files import session_path

from sessiondir import SessionStore

pytestmark = [pytest.mark.expect_findings("."), pytest.mark.any_modes("bombs are planted as they come")]
TESTS = Path(__file__).parent.parent
MEMORY_MIB = 512
"""What a step may take beyond the loaded program: sixteen times the largest session file that is read."""

_OPEN = b'{"sessionKey":"a","version":1,"entry":'


def _sparse(path: Path, size: int) -> None:
    with path.open("ab") as file:
        file.truncate(size)


def _document(entry: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(_OPEN + entry + b"}")


SESSION_BOMBS: dict[str, Callable[[Path], object]] = {
    "a terabyte of nothing": lambda path: _sparse(path, 1 << 40),
    "empty": lambda path: path.write_bytes(b""),
    "deep": _document(b'{"a":' * 200_000 + b"1" + b"}" * 200_000),
    "deep and open": _document(b"[" * 1_000_000),
    "wide": _document(b'{"a":[' + b"[]," * 600_000 + b"[]]}"),
    "many members": _document(b"{" + b",".join(b'"%d":0' % number for number in range(200_000)) + b"}"),
    "a long number": _document(b'{"a":' + b"9" * 1_000_000 + b"}"),
    "a huge exponent": _document(b'{"a":1e999999999}'),
    "the same member": _document(b"{" + b",".join([b'"a":1'] * 100_000) + b',"a":2}'),
    "no text": _document(b'{"a":"\xff\xfe"}'),
    "overlong text": _document(b'{"a":"\xc0\xaf"}'),
    "many escapes": _document(b'{"a":"' + b"\\ud800" * 500_000 + b'"}'),
    "NUL bytes": lambda path: path.write_bytes(b"\0" * 100_000),
    "two documents": lambda path: path.write_bytes((_OPEN + b'{"n":1}}') * 2),
    "a byte order mark": lambda path: path.write_bytes(b"\xef\xbb\xbf" + _OPEN + b'{"n":1}}'),
    "a version without end": lambda path: path.write_bytes(
        b'{"sessionKey":"a","version":' + b"9" * 4000 + b',"entry":{"n":1}}'
    ),
}
ACCEPTED = {
    "wide", "many members", "the same member", "many escapes",
}  # fmt: skip
"""Large, odd, and JSON all the same."""


@pytest.fixture
def store(store_path: str) -> Path:
    """A store at rest with the sessions "a" and "b"; the journal is empty, so that the files count."""
    with SessionStore.open(store_path, fs=QuickFs()) as store:
        store.replace({"a": {"n": 1}, "b": {"n": 2}})
        store.put("c", {"big": "x" * 100_000})
        store.delete("c")
    return Path(store_path)


def _with_little_memory(store: Path, *steps: str, mib: int = MEMORY_MIB) -> list[str]:
    """What a program with little memory says after each step."""
    paths = os.pathsep.join([str(TESTS), *(path for path in sys.path if path)])
    done = subprocess.run(
        [sys.executable, "-m", "hostile.small_memory", str(mib), str(store), *steps],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
        env=os.environ | {"PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


@pytest.mark.parametrize("bomb", SESSION_BOMBS)
def test_g8_a_bomb_for_a_session_file(store: Path, bomb: str) -> None:
    """It is a value or a ``CorruptFile``, in little memory; the other session and a new one are as always."""
    SESSION_BOMBS[bomb](session_path(store, "a"))
    seen, other, new = _with_little_memory(store, "get", "other", "put")
    assert (seen[:1] == "{") == (bomb in ACCEPTED), seen[:200]
    assert bomb in ACCEPTED or seen == "CorruptFile"
    assert (other, new) == ("{'n': 2}", "{'n': 1}")


def _line(body: bytes) -> bytes:
    return body + b',"crc":"%08x"}\n' % zlib.crc32(body)


_DEEP = b'{"op":"put","key":"a","entry":{"x":' + b"[" * 99_999 + b"]" * 99_999 + b"}}"
JOURNAL_BOMBS: dict[str, Callable[[Path], object]] = {
    "a terabyte of nothing behind it": lambda path: _sparse(path, 1 << 40),
    "rubbish without a line feed": lambda path: _append(path, b"x" * (40 << 20)),
    "rubbish behind a gap": lambda path: _append(path, b"\0" * 1000 + b"y\n" * (1 << 20)),
    "a deep line": lambda path: _append(path, _line(b'{"v":5,"t":1,"ops":[' + _DEEP + b"]")),
    "a line of many operations": lambda path: _append(
        path, _line(b'{"v":5,"t":1,"ops":[' + b",".join([b'{"op":"delete","key":"none"}'] * 100_000) + b"]")
    ),
}


def _append(path: Path, data: bytes) -> None:
    content = path.read_bytes().rstrip(b"\0")
    path.write_bytes(content + data)


@pytest.mark.parametrize("bomb", JOURNAL_BOMBS)
def test_g8_a_bomb_for_a_journal(store: Path, bomb: str) -> None:
    """Reading and writing go on in little memory; the sessions are there."""
    (path,) = store.glob("journal-*")
    JOURNAL_BOMBS[bomb](path)
    assert _with_little_memory(store, "other", "put", "get") == ["{'n': 2}", "{'n': 1}", "{'n': 1}"]


@pytest.mark.parametrize("name", ["state.json", "lock"])
def test_g8_a_terabyte_in_place_of_a_small_file(store: Path, name: str) -> None:
    """State and lock files are never read whole because of their size."""
    _sparse(store / name, 1 << 40)
    assert _with_little_memory(store, "other", "put") == ["{'n': 2}", "{'n': 1}"]
    os.truncate(store / name, 0)


def test_the_bound_can_be_felt(store: Path) -> None:
    """The tests can fail: with too little memory the program ends in a ``MemoryError``, not in an answer."""
    SESSION_BOMBS["wide"](session_path(store, "a"))
    with pytest.raises(AssertionError, match="MemoryError"):
        _with_little_memory(store, "get", mib=3)
