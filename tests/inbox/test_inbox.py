"""Inboxes: every message delivered at least once, an id once, and nobody disturbed."""

from __future__ import annotations

import json
import logging
import os
import pickle
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from harness.interleaving import InterruptedFs
from harness.watched import QuickFs
from support.factories import Opener
from support.files import read_layout1
from support.processes import Peer

from sessiondir import (
    CorruptFile,
    InboxFull,
    InvalidKey,
    InvalidMessage,
    InvalidOption,
    Limits,
    MessageTooLarge,
    SessionStore,
    procfs,
)
from sessiondir.aside import REMEMBERED_IDS
from sessiondir.clock import Clock

KEY = "agent:main:main"
LONG = "agent:main:" + "long:" * 40


class SetClock(Clock):
    """A clock whose time of day and time since the boot are set by hand; waiting is real."""

    def __init__(self) -> None:
        self.now_s = 1_700_000_000.0
        self.up_s = 1000.0

    def now(self) -> float:  # type: ignore[override]
        return self.now_s

    def up(self) -> float:  # type: ignore[override]
        return self.up_s


def ids(store: SessionStore, key: str = KEY, *, taken: bool = False) -> list[str]:
    """The ids of what waits."""
    return [one.id for one in store.peek(key, taken=taken)]


def test_post_peek_take_ack(open_directory: Opener) -> None:
    """The whole way of a message, seen from two handles."""
    store = open_directory()
    other = open_directory.elsewhere()
    store.put(KEY, {"n": 1})
    first = store.post(KEY, {"result": [1, {"a": None}]})
    second = other.post(KEY, "text", id="child-7")
    assert (first, second) == ("@2", "child-7")
    for handle in (store, other):
        assert [(one.id, one.body, one.version) for one in handle.peek(KEY)] == [
            ("@2", {"result": [1, {"a": None}]}, 2),
            ("child-7", "text", 3),
        ]
    (message,) = store.take(KEY, 1)
    assert (message.id, message.deliveries, message.taken_by) == ("@2", 1, os.getpid())
    assert ids(other) == ["child-7"]
    assert [one.taken_by for one in other.peek(KEY, taken=True)] == [os.getpid(), None]
    assert [one.id for one in other.take(KEY)] == ["child-7"]
    assert other.take(KEY) == []
    assert store.ack(KEY, message) == 1
    assert store.ack(KEY, [message, "child-7", "unknown"]) == 1
    assert store.ack(KEY, "child-7") == 0
    assert ids(store, taken=True) == ids(other, taken=True) == []


@pytest.mark.parametrize(
    "body", [None, True, 0, -1.5, 2**70, "", "\ud83d half", "\0", [], {}, {"a": {"b": [1, "é", None]}}, [[[]]]]
)
def test_any_json_value_is_a_message(open_directory: Opener, body: Any) -> None:
    """It comes out as it went in, from the cache, from the journal and from the file."""
    store = open_directory()
    reader = open_directory.elsewhere()
    store.post([KEY, LONG], body, id="\ud800 id")
    for handle in (store, reader):
        assert repr([one.body for one in handle.peek(KEY)]) == repr([body])
    store.flush()
    for key in (KEY, LONG):
        assert repr([one.body for one in open_directory.elsewhere().peek(key)]) == repr([body])
    assert ids(store) == ["\ud800 id"]
    assert store.check() == []


def test_posting_moves_no_version_of_the_entry(open_directory: Opener) -> None:
    """A post, a take and an ack between reading and writing are no conflict; nor do they vanish under a put."""
    store = open_directory()
    version = store.put(KEY, {"n": 1})
    store.post(KEY, "a")
    assert (store.version_of(KEY), store.list().items[0].version) == (version, version)
    version = store.put(KEY, {"n": 2}, if_version=version)
    with store.transaction(KEY) as txn:
        store.post(KEY, "b")
        txn[KEY] = {"n": 3}
    with store.edit() as sessions:
        store.post(KEY, "c")
        store.post("new", "d")
        assert list(sessions) == [KEY]
        sessions[KEY]["n"] = 4
    store.replace({KEY: {"n": 5}})
    assert [one.body for one in store.peek(KEY)] == ["a", "b", "c"]
    assert store[KEY] == {"n": 5}


