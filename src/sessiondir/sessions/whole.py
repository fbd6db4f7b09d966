"""Saving a whole store by the rules of the legacy program, as one commit of what differs."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import Any, Protocol, TypeVar, overload

from sessiondir.legacyparse import rename_old_fields
from sessiondir.model import Entry
from sessiondir.sessions.channels import BUILT_IN_CHANNELS, Channels
from sessiondir.sessions.keys import store_key
from sessiondir.sessions.normalise import loaded, normal_entry
from sessiondir.sessions.values import truthy

T = TypeVar("T")
Edit = Callable[[MutableMapping[str, Entry]], T]


class Wholes(Protocol):
    """What is needed of a ``SessionStore``."""

    def snapshot(self) -> Mapping[str, Entry]:
        """As ``SessionStore.snapshot``."""

    def edit(self, fn: Callable[[Any], T]) -> T:
        """As ``SessionStore.edit`` with a function."""


class AsyncWholes(Protocol):
    """What is needed of an ``AsyncSessionStore``."""

    async def snapshot(self) -> Mapping[str, Entry]:
        """As ``AsyncSessionStore.snapshot``."""

    async def edit(self, fn: Callable[[Any], T]) -> T:
        """As ``AsyncSessionStore.edit`` with a function."""


def normal_entries(entries: Mapping[str, Any], channels: Channels = BUILT_IN_CHANNELS) -> dict[str, Any]:
    """All entries as a whole-store save writes them; what is no object stays as it is."""
    return {
        key: normal_entry(loaded(entry), channels) if isinstance(entry, dict) else entry
        for key, entry in entries.items()
    }


class _Editing(MutableMapping[str, Entry]):
    """A store's sessions while somebody edits them: knows what was touched, and what it had of ACP."""

    def __init__(self, sessions: MutableMapping[str, Entry]) -> None:
        self._sessions = sessions
        self._acp: dict[str, Any] = {}

    def __getitem__(self, key: str) -> Entry:
        entry = self._sessions[key]
        if key not in self._acp:
            rename_old_fields(entry)
            self._acp[key] = entry.get("acp")
        return entry

    def __setitem__(self, key: str, entry: Entry) -> None:
        self.get(key)  # what it had of ACP is wanted back
        self._acp.setdefault(key, None)
        self._sessions[key] = entry

    def __delitem__(self, key: str) -> None:
        self.get(key)
        del self._sessions[key]

    def __contains__(self, key: object) -> bool:
        return key in self._sessions

    def __iter__(self) -> Iterator[str]:
        return iter(self._sessions)

    def __len__(self) -> int:
        return len(self._sessions)

    def finish(self, allow_drop: Iterable[str], channels: Channels) -> None:
        """Give lost ACP blocks back and normalise what was touched."""
        dropped = {store_key(key) for key in allow_drop}
        for key, block in self._acp.items():
            entry = self._sessions.get(key)
            if entry is None:
                continue
            wanted = dict(entry)
            if truthy(block) and not truthy(wanted.get("acp")) and store_key(key) not in dropped:
                wanted["acp"] = block
            self._sessions[key] = normal_entry(loaded(wanted), channels)


@overload
def update_sessions(
    store: Wholes, fn: Edit[T], *, allow_drop_acp: Iterable[str] = (), channels: Channels = BUILT_IN_CHANNELS
) -> T: ...


@overload
def update_sessions(
    store: AsyncWholes, fn: Edit[T], *, allow_drop_acp: Iterable[str] = (), channels: Channels = BUILT_IN_CHANNELS
) -> Awaitable[T]: ...


def update_sessions(
    store: Wholes | AsyncWholes,
    fn: Edit[T],
    *,
    allow_drop_acp: Iterable[str] = (),
    channels: Channels = BUILT_IN_CHANNELS,
) -> T | Awaitable[T]:
    """Let ``fn`` edit the whole store, and save it by the rules of the legacy program, as one commit.

    Args:
        store: a ``SessionStore``, or an ``AsyncSessionStore``: then the result is to be awaited.
        fn: gets the sessions as a mapping to read and change; called again if a session that
            it read or changed was changed by others meanwhile.
        allow_drop_acp: keys of sessions that may lose their ``acp`` block. All others get it
            back if ``fn`` leaves them without.
        channels: the channels that this process knows.

    Every entry of the store is normalised, those that ``fn`` does not look at included.
    Returns what ``fn`` returns. O(bytes stored); errors as ``SessionStore.edit``.
    """
    dropped = tuple(allow_drop_acp)

    def edit(snapshot: Mapping[str, Entry]) -> Callable[[MutableMapping[str, Entry]], T]:
        # Found outside of the edit: what is only looked at must not make it collide with others.
        odd = [key for key, entry in snapshot.items() if normal_entry(loaded(entry), channels) is not entry]

        def run(sessions: MutableMapping[str, Entry]) -> T:
            editing = _Editing(sessions)
            result = fn(editing)
            for key in odd:
                editing.get(key)
            editing.finish(dropped, channels)
            return result

        return run

    snapshot: Any = store.snapshot()
    if inspect.isawaitable(snapshot):
        return _edit_later(store, snapshot, edit)
    return store.edit(edit(snapshot))


async def _edit_later(
    store: Any, snapshot: Awaitable[Mapping[str, Entry]], edit: Callable[[Mapping[str, Entry]], Any]
) -> Any:
    return await store.edit(edit(await snapshot))


@overload
def save_sessions(
    store: Wholes,
    entries: Mapping[str, Entry],
    *,
    allow_drop_acp: Iterable[str] = (),
    channels: Channels = BUILT_IN_CHANNELS,
) -> None: ...


@overload
def save_sessions(
    store: AsyncWholes,
    entries: Mapping[str, Entry],
    *,
    allow_drop_acp: Iterable[str] = (),
    channels: Channels = BUILT_IN_CHANNELS,
) -> Awaitable[None]: ...


def save_sessions(
    store: Wholes | AsyncWholes,
    entries: Mapping[str, Entry],
    *,
    allow_drop_acp: Iterable[str] = (),
    channels: Channels = BUILT_IN_CHANNELS,
) -> Awaitable[None] | None:
    """Make the store hold exactly ``entries``, saved by the rules of ``update_sessions``.

    Sessions that are not in ``entries`` are removed.
    """

    def fill(sessions: MutableMapping[str, Entry]) -> None:
        # The store knows best which spellings are one session; what comes back unchanged is no change.
        sessions.clear()
        for key, entry in entries.items():
            sessions[key] = dict(entry)

    return update_sessions(store, fill, allow_drop_acp=allow_drop_acp, channels=channels)
