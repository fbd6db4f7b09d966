"""Large data is worked through in steps, and comes out as if it were done in one."""

from __future__ import annotations

import random
import re
import threading
import time
from typing import Any

import msgspec
import pytest
from support.seed import SEED

from sessiondir import codec, journal, pieces, steps


def value(rng: random.Random, depth: int) -> Any:
    """Some JSON value, large more often than not at depth 4."""
    kind = rng.random()
    if depth == 0 or kind < 0.3:
        texts = ["x" * rng.randrange(3000), "é", '"\\', ""]
        return rng.choice([1, 1.5, None, True, 2**70, *texts])
    if kind < 0.7:
        return [value(rng, depth - 1) for _ in range(rng.randrange(12))]
    return {f"k{number}": value(rng, depth - 1) for number in range(rng.randrange(12))}


def test_what_is_parsed_in_steps_is_what_is_parsed_at_once() -> None:
    """Arrays and objects, large ones inside large ones, are parsed to equal values."""
    rng = random.Random(SEED)
    large = 0
    for _ in range(60):
        values = [value(rng, 4) for _ in range(rng.randrange(1, 60))]
        wanted = values if rng.random() < 0.5 else {str(number): one for number, one in enumerate(values)}
        data = codec.encode(wanted)
        large += len(data) > steps.LARGE_BYTES
        assert codec.decode_in_steps(data) == codec.decode(data) == wanted
    assert large > 5


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of some bytes, so that small texts have many of them."""
    monkeypatch.setattr(steps, "LARGE_BYTES", 60)
    monkeypatch.setattr(steps, "STEP_BYTES", 30)
    monkeypatch.setattr(pieces, "SCAN_BYTES", 40)
    monkeypatch.setattr(pieces, "MANY", 3)
    monkeypatch.setattr(steps, "give_way", lambda size: None)
    monkeypatch.setattr(steps, "step", lambda work, value, size: work(value))


@pytest.mark.usefixtures("small_steps")
def test_what_is_written_in_pieces_is_what_is_written_at_once() -> None:
    """Compact text, laid out text, and the comparison with stored text: byte for byte the same."""
    rng = random.Random(SEED)
    for _ in range(300):
        wanted = [value(rng, 3) for _ in range(rng.randrange(9))]
        if rng.random() < 0.5:
            wanted = {f'"{number}é': one for number, one in enumerate(wanted)}  # type: ignore[assignment]
        compact = msgspec.json.encode(wanted)
        assert codec.encode(wanted) == compact
        assert codec.to_fields({"f": wanted}) == {"f": compact}
        assert pieces.canonical(compact) == compact
        assert pieces.is_encoded(wanted, compact)
        assert not pieces.is_encoded([*wanted, 0], compact)
        assert not pieces.is_encoded(wanted, compact + b" ")
        members: list[tuple[str, bytes | codec.Fields]] = [("n", b"1"), ("entry", {"f": compact, "é": None})]
        in_pieces = b"".join(codec.indented_parts(members))
        assert in_pieces == codec.indent(b'{"n":1,"entry":{"f":%b,"\xc3\xa9":null}}' % compact)


@pytest.mark.usefixtures("small_steps")
def test_long_text_is_searched_and_cut_as_short_text_is() -> None:
    """Matches over the end of a window, and longer than one, are found once and nothing else is."""
    rng = random.Random(SEED)
    words = [b'"key":"', b'"', b"k", b'ey":"', b'"key"', b':"', b"abc" * 20, b"\n", b"x", b'"key":"zz"']
    for _ in range(5000):
        text = b"".join(rng.choices(words, k=rng.randrange(5, 30)))
        assert journal.keys_in(text) == re.findall(rb'"key":"([^"]*)"', text)
        word = rng.choice(words)
        assert pieces.find(text, word) == text.find(word)
        assert list(journal.lines(text + b"\n")) == [line + b"\n" for line in text.split(b"\n")]
        start = rng.randrange(len(text))
        end = rng.randrange(start, len(text) + 1)
        assert pieces.part_of(text, start, end) == text[start:end]


@pytest.mark.parametrize(
    "text", [b"[" + b"1," * 200_000, b"{" + b'"a":1,' * 100_000 + b"}", b"[NaN]" + b" " * 300_000]
)
def test_damage_in_large_text_is_noticed(text: bytes) -> None:
    """Text that is not JSON is refused however it is read."""
    with pytest.raises(codec.DecodeError):
        codec.decode_in_steps(text)


def test_large_text_that_only_the_standard_library_reads() -> None:
    """Lone surrogates in one piece of many do not spoil the others."""
    data = b'["\\ud800",' + b'"' + b"x" * 300_000 + b'",{"n":1}]'
    assert codec.decode_in_steps(data) == ["\ud800", "x" * 300_000, {"n": 1}]


def test_one_thread_at_a_time_has_large_work_and_gives_way_when_its_turn_is_over() -> None:
    """Steps of two threads never overlap, and each as long as a turn is followed by one for the others."""
    inside, offers = [], []
    most = 0

    def work(number: int) -> int:
        nonlocal most
        inside.append(number)
        most = max(most, len(inside))
        time.sleep(steps._TURN_S)
        inside.remove(number)
        return number

    def run() -> None:
        steps.offer_with(lambda: offers.append(len(inside)))
        for number in range(200):
            assert steps.step(work, number, steps.LARGE_BYTES + 1) == number
        assert steps.step(len, "small", 5) == 5

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert offers == [0] * 600


def test_a_thread_with_a_loop_waits_for_no_other_step() -> None:
    """A worker in a step may be waiting for the loop: the loop's own large work does not wait for the worker."""
    entered, done = threading.Event(), threading.Event()
    results = []

    def hold(_: int) -> None:
        entered.set()
        assert done.wait(30)

    def loop() -> None:
        steps.run_loop_here()
        results.append(steps.step(len, b"large", steps.LARGE_BYTES + 1))
        steps.give_way(steps.LARGE_BYTES + 1)
        done.set()

    worker = threading.Thread(target=steps.step, args=(hold, 0, steps.LARGE_BYTES + 1))
    worker.start()
    assert entered.wait(30)
    thread = threading.Thread(target=loop)
    thread.start()
    thread.join(30)
    worker.join(30)
    assert results == [5]
    assert not thread.is_alive()
    assert not worker.is_alive()
