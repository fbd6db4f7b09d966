"""Commits that are decided under the commit lock, and finding what stands beside entries.

What a lease or an inbox operation does depends on what is there at that very moment, and
on nothing else: so it is computed there, in some ten microseconds, instead of being
computed before and tried again. No key lock is taken.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

from sessiondir import layout, procfs, steps
from sessiondir.clock import Clock
from sessiondir.commit import Committed
from sessiondir.core import Core
from sessiondir.document import Document
from sessiondir.errors import CorruptFile
from sessiondir.model import Durability
from sessiondir.operations import Operation
from sessiondir.terms import Holder, Moment, begin_term

_log = logging.getLogger("sessiondir")

Documents = Mapping[str, Document]
Decide = Callable[[Documents], Sequence[Operation]]
"""From the current documents to what to commit; nothing, if nothing is to be done."""


class _NothingToDo(Exception):
    pass


class _Patience(threading.local):
    longest_s: float | None = None


_patience = _Patience()


@contextlib.contextmanager
def waiting_at_most(seconds: float) -> Iterator[None]:
    """In this block this thread waits no longer than that for a commit lock, and ``LockTimeout`` comes sooner.

    For a thread that works for others, who wait elsewhere and let it try again.
    """
    _patience.longest_s = seconds
    try:
        yield
    finally:
        _patience.longest_s = None


def longest_wait_s() -> float | None:
    """How long this thread may wait at most, by ``waiting_at_most``; None: as long as it is told."""
    return _patience.longest_s


def commit_decided(
    core: Core, keys: Sequence[str], decide: Decide, timeout_s: float, durability: Durability
) -> Committed | None:
    """Commit what ``decide`` makes of the documents of ``keys``; None if it makes nothing.

    What ``decide`` raises is passed on, and nothing was committed. It runs under the commit
    lock, on which every writer of the store waits: it must be quick.
    Raises ``CorruptFile`` and ``UnreadableFile`` for a session that cannot be read.
    """
    view = core.view
    for key in keys:
        view.load(key)  # what has to be read from a file is read before the lock is taken

    def under_lock() -> Sequence[Operation]:
        with view.mutex:
            documents = {key: view.load_locked(key) for key in keys}
        operations = decide(documents)
        if not operations:
            raise _NothingToDo
        return operations

    try:
        longest_s = _patience.longest_s
        if longest_s is None:
            return core.append((), dict.fromkeys(keys), timeout_s, durability, under_lock)
        wait_s = min(timeout_s, longest_s)
        return core.append((), dict.fromkeys(keys), wait_s, durability, under_lock, shortest_s=0.0)
    except _NothingToDo:
        return None


def last_commit(core: Core) -> Committed:
    """The last commit that this process knows of, whoever made it."""
    view = core.view
    with view.mutex:
        view.catch_up()
        assert view.journal is not None
        return Committed(view.version, view.journal, view.end)


def now(clock: Clock) -> Moment:
    """The present moment, by every clock that counts."""
    return Moment(int(clock.now() * 1000), int(clock.up() * 1000), procfs.boot_id())


def held_by_us(ttl_ms: int, moment: Moment) -> Holder:
    """This process as a holder, for a term that begins at ``moment``."""
    term = begin_term(ttl_ms, moment)
    return Holder(term.ttl_ms, term.ends_ms, term.until_ms, term.boot, *procfs.process_identity())


def runs(holder: Holder) -> bool | None:
    """Whether a holder's process still runs; None if that cannot be told."""
    return procfs.is_running(holder.pid, holder.start, holder.space)


def documents_beside(core: Core) -> Iterator[Document]:
    """The documents of all sessions that have a lease or an inbox, entry or not. O(sessions).

    A damaged session is left out with a warning; raises ``UnreadableFile`` for what cannot be read.
    """
    view = core.view
    with view.mutex:
        view.catch_up()
        view.settle()
        keys = dict.fromkeys(view.pending)
    for below, name in [*((layout.ENTRIES, name) for name in core.files.names()), *core.files.waiting_names()]:
        try:
            key = layout.key_of_name(name) or core.files.read_name(name, below).key
        except FileNotFoundError:
            continue
        except CorruptFile as exc:
            _log.warning("%s/%s is left out: %s", below, name, exc.reason)
            continue
        keys[key] = None
    for key in keys:
        steps.breathe()
        try:
            doc = view.peek(key)
        except CorruptFile as exc:
            _log.warning("session %r is left out: %s", key, str(exc))
            continue
        if doc.aside is not None and not doc.aside.is_empty:
            yield doc
