"""Session keys: shapes, parsing, other names (sections 8.1-8.3, 12.2, 7.6)."""

from __future__ import annotations

from typing import Any

import pytest

from sessiondir import sessions
from sessiondir.sessions import AgentKey, direct_key, parse_key


@pytest.mark.parametrize(
    ("key", "wanted"),
    [
        ("agent:main:main", ("main", "main")),
        (" Agent:Main:Telegram:Group:-1 ", ("main", "telegram:group:-1")),
        ("agent::main:x", ("main", "x")),
        ("agent:main:", None),
        ("agent:main", None),
        ("agent: main :x", ("main", "x")),
        ("agent:  :x", None),
        ("agent:a: b :c", ("a", " b :c")),
        ("agent:a:b::c", ("a", "b:c")),
        ("xagent:a:b", None),
        ("global", None),
        ("", None),
        (None, None),
        (5, None),
    ],
)
def test_parsing(key: Any, wanted: Any) -> None:
    """8.2, 17.5: lower case, empty parts vanish, the agent is trimmed and the rest is not."""
    assert parse_key(key) == (AgentKey(*wanted) if wanted else None)


@pytest.mark.parametrize(
    ("key", "wanted"),
    [
        ("agent:main:telegram:group:1:direct:2", "group"),
        ("agent:main:slack:channel:c", "channel"),
        ("agent:main:direct:x", "direct"),
        ("telegram:DM:1", "direct"),
        ("discord:guild-1:channel-2", "channel"),
        ("agent:main:discord:acc:guild-1:channel-2", "channel"),
        ("discord:a:b:guild-1:channel-2", "unknown"),
        ("agent:group:main", "unknown"),
        ("agent:main:main", "unknown"),
        ("", "unknown"),
        (None, "unknown"),
    ],
)
def test_chat_kind(key: Any, wanted: str) -> None:
    """8.2: by whole tokens of the rest, and the old form of Discord's keys."""
    assert sessions.chat_kind(key) == wanted


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("agent:main:cron:j", ["cron"]),
        ("agent:main:cron:j:run:r", ["cron", "run"]),
        ("agent:main:cron:j:run:r:x", ["cron"]),
        ("cron:j:failure", []),
        ("agent:main:subagent:x", ["subagent"]),
        ("SubAgent:x", ["subagent"]),
        ("agent:main:acp:x", ["acp"]),
        ("ACP:x", ["acp"]),
        ("agent:main:x:subagent:y", []),
        ("", []),
    ],
)
def test_kinds_of_sessions(key: str, found: list[str]) -> None:
    """8.2: cron jobs and their runs, sub-agents, external agents."""
    tests = {
        "cron": sessions.is_cron_key,
        "run": sessions.is_cron_run_key,
        "subagent": sessions.is_subagent_key,
        "acp": sessions.is_acp_key,
    }
    assert [name for name, test in tests.items() if test(key)] == found


@pytest.mark.parametrize(
    ("key", "wanted"),
    [
        ("agent:main:X:thread:1", "agent:main:X"),
        ("a:thread:1:topic:2", "a:thread:1"),
        ("a:topic:1:THREAD:2", "a:topic:1"),
        (":thread:1", None),
        ("a:threads:1", None),
        ("  a :thread:1 ", "a"),
        ("İİab:thread:x", "İİab:t"),
        ("😀:thread:x", "😀"),
        ("", None),
        (None, None),
    ],
)
def test_thread_parent(key: Any, wanted: str | None) -> None:
    """8.2, 17.6, 15.1: cut at the last mark, case kept; a letter that grows in lower case shifts the cut."""
    assert sessions.thread_parent(key) == wanted


@pytest.mark.parametrize(
    ("key", "base", "thread"),
    [
        ("a:thread:T", "a", "T"),
        ("a:topic:1:thread:2", "a:topic:1", "2"),
        ("a:topic: ", "a", None),
        ("a", "a", None),
    ],
)
def test_splitting_off_a_thread(key: str, base: str, thread: str | None) -> None:
    """8.1: the base and the thread's id, as they are written."""
    assert sessions.split_thread(key) == sessions.ThreadKey(base, thread)


@pytest.mark.parametrize(
    ("key", "entry", "wanted"),
    [
        ("global", {"chatType": "group"}, "global"),
        ("unknown", None, "unknown"),
        ("x", {"chatType": "group"}, "group"),
        ("x", {"chatType": "channel"}, "group"),
        ("a:group:b", {}, "group"),
        ("a:channel:b", None, "group"),
        ("group:b", None, "direct"),
        ("agent:main:cron:j", None, "direct"),
        ("agent:main:subagent:j", {"chatType": "direct"}, "direct"),
    ],
)
def test_list_kind(key: str, entry: Any, wanted: str) -> None:
    """8.2: cron and sub-agent sessions list as direct."""
    assert sessions.list_kind(key, entry) == wanted


