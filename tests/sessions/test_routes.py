"""Delivery routes (section 2)."""

from __future__ import annotations

from typing import Any

import pytest

from sessiondir import UNSET, sessions
from sessiondir.sessions import (
    BUILT_IN_CHANNELS,
    SHIPPED_CHANNELS,
    Plugin,
    account_id,
    account_or_default,
    merge_routes,
    normal_entry,
    normal_route,
    route_key,
    route_of,
    session_route,
)
from sessiondir.sessions.changes import route_change
from sessiondir.sessions.route import flat_fields


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ({"channel": " Telegram ", "to": " X "}, {"channel": "telegram", "to": "X"}),
        ({"channel": "GChat"}, {"channel": "googlechat"}),
        ({"channel": 5, "to": 6}, None),
        ({"channel": "", "to": "\u00a0"}, None),
        ({"to": "\x1fa\x1f"}, {"to": "\x1fa\x1f"}),
        ({"threadId": 7.9}, {"threadId": 7}),
        ({"threadId": -7.9}, {"threadId": -7}),
        ({"threadId": 0}, {"threadId": 0}),
        ({"threadId": " 7 "}, {"threadId": "7"}),
        ({"threadId": " "}, None),
        ({"threadId": True}, None),
        ({"threadId": float("inf")}, None),
        ({"threadId": 1e300}, {"threadId": 1e300}),
        ({"threadId": 12345678901234567891}, {"threadId": 12345678901234567891}),
        ({"extra": 1}, None),
        ({}, None),
        (None, None),
        ("telegram", None),
        ([], None),
    ],
)
def test_one_route(value: Any, wanted: Any) -> None:
    """2.1: each member by its own rule; nothing left, no route; a number stays a number."""
    found = normal_route(value)
    assert found == wanted
    if wanted:
        assert {name: type(part) for name, part in found.items()} == {
            name: type(part) for name, part in wanted.items()
        }


def test_members_stand_in_one_order() -> None:
    """2.1: channel, to, accountId, threadId; what is absent is not written."""
    found = normal_route({"threadId": 1, "accountId": "a", "to": "t", "channel": "c"})
    assert list(found or {}) == ["channel", "to", "accountId", "threadId"]


@pytest.mark.parametrize(
    ("raw", "bare", "shipped"),
    [
        ("imsg", "imessage", "imessage"),
        ("internet-relay-chat", "irc", "irc"),
        ("google-chat", "googlechat", "googlechat"),
        (" WebChat ", "webchat", "webchat"),
        ("teams", "teams", "msteams"),
        ("lark", "lark", "feishu"),
        ("bb", "bb", "bluebubbles"),
        ("NC", "nc", "nextcloud-talk"),
        ("nc-talk", "nc-talk", "nextcloud-talk"),
        ("twitch-chat", "twitch-chat", "twitch"),
        ("zl", "zl", "zalo"),
        ("zlu", "zlu", "zalouser"),
        ("Whatever", "whatever", "whatever"),
        ("constructor", "constructor", "constructor"),
        ("", None, None),
        (5, None, None),
    ],
)
def test_channel_names(raw: Any, bare: str | None, shipped: str | None) -> None:
    """2.2: built-in aliases always; others only where the plugins are known; the rest stays."""
    assert BUILT_IN_CHANNELS.name(raw) == bare
    assert SHIPPED_CHANNELS.name(raw) == shipped


