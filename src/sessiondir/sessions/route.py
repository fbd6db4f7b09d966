"""The delivery route of a session: over which channel, to whom, where replies go.

``{"channel": str, "to": str, "accountId": str, "threadId": str | int | float}``, each member
optional. An entry holds it twice: as ``deliveryContext`` and flat, as ``lastChannel``,
``lastTo``, ``lastAccountId`` and ``lastThreadId``. Where they differ the flat fields count.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypedDict

from sessiondir.sessions.channels import BUILT_IN_CHANNELS, Channels
from sessiondir.sessions.ids import account_id
from sessiondir.sessions.values import member, number, number_text, trimmed, truncated, truthy

Value = Mapping[str, Any]


class Route(TypedDict, total=False):
    """A delivery route. ``threadId`` 0 is a thread; text and number stay what they are."""

    channel: str
    to: str
    accountId: str
    threadId: str | int | float


FLAT_FIELDS: Final = {
    "lastChannel": "channel",
    "lastTo": "to",
    "lastAccountId": "accountId",
    "lastThreadId": "threadId",
}
"""The flat fields of an entry, in the order in which they are written, and their member of the route."""


def normal_route(value: object, channels: Channels = BUILT_IN_CHANNELS) -> Route | None:
    """A route in its stored spelling; None if no member is left.

    The channel's own name; the target trimmed, its case kept; the account id's stored spelling;
    a numeric thread without its fraction. Members of other types are ignored.
    """
    if not isinstance(value, Mapping):
        return None
    route: Route = {}
    channel = channels.name(value.get("channel"))
    if channel:
        route["channel"] = channel
    to = trimmed(value.get("to"))
    if to:
        route["to"] = to
    account = account_id(value.get("accountId"))
    if account:
        route["accountId"] = account
    thread = thread_id(value.get("threadId"))
    if thread is not None:
        route["threadId"] = thread
    return route or None


def thread_id(value: object) -> str | int | float | None:
    """A thread id in its stored spelling, None if it is none; a number never becomes text."""
    found = number(value)
    return truncated(found) if found is not None else trimmed(value) or None


def merge_routes(primary: object, fallback: object, channels: Channels = BUILT_IN_CHANNELS) -> Route | None:
    """``primary``, and what it lacks from ``fallback``; None if neither says anything.

    If both name a channel and not the same, nothing but the primary counts: a target of one
    channel means nothing on another.
    """
    first = normal_route(primary, channels)
    second = normal_route(fallback, channels)
    if first is None or second is None:
        return first or second
    if "channel" in first and "channel" in second and first["channel"] != second["channel"]:
        return first
    merged: Route = {}
    for name in Route.__annotations__:
        if name in first:
            merged[name] = first[name]  # type: ignore[literal-required]
        elif name in second:
            merged[name] = second[name]  # type: ignore[literal-required]
    return merged


def session_route(source: Value, channels: Channels = BUILT_IN_CHANNELS) -> Route | None:
    """The route in an entry's own fields: the flat ones over ``deliveryContext``.

    A field that is there keeps the next one from being asked, even if nothing is left of it:
    a blank ``lastChannel`` hides ``channel``.
    """
    last = source.get("lastChannel")
    flat = {
        "channel": last if last is not None else source.get("channel"),
        "to": source.get("lastTo"),
        "accountId": source.get("lastAccountId"),
        "threadId": source.get("lastThreadId"),
    }
    return merge_routes(flat, source.get("deliveryContext"), channels)


def route_of(entry: object, channels: Channels = BUILT_IN_CHANNELS, *, use_origin: bool = False) -> Route | None:
    """The route of an entry; None if it has none.

    As ``session_route``, and a missing thread is looked for in ``deliveryContext`` and then in
    ``origin`` *before* channels are compared. So a thread of one channel may end up in the
    route of another; the legacy program writes it like that, and so do we.

    Args:
        entry: the entry, or None.
        channels: the channels that this process knows.
        use_origin: take a missing channel and account from ``origin``, too, as releases from
            2026.3.28 on do.
    """
    if not truthy(entry) or not isinstance(entry, Mapping):
        return None
    origin = entry.get("origin")
    source = {
        "channel": entry.get("channel"),
        "lastChannel": entry.get("lastChannel"),
        "lastTo": entry.get("lastTo"),
        "lastAccountId": entry.get("lastAccountId"),
        "lastThreadId": _first(
            entry.get("lastThreadId"), member(entry.get("deliveryContext"), "threadId"), member(origin, "threadId")
        ),
        "deliveryContext": entry.get("deliveryContext"),
    }
    if use_origin:
        source["channel"] = _first(source["channel"], member(origin, "provider"))
        source["lastAccountId"] = _first(source["lastAccountId"], member(origin, "accountId"))
    return session_route(source, channels)


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def without_thread(route: Route | None) -> Route | None:
    """The route to the chat that a thread is part of."""
    if route is None or "threadId" not in route:
        return route
    rest = route.copy()
    del rest["threadId"]
    return rest


def flat_fields(route: Route | None) -> dict[str, Any]:
    """The five fields that an entry with this route has; without a route, none."""
    if route is None:
        return {}
    fields: dict[str, Any] = {"deliveryContext": dict(route)}
    for name, part in FLAT_FIELDS.items():
        if part in route:
            fields[name] = route[part]  # type: ignore[literal-required]
    return fields


def route_key(route: object, channels: Channels = BUILT_IN_CHANNELS) -> str | None:
    """``channel|to|account|thread``, equal for equal routes; None without a channel and a target."""
    normal = normal_route(route, channels)
    if normal is None or "channel" not in normal or "to" not in normal:
        return None
    thread = normal.get("threadId", "")
    text = thread if isinstance(thread, str) else number_text(thread)
    return f"{normal['channel']}|{normal['to']}|{normal.get('accountId', '')}|{text}"
