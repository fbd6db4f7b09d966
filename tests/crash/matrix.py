"""The matrix: each operation of the table under each mishap at each call, and what must be true afterwards."""

from __future__ import annotations

import errno
import itertools
import os
import random
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from harness.story import errors_of, open_on
from harness.watched import QuickFs, close_quietly, drop_cores, leaked, leave

from crash.looking import State, facts, look
from crash.table import CLOCK, Acting, Deed, Row
from sessiondir import SessionStore, StoreError
from sessiondir.errors import (
    DiskFull,
    DurabilityUnknown,
    LockTimeout,
    ReadOnlyStore,
    UnsupportedFileSystem,
)
from sessiondir.testing import (
    CLOSING,
    ERRNOS,
    UNLOCKING,
    FailingFileSystem,
    PowerLossFileSystem,
    Rule,
    Stopped,
    StoppingFileSystem,
    Tree,
    digest,
    read_tree,
    write_tree,
)  # fmt: skip

UNCHANGED = (DiskFull, ReadOnlyStore, LockTimeout, UnsupportedFileSystem)
"""Errors whose documentation says that nothing was changed."""

CALLS: dict[str, int] = {}
"""How many calls each operation, or recovery, of this run has."""

TOTALS: Counter[str] = Counter()
"""What was tried in this run: "mishaps", "different results" that they left, and "violations"."""

CUTS: Counter[str] = Counter()
"""What power cuts left and was judged in this run: "plays", images by rule, and "violations"."""

_TEMPORARY = re.compile(r"\.tmp-[0-9a-f]{16}|\.staging-[^/]*")


@dataclass(frozen=True)
class Mishap:
    """What goes wrong at call ``nth`` of those that count: an errno, or with 0 the process dies."""

    nth: int
    error: int = 0
    forever: bool = False
    short: bool = False
    """Half of the write is done before."""
    only: str = ""
    """The kind of call that counts; all but closing and unlocking if empty."""

    def __str__(self) -> str:
        if not self.error:
            return "died half-way" if self.short else "died"
        name = errno.errorcode[self.error]
        return f"{'short write, then ' if self.short else ''}{name} {'for ever' if self.forever else 'once'}"

    def counts(self, kind: str, args: tuple[Any, ...]) -> bool:
        """Whether a call counts."""
        return kind == self.only if self.only else kind not in (CLOSING, UNLOCKING)


# -- playing ----------------------------------------------------------------------------------


