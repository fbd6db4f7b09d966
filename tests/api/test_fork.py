"""A forked child on an open store (F16)."""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from support.factories import Opener

from sessiondir import LockTimeout


def in_child(work: Callable[[], Any]) -> Any:
    """What ``work`` returns in a forked child, which then ends without any cleaning up."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            answer = {"value": work()}
        except BaseException:
            answer = {"error": traceback.format_exc()}
        os.write(writing, json.dumps(answer).encode())
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        answer = json.loads(pipe.read())
    os.waitpid(pid, 0)
    assert "error" not in answer, answer["error"]
    return answer["value"]


@pytest.fixture
def store(open_directory: Opener) -> Any:
    """A store with a session "a", ready to write."""
    store = open_directory(checkpoint_interval=3600, lock_timeout=0)
    store.put("a", {"n": 1, "updatedAt": 1})
    return store


def test_g6_parent_and_child_see_each_other(store: Any) -> None:
    """G6: after a fork both go on with the handle, and see each other's commits."""

    def work() -> Any:
        store.patch("a", {"n": 2})
        store.put("b", {})
        return [store["a"], store.version]

    assert in_child(work) == [{"n": 2, "updatedAt": 1}, 3]
    assert store["a"] == {"n": 2, "updatedAt": 1}
    store.patch("a", {"n": 3})
    assert in_child(lambda: store["a"]["n"]) == 3


def test_g6_a_listing_of_the_child_is_current(store: Any) -> None:
    """G6: a listing that the parent had begun shows the child the child's own commits."""
    assert [info.key for info in store.list()] == ["a"]

    def work() -> list[str]:
        store.put("b", {"updatedAt": 2})
        store.patch("a", {"updatedAt": 3})
        return [info.key for info in store.list()]

    assert in_child(work) == ["a", "b"]
    assert [info.key for info in store.list()] == ["a", "b"]


def test_g7_the_child_does_not_inherit_what_the_parent_holds(store: Any) -> None:
    """G7: sessions that the parent holds stay the parent's: the child waits for them, and frees nothing."""

    def work() -> str:
        try:
            store.put("a", {"n": 5})
        except LockTimeout:
            return "busy"
        return "got it"

    with store.transaction("a") as txn:
        assert in_child(work) == "busy"
        assert in_child(work) == "busy"
        txn["a"] = {"n": 4}
    assert in_child(work) == "got it"
    assert store["a"] == {"n": 5}


def test_the_end_of_a_child_takes_nothing_away(store: Any) -> None:
    """A child that closes the handle, or just ends, leaves the parent's handle as it was."""
    in_child(store.close)
    in_child(lambda: None)
    store.put("b", {"n": 1})
    store.flush()
    assert sorted(store.keys()) == ["a", "b"]


def test_grandchildren_work_too(store: Any) -> None:
    """A child may fork again; every generation writes and nothing is lost."""

    def work(depth: int = 3) -> int:
        store.update("a", lambda entry: {**entry, "n": entry["n"] + 1})
        return 1 + (in_child(lambda: work(depth - 1)) if depth else 0)

    assert work() == 4
    assert store["a"]["n"] == 5