def test_a_callers_own_channels() -> None:
    """2.2: extensible; the first plugin that claims a name has it, and built-in names cannot be taken."""
    mine = BUILT_IN_CHANNELS.with_plugins(Plugin("mine", ("my", "imsg")), Plugin("other", ("MY", "own")))
    assert [mine.name(text) for text in ("My", "own", "imsg")] == ["mine", "other", "imessage"]
    assert mine.is_surface("mine")
    assert not mine.is_surface("my")
    assert normal_entry({"lastChannel": "my", "lastTo": "1"}, mine)["lastChannel"] == "mine"
    assert normal_entry({"lastChannel": "my", "lastTo": "1"})["lastChannel"] == "my"


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        ("Default", "default"),
        ("a_B-1", "a_b-1"),
        ("Ünï Code!!", "n-code"),
        ("a b", "a-b"),
        ("--a--", "a"),
        ("_lead", "_lead"),
        ("é" * 5, None),
        ("x" * 70, "x" * 64),
        ("x" * 63 + " y", "x" * 63 + "-"),
        ("__proto__", None),
        ("Constructor", None),
        ("prototype", None),
        (" \ufeff", None),
        (None, None),
        (5, None),
    ],
)
def test_account_ids(raw: Any, wanted: str | None) -> None:
    """2.3: the stored spelling; nothing usable or reserved in JavaScript, no account."""
    assert account_id(raw) == wanted
    assert account_or_default(raw) == (wanted or "default")


A = {"channel": "telegram", "to": "1", "accountId": "a", "threadId": 1}


@pytest.mark.parametrize(
    ("primary", "fallback", "wanted"),
    [
        (None, None, None),
        (A, None, A),
        (None, A, A),
        ({"channel": "telegram"}, A, A),
        ({"to": "2"}, A, A | {"to": "2"}),
        ({"channel": "slack"}, A, {"channel": "slack"}),
        ({"channel": "slack", "to": "2"}, A, {"channel": "slack", "to": "2"}),
        (A, {"to": "9", "threadId": 9}, A),
        ({"threadId": 0}, A, A | {"threadId": 0}),
        ({"channel": "IMSG"}, {"channel": "imessage", "to": "x"}, {"channel": "imessage", "to": "x"}),
    ],
)
def test_merging(primary: Any, fallback: Any, wanted: Any) -> None:
    """2.4: member by member, unless both name a channel and not the same; then the primary alone."""
    assert merge_routes(primary, fallback) == wanted


@pytest.mark.parametrize(
    ("entry", "wanted"),
    [
        ({"lastChannel": "telegram", "lastTo": "1"}, {"channel": "telegram", "to": "1"}),
        ({"channel": "telegram", "lastTo": "1"}, {"channel": "telegram", "to": "1"}),
        ({"lastChannel": None, "channel": "irc"}, {"channel": "irc"}),
        ({"lastChannel": "", "channel": "irc"}, None),
        ({"lastChannel": 5, "channel": "irc"}, None),
        ({"lastChannel": "irc", "deliveryContext": {"channel": "slack", "to": "x"}}, {"channel": "irc"}),
        ({"lastTo": "1", "deliveryContext": {"channel": "slack", "to": "x"}}, {"channel": "slack", "to": "1"}),
        ({"lastThreadId": 1, "deliveryContext": {"threadId": 2}}, {"threadId": 1}),
        ({"lastThreadId": "", "deliveryContext": {"threadId": 2}}, {"threadId": 2}),
        ({"deliveryContext": "telegram"}, None),
        ({}, None),
    ],
)
def test_the_route_in_an_entrys_fields(entry: dict[str, Any], wanted: Any) -> None:
    """2.5, 17.10: the flat fields beat ``deliveryContext``; a field that is there blocks the next one."""
    assert session_route(entry) == wanted
    assert flat_fields(session_route(entry)).get("deliveryContext") == wanted


@pytest.mark.parametrize(
    ("entry", "wanted"),
    [
        ({"lastThreadId": 1, "origin": {"threadId": 3}}, {"threadId": 1}),
        ({"deliveryContext": {"threadId": 2}, "origin": {"threadId": 3}}, {"threadId": 2}),
        ({"origin": {"threadId": 3}}, {"threadId": 3}),
        ({"lastThreadId": "", "origin": {"threadId": 3}}, None),
        ({"lastThreadId": False, "origin": {"threadId": 3}}, None),
        ({"origin": "x", "lastTo": "1"}, {"to": "1"}),
        (
            {"lastChannel": "slack", "deliveryContext": {"channel": "matrix", "to": "r", "threadId": "$t"}},
            {"channel": "slack", "threadId": "$t"},
        ),
        (None, None),
        ("text", None),
    ],
)
def test_the_route_of_an_entry(entry: Any, wanted: Any) -> None:
    """2.5: a thread comes from three places; on a channel conflict it leaks, as in the legacy program."""
    assert route_of(entry) == wanted


