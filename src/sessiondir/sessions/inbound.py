"""What an inbound message tells of its session: where it comes from, and which group it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypedDict

from sessiondir.model import Entry
from sessiondir.sessions.channels import BUILT_IN_CHANNELS, Channels
from sessiondir.sessions.group import Group, chat_type, group_display_name, group_of
from sessiondir.sessions.values import lowered, member, trimmed

_DIGITS = re.compile("[0-9]+")


class InboundMessage(TypedDict, total=False):
    """The members of a message that are looked at; a member that should be text and is not counts as absent."""

    From: str
    To: str
    ChatType: str
    Provider: str
    Surface: str
    OriginatingChannel: str
    OriginatingTo: str
    AccountId: str
    MessageThreadId: str | int | float
    SenderName: str
    SenderId: str
    ConversationLabel: str
    ThreadLabel: str
    GroupSubject: str
    GroupChannel: str
    GroupSpace: str
    SessionKey: str


Message = Mapping[str, Any]


def conversation_label(message: Message) -> str | None:
    """What people call the conversation; None if the message does not say."""
    named = trimmed(message.get("ConversationLabel")) or trimmed(message.get("ThreadLabel"))
    if named:
        return named
    sender = trimmed(message.get("From"))
    if chat_type(message.get("ChatType")) == "direct":
        return trimmed(message.get("SenderName")) or sender or None
    groups = (trimmed(message.get(name)) for name in ("GroupChannel", "GroupSubject", "GroupSpace"))
    base = next(filter(None, groups), sender)
    return _with_id(base, sender) if base else None


def _with_id(base: str, sender: str) -> str:
    parts = [part for part in sender.split(":") if part]
    chat_id = parts[-1] if parts else sender
    told = chat_id in base or " id:" in base.lower() or base[0] in "#@"
    tells_apart = _DIGITS.fullmatch(chat_id) is not None or "@g.us" in chat_id
    return f"{base} id:{chat_id}" if tells_apart and not told else base


def origin_of(message: Message, channels: Channels = BUILT_IN_CHANNELS) -> dict[str, Any] | None:
    """The ``origin`` that a message gives its session: only members that say something; None if none does."""
    to = message.get("OriginatingTo")
    provider = next(
        (value for name in ("OriginatingChannel", "Surface", "Provider") if (value := _text(message, name))), None
    )
    origin = {
        "label": conversation_label(message),
        "provider": channels.name(provider),
        "surface": lowered(message.get("Surface")),
        "chatType": chat_type(message.get("ChatType")),
        "from": trimmed(message.get("From")),
        "to": trimmed(to if isinstance(to, str) else message.get("To")),
        "accountId": trimmed(message.get("AccountId")),
    }
    origin = {name: value for name, value in origin.items() if value}
    thread: Any = message.get("MessageThreadId")
    if thread is not None and thread != "":
        origin["threadId"] = thread
    return origin or None


def _text(message: Message, name: str) -> str:
    value = message.get(name)
    return value if isinstance(value, str) else ""


def merge_origins(stored: object, new: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The stored origin with what is new laid over it; nothing is ever cleared. None if both are empty."""
    merged = dict(stored) if isinstance(stored, Mapping) else {}
    for name, value in (new or {}).items():
        if value is not None and value != "":
            merged[name] = value
    return merged or None


def group_patch(
    message: Message,
    key: str,
    existing: Mapping[str, Any] | None = None,
    *,
    group: Group | None = None,
    channels: Channels = BUILT_IN_CHANNELS,
) -> Entry | None:
    """The fields that a group message sets; None for other messages.

    Args:
        message: ``InboundMessage``.
        key: the session's key, which names a group that has no other name.
        existing: the stored entry; what the message is silent about is taken from it for the
            display name.
        group: the group, if the caller knows it better than ``group_of``.
        channels: the channels that this process knows.
    """
    group = group or group_of(message, channels)
    if group is None or not group.channel:
        return None
    subject, space, named = (_given(message, name) for name in ("GroupSubject", "GroupSpace", "GroupChannel"))
    group_channel = named
    if named is None and subject is not None and subject.startswith("#"):
        has_channels = group.kind == "channel" or channels.has_channels(group.channel)
        group_channel = subject if has_channels else None
    if group_channel:
        subject = None
    patch: Entry = {"chatType": group.kind, "channel": group.channel, "groupId": group.id}
    for name, value in (("subject", subject), ("groupChannel", group_channel), ("space", space)):
        if value:
            patch[name] = value
    patch["displayName"] = group_display_name(
        channel=group.channel,
        subject=subject if subject is not None else member(existing, "subject"),
        group_channel=group_channel if group_channel is not None else member(existing, "groupChannel"),
        space=space if space is not None else member(existing, "space"),
        group_id=group.id,
        key=key,
    )
    return patch


def _given(message: Message, name: str) -> str | None:
    """A trimmed member; None only if it is absent: a blank one hides what is stored."""
    value = message.get(name)
    return trimmed(value) if isinstance(value, str) else None


def inbound_patch(
    message: Message,
    key: str,
    existing: Mapping[str, Any] | None = None,
    *,
    group: Group | None = None,
    channels: Channels = BUILT_IN_CHANNELS,
) -> Entry | None:
    """All that a message tells of its session; None if that is nothing. Arguments as ``group_patch``."""
    patch = group_patch(message, key, existing, group=group, channels=channels)
    origin = origin_of(message, channels)
    if patch is None and origin is None:
        return None
    patch = patch or {}
    merged = merge_origins(member(existing, "origin"), origin)
    if merged is not None:
        patch["origin"] = merged
    return patch