def test_posting_does_not_make_an_update_run_again(open_directory: Opener) -> None:
    """The parent is inside update all the while; its children post, its callback is called once (W4)."""
    store = open_directory()
    child = open_directory.elsewhere()
    store.put(KEY, {"n": 1})
    calls = []

    def work(entry: dict[str, Any]) -> dict[str, Any]:
        calls.append(1)
        child.post(KEY, "result")
        # The parent may look into its own inbox meanwhile: no lock is in the way.
        assert [one.body for one in store.take(KEY)] == ["result"]
        store.ack(KEY, ids(store, taken=True))
        child.post(KEY, "late")
        return {"n": 2}

    assert store.update(KEY, work) == {"n": 2}
    assert calls == [1]
    assert [one.body for one in child.peek(KEY)] == ["late"]


def test_one_id_is_delivered_once(open_directory: Opener) -> None:
    """While it waits, while it is taken, after it was acknowledged, after a checkpoint, from another process."""
    store = open_directory()
    store.put(KEY, {"n": 1})
    for handle in (store, open_directory.elsewhere()):
        assert handle.post(KEY, "first", id="a") == "a"
    store.take(KEY)
    store.post(KEY, "again", id="a")
    assert ids(store, taken=True) == ["a"]
    store.ack(KEY, "a")
    version = store.version
    store.post(KEY, "again", id="a")
    store.flush()
    late = open_directory.elsewhere()
    late.post(KEY, "again", id="a")
    assert ids(late, taken=True) == []
    assert late.version == version
    assert store.post([KEY, "b"], "both", id="a") == "a"
    assert (ids(store), ids(store, "b")) == ([], ["a"])


def test_an_id_that_the_store_gives_cannot_be_given(open_directory: Opener) -> None:
    """Or a message posted later had the same one, and acknowledging the first removed both."""
    store = open_directory()
    with pytest.raises(InvalidMessage, match="in front of it") as caught:
        store.post(KEY, "theirs", id=f"@{store.version + 1}")
    assert caught.value.where == "id"
    assert (ids(store), store.version) == ([], 0)
    passed_on = store.post(KEY, "ours")
    assert store.post(KEY, "theirs", id=f"again {passed_on}") == "again @1"
    assert store.post(KEY, "another", id="@home") == "@home"
    assert store.ack(KEY, store.take(KEY, 1)) == 1
    assert ids(store, taken=True) == ["again @1", "@home"]


def test_ids_are_remembered_for_so_many_messages(open_directory: Opener) -> None:
    """The window is 256 given ids of messages that are gone; messages without an id take no place in it."""
    store = open_directory(durability="process")
    store.put(KEY, {"n": 1})
    for number in range(REMEMBERED_IDS + 1):
        store.post(KEY, number, id=f"id {number}")
        store.post(KEY, number)
    store.take(KEY, ack=True)
    store.post(KEY, "again", id="id 1")
    assert ids(store) == []
    store.post(KEY, "again", id="id 0")
    assert ids(store) == ["id 0"]
    store.flush()
    store = open_directory.elsewhere()
    store.post(KEY, "again", id=f"id {REMEMBERED_IDS}")
    assert ids(store) == ["id 0"]


