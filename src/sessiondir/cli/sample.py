"""Real-shaped session entries for demonstrations and measurements.

Everything is synthetic and follows from a seed: the same arguments give the same sessions.
Shapes, sizes and the mix of keys follow what gateways write: a few chats, many scheduled
runs, some sub-agents; entries of one to six kilobytes, and some that carry a skills
snapshot and a prompt report of twenty kilobytes and more, nearly the same in each.
"""

from __future__ import annotations

import random
import uuid
from typing import Any

Entry = dict[str, Any]

NOW_MS = 1_773_957_600_000
"""The latest activity in a sample, so that a sample does not depend on the day it is made."""

_DAY_MS = 86_400_000
_NAMES = ("rowan", "amina", "jonas", "mei", "tomás", "ingrid", "kofi", "yara")
_TOPICS = ("garden", "invoices", "travel", "homework", "kitchen", "release", "choir", "mortgage")
_WORDS = (
    *("read", "write", "list", "fetch", "search", "calendar", "message", "reply", "thread", "notes", "file"),
    *("summary", "token", "budget", "schedule", "weather", "invoice", "photo", "convert", "translate"),
    *("remind", "shell", "browser", "memory", "index", "report", "deploy", "review", "draft"),
)
_MODELS = (
    ("anthropic", "claude-opus-4-6", 200_000),
    ("anthropic", "claude-sonnet-4-6", 200_000),
    ("openai", "gpt-5.4", 272_000),
    ("google", "gemini-3-pro", 1_000_000),
)
_TOOLS = ("read", "edit", "write", "exec", "process", "browser", "cron", "message", "memory_search", "canvas")
_BOOTSTRAP = ("AGENTS.md", "SOUL.md", "TOOLS.md", "IDENTITY.md", "USER.md", "HEARTBEAT.md", "MEMORY.md")


def make_id(rng: random.Random) -> str:
    """A version-4 UUID drawn from ``rng``."""
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def make_text(rng: random.Random, chars: int) -> str:
    """Exactly ``chars`` characters of plain words; none if ``chars`` is negative."""
    words: list[str] = []
    length = 0
    while length <= chars:
        words.append(rng.choice(_WORDS))
        length += len(words[-1]) + 1
    return " ".join(words)[: max(0, chars)]


def make_entry(rng: random.Random, channel: str, peer: str, *, chat_type: str = "direct") -> Entry:
    """An entry of about one kilobyte: counters, settings, and where replies go."""
    session_id = make_id(rng)
    provider, model, window = rng.choice(_MODELS)
    used = rng.randrange(2_000, 120_000)
    to = f"{channel}:{peer}"
    return {
        "sessionId": session_id,
        "updatedAt": NOW_MS - rng.randrange(30 * _DAY_MS),
        "systemSent": True,
        "abortedLastRun": rng.random() < 0.05,
        "chatType": chat_type,
        "thinkingLevel": rng.choice(("off", "low", "medium")),
        "sessionFile": f"/home/user/.openclaw/agents/main/sessions/{session_id}.jsonl",
        "compactionCount": rng.randrange(4),
        "modelProvider": provider,
        "model": model,
        "contextTokens": window,
        "inputTokens": rng.randrange(20, 4_000),
        "outputTokens": rng.randrange(100, 9_000),
        "totalTokens": used,
        "totalTokensFresh": True,
        "cacheRead": used * 9 // 10,
        "cacheWrite": used // 20,
        "estimatedCostUsd": round(rng.random(), 6),
        "authProfileOverride": f"{provider}:default",
        "authProfileOverrideSource": "auto",
        "origin": {
            "label": f"{rng.choice(_NAMES).title()} ({peer})",
            "provider": channel,
            "surface": channel,
            "chatType": chat_type,
            "from": to,
            "to": to,
            "accountId": "default",
        },
        "deliveryContext": {"channel": channel, "to": to, "accountId": "default"},
        "lastChannel": channel,
        "lastTo": to,
        "lastAccountId": "default",
    }


