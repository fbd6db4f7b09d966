"""G1, G2: the last line of a journal may be cut anywhere (F4)."""

from __future__ import annotations

import shutil

import pytest
from harness.journals import cut_at, journal_path, read_lines, store_with_commits, write_at
from harness.story import contents, errors_of, judge, open_on
from harness.watched import QuickFs

from sessiondir.model import Durability


@pytest.mark.parametrize("durability", ["power", "process"])
def test_every_cut_of_the_last_line_loses_that_line_alone(store_path: str, durability: Durability) -> None:
    """G1: a last line cut at any byte counts as not written, and the next commit and its reading go well."""
    states = store_with_commits(store_path, 5, durability=durability)
    lines = read_lines(store_path)
    begin = sum(map(len, lines[:-1]))
    for kept in range(len(lines[-1])):
        copy = f"{store_path[:-2]}-{kept}.d"
        shutil.copytree(store_path, copy)
        name = journal_path(copy)
        if durability == "power":
            write_at(name, begin + kept, bytes(len(lines[-1]) - kept))
        else:
            cut_at(name, begin + kept)
        judge(copy, [states[-2]], f"cut at byte {kept} of {len(lines[-1])}")
        shutil.rmtree(copy)
    assert len(lines[-1]) > 60, "the line is too short to mean anything"
    judge(store_path, [states[-1]], "not cut")


def test_a_cut_line_feed_alone_loses_the_commit(store_path: str) -> None:
    """G1: a line without its line feed is not a commit: the same journal means the same to every reader."""
    states = store_with_commits(store_path, 3, durability="process")
    cut_at(journal_path(store_path), sum(map(len, read_lines(store_path))) - 1)
    with open_on(QuickFs(), store_path, read_only=True) as first, open_on(QuickFs(), store_path) as second:
        assert contents(first) == contents(second) == states[-2]
        second.put("next", {"n": 1})
        assert contents(first) == contents(second) == states[-2] | {"next": {"n": 1}}


def test_a_reader_sees_the_line_that_replaces_a_torn_one(store_path: str) -> None:
    """G6: a reader that has seen a torn tail sees the commit that is written over it."""
    store_with_commits(store_path, 2)
    name = journal_path(store_path)
    end = sum(map(len, read_lines(store_path)))
    write_at(name, end, b'{"v":3,"t":1,"ops":[{"op":"put","key":"half')
    with open_on(QuickFs(), store_path, read_only=True) as reader, open_on(QuickFs(), store_path) as writer:
        assert reader.version == 2
        assert reader.get("half") is None
        writer.put("x", {"n": 1})
        assert reader.get("x") == {"n": 1}
        assert reader.version == 3
    assert not errors_of(store_path)