def test_messages_wait_for_a_session_that_does_not_exist(open_directory: Opener, store_path: str) -> None:
    """They make no session, not for any reader; they are there when it is created, and stay when it is deleted."""
    store = open_directory()
    store.post(KEY, "early")
    for _ in range(2):
        assert KEY not in store
        assert (store.get(KEY), store.keys(), len(store), list(store.snapshot())) == (None, [], 0, [])
        assert (store.list().items, store.version_of(KEY), store.info().sessions) == ((), None, 0)
        assert store.put("other", {"n": 1}, if_version=0)
        store.delete("other")
        assert [(one.key, one.messages, one.has_entry) for one in store.inboxes()] == [(KEY, 1, False)]
        store.close()
        assert read_layout1(store_path) == {}
        store = open_directory()
    assert store.put(KEY, {"n": 1}, if_version=0)
    assert [(one.key, one.has_entry) for one in store.inboxes()] == [(KEY, True)]
    store.close()
    assert read_layout1(store_path) == {KEY: {"n": 1}}
    store = open_directory()
    assert [one.body for one in store.peek(KEY)] == ["early"]
    store.delete(KEY)
    store.close()
    assert read_layout1(store_path) == {}
    store = open_directory()
    assert [one.body for one in store.take(KEY, ack=True)] == ["early"]
    store.close()
    assert list(Path(store_path, "waiting").iterdir()) == []


def test_a_session_in_use_has_one_file(open_directory: Opener, store_path: str) -> None:
    """G12: wherever the document moves, with short and long keys, it stands in one place."""
    store = open_directory()
    for key in (KEY, LONG):
        for change in (
            lambda key=key: store.post(key, "m", id="x"),
            lambda key=key: store.put(key, {"n": 1}),
            lambda key=key: store.delete(key),
            lambda key=key: store.put(key, {"n": 2}),
            lambda key=key: store.ack(key, "x"),
            lambda key=key: store.delete(key),
        ):
            change()
            store.flush()
            found = [path.parent.name for path in Path(store_path).glob("*/session-*")]
            wanted = ["entries"] if key in store else ["waiting"] if store.peek(key) else []
            assert found == wanted
            assert store.check() == []


def test_a_consumer_that_dies_loses_nothing(open_directory: Opener, store_path: str) -> None:
    """G7: kill -9 after taking; the messages wait again at once, and say that it is not the first time."""
    store = open_directory()
    for number in range(3):
        store.post(KEY, number)
    with Peer(store_path) as peer:
        taken = peer.do(f"tell([one.body for one in store.take({KEY!r}, 2)])")
        assert taken == [0, 1]
        assert [one.body for one in store.peek(KEY)] == [2]
        assert [one.taken_by for one in store.peek(KEY, taken=True)] == [peer.pid, peer.pid, None]
        peer.kill()
    assert [(one.body, one.deliveries) for one in store.take(KEY)] == [(0, 2), (1, 2), (2, 1)]


def test_what_is_not_acknowledged_in_time_waits_again(open_directory: Opener, monkeypatch: Any) -> None:
    """By elapsed time, or after a reboot."""
    store = open_directory(clock=(clock := SetClock()))
    store.post(KEY, "m")
    store.take(KEY, ttl=10)
    clock.now_s += 1e6
    assert store.take(KEY) == []
    clock.up_s += 11
    assert [one.deliveries for one in store.take(KEY, ttl=10)] == [2]
    monkeypatch.setattr(procfs, "boot_id", lambda: "another boot")
    assert [one.deliveries for one in store.take(KEY, ttl=10)] == [3]


def test_putting_back(open_directory: Opener, store_path: str) -> None:
    """In the old order; only what this process took."""
    store = open_directory()
    for number in range(3):
        store.post(KEY, number)
    first = store.take(KEY, 2)
    assert store.put_back(KEY, first) == 2
    assert [(one.body, one.deliveries) for one in store.peek(KEY)] == [(0, 1), (1, 1), (2, 0)]
    with Peer(store_path) as peer:
        peer.do(f"store.take({KEY!r})")
        assert store.put_back(KEY, first) == 0