class Played:
    """A row of the table that was played to its end once without a mishap, to know what to expect."""

    def __init__(self, row: Row, folder: str, begin: Tree | None = None) -> None:
        self.row = row
        self._folder = folder
        self._numbers = itertools.count(1)
        self._judged: set[tuple[bytes, int, bool, int | None]] = set()
        root = f"{folder}/begin"
        write_tree(root, begin or {})
        if begin is None:
            row.prepare(root)
        with open(f"{root}/notes.txt", "a", encoding="utf-8") as file:
            file.write("not ours\n")
        self.begin: Tree = read_tree(root)
        inodes = _inodes(root)
        self.states = [look(root)]
        acting = Acting(fs := QuickFs(), root, row.options)
        for deed in row.deeds:
            deed(acting)
            self.states.append(look(root))
        acting.close()
        drop_cores(fs)
        self.states[-1] = look(root)
        end, same = read_tree(root), _inodes(root)  # a file that was replaced by an equal one was touched
        self._open_and_finish(root)  # what that changes the deeds only left for the next writer
        levelled = read_tree(root)
        self._untouched = {
            name: data for name, data in self.begin.items()
            if data is not None and end.get(name) == levelled.get(name) == data and same.get(name) == inodes[name]
            and not name.endswith(("state.json", "/lock")) and "/journal-" not in name
        }  # fmt: skip

    def calls(self, only: str = "") -> int:
        """How many calls count in a run without a mishap."""
        fs = FailingFileSystem()
        fs.arm(1 << 60, errno.EIO, kinds=Mishap(0, only=only).counts)
        acting = self._acting(fs)
        self._do(acting)
        acting.close()
        count = fs.count
        drop_cores(fs)
        return count

    def _acting(self, fs: FailingFileSystem | StoppingFileSystem) -> Acting:
        root = f"{self._folder}/{next(self._numbers)}"
        write_tree(root, self.begin)
        return Acting(fs, root, self.row.options)

    def complaints(self, mishaps: Callable[[Played], Iterator[Mishap]]) -> list[str]:
        """Try them all; what was wrong afterwards."""
        found = []
        CALLS[self.row.name] = self.calls()
        for mishap in mishaps(self):
            TOTALS["mishaps"] += 1
            try:
                where, folder, done, kept = self._die(mishap) if not mishap.error else self._fail(mishap)
                if where:
                    self._judge(folder, done, kept)
            except Exception as exc:
                TOTALS["violations"] += 1
                found.append(
                    f"{self.row.name}: call {mishap.nth} {mishap.only}, {mishap}: {type(exc).__name__}: {exc}"
                )
        return found

    def recoveries(self) -> list[tuple[Row, Tree]]:
        """What deaths leave, each different tree once, as rows whose operation is the recovery."""
        found: dict[bytes, tuple[Row, Tree]] = {}
        for mishap in deaths(self):
            where, folder, _, _ = self._die(mishap)
            if where:
                tree = read_tree(folder)
                name = f"recovery after: {self.row.name}, {mishap} at call {mishap.nth}, {where}"
                recover = _level if self.row.finish is None else self.row.finish
                row = replace(
                    self.row, name=name, deeds=(recover,), options={}, unsynced=frozenset(), effects=None
                )
                found.setdefault(digest(_named(tree)), (row, tree))
        return list(found.values())

    def _die(self, mishap: Mishap) -> tuple[str, str, int, bool]:
        fs = StoppingFileSystem(mishap.nth, torn=mishap.short)
        acting = self._acting(fs)
        try:
            self._do(acting)
            acting.close()
        except Stopped:
            pass
        finally:
            fs.bury(acting.opened)
        if mishap.short and fs.last != "pwrite":
            return "", acting.folder, 0, False
        return fs.last, acting.folder, acting.done, False

    def _fail(self, mishap: Mishap) -> tuple[str, str, int, bool]:
        fs = FailingFileSystem()
        acting = self._acting(fs)
        fs.arm(mishap.nth, mishap.error, forever=mishap.forever, short=mishap.short, kinds=mishap.counts)
        try:
            error = _error_of(lambda: self._do(acting), fs)
            if error is None:
                error = _error_of(acting.close, fs)
                where = fs.failed_call
                fs.disarm()
            else:
                where = fs.failed_call
                fs.disarm()
                _go_on(acting, error)
                acting.close()
            assert not leaked(fs), f"descriptors left open after {error!r} from {where}: {fs.open_fds}"
        finally:
            leave(acting.opened, fs)
        return where, acting.folder, acting.done, isinstance(error, UNCHANGED)

    def _do(self, acting: Acting, returned: Callable[[int], None] = lambda done: None) -> None:
        for deed in self.row.deeds:
            deed(acting)
            acting.done += 1
            returned(acting.done)

    def power_cuts(
        self, rng: random.Random, most: int, fs_class: type[PowerLossFileSystem] = PowerLossFileSystem
    ) -> Iterator[str | None]:
        """Play it on a disk that loses power at each moment; for each image what is wrong, or None.

        Both rules are tried; an image that both allow is judged once. ``most``: of each moment.
        """
        counts = CUTS if fs_class is PowerLossFileSystem else Counter[str]()  # what is to be caught is not counted
        counts["plays"] += 1
        folder = f"{self._folder}/{next(self._numbers)}"
        write_tree(folder, self.begin)
        fs = fs_class(folder)
        fs.mark(0)
        acting = Acting(fs, folder, self.row.options)
        try:
            self._do(acting, fs.mark)
            acting.close()
        finally:
            close_quietly(acting)
            drop_cores(fs)
        seen = set()
        rules: tuple[Rule, ...] = ("ordered", "strict")
        for rule in rules:
            for tree, done in fs.images(rule, rng, most=most):
                assert isinstance(done, int)
                if (key := (digest(tree), done)) not in seen:
                    seen.add(key)
                    counts[rule] += 1
                    complaint = self._complaint_about(tree, done)
                    counts["violations"] += complaint is not None
                    yield complaint and f"{self.row.name}, {rule}, image {len(seen)}, {complaint}"

    def _complaint_about(self, tree: Tree, done: int) -> str | None:
        image = f"{self._folder}/{next(self._numbers)}"
        write_tree(image, tree)
        try:
            self._judge(image, done, False, self._durable(done))
        except Exception as exc:
            return f"{done} deeds had returned: {type(exc).__name__}: {exc}"
        finally:
            shutil.rmtree(image)
        return None

    def _durable(self, done: int) -> int:
        """How many of the ``done`` deeds a power cut cannot take."""
        while done in self.row.unsynced:
            done -= 1
        return done

    # -- judging ------------------------------------------------------------------------------

    def _judge(self, folder: str, done: int, unchanged: bool, kept: int | None = None) -> None:
        """``kept``: so many of the ``done`` deeds must be there, all if None."""
        tree = read_tree(folder)
        key = digest(_named(tree)), done, unchanged, kept
        if key in self._judged:
            return
        self._judged.add(key)
        TOTALS["different results"] += 1
        self._judge_untouched(tree)
        found = look(folder)
        shown = _without_going_on(found)
        first = done if kept is None else kept
        if self.row.in_parts and (kept is None or done < len(self.row.deeds)):
            self._judge_parts(shown)  # an error may have cost a part, and the report says so
        elif self.row.in_parts:
            assert shown == self.states[-1], f"it returned, and {shown}\nis not {self.states[-1]}"
        else:
            last = done + 1 if unchanged else done + 2
            allowed = [one | {"side": ""} for one in self.states[first:last]]
            assert shown | {"side": ""} in allowed, f"after {done} deeds {shown}\nis none of\n" + "\n".join(
                map(str, allowed)
            )
        self._recover(folder, found)

    def _judge_untouched(self, tree: Tree) -> None:
        for name, data in self._untouched.items():
            assert tree.get(name) == data, f"{name} was changed"

    def _judge_parts(self, shown: State) -> None:
        before, after = facts(self.states[0]), facts(self.states[-1])
        there = facts(shown)
        assert before & after <= there, f"lost: {sorted((before & after) - there)}"
        assert there <= before | after, f"neither old nor new: {sorted(there - before - after)}"

    def _recover(self, folder: str, found: State) -> None:
        """Recovery once and twice gives the same bytes; then the store goes on."""
        path = f"{folder}/sessions.d"
        if os.path.isdir(path):
            assert not errors_of(path), f"check says {errors_of(path)}"
        self._open_and_finish(folder)
        once = read_tree(folder)
        # Temporary files beside sessions are swept when they are old; these would be kept for good.
        left = [name for name in once if "/trash/." in name or ".staging-" in name]
        assert not left, f"recovery leaves {left}"
        self._open_and_finish(folder)
        twice = read_tree(folder)
        assert digest(once) == digest(twice), f"a second recovery changed {_changed(once, twice)}"
        recovered = look(folder)
        if self.row.in_parts:
            assert _without_going_on(recovered)["sessions"] == self.states[-1]["sessions"]
            assert recovered["side"] == self.states[-1]["side"]
        else:
            assert recovered == found, f"recovery changed {found}\nto {recovered}"
        if os.path.isdir(path):
            with open_on(QuickFs(), path, clock=CLOCK) as store:
                before = store.version
                assert store.put("judge", {"ok": True}) > before, "versions must grow"
            assert look(folder)["sessions"] == recovered["sessions"] | {"judge": {"ok": True}}
            assert not errors_of(path), f"after a commit, check says {errors_of(path)}"
        self._judge_untouched(read_tree(folder))

    def _open_and_finish(self, folder: str) -> None:
        recoveries: list[Deed] = [] if self.row.finish is None else [self.row.finish]
        for recover in (*recoveries, _level):
            acting = Acting(QuickFs(), folder)
            try:
                recover(acting)
            finally:
                acting.close()