def test_building_every_shape() -> None:
    """8.1: each kind of session has its key, and what parses keys understands it."""
    made = {
        sessions.main_key("Main"): "agent:main:main",
        sessions.main_key("Ops Team", " Work "): "agent:ops-team:work",
        sessions.group_key("main", "Telegram", "-100:topic:7"): "agent:main:telegram:group:-100:topic:7",
        sessions.group_key("main", "slack", " C1 ", kind="channel"): "agent:main:slack:channel:c1",
        sessions.group_key("main", None, None): "agent:main:unknown:group:unknown",
        sessions.thread_key("agent:main:slack:channel:c1", " T1 "): "agent:main:slack:channel:c1:thread:t1",
        sessions.thread_key("agent:main:x", " "): "agent:main:x",
        sessions.cron_key("main", "J"): "agent:main:cron:j",
        sessions.cron_key("main", "J", "R"): "agent:main:cron:j:run:r",
        sessions.cron_failure_key("J"): "cron:j:failure",
        sessions.subagent_key("main", "U"): "agent:main:subagent:u",
        sessions.acp_key("codex", "U"): "agent:codex:acp:u",
        sessions.hook_key("main", "U"): "agent:main:hook:u",
        sessions.heartbeat_key("agent:main:main"): "agent:main:main:heartbeat",
    }
    assert [found for found, wanted in made.items() if found != wanted] == []
    assert sessions.is_cron_run_key(sessions.cron_key("main", "j", "r"))
    assert sessions.is_subagent_key(sessions.subagent_key("main", "u"))
    assert sessions.is_acp_key(sessions.acp_key("main", "u"))
    assert sessions.chat_kind(sessions.group_key("main", "slack", "c")) == "group"
    assert sessions.thread_parent(sessions.thread_key("agent:main:x", "t")) == "agent:main:x"


@pytest.mark.parametrize(
    ("scope", "wanted"),
    [
        ("main", "agent:main:main"),
        ("per-peer", "agent:main:direct:bob"),
        ("per-channel-peer", "agent:main:telegram:direct:bob"),
        ("per-account-channel-peer", "agent:main:telegram:default:direct:bob"),
    ],
)
def test_direct_keys(scope: Any, wanted: str) -> None:
    """8.1: by scope; without a peer it is the main session; links replace the peer."""
    assert direct_key("main", "Telegram", " Bob ", scope=scope) == wanted
    assert direct_key("main", "telegram", " ", scope=scope) == "agent:main:main"
    links = {" ": ["bob"], "Robert": ["signal:bob", "TELEGRAM:Bob"], "other": ["bob"]}
    linked = direct_key("main", "telegram", "Bob", scope=scope, identity_links=links)
    assert linked == wanted.replace("bob", "robert")
    assert direct_key("main", "irc", "x", scope=scope, account="A b", identity_links={"n": "x"}) == wanted.replace(
        "bob", "x"
    ).replace("telegram", "irc").replace("default", "a-b")
    assert direct_key("main", None, "x", scope=scope) == wanted.replace("bob", "x").replace("telegram", "unknown")


@pytest.mark.parametrize(
    ("key", "main", "scope", "wanted"),
    [
        ("main", None, "per-sender", "agent:ops:main"),
        ("work", "work", "per-sender", "agent:ops:work"),
        ("agent:ops:main", "work", "per-sender", "agent:ops:work"),
        (" agent:ops:work ", "work", "per-sender", "agent:ops:work"),
        ("agent:ops:main", "work", "global", "global"),
        ("Main", None, "per-sender", "Main"),
        ("agent:main:main", "work", "per-sender", "agent:main:main"),
        ("x", None, "global", "x"),
        (" ", None, "global", ""),
    ],
)
def test_main_aliases(key: str, main: str | None, scope: Any, wanted: str) -> None:
    """8.3: four names of the main session; ``global`` under that scope; case counts."""
    assert sessions.main_alias(key, "Ops", main=main, scope=scope) == wanted


@pytest.mark.parametrize(
    ("key", "wanted"),
    [
        ("Main", "agent:ops:work"),
        ("work", "agent:ops:work"),
        ("agent:OPS:main", "agent:ops:work"),
        ("agent:a:main", "agent:a:work"),
        ("Global", "global"),
        ("Telegram:1", "agent:ops:telegram:1"),
        ("agent:x", "agent:x"),
        ("  ", ""),
    ],
)
def test_what_a_caller_means(key: str, wanted: str) -> None:
    """7.6, 8.3: a key without an agent is the default agent's."""
    assert sessions.request_key(key, default_agent="ops", main="work") == wanted
    if wanted.endswith(":work") and not key.startswith("agent"):
        assert sessions.request_key(key, default_agent="ops", main="work", scope="global") == "global"


