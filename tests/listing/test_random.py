"""G5, G6, G12: whatever is done to a store in whatever order, a listing is what its files say."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.powerloss import scratch
from harness.story import open_on
from harness.watched import QuickFs, leave
from support.files import session_path, write_session, write_state
from support.listings import make_listing, require_true
from support.seed import generator

from sessiondir import SessionStore, listkeeping

_ROUNDS, _STEPS = 12, 40
_KEYS = [f"agent:{number}" for number in range(12)] + ["long " * 40, 'quoted "\\ key']


class World:
    """A store, the processes that write to it, and programs that know nothing of them."""

    def __init__(self, path: str, rng: random.Random) -> None:
        self.path, self.rng = path, rng
        self.open: list[tuple[SessionStore, QuickFs]] = []
        self.done: list[str] = []

    def step(self) -> None:
        """One thing of many."""
        acts: list[tuple[int, Callable[[], None]]] = [
            (10, self.put), (6, self.patch), (4, self.delete), (2, self.post), (5, self.flush),
            (6, self.list_file), (2, self.rotate), (3, self.close), (2, self.die), (2, self.foreign_file),
            (1, self.layout1), (1, self.copy),
        ]  # fmt: skip
        act = self.rng.choices([act for _, act in acts], [weight for weight, _ in acts])[0]
        self.done.append(act.__name__)
        act()

    def _writer(self) -> SessionStore:
        if not self.open or (len(self.open) < 3 and self.rng.random() < 0.2):
            fs = QuickFs()
            self.open.append((open_on(fs, self.path, durability="process"), fs))
        return self.rng.choice(self.open)[0]

    def _key(self) -> str:
        return self.rng.choice(_KEYS)

    def put(self) -> None:
        at = self.rng.choice([None, 1.5, self.rng.randrange(50), "text"])
        self._writer().put(self._key(), {"updatedAt": at, "sessionId": "x" * self.rng.randrange(5)})

    def patch(self) -> None:
        self._writer().patch(self._key(), {"updatedAt": self.rng.randrange(100)})

    def delete(self) -> None:
        self._writer().delete(self._key())

    def post(self) -> None:
        self._writer().post(self._key(), "message")

    def flush(self) -> None:
        self._writer().flush()

    def list_file(self) -> None:
        make_listing(self._writer())

    def rotate(self) -> None:
        self._writer()._writing().checkpoint(10, rotate_bytes=0)

    def close(self) -> None:
        if self.open:
            self.open.pop(self.rng.randrange(len(self.open)))[0].close()

    def die(self) -> None:
        """One process dies with what it has not levelled."""
        if self.open:
            store, fs = self.open.pop(self.rng.randrange(len(self.open)))
            leave(store, fs)

    def close_all(self) -> None:
        while self.open:
            self.open.pop()[0].close()

    def foreign_file(self) -> None:
        """Somebody puts a session file in place, or takes one away, while nobody has the store open."""
        self._writer().flush()
        self.close_all()
        target = session_path(self.path, self._key())
        if self.rng.random() < 0.4:
            target.unlink(missing_ok=True)
        else:
            key = self._key()
            made = write_session(
                Path(self.path).parent / "aside", key, {"updatedAt": self.rng.randrange(99)}, version=1
            )
            made.rename(session_path(self.path, key))

    def layout1(self) -> None:
        """A program that knows only layout 1 changes sessions and the state file."""
        self._writer().flush()
        self.close_all()
        for _ in range(3):
            write_session(self.path, self._key(), {"updatedAt": self.rng.randrange(99)})
        write_state(self.path, 10_000)

    def copy(self) -> None:
        """A copy, times and all, is listed and written to."""
        target = f"{self.path[:-2]}-copy.d"
        shutil.copytree(self.path, target)
        require_true(target)
        with open_on(QuickFs(), target) as store:
            store.put(self._key(), {"updatedAt": 1})
            make_listing(store)
        require_true(target)
        shutil.rmtree(target)


@pytest.mark.parametrize("number", range(_ROUNDS))
def test_any_order_of_events_leaves_true_listings(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """G6, G12: after each of many random steps first page and all pages are what the files say."""
    monkeypatch.setattr(listkeeping, "_CHANGES_BYTES", 1500)
    monkeypatch.setattr(listkeeping, "_NEXT_TRY_S", 0.0)
    rng = generator(f"listing {number}")
    relied_on = 0
    with scratch() as folder:
        world = World(f"{folder}/sessions.d", rng)
        world.put()
        try:
            for _ in range(_STEPS):
                world.step()
                relied_on += require_true(world.path, ", ".join(world.done))
        finally:
            world.close_all()
        require_true(world.path, ", ".join(world.done))
    assert relied_on or number, "the listing file was never relied on"
