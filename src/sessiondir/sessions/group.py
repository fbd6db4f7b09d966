"""Which group a message belongs to, and what a group session is called."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from sessiondir.sessions.channels import BUILT_IN_CHANNELS, Channels
from sessiondir.sessions.values import lowered, trimmed, utf16_length, utf16_slice

Kind = Literal["group", "channel"]

_KINDS: Final = ("group", "channel")
_WHATSAPP_GROUP: Final = "@g.us"
_FOREIGN = re.compile(r"[^a-z0-9#@._+-]+")
_DASHES = re.compile("-{2,}")
_SHORT_LABEL: Final = 14


@dataclass(frozen=True, slots=True)
class Group:
    """A group chat: ``key`` is ``channel:kind:id``, all in lower case."""

    channel: str
    kind: Kind
    id: str

    @property
    def key(self) -> str:
        """The group's key, not scoped to an agent."""
        return f"{self.channel}:{self.kind}:{self.id}"


def chat_type(value: object) -> Literal["direct", "group", "channel"] | None:
    """The kind of chat that a message's ``ChatType`` names; None for anything else."""
    name = lowered(value)
    if name in ("direct", "dm"):
        return "direct"
    return name if name in _KINDS else None  # type: ignore[return-value]


def group_of(message: Mapping[str, Any], channels: Channels = BUILT_IN_CHANNELS) -> Group | None:
    """The group that a message was sent to; None for a direct chat, or if the channel is unknown.

    Uses ``From``, ``ChatType`` and ``Provider``. ``From`` is ``[channel:][group|channel:]id`` or a
    WhatsApp group id; aliases of channels are not accepted in it.
    """
    sender = trimmed(message.get("From"))
    named = lowered(message.get("ChatType"))
    is_whatsapp = sender.lower().endswith(_WHATSAPP_GROUP)
    if not (named in _KINDS or ":group:" in sender or ":channel:" in sender or is_whatsapp):
        return None
    parts = [part for part in sender.split(":") if part]
    head = lowered(parts[0]) if parts else ""
    has_surface = channels.is_surface(head)
    channel = head if has_surface else _provider(message, is_whatsapp=is_whatsapp)
    if not channel:
        return None
    second = lowered(parts[1]) if len(parts) > 1 else ""
    told = "channel" if ":channel:" in sender or named == "channel" else "group"
    kind = second if second in _KINDS else told
    rest = sender if not has_surface else ":".join(parts[2 if second in _KINDS else 1 :])
    group_id = lowered(rest)
    return Group(channel, kind, group_id) if group_id else None  # type: ignore[arg-type]


def _provider(message: Mapping[str, Any], *, is_whatsapp: bool) -> str:
    provider = message.get("Provider")
    # A provider that is there and blank says "none", so nothing is guessed then.
    if isinstance(provider, str):
        return lowered(provider)
    return "whatsapp" if is_whatsapp else ""


def slug(text: str) -> str:
    """``text`` as part of a name: lower case, dashes for what is not a-z, 0-9 or one of ``#@._+-``."""
    dashed = _DASHES.sub("-", _FOREIGN.sub("-", lowered(text)))
    return dashed.strip("-.")


def group_display_name(
    *, channel: object, subject: object, group_channel: object, space: object, group_id: object, key: str
) -> str:
    """The name of a group session for lists: ``channel:g-subject``, ``channel:space#group-channel``.

    Of a text in which nothing is left but foreign letters only the channel remains.
    """
    prefix = lowered(channel) or "group"
    raw = _detail(trimmed(group_channel), trimmed(subject), trimmed(space)) or trimmed(group_id) or key
    name = slug(raw) or slug(_shortened(trimmed(raw)))
    # A blank group channel counts here, though it names nothing.
    if not (isinstance(group_channel, str) and group_channel):
        name = name.lstrip("#")
    if name and name[0] not in "@#" and not name.startswith("g-") and "#" not in name:
        name = f"g-{name}"
    return f"{prefix}:{name}" if name else prefix


def _detail(group_channel: str, subject: str, space: str) -> str:
    if group_channel and space:
        return f"{space}{'' if group_channel.startswith('#') else '#'}{group_channel}"
    return group_channel or subject or space


def _shortened(text: str) -> str:
    if utf16_length(text) <= _SHORT_LABEL:
        return text
    return f"{utf16_slice(text, 0, 6)}...{utf16_slice(text, -4)}"
