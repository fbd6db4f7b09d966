"""What inbound messages tell: groups, origin, names, labels (section 3)."""

from __future__ import annotations

from typing import Any

import pytest

from sessiondir.sessions import (
    SHIPPED_CHANNELS,
    Group,
    chat_type,
    conversation_label,
    group_display_name,
    group_of,
    group_patch,
    inbound_patch,
    merge_origins,
    origin_of,
)
from sessiondir.sessions.changes import inbound_change


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        ({"From": "telegram:group:-100123:topic:7"}, "telegram:group:-100123:topic:7"),
        ({"From": "discord:group:C1", "ChatType": "channel"}, "discord:group:c1"),
        ({"From": "group:ABC", "Provider": "Telegram", "ChatType": "group"}, "telegram:group:group:abc"),
        (
            {"From": "matrix:!Room:server", "ChatType": "group", "Provider": "matrix"},
            "matrix:group:matrix:!room:server",
        ),
        ({"From": "telegram:-5", "ChatType": " Group "}, "telegram:group:-5"),
        ({"From": "telegram:-5", "ChatType": "channel"}, "telegram:channel:-5"),
        ({"From": "slack:channel:C1"}, "slack:channel:c1"),
        ({"From": "webchat:group:x"}, "webchat:group:x"),
        ({"From": "120363@g.us"}, "whatsapp:group:120363@g.us"),
        ({"From": "120363@G.US"}, "whatsapp:group:120363@g.us"),
        ({"From": "120363@g.us", "Provider": None}, "whatsapp:group:120363@g.us"),
        ({"From": "x:channel:y", "Provider": "irc"}, "irc:channel:x:channel:y"),
        ({"From": "::telegram::group::a"}, "telegram:group:a"),
        # none: a blank provider blocks the guess, marks count in exact case, an id is needed
        ({"From": "120363@g.us", "Provider": ""}, None),
        ({"From": "120363@g.us", "Provider": " "}, None),
        ({"From": "telegram:GROUP:x"}, None),
        ({"From": "telegram:group:"}, None),
        ({"From": "imsg:group:x"}, None),
        ({"From": "telegram:42", "ChatType": "direct"}, None),
        ({"From": "telegram:42"}, None),
        ({"ChatType": "group", "Provider": "irc"}, None),
        ({"From": 5, "ChatType": "group", "Provider": "irc"}, None),
        ({}, None),
    ],
)
def test_groups(message: dict[str, Any], wanted: str | None) -> None:
    """3.1, 17.1, 17.13: which messages are of a group, and the group's key."""
    group = group_of(message)
    assert (group.key if group else None) == wanted
    if group is not None:
        assert wanted == f"{group.channel}:{group.kind}:{group.id}"


def test_plugins_make_surfaces() -> None:
    """3.1: the id of a plugin's channel is taken off; its aliases are not accepted."""
    message = {"From": "matrix:!room:server", "ChatType": "group", "Provider": "matrix"}
    assert group_of(message, SHIPPED_CHANNELS) == Group("matrix", "group", "!room:server")
    assert group_of({"From": "lark:group:x"}, SHIPPED_CHANNELS) is None


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [("DM", "direct"), (" direct", "direct"), ("group", "group"), ("Channel", "channel"), ("x", None), (5, None)],
)
def test_chat_types(raw: Any, wanted: str | None) -> None:
    """3.2: the four words, in any case."""
    assert chat_type(raw) == wanted


def test_origin() -> None:
    """3.2: each member by its own rule, empty ones left out."""
    message = {
        "ConversationLabel": " Rowan ",
        "OriginatingChannel": "GChat",
        "Surface": " Telegram ",
        "Provider": "irc",
        "ChatType": "dm",
        "From": " telegram:42 ",
        "OriginatingTo": " X ",
        "To": "Y",
        "AccountId": " Acc ",
        "MessageThreadId": 0,
    }
    assert origin_of(message) == {
        "label": "Rowan",
        "provider": "googlechat",
        "surface": "telegram",
        "chatType": "direct",
        "from": "telegram:42",
        "to": "X",
        "accountId": "Acc",
        "threadId": 0,
    }


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        ({}, None),
        ({"Surface": " "}, None),
        ({"OriginatingChannel": "", "Surface": "Telegram"}, {"provider": "telegram", "surface": "telegram"}),
        ({"OriginatingChannel": " ", "Provider": "irc"}, None),
        ({"OriginatingChannel": None, "Provider": "irc"}, {"provider": "irc"}),
        ({"OriginatingTo": "", "To": "Y"}, None),
        ({"OriginatingTo": None, "To": " Y "}, {"to": "Y"}),
        ({"MessageThreadId": ""}, None),
        ({"MessageThreadId": " "}, {"threadId": " "}),
        ({"MessageThreadId": 1.5}, {"threadId": 1.5}),
        ({"ChatType": 5, "AccountId": 7, "GroupSubject": []}, None),
    ],
)
def test_origin_members(message: dict[str, Any], wanted: Any) -> None:
    """3.2, 17.12: what counts as given, and what as empty; other types count as absent."""
    assert origin_of(message) == wanted


