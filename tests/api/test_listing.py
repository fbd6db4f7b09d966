"""Listing sessions page by page, and their keys."""

from __future__ import annotations

from typing import Any

import pytest
from support.factories import Opener
from support.seed import generator

from sessiondir import InvalidOption, UnreadableFile
from sessiondir.document import Document
from sessiondir.view import View


def all_pages(store: Any, **options: Any) -> list[str]:
    """The keys of all pages, one after the other."""
    found: list[str] = []
    cursor = None
    while True:
        page = store.list(cursor=cursor, **options)
        found += [info.key for info in page]
        if page.next_cursor is None:
            return found
        assert len(page) == options["limit"]
        cursor = page.next_cursor


def test_a_listing_tells_metadata(open_store: Opener) -> None:
    """Each item has key, version, time, session id and size, and no entry."""
    store = open_store()
    version = store.put("a", {"sessionId": "s1", "updatedAt": 5, "big": ["x" * 1000]})
    store.put("b", {"sessionId": 7, "updatedAt": "no time"})
    first, second = store.list()
    assert (first.key, first.version, first.updated_at, first.session_id) == ("a", version, 5, "s1")
    assert first.size == len('{"sessionId":"s1","updatedAt":5,"big":["' + "x" * 1000 + '"]}')
    assert (second.key, second.updated_at, second.session_id) == ("b", None, None)


def test_newest_first_and_without_a_time_last(open_store: Opener) -> None:
    """By default the newest updatedAt comes first; ties go by key; sessions without a time are last."""
    store = open_store()
    times = {"b": 2, "a": 2, "c": 9, "d": None, "e": 2.5, "f": -1, "g": None}
    store.replace({key: {} if at is None else {"updatedAt": at} for key, at in times.items()})
    assert [info.key for info in store.list()] == ["c", "e", "a", "b", "f", "d", "g"]
    assert [info.key for info in store.list(order="key")] == sorted(times)


@pytest.mark.parametrize("order", ["updated", "key"])
@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
def test_pages_put_together_are_the_whole_listing(open_store: Opener, order: str, limit: int) -> None:
    """Every session is on exactly one page, in order, whatever the page size."""
    random = generator(f"pages {order} {limit}")
    store = open_store()
    entries = {f"k{n:02}": {"updatedAt": random.randrange(5)} if n % 3 else {} for n in range(21)}
    store.replace(entries)
    wanted = [info.key for info in store.list(order=order, limit=1000)]
    assert sorted(wanted) == sorted(entries)
    assert all_pages(store, order=order, limit=limit) == wanted


def test_the_last_full_page_has_no_cursor(open_store: Opener) -> None:
    """A page that ends with the last session has no next cursor, even if it is full."""
    store = open_store()
    store.replace({f"k{n}": {} for n in range(4)})
    page = store.list(limit=4)
    assert (len(page), page.next_cursor) == (4, None)
    assert store.list(limit=3).next_cursor is not None
    empty = store.list(prefix="none")
    assert (len(empty), empty.next_cursor) == (0, None)


def test_a_prefix_limits_listing_and_keys(open_store: Opener) -> None:
    """Only sessions whose key begins with the prefix are listed, over page borders too."""
    store = open_store()
    store.replace({f"agent:{'main' if n % 2 else 'work'}:{n}": {} for n in range(10)})
    wanted = [f"agent:main:{n}" for n in (1, 3, 5, 7, 9)]
    assert all_pages(store, prefix="agent:main:", order="key", limit=2) == wanted
    assert sorted(store.keys("agent:main:")) == wanted
    assert store.keys("agent:none") == []


def test_a_cursor_stays_valid_while_others_commit(open_store: Opener) -> None:
    """Sessions that did not move are listed once, whatever is created or deleted between two pages."""
    store, other = open_store(), open_store.elsewhere()
    store.replace({f"k{n}": {"updatedAt": 100 - n} for n in range(9)})
    first = store.list(limit=3)
    other.put("new on top", {"updatedAt": 1000})
    other.delete("k2")  # the session that the cursor stands on
    other.delete("k3")
    other.put("k35", {"updatedAt": 96.5})
    second = store.list(limit=3, cursor=first.next_cursor)
    assert [info.key for info in first] == ["k0", "k1", "k2"]
    assert [info.key for info in second] == ["k35", "k4", "k5"]


def test_a_cursor_counts_for_another_handle_too(open_store: Opener) -> None:
    """A cursor may be used through another handle, in another process, after a restart."""
    store = open_store()
    store.replace({f"k{n}": {"updatedAt": n} for n in range(4)})
    cursor = store.list(limit=2).next_cursor
    store.close()
    assert [info.key for info in open_store.elsewhere().list(cursor=cursor)] == ["k1", "k0"]