def _level(acting: Acting) -> None:
    """What the next writer does, without a commit; a store that is a legacy file is left to its program."""
    if os.path.isdir(acting.path) and not os.path.exists(f"{acting.folder}/sessions.json"):
        acting.store.flush()


def _error_of(act: Callable[[], None], fs: FailingFileSystem) -> StoreError | None:
    """The documented error that came out of a call; any other is a complaint."""
    try:
        act()
    except StoreError as exc:
        return _bare(exc)
    except OSError as exc:
        raise AssertionError(f"a bare {type(exc).__name__} came out of {fs.failed_call}: {exc}") from None
    return None


def _inodes(root: str) -> dict[str, int]:
    """Which file has each name."""
    return {name: os.stat(f"{root}/{name}").st_ino for name in read_tree(root)}


def _named(tree: Tree) -> Tree:
    """A tree in which random names are all alike."""
    found: Tree = {}
    for name in sorted(tree, key=lambda name: (tree[name] or b"", name)):
        plain = _TEMPORARY.sub("(temporary)", name)
        while plain in found:
            plain += "+"
        found[plain] = tree[name]
    return found


def _changed(once: Tree, twice: Tree) -> list[str]:
    return sorted(name for name in {*once, *twice} if once.get(name, b"(none)") != twice.get(name, b"(none)"))