def make_skills_snapshot(rng: random.Random, prompt_chars: int, *, resolved: int = 0) -> Entry:
    """A ``skillsSnapshot`` with a prompt of exactly ``prompt_chars`` characters.

    ``resolved`` skills are listed in full as well, about 450 bytes each.
    """
    names = [f"{rng.choice(_WORDS)}-{number}" for number in range(max(12, resolved))]
    blocks = [
        f"  <skill><name>{name}</name><description>{make_text(rng, 90)}.</description>"
        f"<location>~/.openclaw/skills/{name}/SKILL.md</location></skill>"
        for name in names
    ]
    prompt = "<available_skills>\n" + "\n".join(blocks) + "\n</available_skills>\n"
    prompt += make_text(rng, max(0, prompt_chars - len(prompt)))
    snapshot: Entry = {
        "prompt": prompt[:prompt_chars],
        "skills": [_skill(name, index) for index, name in enumerate(names)],
        "version": 3,
    }
    if resolved:
        snapshot["resolvedSkills"] = [
            {
                "name": name,
                "description": make_text(rng, 240),
                "filePath": f"/home/user/.openclaw/skills/{name}/SKILL.md",
                "baseDir": f"/home/user/.openclaw/skills/{name}",
                "source": "openclaw-managed",
                "disableModelInvocation": False,
            }
            for name in names
        ]
    return snapshot


def _skill(name: str, index: int) -> Entry:
    if index % 3:
        return {"name": name}
    variable = name.upper().replace("-", "_") + "_TOKEN"
    return {"name": name, "primaryEnv": variable, "requiredEnv": [variable]}


def make_prompt_report(rng: random.Random, session_id: str) -> Entry:
    """A ``systemPromptReport``: what the last system prompt was made of, about 5 KB."""
    files = []
    for name in _BOOTSTRAP:
        raw = rng.randrange(200, 24_000)
        path = f"/home/user/.openclaw/workspace/{name}"
        files.append(
            {
                "name": name,
                "path": path,
                "missing": False,
                "rawChars": raw,
                "injectedChars": min(raw, 20_000),
                "truncated": raw > 20_000,
            }
        )
    tools = [
        {
            "name": name,
            "summaryChars": rng.randrange(40, 400),
            "schemaChars": rng.randrange(100, 2_400),
            "propertiesCount": rng.choice((None, 2, 5, 9)),
        }
        for name in (f"{tool}{suffix}" for tool in _TOOLS for suffix in ("", "_batch"))
    ]
    skills = [{"name": f"{word}-{n}", "blockChars": rng.randrange(120, 460)} for n, word in enumerate(_WORDS)]
    return {
        "source": "run",
        "generatedAt": NOW_MS - rng.randrange(_DAY_MS),
        "sessionId": session_id,
        "workspaceDir": "/home/user/.openclaw/workspace",
        "bootstrapMaxChars": 20_000,
        "bootstrapTotalMaxChars": 150_000,
        "sandbox": {"mode": "off", "sandboxed": False},
        "systemPrompt": {"chars": 48_211, "projectContextChars": 31_004, "nonProjectContextChars": 17_207},
        "injectedWorkspaceFiles": files,
        "skills": {"promptChars": 9_000, "entries": skills},
        "tools": {"listChars": 2_900, "schemaChars": 18_400, "entries": tools},
    }


def make_sessions(count: int = 400, seed: int = 1) -> dict[str, Entry]:
    """A legacy store's content: about ``count`` sessions, and a few aliases that differ in case.

    Every alias is older than the session that it stands for, as after a program began to
    write keys in lower case.
    """
    rng = random.Random(seed)
    snapshots = [make_skills_snapshot(rng, chars) for chars in (6_000, 9_000, 12_000)]
    snapshots.append(make_skills_snapshot(rng, 18_000, resolved=120))
    sessions: dict[str, Entry] = {"agent:main:main": make_entry(rng, "webchat", "rowan")}
    sessions["agent:main:main"]["updatedAt"] = NOW_MS
    while len(sessions) < count:
        kind = rng.choices(("cron", "telegram", "whatsapp", "subagent", "slack"), (60, 16, 10, 10, 4))[0]
        sessions.update(_MAKERS[kind](rng))
    for entry in sessions.values():
        if rng.random() < 0.3:
            entry["skillsSnapshot"] = rng.choices(snapshots, (40, 40, 15, 5))[0]
            entry["systemPromptReport"] = make_prompt_report(rng, entry["sessionId"])
    return sessions | _aliases(rng, sessions)