def test_later_releases_look_at_the_origin_too() -> None:
    """2.5: from 2026.3.28 on channel and account fall back to ``origin``; only when asked for."""
    entry = {"lastTo": "1", "origin": {"provider": "Telegram", "accountId": "A"}}
    assert route_of(entry) == {"to": "1"}
    assert route_of(entry, use_origin=True) == {"channel": "telegram", "to": "1", "accountId": "a"}
    assert route_of(entry | {"channel": "irc"}, use_origin=True) == {"channel": "irc", "to": "1", "accountId": "a"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        # both places, in order, behind what was there
        (
            {"z": 1, "lastTo": " 1 ", "lastChannel": "Telegram", "y": 2},
            {
                "z": 1,
                "lastTo": "1",
                "lastChannel": "telegram",
                "y": 2,
                "deliveryContext": {"channel": "telegram", "to": "1"},
            },
        ),
        # null is absent in the nested form, not among the flat fields
        ({"deliveryContext": {"channel": None}}, {"deliveryContext": {"channel": None}}),
        ({"lastChannel": None}, {}),
        ({"lastTo": 7, "a": 1}, {"a": 1}),
        # members nobody knows of a context that is rewritten go, of one that is not they stay
        ({"deliveryContext": {"to": "1", "x": 1}}, {"deliveryContext": {"to": "1"}, "lastTo": "1"}),
        (
            {"deliveryContext": {"to": "1", "x": 1}, "lastTo": "1"},
            {"deliveryContext": {"to": "1", "x": 1}, "lastTo": "1"},
        ),
        # 17.8: the origin's thread is promoted
        (
            {"origin": {"threadId": 5}},
            {"origin": {"threadId": 5}, "deliveryContext": {"threadId": 5}, "lastThreadId": 5},
        ),
        # 17.9: an account that is not text is left alone
        ({"lastAccountId": 5, "lastTo": " 1 "}, {"lastAccountId": 5, "lastTo": " 1 "}),
        ({"deliveryContext": {"accountId": 5}}, {"deliveryContext": {"accountId": 5}}),
    ],
)
def test_saving_puts_the_route_in_both_places(before: dict[str, Any], after: dict[str, Any]) -> None:
    """2.6: all five fields if one differs, in place or last; else the same object."""
    found = normal_entry(before)
    assert found == after
    assert list(found) == list(after)
    if before == after:
        assert found is before


@pytest.mark.parametrize(("stored", "same"), [(7.0, True), (True, False), ("7", False)])
def test_equality_is_that_of_javascript(stored: Any, same: bool) -> None:
    """2.6, 15.1: ``7`` and ``7.0`` are one value; ``true`` and text are others."""
    entry = {"lastThreadId": 7, "deliveryContext": {"threadId": stored}}
    assert (normal_entry(entry) is entry) == same


