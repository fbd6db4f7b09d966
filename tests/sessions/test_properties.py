"""The rules once more, stated in other words than the code, on random values."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from support.strategies import QUICK, values

from sessiondir import UNSET
from sessiondir.sessions import (
    BUILT_IN_CHANNELS,
    account_id,
    agent_id,
    combined_entries,
    find_entry,
    group_of,
    inbound_patch,
    merge_entry,
    merge_routes,
    misfits,
    normal_entry,
    normal_route,
    parse_key,
    route_key,
    route_of,
    session_depth,
    session_recipients,
    thread_parent,
)
from sessiondir.sessions.changes import inbound_change, patch_change, route_change
from sessiondir.sessions.entry import FIELDS

BLANKS = st.sampled_from(["", " ", "\t", "\ufeff", "\u00a0", "\x1c"])
words = st.sampled_from(
    [
        "telegram",
        "Slack",
        "gchat",
        "imsg",
        "x",
        "A b",
        "-100",
        "120@g.us",
        "group",
        "channel",
        "agent",
        "main",
        "é",
    ]
)
texts = st.one_of(
    st.builds(lambda a, b, c: a + b + c, BLANKS, words, BLANKS),
    st.lists(words, max_size=4).map(":".join),
    st.text(max_size=5),
)
anything = st.one_of(texts, texts, texts, values)
threads = st.one_of(st.integers(-3, 3), st.floats(-3, 3), texts, st.none(), values)
routes = st.one_of(
    st.fixed_dictionaries(
        {}, optional={"channel": anything, "to": anything, "accountId": anything, "threadId": threads}
    ),
    values,
)
entries = st.builds(
    lambda some, known: {**some, **known},
    st.dictionaries(st.sampled_from([*sorted(FIELDS), "provider", "room", "lastProvider", "new"]), anything),
    st.fixed_dictionaries(
        {},
        optional={
            "lastChannel": texts,
            "lastTo": texts,
            "lastAccountId": texts,
            "lastThreadId": threads,
            "deliveryContext": routes,
            "channel": texts,
            "origin": st.fixed_dictionaries({}, optional={"threadId": threads, "label": texts}),
            "updatedAt": st.integers(0, 10),
            "model": texts,
            "modelProvider": texts,
        },
    ),
)
messages = st.dictionaries(
    st.sampled_from(
        [
            "From",
            "To",
            "ChatType",
            "Provider",
            "Surface",
            "GroupSubject",
            "GroupChannel",
            "GroupSpace",
            "MessageThreadId",
        ]
    ),
    anything,
)
keys = st.one_of(texts, st.lists(words, min_size=1, max_size=5).map(lambda parts: "agent:" + ":".join(parts)))


@given(routes)
@QUICK
def test_a_normal_route_is_one(route: Any) -> None:
    """2.1: normalising is done once; every member is of its type and none is empty."""
    found = normal_route(route)
    assert normal_route(found) == found
    if found is not None:
        assert found
        assert all(part != "" and part is not None and part is not True for part in found.values())
        assert set(found) <= {"channel", "to", "accountId", "threadId"}


@given(routes, routes)
@QUICK
def test_merging_two_routes(primary: Any, fallback: Any) -> None:
    """2.4: said as a table: who wins each member, and when the fallback has no say."""
    first, second = normal_route(primary) or {}, normal_route(fallback) or {}
    strangers = {first.get("channel"), second.get("channel")} - {None}
    wanted: dict[str, Any] = dict(first) if len(strangers) == 2 else {**second, **first}
    assert (merge_routes(primary, fallback) or {}) == wanted


@given(routes, routes)
@QUICK
def test_route_keys_tell_routes_apart(one: Any, other: Any) -> None:
    """2.8: equal keys, equal routes, as far as text and number of a thread go."""

    def told(route: Any) -> Any:
        normal: dict[str, Any] = dict(normal_route(route) or {})
        if not {"channel", "to"} <= normal.keys():
            return None
        return [normal.get(name, "") for name in ("channel", "to", "accountId")], str(normal.get("threadId", ""))

    plain = "|" not in f"{one}{other}" and not any(
        "e" in str((normal_route(r) or {}).get("threadId", "")) for r in (one, other)
    )
    if plain:
        assert (route_key(one) == route_key(other)) == (told(one) == told(other))


@given(entries)
@QUICK
def test_saving(entry: dict[str, Any]) -> None:
    """2.6, 1.1: fields that have nothing to do with route and model are never touched, nor is the argument."""
    before = copy.deepcopy(entry)
    saved = normal_entry(entry)
    assert entry == before
    ours = {"deliveryContext", "lastChannel", "lastTo", "lastAccountId", "lastThreadId", "model", "modelProvider"}
    assert {n: v for n, v in saved.items() if n not in ours} == {n: v for n, v in entry.items() if n not in ours}
    assert [name for name in entry if name in saved] == [name for name in saved if name in entry]
    if saved is not entry:
        assert saved != entry
    accounts = [
        entry.get("lastAccountId"),
        (entry.get("deliveryContext") or {}) if isinstance(entry.get("deliveryContext"), dict) else {},
    ]
    if all(isinstance(one, (str, type(None))) for one in (accounts[0], accounts[1].get("accountId"))):
        # What is read from the saved entry's flat fields is what was read from the stored one.
        route = route_of(entry) or {}
        flat = {"channel": "lastChannel", "to": "lastTo", "accountId": "lastAccountId", "threadId": "lastThreadId"}
        assert {part: saved[name] for part, name in flat.items() if name in saved} == route
        assert (normal_route(saved.get("deliveryContext")) or {}) == route


@given(
    st.none() | entries,
    st.dictionaries(st.sampled_from(sorted(FIELDS)), st.just(UNSET) | anything),
    st.integers(0, 10),
)
@QUICK
def test_merging_entries(existing: Any, patch: dict[str, Any], now: int) -> None:
    """1.4: said field by field."""
    stored = existing or {}
    merged = merge_entry(existing, patch, now_ms=now, new_session_id=lambda: "new")
    for name in {**stored, **patch}:
        if name in ("sessionId", "updatedAt", "model", "modelProvider"):
            continue
        if patch.get(name) is UNSET:
            assert name not in merged
        else:
            assert merged[name] is (patch[name] if name in patch else stored[name])
    times = [one for one in (stored.get("updatedAt"), patch.get("updatedAt")) if type(one) in (int, float)]
    assert merged["updatedAt"] == max([now, 0, *times])
    kept = merge_entry(existing, patch, now_ms=now, preserve_activity=True, new_session_id=lambda: "new")
    if stored.get("updatedAt") is not None:
        assert kept["updatedAt"] is stored["updatedAt"]
    assert {n: v for n, v in kept.items() if n != "updatedAt"} == {
        n: v for n, v in merged.items() if n != "updatedAt"
    }


@given(st.none() | entries, messages, routes, st.dictionaries(st.sampled_from(sorted(FIELDS)), anything))
@QUICK
def test_nothing_stops_a_gateway(entry: Any, message: dict[str, Any], route: Any, patch: dict[str, Any]) -> None:
    """1.1: whatever types stand in entries and messages, the hot paths and readers return."""
    before = copy.deepcopy((entry, message))
    context = route if isinstance(route, dict) else None
    inbound_change(entry, "k", message, now_ms=1)
    changed = route_change(entry, "k", now_ms=1, context=context, channel=route, message=message)
    if entry is not None:
        patch_change(entry, patch, now_ms=1)
        misfits(entry)
        session_recipients({"k": entry})
        session_depth("k", {"k": entry})
    assert (entry, message) == before
    assert changed["updatedAt"] >= 1
    group = group_of(message)
    patched = inbound_patch(message, "k", entry) or {}
    assert ("groupId" in patched) == (group is not None)
    if group is not None:
        assert patched["displayName"].startswith(group.channel)
        assert group.key == group.key.lower()


@given(texts)
@QUICK
def test_ids(text: str) -> None:
    """2.3, 7.2: a fixed point, of few characters, never above 64."""
    for made in (account_id(text), agent_id(text)):
        if made is not None:
            assert set(made) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-")
            assert 1 <= len(made) <= 64
    assert account_id(account_id(text)) == account_id(text)
    assert agent_id(agent_id(text)) == agent_id(text)
    assert BUILT_IN_CHANNELS.name(BUILT_IN_CHANNELS.name(text)) == BUILT_IN_CHANNELS.name(text)


@given(keys)
@QUICK
def test_keys(key: str) -> None:
    """8.2: what was parsed reads back the same; a thread's parent is the beginning of its key."""
    parsed = parse_key(key)
    if parsed is not None:
        assert parse_key(f"agent:{parsed.agent_id}:{parsed.rest}") == parsed
        assert parsed.rest == parsed.rest.lower()
        assert "::" not in parsed.rest
    threaded = f"{key}:thread:1"
    parent = thread_parent(threaded)
    if parent is not None and key.lower() == key and key.isascii():
        assert threaded.lstrip(" \t").startswith(parent)


