"""Sessions in stores: hot paths and whole-store saves, synchronous and asynchronous."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from sessiondir import UNSET, AsyncSessionStore, InvalidKey, SessionStore, jsjson
from sessiondir.sessions import (
    acp_data,
    normal_entries,
    preserve_acp,
    read_updated_at,
    record_inbound,
    save_sessions,
    update_entry,
    update_last_route,
    update_sessions,
)
from sessiondir.testing import WatchedFileSystem

MESSAGE = {"From": "telegram:group:-5", "ChatType": "group", "GroupSubject": "Plan"}


class Later:
    """A store whose calls are coroutines, as those of an asynchronous store are."""

    def __init__(self, store: SessionStore) -> None:
        self._store = store

    async def update(self, key: str, fn: Callable[[Any], Any], create: bool = False) -> Any:
        await asyncio.sleep(0)
        return self._store.update(key, fn, create)

    async def updated_at(self, key: str) -> Any:
        await asyncio.sleep(0)
        return self._store.updated_at(key)

    async def snapshot(self) -> Mapping[str, Any]:
        await asyncio.sleep(0)
        return self._store.snapshot()

    async def edit(self, fn: Callable[[Any], Any]) -> Any:
        await asyncio.sleep(0)
        return self._store.edit(fn)


@pytest.fixture
def store(store_path: str) -> Any:
    with SessionStore.open(store_path, keys="lowercase") as opened:
        yield opened


@pytest.fixture(params=["sync", "async", "AsyncSessionStore"])
def run(request: pytest.FixtureRequest) -> Any:
    """``run(function, store, ...)`` on the store itself, and on one whose calls are coroutines."""

    def call(function: Callable[..., Any], store: SessionStore, *args: Any, **kwargs: Any) -> Any:
        if request.param == "sync":
            return function(store, *args, **kwargs)

        async def later() -> Any:
            if request.param == "async":
                result = function(Later(store), *args, **kwargs)
                assert isinstance(result, Awaitable)
                return await result
            async with AsyncSessionStore.open(store.path, keys="lowercase") as asynchronous:
                return await function(asynchronous, *args, **kwargs)

        return asyncio.run(later())

    return call


def test_recording_a_message(store: SessionStore, run: Any) -> None:
    """3.5: made by the first message with an id of its own, then changed without moving its time."""
    entry = run(record_inbound, store, " Agent:Main:X ", MESSAGE, now_ms=100)
    assert store.keys() == ["agent:main:x"]
    assert store["agent:main:x"] == entry
    assert (entry["displayName"], entry["updatedAt"], len(entry["sessionId"])) == ("telegram:g-plan", 100, 36)
    again = run(record_inbound, store, "agent:main:x", MESSAGE | {"GroupSubject": "New"}, now_ms=900)
    assert (again["subject"], again["updatedAt"], again["sessionId"]) == ("New", 100, entry["sessionId"])
    version = store.version
    assert run(record_inbound, store, "agent:main:x", MESSAGE | {"GroupSubject": "New"}, now_ms=901) == again
    assert store.version == version, "the same message again commits nothing"


def test_recording_without_making_a_session(store: SessionStore, run: Any) -> None:
    """3.5: ``create=False`` and messages that say nothing make none."""
    assert run(record_inbound, store, "x", MESSAGE, create=False) is None
    assert run(record_inbound, store, "x", {}) is None
    assert store.keys() == []


def test_updating_the_route(store: SessionStore, run: Any) -> None:
    """2.7, 14.1.8: target trimmed, stored twice, time moved forward and never back."""
    entry = run(update_last_route, store, "x", channel="Telegram", to=" 42 ", thread_id=7, now_ms=100)
    assert entry["deliveryContext"] == {"channel": "telegram", "to": "42", "threadId": 7}
    assert store["x"] == entry
    entry = run(update_last_route, store, "x", channel="telegram", to="42", now_ms=50)
    assert "lastThreadId" not in entry
    assert (entry["lastTo"], entry["updatedAt"]) == ("42", 100)


def test_updating_an_entry(store: SessionStore, run: Any) -> None:
    """14.6: a patch keeps other fields, a missing session is None, a patch of None changes nothing."""
    assert run(update_entry, store, "x", {"model": "m"}) is None
    store.put("x", {"sessionId": "s", "updatedAt": 5, "label": "l", "cacheRead": 1})
    entry = run(update_entry, store, "X", {"model": " m ", "cacheRead": UNSET}, now_ms=100)
    assert entry == {"sessionId": "s", "updatedAt": 100, "label": "l", "model": "m"}
    assert run(update_entry, store, "x", lambda entry: None) == entry
    assert run(update_entry, store, "x", lambda entry: {"n": len(entry)}, now_ms=1)["n"] == 4
    assert store["x"]["updatedAt"] == 100


def test_a_patch_function_cannot_change_what_is_stored(store: SessionStore) -> None:
    """It gets a copy: what it does to that and does not return is nothing."""
    store.put("x", {"sessionId": "s", "updatedAt": 5})
    update_entry(store, "x", lambda entry: entry.clear(), now_ms=100)
    assert store["x"] == {"sessionId": "s", "updatedAt": 5}


def test_what_a_message_does_not_touch_is_not_copied(store: SessionStore, run: Any) -> None:
    """The hot paths hand out large fields as they are shared; looked at, they are the caller's own."""
    large = {"prompt": "x" * 2000, "tools": [["a"], ["b"]]}
    store.put("k", {"sessionId": "s", "updatedAt": 1, "skillsSnapshot": large, "room": "old", "model": " m "})
    for call in (
        lambda: run(record_inbound, store, "k", MESSAGE),
        lambda: run(update_last_route, store, "k", channel="telegram", to="telegram:5"),
        lambda: run(update_entry, store, "k", {"label": "x", "room": UNSET}),
        lambda: run(update_entry, store, "k", lambda stored: {"label": stored["label"] + "y"}),
    ):
        call()  # brings old names and values up to date
        entry = call()
        shared = store._core.view.load("k").parsed["skillsSnapshot"]  # type: ignore[union-attr,index]
        assert dict.__getitem__(entry, "skillsSnapshot") is shared
        entry["skillsSnapshot"]["tools"][0].append("spoilt")
        assert store["k"]["skillsSnapshot"] == large