def _without_going_on(state: State) -> State:
    sessions = {key: entry for key, entry in state["sessions"].items() if key != "go on"}
    transcripts = {name: held for name, held in state["transcripts"].items() if name != "go-on.jsonl"}
    return state | {"sessions": sessions, "transcripts": transcripts}


def _go_on(acting: Acting, error: StoreError) -> None:
    """The cause is gone: the same handles work again, unless a sync failed."""
    if acting.has_transcripts:
        acting.transcripts.transcript("go-on").append({"go": "on"})
    store: SessionStore | None = acting.opened
    if store is None:
        return
    try:
        store.put("go on", {"n": 1})
    except DurabilityUnknown:
        assert isinstance(error, DurabilityUnknown), f"refuses writes after {error!r}"
        return
    if isinstance(error, DurabilityUnknown):
        assert not str(error.path).startswith(acting.path), "goes on writing after a failed sync"
    assert store["go on"] == {"n": 1}


def _bare(exc: StoreError) -> StoreError:
    """The error without the frames that it came through, which keep open files alive."""
    for one in (exc.__cause__, exc.__context__):
        if one is not None:
            one.__traceback__ = one.__cause__ = one.__context__ = None
    exc.__cause__ = exc.__context__ = None
    return exc.with_traceback(None)


# -- which mishaps ----------------------------------------------------------------------------


def deaths(played: Played) -> Iterator[Mishap]:
    """Dying in place of each call, and within each write."""
    for nth in range(1, played.calls("") + played.calls(UNLOCKING) + 1):
        yield Mishap(nth)
        yield Mishap(nth, short=True)


def some_errors(played: Played) -> Iterator[Mishap]:
    """One error at each call, so that neighbouring calls meet all of them, and writes that stop half-way."""
    for nth in range(1, played.calls() + 1):
        yield Mishap(nth, ERRNOS[nth % len(ERRNOS)], forever=nth // len(ERRNOS) % 2 == 1)
    yield from special(played)


def all_errors(played: Played) -> Iterator[Mishap]:
    """Each error at each call, once and for ever, and writes that stop half-way."""
    for nth, error, forever in itertools.product(range(1, played.calls() + 1), ERRNOS, (False, True)):
        yield Mishap(nth, error, forever)
    yield from special(played)


def special(played: Played) -> Iterator[Mishap]:
    """Short writes, and closing and unlocking that fail."""
    for nth, forever in itertools.product(range(1, played.calls("pwrite") + 1), (False, True)):
        yield Mishap(nth, errno.ENOSPC, forever, short=True, only="pwrite")
    for kind in (CLOSING, UNLOCKING):
        for nth in range(1, played.calls(kind) + 1):
            yield Mishap(nth, errno.EIO, only=kind)
