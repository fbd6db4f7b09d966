"""Dying at every call of a scenario, and judging what is left."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.story import Scenario, Sessions, open_on
from sessiondir import SessionStore
from sessiondir.testing import Stopped, StoppingFileSystem, Tree, digest, read_tree, write_tree


@dataclass(frozen=True)
class Remains:
    """What a death left on disk, and which states that may show."""

    tree: Tree
    allowed: list[Sessions]
    where: str


class Deaths:
    """All ways to die in one scenario, each different result once."""

    def __init__(self, scenario: Scenario, folder: str) -> None:
        self.scenario = scenario
        self._folder = folder
        path = f"{folder}/begin/sessions.d"
        write_tree(f"{folder}/begin", {})
        self.states = scenario.states(scenario.prepare(path))
        self._begin = read_tree(f"{folder}/begin")
        self.calls = 0
        """Calls at which the process died."""

    def __iter__(self) -> Iterator[Remains]:
        seen: set[tuple[bytes, int]] = set()
        for torn in (False, True):
            number = 0
            while True:
                number += 1
                done, fs, tree = self._die(number, torn)
                if not fs.last:
                    break  # it came to its end
                if torn and fs.last != "pwrite":
                    continue
                self.calls += 1
                if (key := (digest(tree), done)) not in seen:
                    seen.add(key)
                    where = f"{self.scenario.name}: died {'within' if torn else 'before'} call {number}, {fs.last}"
                    yield Remains(tree, self.states[done : done + 2], where)

    def _die(self, number: int, torn: bool) -> tuple[int, StoppingFileSystem, Tree]:
        root = f"{self._folder}/{'torn' if torn else 'stop'}-{number}"
        write_tree(root, self._begin)
        fs = StoppingFileSystem(number, torn=torn)
        done, store = 0, None
        try:
            store = open_on(fs, f"{root}/sessions.d", **self.scenario.options)
            for step in self.scenario.steps:
                step.run(store)
                done += 1
            store.close()
        except Stopped:
            pass
        finally:
            fs.bury(store)
        return done, fs, read_tree(root)


def die_again(remains: Remains, folder: str) -> Iterator[Remains]:
    """Open what one death left, write to it, and die again at every call."""
    seen: set[bytes] = set()
    number = 0
    while True:
        number += 1
        root = f"{folder}/again-{number}"
        write_tree(root, remains.tree)
        fs = StoppingFileSystem(number, torn=number % 2 == 0)
        store: SessionStore | None = None
        done = False
        try:
            store = open_on(fs, f"{root}/sessions.d")
            store.put("again", {"n": 1})
            done = True
            store.close()
        except Stopped:
            pass
        finally:
            fs.bury(store)
        if not fs.last:
            return
        tree = read_tree(root)
        if (key := digest(tree)) not in seen:
            seen.add(key)
            more = [sessions | {"again": {"n": 1}} for sessions in remains.allowed]
            allowed = more if done else [*remains.allowed, *more]
            yield Remains(tree, allowed, f"{remains.where}; died again at call {number}, {fs.last}")
