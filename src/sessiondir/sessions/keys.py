"""What a session key says: agent, chat, thread, cron job, sub-agent. Pure text work, nothing is looked up.

Shapes of keys (A an agent id)::

    agent:A:main                                the agent's main session
    agent:A:direct:PEER                         a person; also with a channel, or a channel and
    agent:A:CHANNEL:direct:PEER                 an account, before "direct"
    agent:A:CHANNEL:ACCOUNT:direct:PEER
    agent:A:CHANNEL:group:ID                    a group; Telegram topics are part of the id
    agent:A:CHANNEL:channel:ID                  a channel of a group
    BASE:thread:ID                              a thread of any of these
    agent:A:cron:JOB    agent:A:cron:JOB:run:ID     cron:JOB:failure
    agent:A:subagent:UUID    agent:A:acp:UUID    agent:A:hook:UUID
    BASE:heartbeat                              an isolated heartbeat
    global    unknown                           not of any agent
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from sessiondir.layout import js_trim
from sessiondir.sessions.values import lowered, trimmed, utf16_length, utf16_slice

ChatKind = Literal["direct", "group", "channel", "unknown"]
ListKind = Literal["direct", "group", "global", "unknown"]

AGENTLESS: Final = ("global", "unknown")
"""Keys that belong to no agent."""

_CRON_RUN = re.compile(r"cron:[^:]+:run:[^:]+")
_OLD_DISCORD_CHANNEL = re.compile(r"discord:(?:[^:]+:)?guild-[^:]+:channel-[^:]+")
_THREAD_MARKS: Final = (":thread:", ":topic:")
_SUBAGENT: Final = ":subagent:"


@dataclass(frozen=True, slots=True)
class AgentKey:
    """A key that is scoped to an agent: ``agent:agent_id:rest``, in lower case."""

    agent_id: str
    rest: str


@dataclass(frozen=True, slots=True)
class ThreadKey:
    """A key and the thread that it ends in; ``thread`` is None if it ends in none."""

    base: str
    thread: str | None


def store_key(key: str) -> str:
    """``key`` as stores with lower-case keys have it: trimmed and lower-cased as JavaScript does.

    ``layout.normalise_key`` also refuses what cannot be a key.
    """
    return js_trim(key).lower()


def parse_key(key: object) -> AgentKey | None:
    """The parts of an agent-scoped key; None for other keys. Empty parts vanish before it is read."""
    parts = [part for part in lowered(key).split(":") if part]
    if len(parts) < 3 or parts[0] != "agent":
        return None
    agent = js_trim(parts[1])
    return AgentKey(agent, ":".join(parts[2:])) if agent else None


def chat_kind(key: object) -> ChatKind:
    """The kind of chat that a key tells of."""
    scoped = _scoped(key)
    tokens = scoped.split(":")
    if "group" in tokens:
        return "group"
    if "channel" in tokens:
        return "channel"
    if "direct" in tokens or "dm" in tokens:
        return "direct"
    return "channel" if _OLD_DISCORD_CHANNEL.fullmatch(scoped) else "unknown"


def list_kind(key: str, entry: Mapping[str, Any] | None = None) -> ListKind:
    """The kind that lists show; cron and sub-agent sessions count as direct."""
    if key in AGENTLESS:
        return key  # type: ignore[return-value]
    if entry is not None and entry.get("chatType") in ("group", "channel"):
        return "group"
    return "group" if ":group:" in key or ":channel:" in key else "direct"


def is_cron_key(key: object) -> bool:
    """Whether the session is a cron job's, or one of its runs."""
    return _rest(key).startswith("cron:")


def is_cron_run_key(key: object) -> bool:
    """Whether the session is one run of a cron job."""
    return _CRON_RUN.fullmatch(_rest(key)) is not None


def is_subagent_key(key: object) -> bool:
    """Whether the session is a sub-agent's."""
    return lowered(key).startswith("subagent:") or _rest(key).startswith("subagent:")


def is_acp_key(key: object) -> bool:
    """Whether the session is one of an external agent (ACP)."""
    return lowered(key).startswith("acp:") or _rest(key).startswith("acp:")


def subagent_marks(key: object) -> int:
    """How often ``:subagent:`` is in the key: the depth that the text alone tells of."""
    return lowered(key).count(_SUBAGENT)


def thread_parent(key: object) -> str | None:
    """The key of the chat that a thread or topic is part of, its case kept; None if it is no thread."""
    text = trimmed(key)
    lower = text.lower()
    cut = max(lower.rfind(mark) for mark in _THREAD_MARKS)
    if cut <= 0:
        return None
    # The legacy program measures in the lower-cased text, which may be longer, and cuts the other.
    return js_trim(utf16_slice(text, 0, utf16_length(lower[:cut]))) or None


def split_thread(key: str) -> ThreadKey:
    """A key taken apart at its last thread mark; case counts here."""
    cut, mark = max((key.rfind(mark), mark) for mark in _THREAD_MARKS)
    if cut < 0:
        return ThreadKey(key, None)
    return ThreadKey(key[:cut], trimmed(key[cut + len(mark) :]) or None)


def _rest(key: object) -> str:
    parsed = parse_key(key)
    return parsed.rest if parsed is not None else ""


def _scoped(key: object) -> str:
    return _rest(key) or lowered(key)