@pytest.mark.parametrize("key", ["", "  ", "\ufeff", "a\0b", "\ud800", "x" * 5000, "__proto__", None, 5])
def test_reading_the_time(store: SessionStore, run: Any, key: Any) -> None:
    """16.7: blank and impossible keys have none; so have sessions without a number, and missing ones."""
    store.put("x", {"sessionId": "s", "updatedAt": 5})
    store.put("y", {"sessionId": "s", "updatedAt": "5"})
    assert run(read_updated_at, store, " X ") == 5
    assert run(read_updated_at, store, "y") is None
    assert run(read_updated_at, store, "z") is None
    assert run(read_updated_at, store, key) is None


def test_writing_under_an_impossible_key_is_an_error(store: SessionStore, run: Any) -> None:
    """16.7: told, and nothing is made."""
    with pytest.raises(InvalidKey):
        run(record_inbound, store, "  ", MESSAGE)
    assert store.keys() == []


def test_after_a_save(store: SessionStore, run: Any) -> None:
    """The hook hears of every save with what then stands, holds nothing, and is not called without one."""
    told: list[tuple[str, Any]] = []

    def after(key: str, entry: Any) -> None:
        store.patch("agent:main:x", {"seen": len(told)})  # would fail if the session were still held
        told.append((key, entry["updatedAt"]))

    run(update_entry, store, "agent:main:x", {"a": 1}, after_save=after)
    run(record_inbound, store, "agent:main:x", {}, after_save=after)
    assert told == []
    run(record_inbound, store, "agent:main:x", MESSAGE, now_ms=1, after_save=after)
    run(update_last_route, store, "agent:main:x", to="1", now_ms=2, after_save=after)
    run(update_entry, store, "agent:main:x", {"a": 1}, now_ms=3, after_save=after)
    run(update_entry, store, "agent:main:x", lambda entry: None, now_ms=4, after_save=after)
    assert told == [("agent:main:x", 1), ("agent:main:x", 2), ("agent:main:x", 3)]