STORED = {
    "sessionId": "s",
    "updatedAt": 50,
    "deliveryContext": {"channel": "telegram", "to": "1", "accountId": "a", "threadId": 9},
    "lastChannel": "telegram",
    "lastTo": "1",
    "lastAccountId": "a",
    "lastThreadId": 9,
}


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        # leaving a thread clears it; an account is kept on the same channel
        ({"channel": "telegram", "to": "2"}, {"channel": "telegram", "to": "2", "accountId": "a"}),
        ({"to": "1"}, {"channel": "telegram", "to": "1", "accountId": "a"}),
        ({"channel": "slack", "to": "2"}, {"channel": "slack", "to": "2"}),
        ({"to": "1", "thread_id": 3}, {"channel": "telegram", "to": "1", "accountId": "a", "threadId": 3}),
        ({"to": "1", "thread_id": ""}, {"channel": "telegram", "to": "1", "accountId": "a"}),
        # without channel and target the stored thread stays
        ({"account_id": "b"}, {"channel": "telegram", "to": "1", "accountId": "b", "threadId": 9}),
        ({}, {"channel": "telegram", "to": "1", "accountId": "a", "threadId": 9}),
        # the context counts before the loose arguments
        (
            {"context": {"to": "5", "threadId": 4}, "to": "2", "account_id": "c"},
            {"channel": "telegram", "to": "5", "accountId": "c", "threadId": 4},
        ),
        (
            {"context": {"to": "5", "threadId": None}, "thread_id": 3},
            {"channel": "telegram", "to": "5", "accountId": "a", "threadId": 3},
        ),
        # a thread that is given and comes to nothing keeps the stored one
        (
            {"context": {"to": "1", "threadId": " "}},
            {"channel": "telegram", "to": "1", "accountId": "a", "threadId": 9},
        ),
        ({"channel": "telegram", "to": " 2 "}, {"channel": "telegram", "to": "2", "accountId": "a"}),
    ],
)
def test_updating_the_route(arguments: dict[str, Any], wanted: dict[str, Any]) -> None:
    """2.7: what is not given is kept, but a thread only while no chat is named; stored in both places."""
    changed = route_change(STORED, "k", now_ms=100, **arguments)
    assert changed["deliveryContext"] == wanted
    assert {name: changed[name] for name in STORED if name.startswith("last") and name in changed} == {
        name: value
        for name, value in flat_fields(wanted).items()
        if name != "deliveryContext"  # type: ignore[arg-type]
    }
    assert (changed["sessionId"], changed["updatedAt"]) == ("s", 100)


def test_updating_the_route_with_a_message() -> None:
    """2.7: ``updatedAt`` never moves back; the message's fields win over the route's."""
    changed = route_change(
        STORED | {"updatedAt": 500},
        "k",
        now_ms=100,
        to="2",
        message={"From": "telegram:group:-5", "ChatType": "group", "GroupSubject": "Plan"},
    )
    assert changed["updatedAt"] == 500
    assert (changed["groupId"], changed["displayName"]) == ("-5", "telegram:g-plan")
    assert changed["origin"]["from"] == "telegram:group:-5"


def test_the_origins_thread_comes_back_when_the_route_is_saved() -> None:
    """2.7, 17.8: the save after the update promotes it, as the legacy program's does."""
    changed = route_change(STORED | {"origin": {"threadId": 5}}, "k", now_ms=1, channel="telegram", to="2")
    assert changed["lastThreadId"] == 5


@pytest.mark.parametrize(
    ("route", "wanted"),
    [
        ({"channel": "Telegram", "to": " 1 "}, "telegram|1||"),
        ({"channel": "telegram", "to": "1", "accountId": "A", "threadId": 0}, "telegram|1|a|0"),
        ({"channel": "telegram", "to": "1", "threadId": "0"}, "telegram|1||0"),
        ({"channel": "telegram", "to": "1", "threadId": 1e21}, "telegram|1||1e+21"),
        (
            {"channel": "telegram", "to": "1", "threadId": 123456789012345680000},
            "telegram|1||123456789012345680000",
        ),
        ({"channel": "telegram"}, None),
        ({"to": "1"}, None),
        (None, None),
    ],
)
def test_route_keys(route: Any, wanted: str | None) -> None:
    """2.8, 17.18: equal for equal routes; numbers as JavaScript prints them."""
    assert route_key(route) == wanted


def test_unset_is_no_route() -> None:
    """A patch's "remove" in a stored route is nothing to send to."""
    assert sessions.normal_route({"to": UNSET, "threadId": UNSET}) is None
