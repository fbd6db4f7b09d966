"""What a store has to do to be measured.

Every store does the same work for an operation: read the session's entry, decode it with
msgspec, change one field, encode it, commit. A store says in ``about`` how it is set up.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from sessiondir import UNSET

Entry = dict[str, Any]
Durability = Literal["process", "power"]

LOCK_WAIT_S = 30.0
"""How long every store waits for a lock before it gives up."""

MESSAGES = "childResults"
"""The field that messages to a session are collected in, by stores without an inbox."""


class Store(ABC):
    """One open handle; used by one thread of one process."""

    title: ClassVar[str]
    """The name people know."""

    about: ClassVar[str]
    """How it is configured, and what ``process`` and ``power`` durability are made of."""

    packages: ClassVar[tuple[str, ...]] = ()
    """Distributions whose version belongs in the report."""

    @abstractmethod
    def __init__(self, place: Path, durability: Durability) -> None: ...

    @abstractmethod
    def modify(self, key: str, fn: Callable[[Entry], Entry]) -> None:
        """Read-modify-write as one step: no update in between may be lost."""

    @abstractmethod
    def put(self, key: str, entry: Entry) -> None:
        """Store a whole entry."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove a session that is there."""

    @abstractmethod
    def get(self, key: str) -> Entry:
        """A copy of the entry."""

    @abstractmethod
    def items(self) -> Iterator[tuple[str, Entry]]:
        """Everything, in no particular order."""

    @abstractmethod
    def fill(self, entries: Mapping[str, Entry]) -> None:
        """Fill an empty store; the quickest way there is, as it is not measured."""

    @abstractmethod
    def close(self) -> None: ...

    def bump(self, key: str) -> None:
        """Add one to the entry's counter."""
        self.modify(key, _add_one)

    def patch(self, key: str, name: str, value: object) -> None:
        """Set one field, or remove it with ``UNSET``."""

        def change(entry: Entry) -> Entry:
            if value is UNSET:
                entry.pop(name, None)
            else:
                entry[name] = value
            return entry

        self.modify(key, change)

    def updated_at(self, key: str) -> int:
        """The entry's ``updatedAt``."""
        return int(self.get(key)["updatedAt"])

    def index_for_listing(self) -> None:  # noqa: B027 - most stores have nothing to prepare
        """Prepare what ``page`` needs; only done where pages are measured."""

    def page(self, limit: int, before: int | None = None) -> list[tuple[str, int]]:
        """Keys with ``updatedAt``, newest first; of those updated before ``before``, if given."""
        times = ((entry["updatedAt"], key) for key, entry in self.items())
        newest = sorted((pair for pair in times if before is None or pair[0] < before), reverse=True)
        return [(key, at) for at, key in newest[:limit]]

    def page_of(self, prefix: str, limit: int) -> list[tuple[str, int]]:
        """As the first ``page``, of the keys that begin with ``prefix``."""
        times = ((entry["updatedAt"], key) for key, entry in self.items() if key.startswith(prefix))
        return [(key, at) for at, key in sorted(times, reverse=True)[:limit]]

    def deliver(self, key: str, message: Entry) -> None:
        """Hand a message to a session without losing another one's."""

        def add(entry: Entry) -> Entry:
            entry.setdefault(MESSAGES, []).append(message)
            return entry

        self.modify(key, add)

    def delivered(self, key: str) -> list[Entry]:
        """The messages that arrived."""
        return list(self.get(key).get(MESSAGES, ()))

    def counters(self) -> int:
        """The sum of all counters: what was acknowledged must be found here."""
        return sum(entry["counter"] for _, entry in self.items())

    def problems(self) -> list[str]:
        """What the store's own check finds wrong."""
        return []


def _add_one(entry: Entry) -> Entry:
    entry["counter"] += 1
    return entry