@given(
    st.dictionaries(
        st.sampled_from("abcdef"),
        st.fixed_dictionaries(
            {}, optional={"spawnedBy": st.sampled_from("abcdefg"), "spawnDepth": st.integers(-1, 3)}
        ),
    ),
    st.sampled_from("abcdefg"),
)
@QUICK
def test_depth(entries: dict[str, Any], key: str) -> None:
    """8.4: said as a walk to the first session that knows its depth, has no parent, or was met before."""
    path = [key]
    while True:
        entry = entries.get(path[-1], {})
        if entry.get("spawnDepth", -1) >= 0:
            wanted = entry["spawnDepth"] + len(path) - 1
            break
        if "spawnedBy" not in entry or path[-1] in path[:-1]:
            wanted = len(path) - 1
            break
        path.append(entry["spawnedBy"])
    assert session_depth(key, entries) == wanted


@given(
    st.dictionaries(
        st.sampled_from(["a", "A", " a", "aB", "Ab", "AB", "ab"]),
        st.fixed_dictionaries({"updatedAt": st.integers(0, 2)}),
    ),
    st.sampled_from(["a", "A", "aB", "AB "]),
)
@QUICK
def test_lookup(entries: dict[str, Any], key: str) -> None:
    """6: nothing newer is passed over, and every other spelling is named."""
    found = find_entry(entries, key)
    spellings = {other for other in entries if other.lower() == key.strip().lower()}
    assert set(found.other_keys) == spellings - {found.key}
    assert (found.entry is None) == (not spellings)
    if spellings:
        assert found.entry["updatedAt"] == max(entries[other]["updatedAt"] for other in spellings)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b"]),
            st.dictionaries(
                st.sampled_from(["x", "X", "agent:a:x", "global"]),
                st.fixed_dictionaries({"updatedAt": st.integers(0, 2)}, optional={"n": st.integers()}),
            ),
        )
    )
)
@QUICK
def test_combining(stores: list[Any]) -> None:
    """7.6: no session is lost and none made up; each has the latest time of those it stands for."""
    found = combined_entries(stores)
    wanted: dict[str, list[int]] = {}
    for agent, entries in stores:
        for key, entry in entries.items():
            name = key.lower() if key in ("global", "agent:a:x") else f"agent:{agent}:{key.lower()}"
            wanted.setdefault(name, []).append(entry["updatedAt"])
    assert {key: entry["updatedAt"] for key, entry in found.items()} == {
        key: max(times) for key, times in wanted.items()
    }