@pytest.mark.parametrize(
    ("stored", "new", "wanted"),
    [
        (None, None, None),
        ({}, None, None),
        ({"label": "a", "x": 1}, None, {"label": "a", "x": 1}),
        ({"label": "a", "x": 1}, {"label": "b", "threadId": 0}, {"label": "b", "x": 1, "threadId": 0}),
        ({"to": "t"}, {"from": "f"}, {"to": "t", "from": "f"}),
        ("text", {"from": "f"}, {"from": "f"}),
    ],
)
def test_merging_origins(stored: Any, new: Any, wanted: Any) -> None:
    """3.2: overwritten member by member, never cleared; unknown members survive."""
    before = dict(stored) if isinstance(stored, dict) else stored
    assert merge_origins(stored, new) == wanted
    assert stored == before


def named(**parts: Any) -> str:
    told: dict[str, Any] = {
        "channel": "telegram",
        "subject": None,
        "group_channel": None,
        "space": None,
        "group_id": "id",
        "key": "k",
    }
    return group_display_name(**(told | parts))


@pytest.mark.parametrize(
    ("parts", "wanted"),
    [
        ({"subject": "Garden Planning"}, "telegram:g-garden-planning"),
        ({"subject": "Family 👨‍👩‍👧", "channel": "whatsapp"}, "whatsapp:g-family"),
        ({"subject": "日本語"}, "telegram"),
        ({"subject": "日本語で長い長い長い長い長い題名です"}, "telegram"),
        ({"group_channel": "#general", "space": "friends", "channel": "discord"}, "discord:friends#general"),
        ({"group_channel": "general", "space": "friends", "channel": "discord"}, "discord:friends#general"),
        ({"group_channel": "#ops"}, "telegram:#ops"),
        ({"group_channel": "ops"}, "telegram:g-ops"),
        ({"group_channel": "old", "space": "sp", "subject": "Plan"}, "telegram:sp#old"),
        ({"subject": "#plan"}, "telegram:g-plan"),
        ({"subject": "##plan"}, "telegram:g-plan"),
        ({"subject": "#plan", "group_channel": " "}, "telegram:#plan"),
        ({"subject": "#plan", "group_channel": ""}, "telegram:g-plan"),
        ({"subject": "@bob"}, "telegram:@bob"),
        ({"subject": "g-thing"}, "telegram:g-thing"),
        ({"subject": "a  b -- c"}, "telegram:g-a-b-c"),
        ({"subject": "-.x.-"}, "telegram:g-x"),
        ({"space": "Sp Ace"}, "telegram:g-sp-ace"),
        ({}, "telegram:g-id"),
        ({"group_id": " "}, "telegram:g-k"),
        ({"channel": " ", "subject": "x"}, "group:g-x"),
        ({"channel": 5, "subject": 6}, "group:g-id"),
    ],
)
def test_display_names(parts: dict[str, Any], wanted: str) -> None:
    """3.3, 17.3: which text names the group, and how it is written."""
    assert named(**parts) == wanted


def test_a_slug_of_nothing_takes_the_shortened_name() -> None:
    """3.3, 15.1: of a long foreign title the dots of the shortened form are dropped again: the channel alone."""
    assert named(subject="題" * 20) == "telegram"
    assert named(subject="題" * 20 + "end") == "telegram:g-end"


MESSAGE = {"From": "telegram:group:-5", "ChatType": "group"}


@pytest.mark.parametrize(
    ("given", "existing", "wanted"),
    [
        ({"GroupSubject": " Plan "}, None, {"subject": "Plan", "displayName": "telegram:g-plan"}),
        (
            {"GroupChannel": "#c", "GroupSubject": "Plan"},
            None,
            {"groupChannel": "#c", "displayName": "telegram:#c"},
        ),
        # an empty group channel keeps a "#" subject from becoming one; blank ones are not stored
        ({"GroupChannel": "", "GroupSubject": "#c"}, None, {"subject": "#c", "displayName": "telegram:g-c"}),
        ({"GroupSpace": " s "}, None, {"space": "s", "displayName": "telegram:g-s"}),
        # stored values shape the name where the message is silent
        (
            {"GroupSubject": "Plan"},
            {"groupChannel": "#old", "space": "sp"},
            {"subject": "Plan", "displayName": "telegram:sp#old"},
        ),
        ({}, {"subject": "Old"}, {"displayName": "telegram:g-old"}),
        # and a blank member hides them
        ({"GroupSubject": " "}, {"subject": "Old"}, {"displayName": "telegram:g-5"}),
        ({"GroupChannel": " "}, {"groupChannel": "#old"}, {"displayName": "telegram:g-5"}),
        ({"GroupSpace": ""}, {"space": "sp", "groupChannel": "c"}, {"displayName": "telegram:g-c"}),
        ({"GroupSubject": 5}, {"subject": 6}, {"displayName": "telegram:g-5"}),
    ],
)
def test_group_patches(given: dict[str, Any], existing: Any, wanted: dict[str, Any]) -> None:
    """3.3, 17.2: fields of the group, and the name that they and the stored ones give."""
    base = {"chatType": "group", "channel": "telegram", "groupId": "-5"}
    assert group_patch(MESSAGE | given, "k", existing) == base | wanted


