"""G3, G6: what other processes committed is found again whatever happened to the cached session."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

import pytest
from harness.story import open_on
from harness.watched import QuickFs
from support.acting import ActingFs, raising

from sessiondir import Limits, SessionStore, StoreError
from sessiondir.clock import Clock

SMALL_CACHE_BYTES = 6000


def _fill(store: SessionStore) -> list[str]:
    names = [f"k{number}" for number in range(50)]
    for name in names:
        store.put(name, {"n": 0})
    store.flush()
    return names


@pytest.mark.parametrize("cached_before", [True, False])
def test_g6_a_session_that_was_dropped_from_the_cache_is_read_whole_again(
    store_path: str, cached_before: bool
) -> None:
    """Once looked up, the commits of others stay known, although the entry did not stay at hand."""
    with open_on(QuickFs(), store_path) as writer:
        names = _fill(writer)
        with open_on(QuickFs(), store_path, cache_bytes=SMALL_CACHE_BYTES) as reader:
            assert reader.version == 50
            if cached_before:
                reader.get("k0")
            writer.patch("k0", {"n": 1})
            assert reader["k0"] == {"n": 1}
            for name in names[1:]:
                reader.get(name)
            assert reader["k0"] == {"n": 1}
            reader.update("k0", lambda entry: {**entry, "m": entry["n"] + 10})
            assert writer["k0"] == {"n": 1, "m": 11}


@pytest.mark.parametrize("behind", [False, True])
def test_g6_settling_leaves_what_is_at_hand_current(store_path: str, behind: bool) -> None:
    """Commits that a cached session has already are only noted; those that it lacks are applied."""
    with open_on(QuickFs(), store_path) as writer, open_on(QuickFs(), store_path) as other:
        names = _fill(writer)
        assert other["k0"] == {"n": 0}
        for number in range(300):
            writer.patch("k0", {"n": number + 1})
            writer.patch(names[1 + number % 40], {"n": number + 1})
        if not behind:
            assert other["k0"] == {"n": 300}
        view = other._core.view
        with view.mutex:
            view.catch_up()
            view.settle()
        assert other["k0"] == {"n": 300}
        other.patch("k0", {"m": 1})
        other.flush()
        with view.mutex:
            view.forget()
        assert other["k0"] == writer["k0"] == {"n": 300, "m": 1}


def test_g6_a_backlog_that_grows_too_long_is_shortened_by_its_excess_alone(store_path: str) -> None:
    """Taking in all of it at once took most of a second, under whatever lock the reader had."""
    with open_on(QuickFs(), store_path) as writer, open_on(QuickFs(), store_path) as other:
        other.put("mine", {"n": 0})
        view = other._core.view
        longest = 0
        for number in range(120):
            writer.put(f"k{number % 90}", {"n": number, "text": "x" * 100_000})
            assert other.version == number + 2
            longest = max(longest, view.end - view.backlog_from)
        assert 8_000_000 < view.end - view.backlog_from <= longest <= 8 << 20
        assert [other[f"k{number}"]["n"] for number in (0, 29, 30, 89)] == [90, 119, 30, 89]
        assert other["mine"] == {"n": 0}


class TickingClock(Clock):
    """A clock on which a quarter of a second passes with every look, and sleeping takes no time."""

    def __init__(self) -> None:
        self.at = 0.0
        self.slept: list[float] = []

    def monotonic(self) -> float:  # type: ignore[override]
        self.at += 0.25
        return self.at

    def sleep(self, seconds: float) -> None:  # type: ignore[override]
        self.slept.append(seconds)


@contextlib.contextmanager
def _behind(store_path: str, clock: Clock) -> Iterator[tuple[SessionStore, SessionStore]]:
    """A writer, and another handle that has looked at its 500 commits and levelled none."""
    with (
        open_on(QuickFs(), store_path) as writer,
        open_on(QuickFs(), store_path, clock=clock) as other,
    ):
        other.put("mine", {"n": 0})
        for number in range(500):
            writer.put(f"k{number}", {"text": "x" * 100})
        assert other["k7"]
        yield writer, other


@pytest.mark.parametrize("at_leisure", [True, False])
def test_a_checkpoint_that_nobody_waits_for_rests_as_long_as_it_works(store_path: str, at_leisure: bool) -> None:
    """Between the slices of a long backlog the other threads get the interpreter; a flush does not dawdle."""
    clock = TickingClock()
    with _behind(store_path, clock) as (_, other):
        clock.slept.clear()
        assert other._core.checkpoint(10, at_leisure=at_leisure)
        assert (clock.slept.count(0.25) >= 3) is at_leisure
        assert (0.25 in clock.slept) is at_leisure


@pytest.mark.parametrize("waited_for", [True, False])
def test_a_checkpoint_ends_however_fast_commits_come_and_hurries_when_waited_for(
    store_path: str, waited_for: bool
) -> None:
    """With small slices, and rests as long, it never caught up with four writers: no session file was written."""
    clock = TickingClock()
    with _behind(store_path, clock) as (writer, other):
        core, rests = other._core, list[float]()

        def rest(seconds: float) -> None:
            rests.append(seconds)
            if waited_for:
                core.checkpointer.listing.waiting.add("somebody")
            elif len(rests) < 200:
                for half in "ab":  # a little more than a slice
                    writer.put(f"news{len(rests)}{half}", {"text": "x" * 10_000})
                assert other.version == 501 + 2 * len(rests)

        clock.sleep = rest  # type: ignore[method-assign]
        assert core.checkpoint(10, at_leisure=True)
        clock.sleep = rests.append  # type: ignore[method-assign]
        core.checkpointer.listing.waiting.clear()
        assert 3 <= len(rests) < 30
        assert rests[0] == 0.25
        assert (0.25 in rests[1:]) is not waited_for
        assert core.checkpointer._state.version >= 501


@pytest.mark.parametrize("first", ['a"b', "a\\b", 'a"b"c', "a\nb"])
def test_g6_keys_that_look_alike_up_to_an_escape_share_no_commits(store_path: str, first: str) -> None:
    """Reading one of two keys with the same beginning before a quote leaves the other one's commits known."""
    second = first[:2] + "other"
    with open_on(QuickFs(), store_path) as writer, open_on(QuickFs(), store_path) as reader:
        for key in (first, second):
            writer.put(key, {"n": 0})
        assert [reader[key] for key in (first, second)] == [{"n": 0}] * 2
        writer.patch(second, {"n": 1})
        assert reader[first] == {"n": 0}
        assert reader[second] == {"n": 1}
        reader.update(second, lambda entry: {"n": entry["n"] + 10})
        assert writer[second] == {"n": 11}


def test_g6_a_next_journal_that_cannot_be_opened_now_is_followed_later(store_path: str) -> None:
    """G2, G6: without a descriptor for the next journal nothing is committed to the finished one."""
    fs = ActingFs()
    with (
        open_on(QuickFs(), store_path, limits=Limits(journal_bytes=1)) as writer,
        open_on(fs, store_path) as reader,
    ):
        writer.put("k", {"n": 0})
        reader.put("r", {"n": 0})
        reader.list()  # from here on it wants to hear of every change
        writer.flush()
        full = raising(OSError(errno.EMFILE, "no descriptor left"))
        fs.before("open", full, lambda name, *_: str(name).startswith("journal-"))
        with pytest.raises(StoreError):
            reader.get("k")
        assert fs.acted
        assert reader.put("r", {"n": 1}) == 3
        assert writer["r"] == {"n": 1}
        assert writer.put("k", {"n": 5}) == 4
        assert reader["k"] == {"n": 5}
        with open_on(QuickFs(), store_path, read_only=True) as fresh:
            assert (fresh["k"], fresh["r"]) == ({"n": 5}, {"n": 1})
