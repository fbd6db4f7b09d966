"""Failing the n-th call of a scenario, and judging what is left."""

from __future__ import annotations

import errno
import gc
import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from harness.files import session_files
from harness.story import QUIET, Scenario, Sessions, contents, judge, open_on
from harness.watched import leave
from sessiondir import SessionStore
from sessiondir.errors import (
    DiskFull,
    DurabilityUnknown,
    LockTimeout,
    ReadOnlyStore,
    StoreError,
    UnsupportedFileSystem,
)
from sessiondir.testing import FailingFileSystem, Tree, read_tree, write_tree

ERRORS = ("EIO", "ENOSPC", "EDQUOT", "EACCES", "EROFS", "EMFILE", "EINTR", "ESTALE")
UNCHANGED = (DiskFull, ReadOnlyStore, LockTimeout, UnsupportedFileSystem)
"""Errors whose documentation says that nothing was changed."""

Kinds = Callable[[str, tuple[Any, ...]], bool]
_E = TypeVar("_E", bound=Exception)


@dataclass(frozen=True)
class Fault:
    """Which call fails, how, and for how long."""

    nth: int
    error: str
    forever: bool
    short: bool = False

    def __str__(self) -> str:
        return f"{'short write, then ' if self.short else ''}{self.error} {'for ever' if self.forever else 'once'}"


class Failures:
    """All ways in which calls of one scenario may fail; ``attempt`` tries one of them."""

    def __init__(self, scenario: Scenario, folder: str, kinds: Kinds) -> None:
        self.scenario = scenario
        self._folder = folder
        self._kinds = kinds
        write_tree(f"{folder}/begin", {})
        self.states = scenario.states(scenario.prepare(f"{folder}/begin/sessions.d"))
        self._begin: Tree = read_tree(f"{folder}/begin")
        self._numbers = itertools.count(1)
        self.attempts = 0

    def run(self, faults: Callable[[int], Iterator[Fault]]) -> Iterator[str]:
        """Fail call 1, 2, ... in the ways that ``faults(n)`` says until a run is not reached; complaints."""
        nth = 1
        while True:
            reached = False
            for fault in faults(nth):
                self.attempts += 1
                attempt = _Attempt(self, fault)
                complaint = attempt.complaint(f"{self._folder}/{next(self._numbers)}", self._begin, self._kinds)
                reached = reached or bool(attempt.failed_call)
                if complaint is not None:
                    yield complaint
            if not reached:
                return
            nth += 1


class _Attempt:
    def __init__(self, failures: Failures, fault: Fault) -> None:
        self._scenario = failures.scenario
        self._states = failures.states
        self._fault = fault
        self.failed_call = ""
        self.bare = ""
        self._store: SessionStore | None = None

    def complaint(self, root: str, begin: Tree, kinds: Kinds) -> str | None:
        """Play the scenario with the fault; what is wrong afterwards, None if nothing is."""
        write_tree(root, begin)
        path = f"{root}/sessions.d"
        fs = FailingFileSystem()
        fs.arm(self._fault.nth, getattr(errno, self._fault.error), forever=self._fault.forever,
               short=self._fault.short, kinds=kinds)  # fmt: skip
        before = session_files(path) if os.path.isdir(path) else {}
        try:
            allowed = self._play(fs, path)
            if self.failed_call:
                _judge_untouched(path, before, self._scenario)
                judge(path, allowed, "afterwards")
            assert not self.bare, self.bare
        except Exception as exc:
            self.failed_call = self.failed_call or fs.failed_call
            text = f"{type(exc).__name__}: {exc}"
            return f"{self._scenario.name}: {self.failed_call}, {self._fault}: {text}"
        finally:
            leave(self._store, fs)
        return None

    def _play(self, fs: FailingFileSystem, path: str) -> list[Sessions]:
        """The states that the sessions may be in at the end."""
        done, store = 0, None
        error: StoreError | OSError | None = None
        try:
            store = self._store = open_on(fs, path, **self._scenario.options)
            for step in self._scenario.steps:
                step.run(store)
                done += 1
        except StoreError as exc:
            error = _bare(exc)
        except OSError as exc:
            self.bare = f"a bare {type(exc).__name__} came out of a call: {exc}"
            error = _bare(exc)
        if error is None:
            self._close(store, fs)
            return [self._states[-1]]
        self.failed_call = fs.failed_call
        fs.disarm()
        allowed = self._states[done : done + 2]
        if isinstance(error, UNCHANGED):
            allowed = allowed[:1]
        if store is None:
            assert not leaked(fs), f"descriptors left by a failed open: {fs.open_fds}"
            return allowed
        allowed = self._go_on(store, allowed, error)
        store.close()
        assert not leaked(fs), f"descriptors left open after {type(error).__name__}: {fs.open_fds}"
        return allowed

    def _close(self, store: SessionStore | None, fs: FailingFileSystem) -> None:
        assert store is not None
        try:
            store.close()
        except StoreError:
            pass
        except OSError as exc:
            self.bare = f"a bare {type(exc).__name__} came out of close: {exc}"
        self.failed_call = fs.failed_call
        fs.disarm()
        assert not leaked(fs), f"descriptors left open after close: {fs.open_fds}"

    def _go_on(self, store: SessionStore, allowed: list[Sessions], error: StoreError | OSError) -> list[Sessions]:
        """The cause is gone: the handle works again, unless a sync failed."""
        try:
            store.put("go on", {"n": 1})
        except DurabilityUnknown:
            assert isinstance(error, DurabilityUnknown), f"refuses writes after {error!r}"
            return allowed
        assert not isinstance(error, DurabilityUnknown), "goes on writing after a failed sync"
        allowed = [sessions | {"go on": {"n": 1}} for sessions in allowed]
        found = contents(store)
        assert found in allowed, f"after {error!r} the handle shows {found}"
        return allowed


def _bare(exc: _E) -> _E:
    """The error without the frames that it came through, which keep open files alive."""
    for one in (exc.__cause__, exc.__context__):
        if one is not None:
            one.__traceback__ = one.__cause__ = one.__context__ = None
    exc.__cause__ = exc.__context__ = None
    return exc.with_traceback(None)


def leaked(fs: FailingFileSystem) -> set[int]:
    """Descriptors that nothing will ever close."""
    if fs.open_fds:
        gc.collect()
    return fs.open_fds


def _judge_untouched(path: str, before: dict[str, bytes], scenario: Scenario) -> None:
    """Files of sessions that no step changes are byte-identical."""
    if scenario.name in ("edit", "replace"):
        return
    after = session_files(path) if os.path.isdir(path) else {}
    for name, data in before.items():
        if b'"text"' in data and (QUIET.encode() not in data or "transaction" not in scenario.name):
            touched = scenario.name == "rotation" and QUIET.encode() in data
            assert touched or after.get(name) == data, f"{name} was changed"