@pytest.mark.parametrize(
    ("key", "wanted"),
    [
        ("Global", "global"),
        ("main", "agent:a:main"),
        ("AGENT:X:Y", "agent:x:y"),
        ("SubAgent:U", "agent:a:subagent:u"),
        ("group:120@G.us", "agent:a:whatsapp:group:120@g.us"),
        ("group: X ", "agent:a:unknown:group:x"),
        ("group:", "group:"),
        ("120@g.us", "agent:a:whatsapp:group:120@g.us"),
        ("whatsapp:120@g.us", "agent:a:whatsapp:group:120@g.us"),
        ("WhatsApp:GROUP:120@g.us", "agent:a:whatsapp:group:120@g.us"),
        ("whatsapp:group:120@g.us", "agent:a:whatsapp:group:120@g.us"),
        ("whatsapp:+1", "agent:a:whatsapp:+1"),
        ("+15555550123", "agent:a:+15555550123"),
        ("telegram:group:X", "agent:a:telegram:group:x"),
        (" ", ""),
    ],
)
def test_keys_taken_over_from_old_stores(key: str, wanted: str) -> None:
    """12.2: old group and sub-agent keys get their agent and channel."""
    assert sessions.imported_key(key, "A") == wanted


@pytest.mark.parametrize(
    ("key", "agent", "main", "wanted"),
    [
        ("", "ops", "w", "agent:ops:w"),
        ("MAIN", "ops", None, "agent:ops:main"),
        ("agent:x:y", "ops", None, "agent:x:y"),
        ("agent::x:y", "ops", None, "agent:x:y"),
        ("Agent:x", "ops", None, "agent:x"),
        ("Foo", "ops", None, "agent:ops:foo"),
    ],
)
def test_scoping_a_key(key: str, agent: str, main: str | None, wanted: str) -> None:
    """8.3: into the agent's scope, unless it has one."""
    assert sessions.agent_scoped_key(key, agent, main) == wanted


@pytest.mark.parametrize(
    ("key", "message", "wanted"),
    [
        (" Agent:Main:X ", {}, "agent:main:x"),
        ("discord:dm:42", {"ChatType": "direct"}, "discord:direct:42"),
        ("agent:main:discord:DM:42", {"ChatType": "dm"}, "agent:main:discord:direct:42"),
        ("discord:dm:42", {"ChatType": "group"}, "discord:dm:42"),
        ("discord:channel:42", {"ChatType": "direct", "SenderId": "42"}, "discord:direct:42"),
        ("discord:channel:42", {"ChatType": "direct", "From": "Discord:42"}, "discord:direct:42"),
        (
            "discord:channel:42",
            {"ChatType": "direct", "SenderId": "7", "From": "discord:42"},
            "discord:channel:42",
        ),
        ("discord:channel:42", {"ChatType": "direct", "From": "discord:channel:42"}, "discord:channel:42"),
        ("telegram:dm:42", {"ChatType": "direct", "Surface": "telegram"}, "telegram:dm:42"),
    ],
)
def test_keys_that_a_message_names(key: str, message: dict[str, Any], wanted: str) -> None:
    """8.3: trimmed and lower-cased; Discord's two odd forms of a direct chat become one."""
    assert sessions.explicit_key(key, message) == wanted
    assert sessions.message_key(message | {"SessionKey": key}) == wanted


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        ({"From": "telegram:group:-1"}, "agent:main:telegram:group:-1"),
        ({"From": "+1 555", "ChatType": "direct"}, "agent:main:work"),
        ({"SessionKey": " "}, "agent:main:work"),
        ({}, "agent:main:work"),
    ],
)
def test_the_key_of_a_message(message: dict[str, Any], wanted: str) -> None:
    """8.1: a group's own session, or the one that direct chats share; ``global`` under that scope."""
    assert sessions.message_key(message, main="work") == wanted
    assert sessions.message_key(message, main="work", scope="global") == "global"


@pytest.mark.parametrize(
    ("raw", "wanted", "valid"),
    [
        ("Ops", "ops", True),
        (" ops_1-x ", "ops_1-x", True),
        ("Retired Agent", "retired-agent", False),
        ("###", "main", False),
        ("", "main", False),
        ("x" * 65, "x" * 64, False),
        (None, "main", False),
    ],
)
def test_agent_ids(raw: Any, wanted: str, valid: bool) -> None:
    """7.2: the stored spelling; of what nothing is left, ``main``."""
    assert sessions.agent_id(raw) == wanted
    assert sessions.is_agent_id(raw) == valid


def test_the_stores_key_rule_is_javascripts() -> None:
    """15.1: U+FEFF is a blank and 0x1C is not; lower case is that of all of Unicode, final sigma included."""
    assert sessions.store_key("\ufeff Straße ΑΣ \u2003") == "straße ας"
    assert sessions.store_key("\x1cA\x85") == "\x1ca\x85"