@pytest.mark.parametrize(
    ("message", "shipped", "wanted"),
    [
        ({"From": "discord:channel:1"}, False, True),
        ({"From": "discord:group:1"}, False, False),
        ({"From": "discord:group:1"}, True, True),
        ({"From": "whatsapp:group:1"}, True, False),
        ({"From": "group:1", "ChatType": "group", "Provider": "Teams"}, True, True),
        ({"From": "group:1", "ChatType": "group", "Provider": "Teams"}, False, False),
    ],
)
def test_a_subject_that_is_a_channel(message: dict[str, Any], shipped: bool, wanted: bool) -> None:
    """3.3, 17.14: "#name" is a group channel if the chat is one, or the channel's plugin knows such chats."""
    channels = {"channels": SHIPPED_CHANNELS} if shipped else {}
    patch = group_patch(message | {"GroupSubject": "#ops"}, "k", **channels) or {}  # type: ignore[arg-type]
    assert patch.get("groupChannel") == ("#ops" if wanted else None)
    assert patch.get("subject") == (None if wanted else "#ops")
    if message.get("Provider"):
        assert patch["channel"] == "teams"  # the alias stays


def test_a_group_that_the_caller_knows() -> None:
    """3.3: a supplied group is used instead of the message's."""
    patch = group_patch({}, "k", group=Group("irc", "channel", "x")) or {}
    assert (patch["channel"], patch["chatType"], patch["groupId"]) == ("irc", "channel", "x")
    assert group_patch({}, "k") is None


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        ({"ConversationLabel": " A ", "ThreadLabel": "B"}, "A"),
        ({"ConversationLabel": " ", "ThreadLabel": " B "}, "B"),
        ({"ChatType": "direct", "SenderName": "Ann", "From": "x:1"}, "Ann"),
        ({"ChatType": "dm", "From": " x:1 "}, "x:1"),
        ({"ChatType": "direct"}, None),
        ({"GroupSubject": "Plan", "From": "telegram:group:100"}, "Plan id:100"),
        ({"GroupSubject": "Plan", "From": "telegram:group:-100"}, "Plan"),
        ({"GroupSubject": "Plan", "From": "120@g.us"}, "Plan id:120@g.us"),
        ({"GroupSubject": "Plan", "From": "120@G.US"}, "Plan"),
        ({"GroupSubject": "Plan 100", "From": "x:100"}, "Plan 100"),
        ({"GroupSubject": "Plan ID:1", "From": "x:100"}, "Plan ID:1"),
        ({"GroupSubject": "#Plan", "From": "x:100"}, "#Plan"),
        ({"GroupSubject": "@Plan", "From": "x:100"}, "@Plan"),
        ({"GroupChannel": "c", "GroupSubject": "s", "GroupSpace": "p"}, "c"),
        ({"GroupChannel": " ", "GroupSubject": "", "GroupSpace": "p"}, "p"),
        ({"From": "x:100"}, "x:100"),
        ({"From": "x:１００", "GroupSubject": "s"}, "s"),
        ({"From": " : "}, ":"),
        ({}, None),
    ],
)
def test_labels(message: dict[str, Any], wanted: str | None) -> None:
    """3.4, 17.13: what the conversation is called, and when its id is added."""
    assert conversation_label(message) == wanted


def test_the_combined_patch() -> None:
    """3.5: group and merged origin; None only if there is neither."""
    assert inbound_patch({"MessageThreadId": ""}, "k", {"origin": {"label": "a"}}) is None
    assert inbound_patch({"Surface": "irc"}, "k", {"origin": {"label": "a"}}) == {
        "origin": {"label": "a", "provider": "irc", "surface": "irc"}
    }
    patch = inbound_patch(MESSAGE, "k") or {}
    assert list(patch) == ["chatType", "channel", "groupId", "displayName", "origin"]


def test_recording_preserves_activity() -> None:
    """3.5: an existing session's ``updatedAt`` stays, a new one's is now; nothing to say changes nothing."""
    stored = {"sessionId": "s", "updatedAt": 5}
    assert (inbound_change(stored, "k", MESSAGE, now_ms=100) or {})["updatedAt"] == 5
    assert (inbound_change(None, "k", MESSAGE, now_ms=100) or {})["updatedAt"] == 100
    assert inbound_change(None, "k", {}, now_ms=100) is None
    assert inbound_change(stored, "k", {}, now_ms=100) is stored