def test_an_asynchronous_hook_is_awaited(store: SessionStore) -> None:
    """With a store of coroutines the hook may be one."""
    told = []

    async def after(key: str, _: Any) -> None:
        await asyncio.sleep(0)
        told.append(key)

    async def main() -> None:
        await record_inbound(Later(store), "x", MESSAGE, after_save=after)

    asyncio.run(main())
    assert told == ["x"]


def test_nothing_is_listed(store_path: str) -> None:
    """14.1.7-9: no hot path looks into a directory, whatever is in the store."""
    with SessionStore.open(store_path, keys="lowercase") as filler:
        filler.replace({f"agent:main:cron:{n}": {"sessionId": f"s{n}", "updatedAt": n} for n in range(50)})
    fs = WatchedFileSystem()
    with SessionStore.open(store_path, fs=fs, checkpoint_interval=3600) as store:
        store.get("agent:main:cron:1")
        update_entry(store, "agent:main:cron:0", {"warm": 1})  # getting ready to write is done once
        fs.calls.clear()
        record_inbound(store, "AGENT:MAIN:CRON:1", MESSAGE)
        update_last_route(store, "agent:main:cron:2", channel="telegram", to=" 1 ")
        update_entry(store, "agent:main:cron:3", {"model": "m"})
        assert read_updated_at(store, "agent:main:cron:4") == 4
        assert "listdir" not in fs.calls
        assert store["agent:main:cron:2"]["lastTo"] == "1"
        assert [store.version_of(f"agent:main:cron:{n}") for n in (5, 49)] == [1, 1]


def test_hot_paths_apply_old_names_and_normalise(store: SessionStore) -> None:
    """16.3, 12.1, 2.6: what the legacy program's own fast paths leave out."""
    odd = {"sessionId": "s", "updatedAt": 1, "provider": "irc", "room": "#r", "lastTo": " 1 ", "model": " m "}
    wanted = {"channel": "irc", "groupChannel": "#r", "lastTo": "1", "model": "m", "lastChannel": "irc"}
    for number, change in enumerate(
        (
            lambda key: record_inbound(store, key, {}),
            lambda key: update_last_route(store, key),
            lambda key: update_entry(store, key, {}),
        )
    ):
        store.put(f"k{number}", odd)
        entry = change(f"k{number}")
        assert entry is not None
        assert wanted.items() <= entry.items()
        assert not {"provider", "room"} & entry.keys()


def test_the_first_change_of_a_legacy_store_migrates_it(tmp_path: Path) -> None:
    """G11: by way of a hot path too; one that changes nothing does not."""
    path = tmp_path / "sessions.json"
    path.write_text(json.dumps({"Agent:Main:Main": {"sessionId": "s", "updatedAt": 5}}))
    path.chmod(0o600)
    with SessionStore.open(str(path)) as store:
        assert read_updated_at(store, "AGENT:main:main") == 5
        assert record_inbound(store, "agent:main:main", {}) == {"sessionId": "s", "updatedAt": 5}
        assert path.exists()
        update_last_route(store, "agent:main:main", channel="telegram", to="1")
        assert not path.exists()
        assert store["agent:main:main"]["sessionId"] == "s"


def test_concurrent_messages_to_one_session_all_count(store: SessionStore) -> None:
    """14.6, G3: updates of one session by several threads are all there."""
    store.put("x", {"sessionId": "s", "updatedAt": 1})

    def work(number: int) -> None:
        for step in range(20):
            update_entry(store, "x", {f"n{number}": step})
            update_entry(store, "x", lambda entry: {"total": entry.get("total", 0) + 1})

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert store["x"]["total"] == 80
    assert [store["x"][f"n{number}"] for number in range(4)] == [19] * 4