def test_putting_back_an_earlier_delivery(open_directory: Opener) -> None:
    """What another consumer of the process has taken since stays taken; an id stands for whichever delivery."""
    store = open_directory()
    store.post(KEY, "m", id="m")
    store.post(KEY, "n", id="n")
    first = store.take(KEY)
    assert store.put_back(KEY, iter(first)) == 2
    (again,) = store.take(KEY, 1)
    assert store.put_back(KEY, first) == 0
    assert ids(store) == ["n"]
    assert store.put_back(KEY, again) == 1
    store.take(KEY)
    assert store.put_back(KEY, ["m", first[1]]) == 1
    assert ids(store) == ["m"]


def test_taking_for_a_block(open_directory: Opener) -> None:
    """Acknowledged when it ends, put back when it raises."""
    store = open_directory()
    store.post(KEY, "m")
    with pytest.raises(ZeroDivisionError), store.taking(KEY) as messages:
        assert [one.body for one in messages] == ["m"]
        assert ids(store) == []
        raise ZeroDivisionError
    with store.taking(KEY) as messages:
        assert [one.deliveries for one in messages] == [2]
    assert ids(store, taken=True) == []
    with store.taking(KEY) as messages:
        assert messages == []


def test_several_inboxes_one_commit(open_directory: Opener) -> None:
    """G1: posted to all of them or to none; twice the same session is once."""
    store = open_directory(limits=Limits(inbox_messages=1))
    assert store.post(["a", "b", "a"], "m") == "@1"
    assert (ids(store, "a"), ids(store, "b"), store.version) == (["@1"], ["@1"], 1)
    with pytest.raises(InboxFull):
        store.post(["c", "b"], "m")
    assert ids(store, "c") == []


def test_bounds(open_directory: Opener) -> None:
    """Too large, too many, too much: a clear error, and nothing is posted; taking makes room."""
    limits = Limits(message_bytes=100, inbox_messages=3, inbox_bytes=1800)
    store = open_directory(limits=limits, clock=SetClock())
    with pytest.raises(MessageTooLarge) as large:
        store.post(KEY, "x" * 99)
    assert (large.value.size, large.value.limit) == (101, 100)
    assert store.version == 0
    for number in range(3):
        store.post(KEY, number)
    with pytest.raises(InboxFull) as full:
        store.post(KEY, 3, id="retry")
    exc = pickle.loads(pickle.dumps(full.value))
    assert (exc.session, exc.messages, exc.oldest_ms, exc.retryable) == (KEY, 3, 1_700_000_000_000, True)
    store.take(KEY, 1, ack=True)
    store.post(KEY, 3, id="retry")
    for number in range(2):
        store.post("bytes", "x" * 98, id=str(number))
    with pytest.raises(InboxFull):
        store.post("bytes", "x" * 98)
    for wrong in ("", "x" * 201, 5, b"b"):
        with pytest.raises(InvalidMessage):
            store.post(KEY, 1, id=wrong)
    for body in (float("nan"), {1: 2}, object(), b"bytes", {"a": {1, 2}}):
        with pytest.raises(InvalidMessage):
            store.post(KEY, body)
    for key in ("", "__proto__", "\0"):
        with pytest.raises(InvalidKey):
            store.post(key, 1)
    for ttl in (0, -1, float("inf")):
        with pytest.raises(InvalidOption):
            store.post(KEY, 1, ttl=ttl)
    for limit in (0, -1, True, 1.5):
        with pytest.raises(InvalidOption):
            store.take(KEY, limit)
    with pytest.raises(InvalidOption):
        store.post([], 1)


def test_a_full_inbox_at_the_limits_is_read_back(open_directory: Opener) -> None:
    """G8: what the limits allow never makes a session file that is refused as too large."""
    limits = Limits(entry_bytes=20_000, message_bytes=100_000, inbox_bytes=200_000, inbox_messages=200)
    store = open_directory(limits=limits, durability="process")
    store.put(KEY, {"text": "x" * 19_000})
    nested: Any = []
    for _ in range(150):
        nested = [nested]
    for number in range(200):
        store.post(KEY, nested, id=f"{number} {'i' * 150}")
    store.take(KEY, ttl=60)
    store.flush()
    other = open_directory.elsewhere(limits=limits)
    assert len(other.peek(KEY, taken=True)) == 200
    assert other.check() == []


