"""Making session keys. Every part that a chat supplies is trimmed and lower-cased."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal

from sessiondir.layout import js_trim
from sessiondir.sessions.ids import account_or_default, agent_id
from sessiondir.sessions.keys import parse_key
from sessiondir.sessions.values import lowered, trimmed

DirectScope = Literal["main", "per-peer", "per-channel-peer", "per-account-channel-peer"]
"""Which direct chats share a session: all; those with one person; on one channel; on one account."""

DEFAULT_MAIN: Final = "main"
_NOBODY: Final = "unknown"


def main_name(value: object = None) -> str:
    """The configured name of main sessions in its stored spelling; ``"main"`` if there is none."""
    return lowered(value) or DEFAULT_MAIN


def main_key(agent: object = None, main: object = None) -> str:
    """The key of an agent's main session."""
    return f"agent:{agent_id(agent)}:{main_name(main)}"


def direct_key(
    agent: object,
    channel: object,
    peer: object,
    *,
    scope: DirectScope = "main",
    account: object = None,
    main: object = None,
    identity_links: Mapping[str, Iterable[object]] | None = None,
) -> str:
    """The key of a direct chat.

    Args:
        agent: agent id.
        channel: the channel's own name.
        peer: who the chat is with; without one it is the main session.
        scope: which chats share a session.
        account: our account on the channel, for ``"per-account-channel-peer"``.
        main: configured name of the main session.
        identity_links: a person's name to the ids that are this person, ``id`` or
            ``channel:id``; the first that fits replaces the peer.
    """
    who = trimmed(peer)
    if scope == "main":
        return main_key(agent, main)
    who = (_linked(identity_links, lowered(channel), who.lower()) or who).lower()
    if not who:
        return main_key(agent, main)
    where = lowered(channel) or _NOBODY
    prefix = f"agent:{agent_id(agent)}"
    if scope == "per-peer":
        return f"{prefix}:direct:{who}"
    if scope == "per-channel-peer":
        return f"{prefix}:{where}:direct:{who}"
    return f"{prefix}:{where}:{account_or_default(account)}:direct:{who}"


def _linked(links: Mapping[str, Iterable[object]] | None, channel: str, peer: str) -> str | None:
    if not links or not peer:
        return None
    ids = {peer, f"{channel}:{peer}"} if channel else {peer}
    for name, aliases in links.items():
        if js_trim(name) and not isinstance(aliases, str) and any(lowered(alias) in ids for alias in aliases):
            return js_trim(name)
    return None


def group_key(
    agent: object, channel: object, group: object, *, kind: Literal["group", "channel"] = "group"
) -> str:
    """The key of a group, or of a channel of a group."""
    return f"agent:{agent_id(agent)}:{lowered(channel) or _NOBODY}:{kind}:{lowered(group) or _NOBODY}"


def thread_key(base: str, thread: object) -> str:
    """The key of a thread of ``base``; ``base`` itself for a blank thread."""
    name = lowered(thread)
    return f"{base}:thread:{name}" if name else base


def cron_key(agent: object, job: object, run: object = None) -> str:
    """The key of a cron job's session, or of one run of it."""
    key = f"agent:{agent_id(agent)}:cron:{lowered(job)}"
    return f"{key}:run:{lowered(run)}" if lowered(run) else key


def cron_failure_key(job: object) -> str:
    """The key under which a cron job's failures are told."""
    return f"cron:{lowered(job)}:failure"


def subagent_key(agent: object, uuid: object) -> str:
    """The key of a sub-agent's session; how deep it is nested is not in the key."""
    return f"agent:{agent_id(agent)}:subagent:{lowered(uuid)}"


def acp_key(agent: object, uuid: object) -> str:
    """The key of an external agent's session (ACP)."""
    return f"agent:{agent_id(agent)}:acp:{lowered(uuid)}"


def hook_key(agent: object, uuid: object) -> str:
    """The key of a session that a hook started."""
    return f"agent:{agent_id(agent)}:hook:{lowered(uuid)}"


def heartbeat_key(base: str) -> str:
    """The key of the isolated heartbeats of ``base``."""
    return f"{base}:heartbeat"


def agent_scoped_key(key: object, agent: object = None, main: object = None) -> str:
    """``key`` in the scope of ``agent``, unless it has one; blank and ``main`` are the main session."""
    text = lowered(key)
    if not text or text == DEFAULT_MAIN:
        return main_key(agent, main)
    parsed = parse_key(text)
    if parsed is not None:
        return f"agent:{parsed.agent_id}:{parsed.rest}"
    return text if text.startswith("agent:") else f"agent:{agent_id(agent)}:{text}"