def test_keys_that_differ_in_case(tmp_path: Path) -> None:
    """P18: one session in a store with lower-case keys, two people in an exact one; ``info`` tells which."""
    for rule, count in (("lowercase", 1), ("exact", 2)):
        with SessionStore.open(str(tmp_path / f"{rule}.d"), keys=rule) as store:  # type: ignore[arg-type]
            for person in ("@Ann:example.org", "@ann:example.org"):
                update_last_route(store, f"agent:main:matrix:direct:{person}", channel="matrix", to=person)
            assert len(store) == count
            assert store.info().key_rule == rule
            assert store["agent:main:matrix:direct:@ann:example.org"]["lastTo"] == "@ann:example.org"
    with SessionStore.open(str(tmp_path / "new.d")) as store:
        update_last_route(store, "A", to="1")
        assert store.info().key_rule == "exact"


# -- the whole store ----------------------------------------------------------------------------


ACP = {"backend": "acpx"}


def test_a_whole_store_save_normalises_everything(store: SessionStore, run: Any) -> None:
    """2.6, 12.1: also entries that the edit does not look at; as one commit of what differs."""
    odd = {"sessionId": "s", "updatedAt": 1, "lastTo": " 1 ", "room": 5}
    fine = {"sessionId": "t", "updatedAt": 1}
    store.replace({"a": odd, "b": fine, "c": fine})
    version = store.version

    def edit(sessions: Any) -> str:
        sessions["C"] = {**sessions["c"], "model": " m "}
        return "done"

    assert run(update_sessions, store, edit) == "done"
    assert store.version == version + 1
    assert store["a"] == {"sessionId": "s", "updatedAt": 1, "lastTo": "1", "deliveryContext": {"to": "1"}}
    assert store["c"]["model"] == "m"
    assert store.version_of("b") == version
    run(update_sessions, store, lambda sessions: None)
    assert store.version == version + 1, "nothing differs, nothing is committed"


def test_acp_data_survives_a_whole_store_save(store: SessionStore, run: Any) -> None:
    """6: an entry written without its block gets it back, unless it may lose it or is gone."""
    entry = {"sessionId": "s", "updatedAt": 1, "acp": ACP}
    bare = {"sessionId": "n", "updatedAt": 2}
    store.replace(dict.fromkeys("abcdef", entry))

    def edit(sessions: Any) -> None:
        sessions["A"] = dict(bare)
        sessions["b"] = dict(bare)
        sessions["c"].pop("acp")
        del sessions["d"]
        sessions["e"] = {**bare, "acp": {"backend": "other"}}
        del sessions["f"]
        sessions["f"] = {**bare, "acp": None}

    run(update_sessions, store, edit, allow_drop_acp=[" B "])
    assert store["a"] == {**bare, "acp": ACP}
    assert store["b"] == bare
    assert store["c"] == entry
    assert "d" not in store
    assert store["e"]["acp"] == {"backend": "other"}
    assert store["f"]["acp"] == ACP


def test_replacing_the_whole_store(store: SessionStore, run: Any) -> None:
    """6: what is not named goes, the rest is saved by the same rules, and ACP data stays."""
    entry = {"sessionId": "s", "updatedAt": 1, "acp": ACP}
    store.replace({"a": entry, "b": entry, "same": {"sessionId": "x"}})
    version = store.version
    run(save_sessions, store, {"A": {"sessionId": "n", "lastTo": " 1 "}, "same": {"sessionId": "x"}})
    assert sorted(store) == ["a", "same"]
    assert store["a"] == {"sessionId": "n", "lastTo": "1", "deliveryContext": {"to": "1"}, "acp": ACP}
    assert store.version == version + 1
    assert store.version_of("same") == version
    run(save_sessions, store, {"a": {"sessionId": "n"}}, allow_drop_acp=["a"])
    assert store.snapshot() == {"a": {"sessionId": "n"}}


