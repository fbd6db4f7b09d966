"""Stores of transcripts: sessiondir's, and what else a conversation is kept in."""

from __future__ import annotations

import asyncio
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from benchmarks.stores.atomic import replace_file
from benchmarks.stores.base import LOCK_WAIT_S

Record = dict[str, Any]

_SESSION = "8f3c1d0a"
_BLOCK = 1 << 16
_TRIES = 200


class Log(ABC):
    """The transcript of one session; appending survives power loss when the call returns."""

    title: ClassVar[str]
    about: ClassVar[str]

    @abstractmethod
    def __init__(self, place: Path) -> None: ...

    @abstractmethod
    def append(self, records: Sequence[Record]) -> None:
        """Append some records as one step."""

    @abstractmethod
    def tail(self, count: int) -> list[Record]:
        """The last records, oldest first."""

    @abstractmethod
    def count(self) -> int:
        """The number of records that can be read."""

    @abstractmethod
    def fill(self, records: Sequence[Record], times: int) -> None:
        """Fill an empty transcript with these records so many times; not measured."""

    @abstractmethod
    def close(self) -> None:
        """Let go of everything."""


class Ours(Log):
    """``sessiondir.transcripts``."""

    title = "sessiondir"
    about = 'TranscriptFolder, durability="power", everything else at its default'

    def __init__(self, place: Path) -> None:
        folder = import_module("sessiondir.transcripts").TranscriptFolder
        self._folder = folder.open(place, lock_timeout=LOCK_WAIT_S)
        self._transcript = self._folder.transcript(_SESSION)
        self._place = place

    def append(self, records: Sequence[Record]) -> None:
        self._transcript.extend(records)

    def tail(self, count: int) -> list[Record]:
        return [record.value for record in self._transcript.tail(count)]

    def count(self) -> int:
        return sum(1 for _ in self._transcript.records())

    def fill(self, records: Sequence[Record], times: int) -> None:
        _write_lines(self._place / f"{_SESSION}.jsonl", records, times)

    def close(self) -> None:
        self._folder.close()


class SdkSession(Log):
    """The OpenAI Agents SDK's ``SQLiteSession``."""

    title = "SQLiteSession"
    about = "openai-agents' SQLiteSession on a file as it comes: WAL, synchronous FULL; retried while it is locked"

    def __init__(self, place: Path) -> None:
        from agents import SQLiteSession

        self._loop = asyncio.new_event_loop()
        self._session = SQLiteSession(_SESSION, place / "conversations.db")

    def append(self, records: Sequence[Record]) -> None:
        import sqlite3

        for _ in range(_TRIES):
            try:
                self._loop.run_until_complete(self._session.add_items(list(records)))
                return
            except sqlite3.OperationalError as exc:
                if "locked" not in str(exc):
                    raise
        raise TimeoutError("the database stayed locked")

    def tail(self, count: int) -> list[Record]:
        return self._loop.run_until_complete(self._session.get_items(count))

    def count(self) -> int:
        return len(self._loop.run_until_complete(self._session.get_items()))

    def fill(self, records: Sequence[Record], times: int) -> None:
        for _ in range(times):
            self.append(records)

    def close(self) -> None:
        self._session.close()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()


class JsonLines(Log):
    """A file opened for appending, one write a turn, without a lock or a look at what is there."""

    title = "JSONL append"
    about = "os.write to a file opened with O_APPEND, then fdatasync; no lock, no check of a torn end"

    def __init__(self, place: Path) -> None:
        self._path = place / f"{_SESSION}.jsonl"
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def append(self, records: Sequence[Record]) -> None:
        data = b"".join(msgspec.json.encode(record) + b"\n" for record in records)
        if os.write(self._fd, data) != len(data):
            raise OSError("a part of the line is missing")
        os.fdatasync(self._fd)

    def tail(self, count: int) -> list[Record]:
        position = os.fstat(self._fd).st_size
        data = b""
        while position and data.count(b"\n") <= count:
            start = max(0, position - _BLOCK)
            data = os.pread(self._fd, position - start, start) + data
            position = start
        return [msgspec.json.decode(line) for line in data.splitlines()[-count:]]

    def count(self) -> int:
        with open(self._path, "rb") as file:
            return sum(1 for line in file if msgspec.json.decode(line))

    def fill(self, records: Sequence[Record], times: int) -> None:
        _write_lines(self._path, records, times)

    def close(self) -> None:
        os.close(self._fd)


class Rewritten(Log):
    """The whole conversation in one JSON file, written anew each time."""

    title = "file rewritten"
    about = "one JSON array for the conversation, kept in memory, written whole with every turn and renamed over"

    def __init__(self, place: Path) -> None:
        self._path = place / f"{_SESSION}.json"
        self._records: list[Record] = []
        if self._path.exists():
            self._records = msgspec.json.decode(self._path.read_bytes())

    def append(self, records: Sequence[Record]) -> None:
        self._records += records
        replace_file(self._path, msgspec.json.encode(self._records), synced=True)

    def tail(self, count: int) -> list[Record]:
        return list(msgspec.json.decode(self._path.read_bytes())[-count:])

    def count(self) -> int:
        return len(msgspec.json.decode(self._path.read_bytes()))

    def fill(self, records: Sequence[Record], times: int) -> None:
        self._records = [*records] * times
        self._path.write_bytes(msgspec.json.encode(self._records))

    def close(self) -> None:
        self._records = []


LOGS: dict[str, type[Log]] = {
    "sessiondir": Ours,
    "sqlite_session": SdkSession,
    "jsonl": JsonLines,
    "rewritten": Rewritten,
}
_NEEDS = {"sessiondir": "sessiondir.transcripts", "sqlite_session": "agents"}


def load(name: str) -> None:
    """Import what a store needs, which is not to be measured. ``ImportError`` if it is missing."""
    if name in _NEEDS:
        import_module(_NEEDS[name])


@cache
def missing() -> dict[str, str]:
    """Stores of transcripts that cannot be measured here, and why."""
    found = {}
    for name in _NEEDS:
        try:
            load(name)
        except ImportError as exc:
            found[name] = str(exc)
    return found


def available(*names: str) -> list[str]:
    """Those of ``names``, or all, that can be measured here."""
    return [name for name in names or LOGS if name not in missing()]


def make_record(number: int, chars: int = 760) -> Record:
    """One message of a conversation, about 940 bytes as JSON."""
    text = f"message {number}: " + "the quick brown fox considers the weather and the budget. " * (chars // 57)
    return {
        "type": "message",
        "id": f"{number:08x}",
        "timestamp": "2026-03-20T10:00:00.000Z",
        "role": "user" if number % 2 else "assistant",
        "content": text,
    }


def _write_lines(path: Path, records: Sequence[Record], times: int) -> None:
    data = b"".join(msgspec.json.encode(record) + b"\n" for record in records)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as file:
        for _ in range(times):
            file.write(data)