def test_the_listing_follows_commits(open_store: Opener) -> None:
    """G6: a listing shows every commit made before it, own and foreign, without being rebuilt."""
    store, other = open_store(), open_store.elsewhere()
    store.replace({"a": {"updatedAt": 1}, "b": {"updatedAt": 2}})
    assert [info.key for info in store.list()] == ["b", "a"]
    other.patch("a", {"updatedAt": 3})
    assert [info.key for info in store.list()] == ["a", "b"]
    store.delete("a")
    store.put("c", {"updatedAt": 9})
    other.put("d", {})
    assert [info.key for info in store.list()] == [info.key for info in other.list()] == ["c", "b", "d"]


def test_every_page_is_right_while_others_commit(open_store: Opener) -> None:
    """G6: after random commits to few or many sessions, every page is that of a plain sort."""
    random = generator("listing against a plain sort")
    store, other = open_store(), open_store.elsewhere()
    truth: dict[str, dict[str, Any]] = {f"{'ab'[n % 2]}{n:03}": {"updatedAt": n} for n in range(150)}
    store.replace(truth)
    for step in range(120):
        writer = random.choice([store, other])
        names = random.sample(sorted(truth), random.choice([1, 1, 2, 5, 60]))
        with writer.edit() as sessions:
            for chosen in names:
                kind, name = random.randrange(5), chosen
                if kind == 0 and len(truth) > 90:
                    del sessions[chosen], truth[chosen]
                    name = f"{random.choice('ab')}{150 + step:03}"
                time = random.choice([random.randrange(200), random.random() * 200, -1, 2**60, None])
                truth[name] = {} if kind == 1 or time is None else {"updatedAt": time, "step": step}
                sessions[name] = truth[name]
        if step % 3 == 0:
            continue  # several commits between two pages
        prefix, limit = random.choice(["", "a", "b01", "none"]), random.choice([7, 50, 1000])
        timed = lambda name: truth[name].get("updatedAt")  # noqa: E731
        wanted = sorted(
            (name for name in truth if name.startswith(prefix)),
            key=lambda name: (timed(name) is None, -(timed(name) or 0), name),
        )
        assert all_pages(store, prefix=prefix, limit=limit) == wanted, step
        assert all_pages(store, prefix=prefix, limit=limit, order="key") == sorted(wanted), step


def test_a_session_that_cannot_be_read_for_a_moment_is_read_by_the_next_page(
    open_store: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G8: "cannot read" is not "unchanged": the page fails, and the next one shows all that had changed."""
    store, other = open_store(), open_store.elsewhere()
    store.replace({f"k{n:02}": {"updatedAt": n} for n in range(40)})
    store.list()
    for name in ("k00", "k01", "k02"):
        other.patch(name, {"updatedAt": 100})
    real, broken = View.peek, [True]

    def peek(view: View, key: str) -> Document:
        if broken and key == "k01":
            raise UnreadableFile("Input/output error")
        return real(view, key)

    monkeypatch.setattr(View, "peek", peek)
    for _ in range(2):
        with pytest.raises(UnreadableFile):
            store.list()
    broken.clear()
    assert [info.key for info in store.list(limit=4)] == ["k00", "k01", "k02", "k39"]


@pytest.mark.parametrize(
    "options",
    [
        {"order": "size"}, {"limit": 0}, {"limit": -1}, {"limit": True}, {"limit": 1.5}, {"limit": None},
        {"cursor": "nonsense"}, {"cursor": "é"}, {"cursor": ""}, {"cursor": "W10"}, {"cursor": "eyJhIjoxfQ"},
    ],
    ids=str,
)  # fmt: skip
def test_impossible_options_are_refused(open_store: Opener, options: dict[str, Any]) -> None:
    """An unknown order, a page size below one or a foreign cursor is an error, with or without a store."""
    store = open_store()
    with pytest.raises(InvalidOption):
        store.list(**options)
    store.put("a", {})
    with pytest.raises(InvalidOption):
        store.list(**options)


def test_a_cursor_of_another_order_is_refused(open_store: Opener) -> None:
    """A cursor goes on in its own order only."""
    store = open_store()
    store.replace({"a": {}, "b": {}})
    cursor = store.list(limit=1, order="key").next_cursor
    with pytest.raises(InvalidOption):
        store.list(limit=1, order="updated", cursor=cursor)


def test_large_and_odd_times_are_sorted(open_store: Opener) -> None:
    """Times of any size and kind of number sort by value, and their cursors work."""
    store = open_store()
    times = {"a": 2**70, "b": 1e300, "c": -(2**70), "d": 0.1, "e": 0}
    store.replace({key: {"updatedAt": at} for key, at in times.items()})
    assert all_pages(store, limit=1) == ["b", "a", "d", "e", "c"]