def test_a_message_with_a_term_ends_with_it(open_directory: Opener, caplog: pytest.LogCaptureFixture) -> None:
    """G9: nobody gets it afterwards; it is dropped by the next change of the inbox, which says so."""
    store = open_directory(clock=(clock := SetClock()), limits=Limits(inbox_messages=2))
    store.post(KEY, "short", id="s", ttl=10)
    store.post(KEY, "long")
    clock.now_s += 1e6
    assert len(ids(store)) == 2
    clock.up_s += 11
    assert [one.body for one in store.peek(KEY)] == ["long"]
    with caplog.at_level(logging.WARNING, "sessiondir"):
        store.post(KEY, "fits again")
    assert "'s'" in caplog.text
    assert [one.body for one in store.take(KEY)] == ["long", "fits again"]
    store.post(KEY, "late", id="s")
    assert len(store.peek(KEY, taken=True)) == 2


def test_the_longest_age_is_an_option(open_directory: Opener) -> None:
    """Off unless asked for; a shorter term of the sender's own stays."""
    store = open_directory(clock=(clock := SetClock()), limits=Limits(message_age_s=100))
    store.post(KEY, "a")
    store.post(KEY, "b", ttl=10)
    store.post(KEY, "c", ttl=1000)
    clock.up_s += 11
    assert [one.body for one in store.peek(KEY)] == ["a", "c"]
    clock.up_s += 100
    assert store.peek(KEY) == []


def test_waiting_for_a_message(open_directory: Opener, store_path: str) -> None:
    """From this process and from another; a timeout gives nothing; the store need not exist yet."""
    store = open_directory()
    assert store.wait_inbox(KEY, timeout=0.05) == []
    assert not os.path.exists(store_path)
    with Peer(store_path) as peer:
        peer.start(f"import time; time.sleep(0.2); store.post({KEY!r}, 'from afar')")
        assert [one.body for one in store.wait_inbox(KEY, timeout=30)] == ["from afar"]
        assert peer.heard() is None
    store.take(KEY)
    timer = threading.Timer(0.1, store.post, (KEY, "near"))
    timer.start()
    assert [one.body for one in store.wait_inbox(KEY, timeout=30)] == ["near"]
    timer.join()


def test_waiting_ends_with_the_handle(open_directory: Opener) -> None:
    """Closing wakes whoever waits."""
    store = open_directory()
    store.put(KEY, {"n": 1})
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(store.wait_inbox(KEY)))
    thread.start()
    time.sleep(0.1)
    store.close()
    thread.join(30)
    assert found == [[]]


def test_watch_tells_of_messages(open_directory: Opener) -> None:
    """Their kinds, and of one session only if asked so; what is read of the journal stays as it was."""
    store = open_directory()
    store.put(KEY, {"n": 1})
    store.post([KEY, "b"], "m")
    store.take(KEY)
    store.ack(KEY, "@2")
    store.lease(KEY, "run").release()
    assert [change.kind for change in store.watch(0, key=KEY, timeout=0)] == [
        "put", "post", "take", "ack", "lease", "lease",
    ]  # fmt: skip
    assert [change.key for change in store.watch(0, timeout=0) if change.kind == "post"] == [KEY, "b"]
    assert [change.version for change in store.changes(4)] == [5, 6]


def test_a_copy_of_a_live_store_has_its_messages(open_directory: Opener, store_path: str, tmp_path: Path) -> None:
    """Undelivered messages and leases are copied with the rest, wherever they stand just then."""
    store = open_directory(checkpoint_interval=3600)
    store.put(KEY, {"n": 1})
    store.post([KEY, "nobody"], "in a file")
    store.flush()
    store.post([KEY, "nobody"], "in the journal")
    shutil.copytree(store_path, tmp_path / "copy.d")
    copied = open_directory(str(tmp_path / "copy.d"))
    for key in (KEY, "nobody"):
        assert [one.body for one in copied.peek(key)] == ["in a file", "in the journal"]
    copied.ack("nobody", ids(copied, "nobody"))
    assert len(store.peek("nobody")) == 2


