"""Updating a session from inside its own update is an error at once, never a wait (F17)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support.factories import Opener

from sessiondir import ReentrantUpdate

CALLS: dict[str, Callable[[Any], Any]] = {
    "put": lambda store: store.put("a", {"n": 9}),
    "patch": lambda store: store.patch("a", {"n": 9}),
    "update": lambda store: store.update("a", lambda entry: {"n": 9}),
    "delete": lambda store: store.delete("a"),
    "transaction": lambda store: store.transaction("b", "a").__enter__(),
}


@pytest.fixture(params=CALLS, ids=str)
def call(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    """A call that takes the session "a"."""
    return CALLS[request.param]


def test_g3_inside_update(open_store: Opener, call: Callable[[Any], Any]) -> None:
    """G3: a callback that changes its own session gets ReentrantUpdate, and nothing is changed."""
    store = open_store(lock_timeout=3600)
    store.put("a", {"n": 1})
    with pytest.raises(ReentrantUpdate) as caught:
        store.update("a", lambda entry: call(store))
    assert caught.value.session == "a"
    assert store["a"] == {"n": 1}
    assert store.update("a", lambda entry: {"n": 2}) == {"n": 2}
    assert store.update("b", lambda entry: {"n": 2}, create=True) == {"n": 2}


def test_g3_through_a_second_handle(open_store: Opener, call: Callable[[Any], Any]) -> None:
    """G3: a second handle of this process on the store is no way around the error."""
    store, second = open_store(lock_timeout=3600), open_store(lock_timeout=3600)
    store.put("a", {"n": 1})
    with pytest.raises(ReentrantUpdate):
        store.update("a", lambda entry: call(second))
    assert store["a"] == {"n": 1}


def test_g3_inside_a_transaction(open_store: Opener, call: Callable[[Any], Any]) -> None:
    """G3: the sessions of a transaction cannot be changed beside it while its block runs."""
    store = open_store(lock_timeout=3600)
    store.put("a", {"n": 1})
    with pytest.raises(ReentrantUpdate), store.transaction("a", "c") as txn:
        txn["c"] = {"n": 5}
        call(store)
    assert store["a"] == {"n": 1}
    assert "c" not in store
    assert store.delete("a") is True


def test_g3_on_a_store_that_does_not_exist_yet(open_store: Opener) -> None:
    """G3: the error comes at once on a new store too, and neither change was made."""
    store = open_store(lock_timeout=3600)
    with pytest.raises(ReentrantUpdate):
        store.update("a", lambda entry: {"outer": store.put("a", {"inner": 1})}, create=True)
    assert store.get("a") is None


def test_the_callback_may_read_its_own_session(open_store: Opener) -> None:
    """Reading inside a callback shows what is committed."""
    store = open_store()
    store.put("a", {"n": 1})
    store.update("a", lambda entry: {"n": 2, "read": store["a"], "list": [info.key for info in store.list()]})
    assert store["a"] == {"n": 2, "read": {"n": 1}, "list": ["a"]}
