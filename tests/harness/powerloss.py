"""Playing a scenario on the modelled disk, and judging every image a power cut may leave."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Iterator

from harness.story import Scenario, Sessions, judge, open_on
from harness.watched import close_quietly, drop_cores
from sessiondir.model import Durability
from sessiondir.testing import PowerLossFileSystem, Rule, Tree, write_tree


class Played:
    """A scenario that was played to its end on a modelled disk.

    ``states[n]`` is what the sessions are after ``n`` steps; marks in the images tell how
    many steps had returned.
    """

    def __init__(
        self,
        scenario: Scenario,
        folder: str,
        *,
        durability: Durability = "power",
        fs_class: type[PowerLossFileSystem] = PowerLossFileSystem,
    ) -> None:
        self.scenario = scenario
        self.durability = durability
        path = f"{folder}/sessions.d"
        self.states = scenario.states(scenario.prepare(path))
        self.fs = fs_class(folder)
        self.fs.mark(0)
        store = None
        try:
            store = open_on(self.fs, path, durability=durability, **scenario.options)
            for number, step in enumerate(scenario.steps, 1):
                step.run(store)
                self.fs.mark(number)
            store.close()
        finally:
            close_quietly(store)
            drop_cores(self.fs)

    def images(self, rule: Rule, rng: random.Random, *, most: int = 60) -> Iterator[tuple[Tree, list[Sessions]]]:
        """Every image, with the states that it may show."""
        for tree, mark in self.fs.images(rule, rng, most=most):
            assert isinstance(mark, int)
            # A step that has not returned may have happened or not; without sync, later ones may be gone.
            yield tree, self.states[mark if self.durability == "power" else 0 : mark + 2]

    def judged(self, rule: Rule, rng: random.Random, *, most: int = 60) -> Iterator[str | None]:
        """For each image what is wrong with it, or None."""
        for number, (tree, allowed) in enumerate(self.images(rule, rng, most=most), 1):
            yield complaint_about(tree, allowed, f"{self.scenario.name}, {rule}, image {number}")


def complaint_about(tree: Tree, allowed: list[Sessions], why: str) -> str | None:
    """Open one image; what is wrong with it, None if nothing is."""
    with scratch() as folder:
        root = f"{folder}/disk"
        write_tree(root, tree)
        try:
            judge(f"{root}/sessions.d", allowed, why)
        except Exception as exc:
            return f"{why}: {type(exc).__name__}: {exc}"
    return None


class scratch:
    """A directory in memory where there is one; removed at the end."""

    def __enter__(self) -> str:
        memory = "/dev/shm"
        self.path = tempfile.mkdtemp(prefix="sessiondir-", dir=memory if os.access(memory, os.W_OK) else None)
        return self.path

    def __exit__(self, *exc: object) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