def test_spellings_are_two_sessions_in_an_exact_store(store_path: str) -> None:
    """P18: a whole-store save there neither merges nor removes by lower case."""
    with SessionStore.open(store_path, keys="exact") as store:
        store.put("x", {"sessionId": "1", "acp": ACP})
        save_sessions(store, {"X": {"sessionId": "2"}})
        assert store.snapshot() == {"X": {"sessionId": "2"}}


def test_a_whole_store_save_collides_only_with_what_it_touches(store: SessionStore) -> None:
    """G4: a session that others change meanwhile, and that the edit does not look at, is no conflict."""
    store.replace({"a": {"sessionId": "a"}, "b": {"sessionId": "b"}})
    runs = []

    def edit(sessions: Any) -> None:
        runs.append(1)
        store.patch("b", {"n": len(runs)})
        sessions["a"]["label"] = "l"

    update_sessions(store, edit)
    assert (len(runs), store["a"]["label"], store["b"]["n"]) == (1, "l", 1)


def test_what_an_edit_can_do(store: SessionStore) -> None:
    """It is a mapping: counting, asking, deleting, and what it raises changes nothing."""
    store.replace({"a": {"sessionId": "a"}, "b": {"sessionId": "b", "room": "#r"}})

    def edit(sessions: Any) -> None:
        assert sorted(sessions) == ["a", "b"]
        assert len(sessions) == 2
        assert "A" in sessions
        assert "c" not in sessions
        assert sessions["b"] == {"sessionId": "b", "groupChannel": "#r"}
        with pytest.raises(KeyError):
            sessions["c"]
        with pytest.raises(KeyError):
            del sessions["c"]
        del sessions["a"]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        update_sessions(store, edit)
    assert sorted(store) == ["a", "b"]


@pytest.mark.parametrize(
    ("before", "after", "allow", "kept"),
    [
        ({"a": {"acp": ACP}}, {"a": {}}, [], ["a"]),
        ({"A": {"acp": ACP}}, {"a": {}}, [], ["a"]),
        ({"a": {"acp": ACP}}, {" A": {}}, [], [" A"]),
        ({"a": {"acp": ACP}}, {"a": {}}, [" A "], []),
        ({"a": {"acp": ACP}}, {}, [], []),
        ({"a": {"acp": 0}}, {"a": {}}, [], []),
        ({"a": {"acp": {}}}, {"a": {"acp": None}}, [], ["a"]),
        ({"a": None, "b": 5}, {"a": {}, "b": {}}, [], []),
        ({" ": {"acp": ACP}}, {" ": {}}, [], []),
        ({"a": {"acp": ACP}}, {"a": None}, [], []),
    ],
)
def test_preserving_acp_data(before: Any, after: Any, allow: list[str], kept: list[str]) -> None:
    """6: by any spelling of the key; empty blocks count, what is no object has none."""
    preserve_acp(acp_data(before), after, allow)
    assert [key for key, entry in after.items() if entry and entry.get("acp") is not None] == kept


def test_a_new_acp_block_is_kept() -> None:
    """6: only what was lost comes back; whoever writes another block means it."""
    entries = {"a": {"acp": {"backend": "other"}, "n": 1}}
    preserve_acp({"a": ACP}, entries)
    assert entries == {"a": {"acp": {"backend": "other"}, "n": 1}}


def test_normalising_a_mapping_keeps_what_is_no_object() -> None:
    """2.6: null and odd entries stand as they are, and the mapping is as before."""
    entries = {"a": None, "b": 5, "c": {"room": 1}, "d": []}
    found = normal_entries(entries)
    assert found == {"a": None, "b": 5, "c": {}, "d": []}
    assert entries["c"] == {"room": 1}
    assert jsjson.encode(found)
