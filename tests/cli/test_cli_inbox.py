"""inbox, leases, post, and what show tells of them."""

from __future__ import annotations

import json
import os

import pytest
from cli_support import Run

from sessiondir import SessionStore

MAIN = "agent:main:main"


@pytest.fixture
def busy(store_path: str) -> str:
    """A store with a lease, and messages for a session and for none."""
    with SessionStore.open(store_path) as store:
        store.post(MAIN, {"result": "\x1b[31mred"}, id="child-1")
        store.post([MAIN, "nobody"], "text")
        store.take(MAIN, 1, ttl=3600)
        store.lease(MAIN, "gateway-1/run-42", ttl=3600)
    return store_path


def test_inbox(run: Run, busy: str) -> None:
    """All inboxes on a line each, sessions without an entry among them."""
    lines = [line.split("\t") for line in run("inbox", "--store", busy).stdout.splitlines()]
    assert [(line[0], line[1], line[2], line[5]) for line in lines] == [
        (MAIN, "2", "1", "yes"),
        ("nobody", "1", "0", "no"),
    ]
    told = json.loads(run("inbox", "--store", busy, "--json").stdout)["items"]
    assert [(one["key"], one["messages"], one["taken"], one["hasEntry"]) for one in told] == [
        (MAIN, 2, 1, True),
        ("nobody", 1, 0, False),
    ]


def test_inbox_of_one_session(run: Run, busy: str) -> None:
    """Id, time, deliveries, who has it, and the message; nothing in it steers a terminal."""
    shown = run("inbox", MAIN, "--store", busy).stdout
    assert "\x1b" not in shown
    first, second = (line.split("\t") for line in shown.splitlines())
    assert (first[0], first[2], first[3]) == ("child-1", "1", str(os.getpid()))
    assert second[2:] == ["0", "", '"text"']
    told = json.loads(run("inbox", MAIN, "--store", busy, "--json").stdout)
    assert [one["body"] for one in told["items"]] == [{"result": "\x1b[31mred"}, "text"]
    assert [one["takenBy"] for one in told["items"]] == [os.getpid(), None]


def test_leases(run: Run, busy: str) -> None:
    """Who holds what; with --all also what is free again."""
    (line,) = run("leases", "--store", busy).stdout.splitlines()
    assert line.split("\t")[:3] == [MAIN, "gateway-1/run-42", str(os.getpid())]
    (told,) = json.loads(run("leases", "--store", busy, "--json").stdout)["items"]
    assert (told["key"], told["pid"], told["ttl"], told["free"]) == (MAIN, os.getpid(), 3600, None)
    assert 3500 < told["endsIn"] <= 3600
    child = os.fork()
    if child == 0:
        with SessionStore.open(busy) as store:
            store.lease("other", "dead", ttl=3600)
        os._exit(0)
    os.waitpid(child, 0)
    assert len(run("leases", "--store", busy).stdout.splitlines()) == 1
    assert "free: owner died" in run("leases", "--all", "--store", busy).stdout


def test_show_tells_of_both(run: Run, busy: str) -> None:
    """For people a line each, for programs members."""
    shown = run("show", MAIN, "--store", busy).stdout
    assert f"lease\tgateway-1/run-42, process {os.getpid()}, ends in" in shown
    assert "inbox\t2 messages, 1 taken" in shown
    told = json.loads(run("show", MAIN, "--store", busy, "--json").stdout)
    assert told["inbox"] == {"messages": 2, "taken": 1}
    assert told["lease"]["owner"] == "gateway-1/run-42"
    plain = json.loads(run("show", "bot:old", "--store", busy, "--json").stdout)
    assert (plain["lease"], plain["inbox"]) == (None, {"messages": 0, "taken": 0})


def test_show_tells_of_a_session_without_an_entry(run: Run, busy: str) -> None:
    """Messages and leases that wait for a session are shown; of what is not there nothing is."""
    shown = run("show", "nobody", "--store", busy).stdout
    assert shown.splitlines() == [
        "session\tnobody",
        "entry\tnone yet",
        "inbox\t1 message, 0 taken; see: sessiondir inbox KEY",
    ]
    told = json.loads(run("show", "nobody", "--store", busy, "--json").stdout)
    assert (told["entry"], told["version"], told["size"], told["inbox"]["messages"]) == (None, None, None, 1)
    run("show", "nobody else", "--store", busy, code=10)


def test_nothing_to_show(run: Run, store_path: str) -> None:
    """Nothing on standard output, a note beside it, exit code 0."""
    for line in (("inbox",), ("inbox", MAIN), ("leases",)):
        result = run(*line, "--store", store_path)
        assert result.stdout == ""
        assert "no " in result.stderr
        assert json.loads(run(*line, "--store", store_path, "--json").stdout)["items"] == []


def test_post(run: Run, store_path: str) -> None:
    """JSON or text, once for an id; --dry-run writes nothing; a mistyped object is refused."""
    said = run("post", MAIN, '{"a": 1}', "--id", "x", "--store", store_path).stderr
    assert said == f"{MAIN}: posted as x; 1 waiting\n"
    said = run("post", MAIN, '{"a": 1}', "--id", "x", "--store", store_path).stderr
    assert said == f"{MAIN}: x was posted before; 1 waiting\n"
    run("post", "gone", "hello", "--id", "y", "--store", store_path)
    with SessionStore.open(store_path) as store:
        store.take("gone", ack=True)
    said = run("post", "gone", "hello", "--id", "y", "--store", store_path).stderr
    assert said == "gone: y was posted before; 0 waiting; there is no such session yet\n"
    run("post", MAIN, "hello", "--dry-run", "--store", store_path)
    told = json.loads(run("post", "new", "hello", "--store", store_path, "--json").stdout)
    assert (told["body"], told["waiting"], told["dryRun"]) == ("hello", 1, False)
    run("post", MAIN, '{"a": ', "--store", store_path, code=2)
    run("post", MAIN, "x" * 300_000, "--store", store_path, code=2)
    with SessionStore.open(store_path) as store:
        assert [(one.id, one.body) for one in store.peek(MAIN)] == [("x", {"a": 1})]
        for number in range(1000 - 1):
            store.post(MAIN, number, durability="process")
    error = json.loads(run("post", MAIN, "more", "--store", store_path, "--json", code=19).stderr)
    assert (error["error"], error["messages"], error["retryable"]) == ("InboxFull", 1000, True)


def test_rolling_back_tells_of_undelivered_messages(run: Run, busy: str) -> None:
    """What a legacy file cannot hold stays in the backup, and that is said."""
    assert "undelivered messages: 3" in run("rollback", "--dry-run", "--store", busy).stderr