def test_a_session_file_ahead_of_the_journal_takes_the_next_message(
    open_directory: Opener, store_path: str, tmp_path: Path
) -> None:
    """In a copy the inbox in a file may be newer than the journal; replay does not skip what is posted then."""
    store = open_directory(checkpoint_interval=3600)
    store.post(KEY, "a")
    shutil.copytree(store_path, tmp_path / "copy.d")
    for name in "bcd":
        store.post(KEY, name)
    store.flush()
    (tmp_path / "copy.d" / "waiting").mkdir(mode=0o700)
    for path in Path(store_path, "waiting").iterdir():
        shutil.copy2(path, tmp_path / "copy.d" / "waiting")
    copied = open_directory(str(tmp_path / "copy.d"))
    copied.post(KEY, "e")
    assert [one.body for one in open_directory.elsewhere(str(tmp_path / "copy.d")).peek(KEY)] == list("abcde")


@pytest.mark.expect_findings("error entries/", "set aside")
def test_a_damaged_session_takes_no_messages_silently(open_directory: Opener, store_path: str) -> None:
    """G8: posting to a session whose file cannot be understood is an error, and the others are served."""
    store = open_directory()
    store.put(KEY, {"n": 1})
    store.put("b", {"n": 1})
    store.close()
    (path,) = Path(store_path, "entries").glob("session-YW*")
    path.write_bytes(b"{")
    store = open_directory()
    with pytest.raises(CorruptFile):
        store.post(KEY, "m")
    with pytest.raises(CorruptFile):
        store.post(["b", KEY], "m")
    store.post("b", "m")
    assert ids(store, "b") == ["@3"]
    with pytest.raises(CorruptFile):
        store.peek(KEY)
    store.put(KEY, {"n": 2})
    store.post(KEY, "m")
    assert len(ids(store)) == 1


@pytest.mark.expect_findings("error waiting/", "set aside")
@pytest.mark.parametrize(
    "text", ["", "{", '{"sessionKey":"b","version":0}', '{"sessionKey":"agent:main:main","entry":{}}',
             '{"sessionKey":"agent:main:main","inbox":[1]}',
             '{"sessionKey":"agent:main:main","lease":{"token":1}}',
             '{"sessionKey":"agent:main:main","latest":"x"}'],
)  # fmt: skip
def test_a_damaged_file_of_messages_costs_its_session_alone(
    open_directory: Opener, store_path: str, text: str
) -> None:
    """G8: it is reported, never taken for empty, and set aside when the session is written anew."""
    store = open_directory()
    store.post([KEY, "b"], "m")
    store.close()
    (path,) = Path(store_path, "waiting").glob("session-YW*")
    path.write_text(text)
    store = open_directory()
    for read in (store.peek, store.get, store.lease_of):
        with pytest.raises(CorruptFile):
            read(KEY)
    assert [one.key for one in store.inboxes()] == ["b"]
    assert [finding.level for finding in store.check()] == ["error"]
    with pytest.raises(CorruptFile):
        store.post(KEY, "m")
    store.put(KEY, {"n": 1})
    assert store.peek(KEY) == []
    store.post(KEY, "m")
    store.flush()
    assert (store[KEY], len(store.peek(KEY))) == ({"n": 1}, 1)


