"""What the hot paths do to one entry. Pure: the stored entry in, the entry to store out.

Each takes the stored entry (None for a session that does not exist) and returns a new one,
normalised as every save does it, or None if there is nothing to do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sessiondir.lazyentry import with_members
from sessiondir.model import UNSET, Entry
from sessiondir.sessions.channels import BUILT_IN_CHANNELS, Channels
from sessiondir.sessions.group import Group
from sessiondir.sessions.inbound import Message, inbound_patch
from sessiondir.sessions.merge import merge_entry
from sessiondir.sessions.normalise import loaded, normal_entry
from sessiondir.sessions.route import (
    FLAT_FIELDS,
    flat_fields,
    merge_routes,
    normal_route,
    route_of,
    without_thread,
)

Patch = Mapping[str, Any] | Callable[[Entry], Mapping[str, Any] | None]
"""Fields to lay over an entry, or what computes them from it (None: nothing to do)."""


def inbound_change(
    entry: Entry | None,
    key: str,
    message: Message,
    *,
    now_ms: float,
    group: Group | None = None,
    channels: Channels = BUILT_IN_CHANNELS,
) -> Entry | None:
    """``entry`` with what ``message`` tells of its session; ``updatedAt`` of an existing one stays.

    None if the message tells nothing and there is no session.
    """
    stored = loaded(entry) if entry is not None else None
    patch = inbound_patch(message, key, stored, group=group, channels=channels)
    if patch is not None:
        merged = merge_entry(stored, patch, now_ms=now_ms, preserve_activity=True)
        return normal_entry(merged, channels)
    return normal_entry(stored, channels) if stored is not None else None


def route_change(
    entry: Entry | None,
    key: str,
    *,
    now_ms: float,
    channel: object = None,
    to: object = None,
    account_id: object = None,
    thread_id: object = None,
    context: Mapping[str, Any] | None = None,
    message: Message | None = None,
    group: Group | None = None,
    channels: Channels = BUILT_IN_CHANNELS,
) -> Entry:
    """``entry`` with a new delivery route; ``updatedAt`` becomes now, if it is not later already.

    Args:
        entry: the stored entry.
        key: session key, for the group's display name.
        now_ms: epoch milliseconds.
        channel, to, account_id, thread_id: the route, member by member.
        context: the route as one object; its members count before the single ones.
        message: what it tells of the session is stored with the route, and wins over it.
        group: the message's group, if the caller knows it better.
        channels: the channels that this process knows.

    What is not given is kept from the stored route, unless that is of another channel. The
    thread is kept only if neither channel nor target is given: whoever names a chat and no
    thread means the chat.
    """
    stored = loaded(entry) if entry is not None else None
    loose = normal_route({"channel": channel, "to": to, "accountId": account_id, "threadId": thread_id}, channels)
    explicit = normal_route(context, channels)
    thread = context.get("threadId") if context is not None else None
    if thread is None and thread_id != "":
        thread = thread_id
    fallback = route_of(stored, channels)
    named_chat = any(part in route for route in (explicit, loose) if route for part in ("channel", "to"))
    if named_chat and thread is None:
        fallback = without_thread(fallback)
    route = merge_routes(merge_routes(explicit, loose, channels), fallback, channels)
    stored_at = stored.get("updatedAt") if stored is not None else None
    patch: dict[str, Any] = {"updatedAt": stored_at, "deliveryContext": UNSET, **dict.fromkeys(FLAT_FIELDS, UNSET)}
    patch.update(flat_fields(route))
    if message is not None:
        patch.update(inbound_patch(message, key, stored, group=group, channels=channels) or {})
    return normal_entry(merge_entry(stored, patch, now_ms=now_ms), channels)


def patch_change(
    entry: Entry, patch: Patch, *, now_ms: float, channels: Channels = BUILT_IN_CHANNELS
) -> Entry | None:
    """``entry`` with ``patch`` laid over it; ``updatedAt`` becomes now, if it is not later already.

    ``UNSET`` removes a field. None if the patch is computed and comes out as None.
    """
    stored = loaded(entry)
    fields = patch(with_members(stored, {})) if callable(patch) else patch
    if fields is None:
        return None
    return normal_entry(merge_entry(stored, fields, now_ms=now_ms), channels)
