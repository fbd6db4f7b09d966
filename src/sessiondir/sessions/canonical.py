"""Other spellings of a session's key, and the one that counts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Literal

from sessiondir.layout import js_trim
from sessiondir.sessions.channels import BUILT_IN_CHANNELS, Channels
from sessiondir.sessions.group import chat_type, group_of
from sessiondir.sessions.ids import agent_id
from sessiondir.sessions.keybuild import DEFAULT_MAIN, main_key, main_name
from sessiondir.sessions.keys import AGENTLESS, parse_key, store_key
from sessiondir.sessions.values import lowered, trimmed

Scope = Literal["per-sender", "global"]

_WHATSAPP_GROUP: Final = "@g.us"
_DISCORD_DM = re.compile(r"((?:agent:[^:]+:)?discord:)dm:")
_DISCORD_CHANNEL = re.compile(r"((?:agent:[^:]+:)?)discord:channel:([^:]+)")
_GROUP_PREFIX = re.compile(r"\Agroup:", re.IGNORECASE)


def main_alias(key: object, agent: object = None, *, main: object = None, scope: Scope = "per-sender") -> str:
    """``key``, or the key of the agent's main session if it is another name of that.

    ``main``, the configured name and both with ``agent:A:`` before them are names of it; under
    the global scope it is ``global``. Upper case is not folded here.
    """
    text = trimmed(key)
    own = main_key(agent, main)
    if text not in (DEFAULT_MAIN, main_name(main), own, main_key(agent)):
        return text
    return "global" if scope == "global" else own


def agent_key(agent: object, key: str) -> str:
    """The key by which a view over all agents knows the session ``key`` of ``agent``'s store."""
    lower = key.lower()
    return lower if lower in AGENTLESS or lower.startswith("agent:") else f"agent:{agent_id(agent)}:{lower}"


def request_key(
    key: object, *, default_agent: object = None, main: object = None, scope: Scope = "per-sender"
) -> str:
    """The stored key that a caller means by ``key``; ``""`` for a blank one.

    Keys without an agent are the default agent's; other names of main sessions are resolved.
    """
    text = lowered(key)
    if not text or text in AGENTLESS:
        return text
    parsed = parse_key(text)
    if parsed is not None:
        return main_alias(text, parsed.agent_id, main=main, scope=scope)
    if text in (DEFAULT_MAIN, main_name(main)):
        return "global" if scope == "global" else main_key(default_agent, main)
    return agent_key(default_agent, text)


def imported_key(key: object, agent: object = None, *, main: object = None, scope: Scope = "per-sender") -> str:
    """The key under which an old store's session is taken over into ``agent``'s.

    Bare ``subagent:``, ``group:`` and WhatsApp group keys get the agent, and groups their channel.
    """
    text = trimmed(key)
    lower = text.lower()
    if not text or lower in AGENTLESS:
        return lower
    alias = main_alias(text, agent, main=main, scope=scope)
    if alias != text:
        return alias.lower()
    if lower.startswith("agent:"):
        return lower
    group = _bare_group(text, lower)
    if group is None:
        return f"agent:{agent_id(agent)}:{lower}"
    return f"agent:{agent_id(agent)}:{group.lower()}" if group else text


def _bare_group(text: str, lower: str) -> str | None:
    """``channel:group:id`` of an old group key; None for other keys, ``""`` for a group without an id."""
    if text.startswith("group:"):
        name = js_trim(text[len("group:") :])
        channel = "whatsapp" if _WHATSAPP_GROUP in name.lower() else "unknown"
        return f"{channel}:group:{name}" if name else ""
    if _WHATSAPP_GROUP not in lower:
        return None
    if ":" not in text:
        return f"whatsapp:group:{text}"
    if lower.startswith("whatsapp:") and ":group:" not in text and ":channel:" not in text:
        name = js_trim(_GROUP_PREFIX.sub("", js_trim(text[len("whatsapp:") :])))
        return f"whatsapp:group:{name}" if name else None
    return None


def explicit_key(key: str, message: Mapping[str, Any]) -> str:
    """A key that a message itself names, as it is stored.

    On Discord a direct chat may come as ``dm:``, or as the channel that has the sender's own id;
    both become ``direct:``.
    """
    text = store_key(key)
    if not _is_discord(text, message) or chat_type(message.get("ChatType")) != "direct":
        return text
    found = _DISCORD_DM.match(text)
    if found is not None:
        text = f"{found[1]}direct:{text[found.end() :]}"
    channel = _DISCORD_CHANNEL.fullmatch(text)
    if channel is None or channel[2] != _discord_sender(message):
        return text
    return f"{channel[1]}discord:direct:{channel[2]}"


def _is_discord(key: str, message: Mapping[str, Any]) -> bool:
    return (
        "discord" in (lowered(message.get("Surface")), lowered(message.get("Provider")))
        or lowered(message.get("From")).startswith("discord:")
        or key.startswith("discord:")
        or ":discord:" in key
    )


def _discord_sender(message: Mapping[str, Any]) -> str:
    sender = lowered(message.get("SenderId"))
    if sender:
        return sender
    text = lowered(message.get("From"))
    is_person = text.startswith("discord:") and ":channel:" not in text and ":group:" not in text
    return text[len("discord:") :] if is_person else ""


def message_key(
    message: Mapping[str, Any],
    *,
    scope: Scope = "per-sender",
    main: object = None,
    channels: Channels = BUILT_IN_CHANNELS,
) -> str:
    """The key of the session that a message belongs to, in the scope of agent ``main``.

    The key that the message names; else the group's; else the main session, which all direct
    chats share. ``global`` under that scope.
    """
    named = trimmed(message.get("SessionKey"))
    if named:
        return explicit_key(named, message)
    if scope == "global":
        return "global"
    group = group_of(message, channels)
    return f"agent:main:{group.key}" if group is not None else main_key(None, main)