def _cron(rng: random.Random) -> dict[str, Entry]:
    job = f"agent:main:cron:{make_id(rng)}"
    label = f"Cron: {rng.choice(_TOPICS)} digest"
    found = {job: make_entry(rng, "telegram", str(rng.randrange(10**8, 10**9))) | {"label": label}}
    for _ in range(rng.randrange(1, 8)):
        run = make_entry(rng, "telegram", str(rng.randrange(10**8, 10**9))) | {"label": label}
        found[f"{job}:run:{run['sessionId']}"] = run
    return found


def _telegram(rng: random.Random) -> dict[str, Entry]:
    if rng.random() < 0.5:
        peer = str(rng.randrange(10**8, 10**9))
        return {f"agent:main:telegram:default:direct:{peer}": make_entry(rng, "telegram", peer)}
    group = f"-100{rng.randrange(10**9, 10**10)}:topic:{rng.randrange(1, 400)}"
    entry = make_entry(rng, "telegram", group, chat_type="group")
    topic = rng.choice(_TOPICS)
    entry |= {"channel": "telegram", "groupId": group, "subject": topic, "displayName": f"telegram:g-{topic}"}
    return {f"agent:main:telegram:group:{group}": entry}


def _whatsapp(rng: random.Random) -> dict[str, Entry]:
    if rng.random() < 0.5:
        peer = f"+1555{rng.randrange(10**7):07d}"
        return {f"agent:main:whatsapp:direct:{peer}": make_entry(rng, "whatsapp", peer)}
    group = f"1203630{rng.randrange(10**11):011d}@g.us"
    return {f"agent:main:whatsapp:group:{group}": make_entry(rng, "whatsapp", group, chat_type="group")}


def _subagent(rng: random.Random) -> dict[str, Entry]:
    entry = make_entry(rng, "webchat", "rowan")
    started = entry["updatedAt"] - rng.randrange(5_000, 600_000)
    entry |= {
        "spawnedBy": "agent:main:main",
        "spawnDepth": 1,
        "subagentRole": "leaf",
        "label": f"{rng.choice(_TOPICS)} research",
        "startedAt": started,
        "endedAt": entry["updatedAt"],
        "runtimeMs": entry["updatedAt"] - started,
        "status": rng.choice(("done", "done", "done", "failed", "timeout")),
    }
    return {f"agent:main:subagent:{make_id(rng)}": entry}


def _slack(rng: random.Random) -> dict[str, Entry]:
    channel = f"c0{rng.getrandbits(32):08x}"
    thread = f"{NOW_MS // 1000 - rng.randrange(10**6)}.{rng.randrange(10**6):06d}"
    entry = make_entry(rng, "slack", channel, chat_type="channel")
    entry["deliveryContext"]["threadId"] = entry["lastThreadId"] = thread
    return {f"agent:main:slack:channel:{channel}:thread:{thread}": entry}


_MAKERS = {
    "cron": _cron,
    "telegram": _telegram,
    "whatsapp": _whatsapp,
    "subagent": _subagent,
    "slack": _slack,
}


def _aliases(rng: random.Random, sessions: dict[str, Entry]) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    named = [key for key in sessions if ":telegram:" in key or ":slack:" in key][:3]
    for key in ("agent:main:main", *named):
        alias = key.replace("agent:main", "Agent:Main").replace(":slack:", ":Slack:")
        entry = make_entry(rng, "webchat", "rowan")
        entry["updatedAt"] = sessions[key]["updatedAt"] - _DAY_MS
        found[alias] = entry
    return found
