"""Large data is worked through in steps, and comes out as if it were done in one."""

from __future__ import annotations

import random
import threading
from typing import Any

import pytest
from support.seed import SEED

from sessiondir import codec, pieces, steps


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
    """Arrays and objects, large ones inside large ones, are parsed and copied to equal values."""
    rng = random.Random(SEED)
    large = 0
    for _ in range(60):
        values = [value(rng, 4) for _ in range(rng.randrange(1, 60))]
        wanted = values if rng.random() < 0.5 else {str(number): one for number, one in enumerate(values)}
        data = codec.encode(wanted)
        large += len(data) > steps.LARGE_BYTES
        assert codec.decode_in_steps(data) == codec.decode(data) == wanted
        copied = pieces.copy(wanted, len(data))
        assert copied == wanted
        assert copied is not wanted
    assert large > 5


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


def test_one_thread_at_a_time_has_large_work_and_gives_way_after_it() -> None:
    """Steps of two threads never overlap, and each is followed by a turn for the others; small work is not."""
    inside, offers = [], []
    most = 0

    def work(number: int) -> int:
        nonlocal most
        inside.append(number)
        most = max(most, len(inside))
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
