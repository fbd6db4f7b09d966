"""G8: any bytes give a value that reads back equal, or the documented error (F5, F13).

The same targets run under a coverage-guided fuzzer: ``make fuzz SECONDS_EACH=60``.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from support.seed import SEED
from support.strategies import QUICK

from fuzz import corpus
from fuzz.targets import TARGETS, Refused
from sessiondir import codec
from sessiondir.errors import InvalidOption
from sessiondir.maintenance.units import duration_ms, size_bytes

TESTS = Path(__file__).parent.parent
_LARGEST_INPUT, _MOST_INPUTS = 5000, 120


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus(name: str) -> None:
    """Every kept input gives a value or the documented error; both outcomes are among them."""
    kept = corpus.inputs(name)
    refused = 0
    for data in kept.values():
        try:
            TARGETS[name](data)
        except Refused:
            refused += 1
    assert refused < len(kept), "nothing of the corpus is accepted, so only the refusals are tested"
    assert refused or name == "journal_text", "nothing of the corpus is refused"


def test_the_corpus_is_small() -> None:
    """What is kept stays small, and each directory belongs to a target."""
    assert {path.name for path in corpus.ROOT.iterdir()} == set(TARGETS)
    for name in TARGETS:
        kept = corpus.inputs(name)
        assert 0 < len(kept) <= _MOST_INPUTS
        assert all(len(data) <= _LARGEST_INPUT for data in kept.values())


def _inputs(name: str) -> st.SearchStrategy[bytes]:
    """Kept inputs with bytes replaced, cut out, doubled, or with a part of another one put in; or any bytes."""
    kept = list(corpus.inputs(name).values())
    place = st.integers(0, _LARGEST_INPUT)
    piece = st.sampled_from(kept) | st.binary(max_size=8)

    def mutated(text: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
        for start, length, put in edits:
            at = start % (len(text) + 1)
            text = text[:at] + put + text[at + length :]
        return text[:_LARGEST_INPUT]

    edits = st.lists(st.tuples(place, st.integers(0, 6), piece), max_size=4)
    return st.builds(mutated, st.sampled_from(kept), edits) | st.binary(max_size=60)


@pytest.mark.parametrize("name", TARGETS)
def test_mutated_inputs(name: str) -> None:
    """What is near the kept inputs is accepted or refused, too."""
    target = TARGETS[name]

    @seed(SEED)
    @settings(QUICK, max_examples=200)
    @given(_inputs(name))
    def check(data: bytes) -> None:
        try:
            target(data)
        except Refused:
            pass

    check()


@pytest.mark.parametrize("text", ["9" * 1_000_001 + "d", "1" + "0" * 999_990 + ".5d", "9" * 500])
def test_an_amount_without_end_is_refused_at_once(text: str) -> None:
    """F13: digits by the million are no number of anybody; reading them took minutes, or ended in an overflow."""
    for read in (lambda: duration_ms(text, "d", "pruneAfter"), lambda: size_bytes(text, "maxDiskBytes")):
        with pytest.raises(InvalidOption) as caught:
            read()
        assert len(str(caught.value)) < 400


def test_a_target_notices_what_does_not_read_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The targets can fail: an encoder that loses something, and an error that is none of ours, are caught."""
    real = codec.encode
    monkeypatch.setattr(codec, "encode", lambda value, where="": real([] if value == [1] else value, where))
    with pytest.raises(AssertionError):
        TARGETS["value"](b"[1]")
    monkeypatch.setattr(codec, "decode", lambda data: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        TARGETS["value"](b"[1]")


@pytest.mark.stress
@pytest.mark.timeout(3600)
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed: make fuzz")
def test_guided_fuzzing_for_a_moment() -> None:
    """The fuzzer runs every target and counts what it did."""
    done = subprocess.run(
        [sys.executable, "-m", "fuzz", "2"], cwd=TESTS, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    counts = [int(text.replace(",", "")) for text in re.findall(r"([0-9,]+) executions,", done.stdout)]
    assert len(counts) == len(TARGETS)
    assert all(count > 0 for count in counts)
