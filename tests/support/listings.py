"""Listings that may come from ``listing.jsonl``, beside what the session files and the journal say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sessiondir import SessionStore
from sessiondir.clock import Clock
from sessiondir.model import SessionInfo
from support.seams import RuledFileSystem


class PatientClock(Clock):
    """Does not wait, but for the moment in which the times of files stand still."""

    def sleep(self, seconds: float) -> None:  # type: ignore[override]
        if seconds <= self.tick_s and seconds != 0.005:
            Clock.sleep(seconds)


@dataclass
class Listed:
    """All sessions as a handle that was just opened lists them, and which session files it read."""

    sessions: list[SessionInfo]
    read: list[str] = field(default_factory=list)

    @property
    def from_file(self) -> bool:
        """Whether they were told by the listing file."""
        return not self.read


def make_listing(store: SessionStore) -> None:
    """Do what the background thread does now and then: level the session files and make the file."""
    core = store._writing()
    assert core.checkpoint(10, at_leisure=True)


def _opened(path: str, **options: Any) -> tuple[SessionStore, list[str]]:
    read: list[str] = []

    def rule(name: str, args: tuple[Any, ...]) -> None:
        if name == "open" and str(args[0]).startswith("session-"):
            read.append(str(args[0]))

    options = {"read_only": True, "clock": PatientClock()} | options
    return SessionStore.open(path, fs=RuledFileSystem(rule), **options), read


def first_page(path: str, limit: int = 50, **options: Any) -> Listed:
    """The first page of a handle that was just opened; one row too many is asked of the next page."""
    store, read = _opened(path, **options)
    with store:
        page = store.list(limit=limit)
        found = Listed(list(page.items), list(read))
        rest = store.list(limit=10_000, cursor=page.next_cursor).items if page.next_cursor else ()
        assert len(page.items) + len(rest) == len(store.keys())
    return found


def all_pages(path: str, limit: int = 10_000, **options: Any) -> Listed:
    """Every page, but the first is not the first that the handle is asked for."""
    store, read = _opened(path, **options)
    with store:
        store.list(order="key", limit=1)
        sessions: list[SessionInfo] = []
        cursor = None
        while True:
            page = store.list(limit=limit, cursor=cursor)
            sessions += page.items
            cursor = page.next_cursor
            if cursor is None:
                return Listed(sessions, read)


def truth(path: str) -> list[SessionInfo]:
    """What the session files and the journal say, newest first."""
    with SessionStore.open(path, read_only=True, fs=RuledFileSystem()) as store:
        snapshot = store.snapshot()
        found = []
        for key, entry in snapshot.items():
            doc = snapshot.document(key)
            assert doc is not None
            at, session_id = entry.get("updatedAt"), entry.get("sessionId")
            found.append(
                SessionInfo(
                    key,
                    doc.version,
                    at if type(at) in (int, float) else None,
                    session_id if isinstance(session_id, str) else None,
                    doc.size,
                )
            )
    return sorted(found, key=lambda row: (row.updated_at is None, -(row.updated_at or 0), row.key))


def require_true(path: str, why: str = "") -> bool:
    """Assert that first page and all pages are what the files say; whether the listing file told so."""
    expected = truth(path)
    first, everything = first_page(path, 3), all_pages(path)
    assert first.sessions == expected[:3], why
    assert everything.sessions == expected, why
    return first.from_file and everything.from_file
