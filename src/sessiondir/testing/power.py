"""A file system that remembers what a power cut may take."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable, Iterator
from typing import Any

from sessiondir.fs import SYSTEM_FS
from sessiondir.testing.disk import ROOT, Disk, Event, Rule
from sessiondir.testing.trees import Tree, digest, read_tree
from sessiondir.testing.watching import WatchedFileSystem


class PowerLossFileSystem(WatchedFileSystem):
    """Works on real files below ``root`` and records every change of bytes and names there.

    What ``root`` holds at the beginning counts as durable. ``mark`` notes progress of the
    test; ``images`` then tells what a power cut at any moment may have left, each image
    together with the last mark before that moment.
    """

    def __init__(self, root: str) -> None:
        super().__init__()
        self.root = SYSTEM_FS.realpath(root)
        self.log: list[Event] = []
        self._start = Disk()
        self._numbers = itertools.count(ROOT + 1)
        self._names: dict[int, dict[str, int]] = {ROOT: {}}
        self._by_fd: dict[int, int] = {}
        for path, data in sorted(read_tree(root).items()):
            folder, name = self._find(os.path.dirname(path)), os.path.basename(path)
            number = self._new()
            self._names[folder][name] = number
            if data is None:
                self._names[number] = {}
            self._start.add(folder, name, number, data)

    def mark(self, value: object) -> None:
        """Note that the test got as far as ``value``."""
        self.log.append(("mark", value))

    def images(self, rule: Rule, rng: random.Random, *, most: int = 60) -> Iterator[tuple[Tree, object]]:
        """Every different image that a power cut may leave, with the last mark before it.

        With the rule "ordered" unsynced names survive in order, with "strict" in any subset. Of each
        moment at most ``most`` images are tried, chosen by ``rng``. ``write_tree`` makes one of them
        a directory again. Costs one pass over what was recorded for each moment.
        """
        disk, mark = Disk(), None
        disk.files = {n: type(f)(f.synced) for n, f in self._start.files.items()}
        disk.directories = {n: dict(names) for n, names in self._start.directories.items()}
        seen: set[tuple[bytes, object]] = set()
        for event in [*self.log, ("mark", None)]:
            if event[0] == "mark":
                mark = event[1] if event[1] is not None else mark
            else:
                disk.apply(event)
                if event[0] == "sync":
                    continue  # fewer images than before it, and no new ones
            for tree in disk.images(rule, rng, most):
                key = digest(tree), mark
                if key not in seen:
                    seen.add(key)
                    yield tree, mark

    # -- recording ------------------------------------------------------------------------

    def _new(self) -> int:
        return next(self._numbers)

    def _find(self, path: str) -> int:
        number = ROOT
        for part in path.split("/"):
            if part:
                number = self._names[number][part]
        return number

    def _place(self, name: str, dir_fd: int | None) -> tuple[int, str] | None:
        """The directory's number and the name in it; None outside of the root."""
        if dir_fd is not None:
            number = self._by_fd.get(dir_fd)
            return (number, name) if number is not None else None
        relative = os.path.relpath(SYSTEM_FS.realpath(os.path.dirname(name)), self.root)
        if relative.startswith(".."):
            return None
        return self._find("" if relative == "." else relative), os.path.basename(name)

    def call(self, name: str, real: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Make the call, and note what it changed."""
        if name == "close":
            self._by_fd.pop(args[0], None)  # before, as another thread may be given its number at once
        result = super().call(name, real, args, kwargs)
        note = getattr(self, f"_note_{name}", None)
        if note is not None:
            note(result, *args, **kwargs)
        return result

    def _note_open(self, fd: int, name: str, flags: int, mode: int = 0, *, dir_fd: int | None = None) -> None:
        if dir_fd is None and SYSTEM_FS.realpath(name) == self.root:
            self._by_fd[fd] = ROOT
            return
        place = self._place(name, dir_fd)
        if place is None:
            return
        directory, name = place
        number = self._names[directory].get(name)
        if number is None:
            assert flags & os.O_CREAT, f"{name} came from nowhere"
            number = self._names[directory][name] = self._new()
            self.log.append(("create", directory, name, number))
        assert not flags & os.O_TRUNC, "the model knows no O_TRUNC"
        self._by_fd[fd] = number

    def _note_mkdir(self, result: None, name: str, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        place = self._place(name, dir_fd)
        if place is not None:
            number = self._names[place[0]][place[1]] = self._new()
            self._names[number] = {}
            self.log.append(("mkdir", *place, number))

    def _note_pwrite(self, written: int, fd: int, data: bytes, offset: int) -> None:
        if fd in self._by_fd:
            self.log.append(("write", self._by_fd[fd], offset, bytes(data)[:written]))

    def _note_ftruncate(self, result: None, fd: int, size: int) -> None:
        if fd in self._by_fd:
            self.log.append(("size", self._by_fd[fd], size))

    def _note_fsync(self, result: None, fd: int) -> None:
        if fd in self._by_fd:
            self.log.append(("sync", self._by_fd[fd]))

    _note_fdatasync = _note_fsync

    def _note_rename(
        self, result: None, src: str, dst: str, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None
    ) -> None:
        (source, old), (target, new) = self._inside(src, src_dir_fd), self._inside(dst, dst_dir_fd)
        number = self._names[source].pop(old)
        self._names[target][new] = number
        changes: list[tuple[int, tuple[Any, ...]]]
        if source == target:
            changes = [(source, ("move", old, new, number))]
        else:
            changes = [(target, ("set", new, number)), (source, ("del", old))]
        self.log.append(("names", changes))

    def _note_link(
        self,
        result: None,
        src: str,
        dst: str,
        *,
        src_dir_fd: int | None = None,
        dst_dir_fd: int | None = None,
        follow_symlinks: bool = True,
    ) -> None:
        (source, old), (target, new) = self._inside(src, src_dir_fd), self._inside(dst, dst_dir_fd)
        number = self._names[target][new] = self._names[source][old]
        self.log.append(("names", [(target, ("set", new, number))]))

    def _note_unlink(self, result: None, name: str, *, dir_fd: int | None = None) -> None:
        directory, name = self._inside(name, dir_fd)
        del self._names[directory][name]
        self.log.append(("names", [(directory, ("del", name))]))

    _note_rmdir = _note_unlink

    def _inside(self, name: str, dir_fd: int | None) -> tuple[int, str]:
        place = self._place(name, dir_fd)
        assert place is not None, f"{name} lies outside of the modelled disk"
        return place
