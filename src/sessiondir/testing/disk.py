"""A model of a disk that may lose power: what was synced survives, the rest as it comes.

Bytes of a file are safe after a sync of the file. Before that, what was written since may be
there whole, in part, as zeros (the length arrived, the content did not), with a hole, or not
at all. Names are safe after a sync of their directory. Before that, "ordered" keeps any prefix
of the changes of names, as journalling file systems do; "strict" keeps any subset, which is
all that POSIX promises.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from sessiondir.testing.trees import Tree

Rule = Literal["ordered", "strict"]
Event = tuple[Any, ...]
ROOT = 0
_STRICT_NAMES = 7
"""Up to so many pending names every subset is tried; of more, a sample."""


@dataclass
class _File:
    synced: bytes = b""
    pending: list[tuple[Any, ...]] = field(default_factory=list)

    def variants(self) -> list[bytes]:
        """What the file may hold after a power cut."""
        if not self.pending:
            return [self.synced]
        found = [self.synced]
        for kept in range(len(self.pending) + 1):
            whole = _apply(self.synced, self.pending[:kept])
            found.append(whole)
            if kept < len(self.pending):
                found.append(_apply(whole, [_half(self.pending[kept])]))
        found.append(_apply(self.synced, [_zeroed(change) for change in self.pending]))
        if len(self.pending) > 1:
            found.append(_apply(self.synced, [_zeroed(self.pending[0]), *self.pending[1:]]))
        return list(dict.fromkeys(found))

    def now(self) -> bytes:
        return _apply(self.synced, self.pending)


def _apply(data: bytes, changes: list[tuple[Any, ...]]) -> bytes:
    content = bytearray(data)
    for change in changes:
        if change[0] == "size":
            size = change[1]
            del content[size:]
            content += bytes(size - len(content))
        else:
            _, offset, written = change
            if not written:
                continue
            content += bytes(max(0, offset - len(content)))
            content[offset : offset + len(written)] = written
    return bytes(content)


def _half(change: tuple[Any, ...]) -> tuple[Any, ...]:
    if change[0] == "size":
        return change
    return "write", change[1], change[2][: len(change[2]) // 2]


def _zeroed(change: tuple[Any, ...]) -> tuple[Any, ...]:
    if change[0] == "size" or len(change[2]) == 1:
        return change  # disks write whole sectors: a single byte is the old or the new one
    return "write", change[1], bytes(len(change[2]))


class Disk:
    """Directories and files by number; directory 0 is the root."""

    def __init__(self) -> None:
        self.files: dict[int, _File] = {}
        self.directories: dict[int, dict[str, int]] = {ROOT: {}}
        self.changes: list[tuple[int, tuple[Any, ...]]] = []
        """Changes of names that are not synced: (directory, change), oldest first."""

    def add(self, directory: int, name: str, number: int, data: bytes | None) -> None:
        """Something that has always been there; ``None``: a directory."""
        self.directories[directory][name] = number
        if data is None:
            self.directories[number] = {}
        else:
            self.files[number] = _File(data)

    def apply(self, event: Event) -> None:
        """One thing that a process did."""
        kind = event[0]
        if kind == "create":
            self.files[event[3]] = _File()
            self.changes.append((event[1], ("set", event[2], event[3])))
        elif kind == "mkdir":
            self.directories[event[3]] = {}
            self.changes.append((event[1], ("set", event[2], event[3])))
        elif kind in ("write", "size"):
            self.files[event[1]].pending.append((kind, *event[2:]))
        elif kind == "sync":
            self._sync(event[1])
        elif kind == "names":
            self.changes += event[1]
        elif kind != "mark":
            raise AssertionError(event)

    def _sync(self, number: int) -> None:
        if number in self.files:
            file = self.files[number]
            file.synced, file.pending = file.now(), []
            return
        for directory, change in self.changes:
            if directory == number:
                _change_names(self.directories[number], change)
        self.changes = [item for item in self.changes if item[0] != number]

    def images(self, rule: Rule, rng: random.Random, most: int) -> Iterator[Tree]:
        """What may be found after a power cut now; at most ``most`` images, then a sample."""
        built = self._all_images(rule, rng)
        found = list(itertools.islice(built, most * 8))
        yield from found if len(found) <= most else rng.sample(found, most)

    def _all_images(self, rule: Rule, rng: random.Random) -> Iterator[Tree]:
        for kept in self._kept_names(rule, rng):
            directories = {number: dict(names) for number, names in self.directories.items()}
            for directory, change in kept:
                _change_names(directories[directory], change)
            places = list(_walk(directories, ROOT, ""))
            numbers = sorted({number for _, number in places if number in self.files})
            choices = [self.files[number].variants() for number in numbers]
            for content in itertools.product(*choices):
                by_number = dict(zip(numbers, content, strict=True))
                yield {path: by_number.get(number) for path, number in places}

    def _kept_names(self, rule: Rule, rng: random.Random) -> Iterator[list[tuple[int, tuple[Any, ...]]]]:
        count = len(self.changes)
        if rule == "ordered":
            picks = [tuple(range(kept)) for kept in range(count + 1)]
        elif count <= _STRICT_NAMES:
            picks = [pick for kept in range(count + 1) for pick in itertools.combinations(range(count), kept)]
        else:
            picks = [tuple(n for n in range(count) if rng.random() < 0.5) for _ in range(2**_STRICT_NAMES)]
        for pick in picks:
            yield [self.changes[number] for number in pick]


def _change_names(names: dict[str, int], change: tuple[Any, ...]) -> None:
    kind = change[0]
    if kind == "set":
        names[change[1]] = change[2]
    elif kind == "move":
        names.pop(change[1], None)
        names[change[2]] = change[3]
    else:
        names.pop(change[1], None)


def _walk(directories: dict[int, dict[str, int]], number: int, below: str) -> Iterator[tuple[str, int]]:
    for name, child in sorted(directories[number].items()):
        path = f"{below}{name}"
        yield path, child
        if child in directories:
            yield from _walk(directories, child, f"{path}/")
