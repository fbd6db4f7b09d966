"""G1, G2: every sequence of up to three operations on two sessions, when the power goes at any moment (F3).

``OPERATIONS`` is the table: one more row is in every sequence.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from harness.powerloss import Played, scratch
from harness.seeds import seeded
from harness.story import ROTATING, A, B, Scenario, Sessions, Step, at_rest, flush, post_a

from sessiondir import SessionStore
from sessiondir.testing import Rule

_SAMPLE = 10
"""So many sequences are tried in each run, of each rule; the long form tries all."""


def _put(key: str) -> Step:
    return Step(f"put {key[-1]}", lambda s: s.put(key, {"n": 1}), lambda d: d | {key: {"n": 1}})


def _patch(key: str) -> Step:
    return Step(
        f"patch {key[-1]}",
        lambda s: s.patch(key, {"p": 2}, create=True),
        lambda d: d | {key: d.get(key, {}) | {"p": 2}},
    )


def _delete(key: str) -> Step:
    return Step(f"delete {key[-1]}", lambda s: s.delete(key), lambda d: {k: v for k, v in d.items() if k != key})


def _both(store: SessionStore) -> None:
    with store.transaction(A, B) as txn:
        txn[A], txn[B] = {"pair": 1}, {"pair": 1}


def _swap(sessions: Any) -> None:
    for key in (A, B):
        if key in sessions:
            del sessions[key]
        else:
            sessions[key] = {"edit": 1}


def _swapped(sessions: Sessions) -> Sessions:
    others = {key: entry for key, entry in sessions.items() if key not in (A, B)}
    return others | {key: {"edit": 1} for key in (A, B) if key not in sessions}


def _posted_once(sessions: Sessions) -> Sessions:
    """An id that is posted again is delivered once."""
    return sessions if any("p1" in str(one) for one in sessions.values()) else post_a.effect(sessions)


OPERATIONS = (
    _put(A),
    _put(B),
    _patch(A),
    _delete(A),
    _delete(B),
    Step("both", _both, lambda d: d | {A: {"pair": 1}, B: {"pair": 1}}),
    Step("edit", lambda s: s.edit(_swap), _swapped),
    Step("post a", lambda s: s.post(A, {"n": 3}, id="p1"), _posted_once),
    flush,
)


def _sequences() -> Iterator[Scenario]:
    for length in (1, 2, 3):
        for steps in itertools.product(OPERATIONS, repeat=length):
            name = ", ".join(step.name for step in steps)
            yield Scenario(name, at_rest, steps)
            if flush in steps:
                yield Scenario(f"{name} (rotating)", at_rest, steps, ROTATING)


def _try(scenarios: list[Scenario], rule: Rule, most: int) -> None:
    rng = seeded(f"sequences {rule}")
    images, wrong = 0, []
    for scenario in scenarios:
        with scratch() as folder:
            for complaint in Played(scenario, folder).judged(rule, rng, most=most):
                images += 1
                if complaint is not None:
                    wrong.append(complaint)
    print(f"{len(scenarios)} sequences, {rule}: {images} images, {len(wrong)} violations")
    assert images >= 10 * len(scenarios), "too few images to mean anything"
    assert not wrong, f"{len(wrong)} of {images} images\n" + "\n".join(wrong[:5])


@pytest.mark.parametrize("rule", ["ordered", "strict"])
def test_some_sequences_survive_power_loss(rule: Rule) -> None:
    """G1, G2: a sample of the sequences, another one in each run."""
    _try(seeded(f"sample {rule}").sample(list(_sequences()), _SAMPLE), rule, most=3)


@pytest.mark.stress
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("rule", ["ordered", "strict"])
def test_every_sequence_survives_power_loss(rule: Rule) -> None:
    """G1, G2: all sequences; the counts are printed."""
    _try(list(_sequences()), rule, most=3)
