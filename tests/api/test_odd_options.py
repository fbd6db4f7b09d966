"""What callers give for numbers and switches: taken, or refused by an error that names the option."""

from __future__ import annotations

import math
import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from support.factories import Opener

from sessiondir import InvalidOption, SessionStore


class Seconds(float):
    """As numeric libraries have them."""


class Number(int):
    """As numeric libraries and enumerations have them."""


@pytest.mark.parametrize("create", [1, "yes", [0], None, 0, ""], ids=repr)
def test_create_is_a_switch_like_any_other_in_python(open_store: Opener, create: Any) -> None:
    """What is true makes the session, what is false does not."""
    store = open_store()
    assert (store.patch("a", {"n": 1}, create=create) is not None) is bool(create)
    assert (store.update("b", lambda entry: {**entry, "n": 1}, create=create) is not None) is bool(create)
    assert ("a" in store, "b" in store) == (bool(create), bool(create))


@pytest.mark.parametrize("if_version", ["1", 1.0, b"1", Decimal(1), math.nan, [], object()], ids=repr)
def test_a_version_that_is_no_whole_number_is_refused(open_store: Opener, if_version: Any) -> None:
    """Nothing is changed, and the error says which option it was."""
    store = open_store()
    store.put("a", {"n": 1})
    for change in (lambda: store.put("a", {"n": 2}, if_version), lambda: store.delete("a", if_version)):
        with pytest.raises(InvalidOption, match="if_version"):
            change()
    assert (store["a"], store.version) == ({"n": 1}, 1)
    assert store.put("a", {"n": 3}, Number(1)) == 2


@pytest.mark.parametrize("timeout", ["1", b"", Decimal(1), math.nan, True, [], 1j, object()], ids=repr)
def test_a_timeout_that_is_no_number_is_refused(open_store: Opener, timeout: Any) -> None:
    """Nothing is changed and no session stays held."""
    store = open_store()
    store.put("a", {"n": 1})
    with pytest.raises(InvalidOption, match="timeout"):
        store.update("a", lambda entry: {"n": 2}, timeout=timeout)
    with pytest.raises(InvalidOption, match="timeout"), store.transaction("a", timeout=timeout) as txn:
        txn["a"] = {"n": 2}
    assert store["a"] == {"n": 1}
    assert store.update("a", lambda entry: {"n": 3}, timeout=0) == {"n": 3}


@pytest.mark.parametrize("timeout", ["1", math.nan, True], ids=repr)
def test_who_waits_for_news_or_a_lease_refuses_what_is_no_number(open_directory: Opener, timeout: Any) -> None:
    """Instead of waiting for ever; no lease is granted."""
    store = open_directory()
    for wait in (
        lambda: store.wait_inbox("a", timeout),
        lambda: list(store.watch(timeout=timeout)),
        lambda: store.lease("a", "me", timeout=timeout),
    ):
        with pytest.raises(InvalidOption, match="timeout"):
            wait()
    assert store.lease_of("a") is None
    assert (store.wait_inbox("a", -1), list(store.watch(timeout=0))) == ([], [])


@pytest.mark.parametrize("ttl", [0, -1, math.nan, math.inf, 10**400, True, "1", None], ids=type)
def test_a_term_that_nobody_can_count_is_refused(open_directory: Opener, ttl: Any) -> None:
    """Nothing is granted and nothing posted."""
    store = open_directory()
    with pytest.raises(InvalidOption, match="ttl"):
        store.lease("a", "me", ttl=ttl)
    if ttl is not None:  # a message without a term waits for ever
        with pytest.raises(InvalidOption, match="ttl"):
            store.post("a", "hello", ttl=ttl)
    assert (store.lease_of("a"), store.peek("a")) == (None, [])


@pytest.mark.parametrize("timeout", [math.inf, 10**400, -1, -math.inf, Seconds(1), Number(1)], ids=type)
def test_any_length_of_time_is_a_timeout(store_path: str, timeout: Any) -> None:
    """Below zero is zero: one try."""
    with SessionStore.open(store_path, lock_timeout=timeout if timeout >= 0 else 0) as store:
        store.put("a", {"n": 1})
        assert store.update("a", lambda entry: {"n": 2}, timeout=timeout) == {"n": 2}
        with store.transaction("a", timeout=timeout) as txn:
            txn["a"] = {"n": 3}
        assert store["a"] == {"n": 3}


@pytest.mark.parametrize("timeout", [math.inf, 10**400], ids=type)
def test_a_session_may_be_waited_for_without_end(open_store: Opener, timeout: Any) -> None:
    """Longer than any lock of the system can be waited for: whoever waits gets the session when it is free."""
    store, held, may_end = open_store(), threading.Event(), threading.Event()
    store.put("a", {})

    def hold(entry: dict[str, Any]) -> dict[str, Any]:
        held.set()
        may_end.wait(60)
        return {"n": 1}

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(store.update, "a", hold, True)
        held.wait(60)
        second = threads.submit(store.update, "a", lambda entry: {"n": entry["n"] + 1}, timeout=timeout)
        try:
            with pytest.raises(TimeoutError):
                second.result(0.05)
        finally:
            may_end.set()
        assert (first.result(), second.result()) == ({"n": 1}, {"n": 2})


@pytest.mark.parametrize("cache_bytes", [1e6, "1", None, -1, True, 1 << 64], ids=repr)
def test_a_cache_of_no_whole_number_of_bytes_is_refused(store_path: str, cache_bytes: Any) -> None:
    """Before anything is made."""
    with pytest.raises(InvalidOption, match="cache_bytes"):
        SessionStore.open(store_path, cache_bytes=cache_bytes)
