"""What a gateway does at every message, to one session of a store: nothing is listed.

Each function takes a ``SessionStore`` and returns the result, or an ``AsyncSessionStore`` and
returns something to await that gives the result.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeVar, overload

from sessiondir.clock import SYSTEM_CLOCK
from sessiondir.errors import InvalidKey
from sessiondir.model import Entry
from sessiondir.sessions.changes import Patch, inbound_change, patch_change, route_change
from sessiondir.sessions.channels import BUILT_IN_CHANNELS, Channels
from sessiondir.sessions.group import Group
from sessiondir.sessions.inbound import Message

T = TypeVar("T")
Compute = Callable[[Entry], Entry | None]

AfterSave = Callable[[str, Entry], Any]
"""Called with the key and the entry as it then stands, when a session was saved and is no longer held.

For whoever has to look at the whole store now and then, such as maintenance. What it raises
is passed on; the change stays. With an ``AsyncSessionStore`` it may return something to await.
"""


class Sessions(Protocol):
    """What is needed of a ``SessionStore``."""

    def update(self, key: str, fn: Compute, create: bool = False) -> Entry | None:
        """As ``SessionStore.update``."""

    def updated_at(self, key: str) -> int | float | None:
        """As ``SessionStore.updated_at``."""


class AsyncSessions(Protocol):
    """What is needed of an ``AsyncSessionStore``."""

    async def update(self, key: str, fn: Compute, create: bool = False) -> Entry | None:
        """As ``AsyncSessionStore.update``."""

    async def updated_at(self, key: str) -> int | float | None:
        """As ``AsyncSessionStore.updated_at``."""


def _now_ms(now_ms: float | None) -> float:
    return int(SYSTEM_CLOCK.now() * 1000) if now_ms is None else now_ms


class _Step:
    """A computation that remembers whether its last run came to something to save."""

    def __init__(self, compute: Callable[[Entry], Entry | None]) -> None:
        self._compute = compute
        self._saves = False

    def __call__(self, entry: Entry) -> Entry | None:
        changed = self._compute(entry)
        self._saves = changed is not None
        return changed

    def run(self, store: Any, key: str, after_save: AfterSave | None, *, create: bool) -> Any:
        result = store.update(key, self, create)
        if inspect.isawaitable(result):
            return self._finish_later(result, key, after_save)
        if self._saves and after_save is not None and result is not None:
            after_save(key, result)
        return result

    async def _finish_later(
        self, result: Awaitable[Entry | None], key: str, after_save: AfterSave | None
    ) -> Entry | None:
        entry = await result
        if self._saves and after_save is not None and entry is not None:
            told = after_save(key, entry)
            if inspect.isawaitable(told):
                await told
        return entry


@overload
def record_inbound(
    store: Sessions,
    key: str,
    message: Message,
    *,
    create: bool = True,
    group: Group | None = None,
    channels: Channels = BUILT_IN_CHANNELS,
    now_ms: float | None = None,
    after_save: AfterSave | None = None,
) -> Entry | None: ...


@overload
def record_inbound(
    store: AsyncSessions,
    key: str,
    message: Message,
    *,
    create: bool = True,
    group: Group | None = None,
    channels: Channels = BUILT_IN_CHANNELS,
    now_ms: float | None = None,
    after_save: AfterSave | None = None,
) -> Awaitable[Entry | None]: ...


def record_inbound(
    store: Sessions | AsyncSessions,
    key: str,
    message: Message,
    *,
    create: bool = True,
    group: Group | None = None,
    channels: Channels = BUILT_IN_CHANNELS,
    now_ms: float | None = None,
    after_save: AfterSave | None = None,
) -> Entry | Awaitable[Entry | None] | None:
    """Store what an inbound message tells of its session: origin, group, display name.

    Args:
        store: an open store.
        key: session key.
        message: ``InboundMessage``.
        create: whether a missing session is made; its ``sessionId`` is then a new UUID.
        group: the message's group, if the caller knows it better than ``group_of``.
        channels: the channels that this process knows.
        now_ms: epoch milliseconds; None asks the clock.
        after_save: called when the session was saved.

    Returns the entry as it then stands, None if there is none. ``updatedAt`` of an existing
    session stays. Errors as ``SessionStore.update``.
    """

    def compute(entry: Entry) -> Entry | None:
        # A session that does not exist comes as an empty entry.
        return inbound_change(entry or None, key, message, now_ms=_now_ms(now_ms), group=group, channels=channels)

    return _Step(compute).run(store, key, after_save, create=create)  # type: ignore[no-any-return]


@overload
def update_last_route(
    store: Sessions,
    key: str,
    *,
    channel: object = None,
    to: object = None,
    account_id: object = None,
    thread_id: object = None,
    context: Mapping[str, Any] | None = None,
    message: Message | None = None,
    group: Group | None = None,
    channels: Channels = BUILT_IN_CHANNELS,
    now_ms: float | None = None,
    after_save: AfterSave | None = None,
) -> Entry: ...


@overload
def update_last_route(
    store: AsyncSessions,
    key: str,
    *,
    channel: object = None,
    to: object = None,
    account_id: object = None,
    thread_id: object = None,
    context: Mapping[str, Any] | None = None,
    message: Message | None = None,
    group: Group | None = None,
    channels: Channels = BUILT_IN_CHANNELS,
    now_ms: float | None = None,
    after_save: AfterSave | None = None,
) -> Awaitable[Entry]: ...


def update_last_route(
    store: Sessions | AsyncSessions,
    key: str,
    *,
    channel: object = None,
    to: object = None,
    account_id: object = None,
    thread_id: object = None,
    context: Mapping[str, Any] | None = None,
    message: Message | None = None,
    group: Group | None = None,
    channels: Channels = BUILT_IN_CHANNELS,
    now_ms: float | None = None,
    after_save: AfterSave | None = None,
) -> Entry | Awaitable[Entry]:
    """Store the route by which replies reach a session; makes the session if it is missing.

    The route's arguments are those of ``changes.route_change``, the others as for
    ``record_inbound``. Returns the entry as it then stands. ``updatedAt`` becomes now.
    """

    def compute(entry: Entry) -> Entry:
        return route_change(
            entry or None,
            key,
            now_ms=_now_ms(now_ms),
            channel=channel,
            to=to,
            account_id=account_id,
            thread_id=thread_id,
            context=context,
            message=message,
            group=group,
            channels=channels,
        )

    return _Step(compute).run(store, key, after_save, create=True)  # type: ignore[no-any-return]


@overload
def update_entry(
    store: Sessions,
    key: str,
    patch: Patch,
    *,
    channels: Channels = BUILT_IN_CHANNELS,
    now_ms: float | None = None,
    after_save: AfterSave | None = None,
) -> Entry | None: ...


@overload
def update_entry(
    store: AsyncSessions,
    key: str,
    patch: Patch,
    *,
    channels: Channels = BUILT_IN_CHANNELS,
    now_ms: float | None = None,
    after_save: AfterSave | None = None,
) -> Awaitable[Entry | None]: ...


def update_entry(
    store: Sessions | AsyncSessions,
    key: str,
    patch: Patch,
    *,
    channels: Channels = BUILT_IN_CHANNELS,
    now_ms: float | None = None,
    after_save: AfterSave | None = None,
) -> Entry | Awaitable[Entry | None] | None:
    """Lay ``patch`` over an existing session by the rules of ``merge_entry``.

    Args:
        store: an open store.
        key: session key.
        patch: fields, or a function that computes them from its own copy of the entry (None:
            leave it as it is); ``UNSET`` removes a field. The function may be called again.
        channels, now_ms, after_save: as for ``record_inbound``.

    Returns the entry as it then stands, None if there is no such session. ``updatedAt`` becomes
    now, if it is not later already.
    """

    def compute(entry: Entry) -> Entry | None:
        return patch_change(entry, patch, now_ms=_now_ms(now_ms), channels=channels)

    return _Step(compute).run(store, key, after_save, create=False)  # type: ignore[no-any-return]


@overload
def read_updated_at(store: Sessions, key: object) -> int | float | None: ...


@overload
def read_updated_at(store: AsyncSessions, key: object) -> Awaitable[int | float | None]: ...


def read_updated_at(
    store: Sessions | AsyncSessions, key: object
) -> int | float | Awaitable[int | float | None] | None:
    """``updatedAt`` of a session in epoch milliseconds; None if it has none or there is no session.

    A key that no session can have (blank, too long, not text) has no session. The entry is not
    decoded.
    """
    try:
        result: Any = store.updated_at(key)  # type: ignore[arg-type]
    except InvalidKey:
        return None
    return _none_if_invalid(result) if inspect.isawaitable(result) else result


async def _none_if_invalid(result: Awaitable[T]) -> T | None:
    try:
        return await result
    except InvalidKey:
        return None
