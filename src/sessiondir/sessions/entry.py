"""What is known of the fields of an entry.

An entry stays the plain ``dict`` that the store hands out: reading a known field of one costs
nothing that way, fields that nobody knows stay where they are, and "absent" and "null" stay
apart. ``SessionEntry`` tells type checkers what the fields are; ``field`` reads one of them
without trusting whoever wrote it.

Units: names in ``Ms`` and ``At`` are milliseconds (``At``: since the epoch), as are
``updatedAt`` and ``abortCutoffTimestamp``; token fields are counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, TypedDict

from sessiondir.sessions.route import Route
from sessiondir.sessions.values import number

Number = int | float


ThreadId = str | int | float

# "from" is a keyword, so this one has to be made by a call.
Origin = TypedDict(
    "Origin",
    {
        "label": str,
        "provider": str,
        "surface": str,
        "chatType": Literal["direct", "group", "channel"],
        "from": str,
        "to": str,
        "accountId": str,
        "threadId": ThreadId,
    },
    total=False,
)


class SessionEntry(TypedDict, total=False):
    """The known fields of an entry. Real entries lack required ones and hold others."""

    sessionId: str
    updatedAt: Number
    sessionFile: str
    lastHeartbeatText: str
    lastHeartbeatSentAt: Number
    spawnedBy: str
    spawnedWorkspaceDir: str
    parentSessionKey: str
    forkedFromParent: bool
    spawnDepth: Number
    subagentRole: Literal["orchestrator", "leaf"]
    subagentControlScope: Literal["children", "none"]
    systemSent: bool
    abortedLastRun: bool
    startedAt: Number
    endedAt: Number
    runtimeMs: Number
    status: Literal["running", "done", "failed", "killed", "timeout"]
    abortCutoffMessageSid: str
    abortCutoffTimestamp: Number
    chatType: Literal["direct", "group", "channel"]
    thinkingLevel: str
    fastMode: bool
    verboseLevel: str
    reasoningLevel: str
    elevatedLevel: str
    ttsAuto: str
    execHost: str
    execSecurity: str
    execAsk: str
    execNode: str
    responseUsage: str
    providerOverride: str
    modelOverride: str
    authProfileOverride: str
    authProfileOverrideSource: str
    authProfileOverrideCompactionCount: Number
    groupActivation: Literal["mention", "always"]
    groupActivationNeedsSystemIntro: bool
    sendPolicy: Literal["allow", "deny"]
    queueMode: str
    queueDebounceMs: Number
    queueCap: Number
    queueDrop: str
    inputTokens: Number
    outputTokens: Number
    totalTokens: Number
    totalTokensFresh: bool
    cacheRead: Number
    cacheWrite: Number
    contextTokens: Number
    estimatedCostUsd: Number
    modelProvider: str
    model: str
    fallbackNoticeSelectedModel: str
    fallbackNoticeActiveModel: str
    fallbackNoticeReason: str
    compactionCount: Number
    memoryFlushAt: Number
    memoryFlushCompactionCount: Number
    memoryFlushContextHash: str
    cliSessionIds: dict[str, str]
    claudeCliSessionId: str
    cliSessionBindings: dict[str, Any]
    label: str
    displayName: str
    channel: str
    groupId: str
    subject: str
    groupChannel: str
    space: str
    origin: Origin
    deliveryContext: Route
    lastChannel: str
    lastTo: str
    lastAccountId: str
    lastThreadId: ThreadId
    skillsSnapshot: dict[str, Any]
    systemPromptReport: dict[str, Any]
    acp: dict[str, Any]


Kind = Literal["text", "number", "flag", "object", "text or number"]

_KINDS: Final[Mapping[str, Kind]] = {
    "str": "text",
    "Number": "number",
    "bool": "flag",
    "ThreadId": "text or number",
}


def _kind(annotation: str) -> Kind:
    return "text" if annotation.startswith("Literal") else _KINDS.get(annotation, "object")


FIELDS: Final[Mapping[str, Kind]] = {
    # Annotations are text here, which spares every program that imports this their evaluation.
    name: _kind(str(getattr(annotation, "__forward_arg__", annotation)))
    for name, annotation in SessionEntry.__annotations__.items()
}
"""The known fields and the kind of value each holds."""


def _fits(value: object, kind: Kind) -> bool:
    if kind == "text":
        return isinstance(value, str)
    if kind == "number":
        return number(value) is not None
    if kind == "flag":
        return isinstance(value, bool)
    if kind == "object":
        return isinstance(value, Mapping)
    return isinstance(value, str) or number(value) is not None


def field(entry: Mapping[str, Any], name: str) -> Any:
    """A known field's value; None if it is absent, null, or not of the field's kind.

    ``KeyError`` if no such field is known.
    """
    value = entry.get(name)
    return value if _fits(value, FIELDS[name]) else None


def misfits(entry: Mapping[str, Any]) -> list[str]:
    """The names of known fields that hold something of another kind; null counts as absent."""
    return [
        name
        for name, value in entry.items()
        if value is not None and name in FIELDS and not _fits(value, FIELDS[name])
    ]


def fresh_total_tokens(entry: object) -> int | float | None:
    """``totalTokens`` if it may be trusted: 0 or more, and not marked as stale; else None."""
    if not isinstance(entry, Mapping) or entry.get("totalTokensFresh") is False:
        return None
    total = number(entry.get("totalTokens"))
    return total if total is not None and total >= 0 else None