@pytest.mark.parametrize("moves", ["put", "delete"])
def test_a_reader_finds_messages_whose_file_moves_meanwhile(tmp_path: Path, moves: str) -> None:
    """G5: at whichever call of a read another process levels the session into its other place."""
    at, reached = 0, True
    while reached:
        at += 1
        path = str(tmp_path / f"{at}.d")
        # Every flush starts a new journal, so that the file alone has the message.
        with SessionStore.open(
            path, limits=Limits(journal_bytes=1), fs=QuickFs(), checkpoint_interval=3600
        ) as writer:
            if moves == "delete":
                writer.put(KEY, {"n": 1})
            writer.post(KEY, "m")
            writer.flush()
            fs = InterruptedFs()
            with SessionStore.open(path, read_only=True, fs=fs) as reader:

                def move(store: SessionStore = writer) -> None:
                    if moves == "put":
                        store.put(KEY, {"n": 2})
                    else:
                        store.delete(KEY)
                    store.flush()

                fs.interrupt(at, move)
                assert [one.body for one in reader.peek(KEY)] == ["m"], (at, fs.reached)
                reached = bool(fs.reached)
                fs.let_be()
                assert [one.body for one in reader.peek(KEY)] == ["m"]
                assert (KEY in reader) == (moves == "put" if reached else moves == "delete")
        shutil.rmtree(path)
    assert at > 5


def test_what_a_dead_checkpoint_left_behind_is_swept(open_directory: Opener, store_path: str) -> None:
    """A file of a session that waits no longer counts for nothing, is a note of check, and goes in time."""
    store = open_directory(limits=Limits(journal_bytes=1))
    store.post(KEY, "m")
    store.flush()
    (path,) = Path(store_path, "waiting").iterdir()
    left = path.read_bytes()
    store.take(KEY, ack=True)
    store.put(KEY, {"n": 1})
    store.flush()
    path.write_bytes(left)
    path.chmod(0o600)
    assert [finding.level for finding in store.check()] == ["note"]
    reader = open_directory.elsewhere()
    assert (reader.peek(KEY), reader[KEY]) == ([], {"n": 1})
    store.put("other", {"n": 1})
    store.flush()
    assert not path.exists()
    assert store.check() == []


def test_reading_an_inbox_writes_nothing(open_directory: Opener, store_path: str) -> None:
    """G5: peek, take of an empty inbox and ack of nothing neither create a store nor migrate one."""
    legacy = Path(store_path[:-2] + ".json")
    legacy.write_text(json.dumps({KEY: {"sessionId": "s"}}))
    legacy.chmod(0o600)
    store = open_directory()
    assert (store.peek(KEY), store.take(KEY), store.ack(KEY, "x"), store.put_back(KEY, "x")) == ([], [], 0, 0)
    assert (store.inboxes(), store.leases(), store.lease_of(KEY)) == ([], [], None)
    assert not os.path.exists(store_path)
    store.post(KEY, "m")
    assert (store[KEY], len(store.peek(KEY))) == ({"sessionId": "s"}, 1)


def test_many_at_once_lose_and_double_nothing(open_directory: Opener) -> None:
    """G3: threads of handles that share nothing post while others take and acknowledge: each message once."""
    posters = [open_directory.elsewhere(durability="process") for _ in range(3)]
    takers = [open_directory.elsewhere(durability="process") for _ in range(2)]
    posters[0].put(KEY, {"n": 0})
    got: list[list[Any]] = [[], []]
    posted = threading.Event()

    def post(handle: SessionStore, name: int) -> None:
        for number in range(60):
            handle.post(KEY, [name, number])

    def take(handle: SessionStore, mine: list[Any]) -> None:
        while True:
            over = posted.is_set()
            messages = handle.take(KEY, 7)
            mine += [one.body for one in messages]
            handle.ack(KEY, messages)
            if over and not messages:
                return

    threads = [threading.Thread(target=post, args=(handle, name)) for name, handle in enumerate(posters)]
    consumers = [threading.Thread(target=take, args=pair) for pair in zip(takers, got, strict=True)]
    for thread in threads + consumers:
        thread.start()
    for thread in threads:
        thread.join()
    posted.set()
    for thread in consumers:
        thread.join()
    assert sorted(got[0] + got[1]) == [[name, number] for name in range(3) for number in range(60)]
    for mine in got:
        assert sorted(mine, key=lambda body: body[0]) == sorted(mine), "out of the sender's order"
