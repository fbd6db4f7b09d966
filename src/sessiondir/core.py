"""One core per store and process: what all handles on one store share.

Handles find their core by the store directory's device and inode, so two spellings of a
path meet in one. A core opens for reading at first and gets ready to write at the first
write. A forked child drops the inherited descriptors without unlocking anything and
starts anew.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from sessiondir import layout, opening, pacing, quarantine
from sessiondir.checkpoint import COMMIT_LOCK_S, Checkpointer
from sessiondir.clock import Clock
from sessiondir.commit import SHORTEST_WAIT_S, Committed, Committer, Verify
from sessiondir.directory import StoreDirectory
from sessiondir.document import Document
from sessiondir.entries import SessionFiles
from sessiondir.errors import (
    CorruptFile,
    DurabilityUnknown,
    LockTimeout,
    StorageError,
    StoreClosed,
    StoreError,
    StoreNotFound,
    storage_error,
)
from sessiondir.fs import LOCK_UN, FileSystem
from sessiondir.layout import KeyRef
from sessiondir.lockfile import ByteLock, LockFile, take_flock
from sessiondir.locks import KeyLocks
from sessiondir.model import Durability, KeyRule, Limits
from sessiondir.mutex import finally_release
from sessiondir.operations import Operation
from sessiondir.procfs import require_local
from sessiondir.state import State, write_state
from sessiondir.sync import SyncGroup
from sessiondir.view import View

_log = logging.getLogger("sessiondir")
_REFS = 10_000
_CLOSE_CHECKPOINT_S = 10.0
_CLOSE_ROTATE_BYTES = 1 << 16


class Core:
    """Everything this process knows and holds of one store.

    Made by ``registry.open_core`` only. ``path`` is the store directory.
    """

    def __init__(
        self,
        fs: FileSystem,
        clock: Clock,
        directory: StoreDirectory,
        limits: Limits,
        new_keys: KeyRule | None,
        *,
        allow_network: bool,
    ) -> None:
        self.fs = fs
        self.clock = clock
        self.directory = directory
        self.limits = limits
        self.users = 0
        self.forget: Callable[[], None] = lambda: None
        """Takes this core out of the registry."""
        self._closed = False
        self.failed: StoreError | None = None
        self._new_keys = new_keys
        self._allow_network = allow_network
        self._refs: dict[str, KeyRef] = {}
        self._start()

    @property
    def path(self) -> str:
        """The store directory."""
        return self.directory.path

    # -- life -----------------------------------------------------------------------------

    def _start(self) -> None:
        self._setup = threading.Lock()
        self._lock_file: LockFile | None = None
        # Not an Event: a signal handler that raises inside Event.set leaves it locked for ever.
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._state_seen: tuple[int, int, int] | None = None
        self.files = SessionFiles(self.directory, self.clock, self.limits.entry_bytes + self.limits.inbox_bytes)
        self.files.ask_about_case()
        found = opening.look(self.directory, self.clock, self.files, self._new_keys)
        self.state = found.state
        self.files.default_version = found.state.default_version
        self.view = View(self.directory, self.files, found.state.version, self.limits.cache_bytes)
        self._enter(found)

    def _enter(self, found: opening.Opening) -> None:
        view = self.view
        if found.journal is None:
            view.without_journal = self._look_again
        else:
            view.without_journal = None
            view.start(found.journal)
            view.skip_levelled(found.state)
        # A copy or a layout-1 program may leave a state file ahead of the journal.
        view.version = max(view.version, found.state.version)

    def _look_again(self) -> None:
        """A store without a journal: has somebody given it one, or replaced its state file?"""
        try:
            status = self.fs.stat(layout.STATE, dir_fd=self.directory.fd, follow_symlinks=False)
        except FileNotFoundError:
            return
        seen = (status.st_ino, status.st_mtime_ns, status.st_size)
        if seen == self._state_seen:
            return
        found = opening.look(self.directory, self.clock, self.files)
        self._state_seen = seen
        self.state = found.state
        self.files.default_version = found.state.default_version
        self.view.forget()
        self._enter(found)

    @property
    def key_rule(self) -> KeyRule:
        """How keys are compared in this store."""
        header = self.view.header()
        return header.keys if header is not None else self.state.keys

    def ref(self, key: object) -> KeyRef:
        """``key`` under the key rule with its lock requests. Raises ``InvalidKey``."""
        ref = self._refs.get(key) if type(key) is str else None
        if ref is None:
            ref = KeyRef(layout.normalise_key(key, self.key_rule))
            if len(self._refs) >= _REFS:
                self._refs.clear()
            if type(key) is str:
                self._refs[key] = ref
        return ref

    # -- getting ready to write -----------------------------------------------------------

    def begin_writing(self) -> None:
        """Get ready to write, once: check the place, open the locks, mend or make the journal.

        Raises ``UnsafeDirectory``, ``UnsupportedFileSystem``, ``ReadOnlyStore``,
        ``DurabilityUnknown`` after a failed sync; nothing was written then.
        """
        if self._lock_file is not None and self.failed is None:
            return
        if self.failed is not None:
            raise self.failed
        with self._setup:
            if self._lock_file is None:
                try:
                    self._lock_file = self._begin_writing()
                except OSError as exc:
                    if isinstance(exc, StoreError):
                        raise
                    raise storage_error(exc, self.directory.path, "write") from exc

    def _begin_writing(self) -> LockFile:
        self.directory.require_safe()
        if not self._allow_network:
            require_local(
                self.directory.path,
                "where locks cannot be relied on between hosts; keep the store on a local file system, or open it "
                "with allow_network=True if one host uses it",
            )
        lock_file = LockFile(self.directory, self.clock)
        try:
            lock_file.probe()
            lock_file.share_byte(layout.WRITERS_AT)
            self._make_usable()
            self.files.ask_about_case()  # a new store had no file to ask about when it was opened
            with self.view.mutex:
                self.view.make_writable()
            if self.view.journal is None:
                raise opening.journal_taken_away(self.directory.path)
            self._make_writers(lock_file)
        except BaseException:
            lock_file.close()
            raise
        return lock_file

    def _make_writers(self, lock_file: LockFile) -> None:
        view = self.view
        self.keys = KeyLocks(lock_file, self.clock, lambda key: view.freshen((key,)))
        self.committer = Committer(self.fs, self.clock, self.directory, view, self.limits)
        self.sync = SyncGroup(self.fs, self.clock, view, lock_file)
        self.checkpointer = Checkpointer(
            self.directory,
            self.clock,
            self.files,
            view,
            self.committer,
            self.sync,
            ByteLock(lock_file, self.clock, layout.CHECKPOINT_LOCK_AT),
            self.limits,
            self.state,
        )

    def _make_usable(self) -> None:
        """See to it that there is a journal to write to. One process at a time."""
        fd = self.directory.fd
        finally_release(self._make_usable_alone, lambda: self.fs.flock(fd, LOCK_UN))

    def _make_usable_alone(self) -> None:
        if not take_flock(self.fs, self.clock, self.directory.fd, COMMIT_LOCK_S):
            raise LockTimeout(
                f"{self.directory.path}: another process has been setting the store up for {COMMIT_LOCK_S:.0f} s",
                session=None,
                holder_pid=None,
                holder="another process",
                held_s=None,
                waited_s=COMMIT_LOCK_S,
            )
        found = opening.look(self.directory, self.clock, self.files, self._new_keys)
        usable = found.journal is not None and found.state_is_stored
        if usable and self.view.journal is not None and not self.view.finished:
            return
        self._mend(found)

    def _mend(self, found: opening.Opening) -> None:
        view = self.view
        with view.mutex:
            self.state = found.state
            self.files.default_version = found.state.default_version
            if view.journal is None:
                view.forget()
                self._enter(found)
            view.catch_up()
            view.settle()
        self.directory.subdirectory(layout.ENTRIES, create=True)
        opening.set_damaged_aside(self.directory, self.clock, self.files, found)
        if view.journal is not None and not view.finished:
            if not found.state_is_stored:
                header = view.journal.header
                self.state = State(
                    header.base,
                    int(self.clock.now() * 1000),
                    header.store_id,
                    view.journal.name,
                    header.keys,
                    unversioned=found.state.unversioned,
                )
                write_state(self.directory, self.state)
            return
        self._level_everything()
        state = replace(self.state, keys=self.key_rule)
        self.state = opening.start_journal(self.directory, self.clock, state, view.version)
        with view.mutex:
            view.forget()
            view.finished = False
            view.journal = None
            self._enter(opening.look(self.directory, self.clock, self.files))

    def _level_everything(self) -> None:
        docs = []
        for key in list(self.view.dirty):
            try:
                docs.append(self.view.load(key))
            except CorruptFile as exc:
                _log.error("%s: session %r could not be kept up to date: %s", self.directory.path, key, str(exc))
        self.files.write(docs)

    # -- commits --------------------------------------------------------------------------

    def load_or_set_aside(self, key: str) -> Document:
        """As ``View.load`` for a session that is about to be replaced: a damaged file goes to the quarantine."""
        try:
            return self.view.load(key)
        except CorruptFile as exc:
            found = self.files.place_in_the_way(key)
            if found is not None:
                quarantine.set_aside(self.directory, self.clock, found[1], exc.reason, found[0])
            return self.view.load(key)

    def append(
        self,
        operations: Sequence[Operation],
        expected: Mapping[str, int | None],
        timeout_s: float,
        durability: Durability,
        verify: Verify | None = None,
        shortest_s: float = SHORTEST_WAIT_S,
    ) -> Committed:
        """Append one commit; it is visible to every process, and durable after ``settle``.

        ``verify`` may look further under the commit lock, raise ``Moved`` or decide what to
        commit; see ``Committer.commit``. However short ``timeout_s`` is, the commit lock is
        waited for ``shortest_s``.

        Raises ``Moved`` and what ``Committer.commit`` raises; nothing was committed then.
        """
        if self._lock_file is None or self.failed is not None:
            self.begin_writing()  # forked meanwhile, or a sync failed in another thread
        ahead = durability == "power"
        return self.committer.commit(
            operations, expected, timeout_s, preallocate=ahead, verify=verify, shortest_s=shortest_s
        )

    def is_ready(self) -> bool:
        """Whether ``begin_writing`` has nothing to do."""
        return self._lock_file is not None and self.failed is None

    def append_at_once(self, operations: Sequence[Operation], expected: Mapping[str, int]) -> Committed | None:
        """As ``append`` if that waits for nothing; else None, and nothing was done."""
        # During a sync or a checkpoint even a write to the page cache may wait for the disk.
        if not self.is_ready() or self.sync.is_busy() or self.checkpointer.is_busy():
            return None
        if pacing.has_many_behind(self.view):
            return None  # this commit has to wait, which a worker can do
        return self.committer.commit_at_once(operations, expected)

    def settle(self, committed: Committed, durability: Durability, checkpoint_interval_s: float) -> None:
        """Wait until a commit is as durable as asked for, and see to its checkpoint. No lock is held.

        While many session files lag it waits some milliseconds more, see ``pacing``.

        Raises ``DurabilityUnknown``: committed, but a power cut may take it.
        """
        if durability == "power":
            self.make_durable(committed)
        if checkpoint_interval_s <= 0:
            try:
                self.checkpoint(_CLOSE_CHECKPOINT_S)
            except DurabilityUnknown:
                raise
            except StoreError as exc:
                # The commit stands in the journal; only the readable copy is late.
                _log.error("checkpoint of %s: %s", self.directory.path, str(exc))
        else:
            if self._wake.empty():
                self._schedule(checkpoint_interval_s)
            if len(self.view.dirty) > pacing.MANY_SESSIONS:
                self.clock.sleep(pacing.pause_s(self.view))

    def make_durable(self, committed: Committed) -> None:
        """Wait until a commit would survive a power cut. ``DurabilityUnknown`` as ``settle``."""
        try:
            self.sync.wait(committed.journal, committed.end)
        except DurabilityUnknown as exc:
            self.fail(exc)
            raise

    def fail(self, exc: StoreError) -> None:
        """Refuse writes from now on; the next ``open`` gets a fresh core."""
        self.failed = exc
        self.forget()

    # -- checkpoints ----------------------------------------------------------------------

    def _schedule(self, interval_s: float) -> None:
        if self._thread is None:
            with self._setup:
                if self._thread is None and not self._stop.is_set():
                    thread = threading.Thread(
                        target=pacing.level_in_background,
                        args=(weakref.ref(self), self._wake, self._stop, interval_s),
                        name="sessiondir-checkpoint",
                        daemon=True,
                    )
                    thread.start()
                    self._thread = thread  # only now: if starting was interrupted the next commit starts another
        self._wake.put(None)

    def checkpoint(
        self,
        timeout_s: float,
        *,
        youngest_s: float = 0.0,
        rotate_bytes: int | None = None,
        at_leisure: bool = False,
    ) -> bool:
        """Bring the session files level; see ``Checkpointer.run``."""
        if self._lock_file is None:
            return True
        self._require_place()
        try:
            return self.checkpointer.run(
                timeout_s, youngest_s=youngest_s, rotate_bytes=rotate_bytes, at_leisure=at_leisure
            )
        except DurabilityUnknown as exc:
            self.fail(exc)
            raise

    def distrust_listing(self, identity: str) -> None:
        """Have the next checkpoint in the background make another ``listing.jsonl``; this one is damaged."""
        if self._lock_file is not None:
            self.checkpointer.listing.distrusted = identity

    def _require_place(self) -> None:
        """Refuse to go on if the store's path names another directory now, or none.

        Someone moved or removed the store, or put a backup in its place: what is committed
        here would not be found there.
        """
        path = self.directory.path
        try:
            status = self.fs.stat(path, follow_symlinks=False)
            if (status.st_dev, status.st_ino) == self.directory.identity:
                return
            reason = "another directory stands there now"
        except FileNotFoundError:
            reason = "it is not there any more"
        except OSError as exc:
            raise storage_error(exc, path, "read") from exc
        error = StorageError(
            f"{path} was moved or replaced while open ({reason}); this handle refuses further writes: close it "
            "and open the store again",
            path=path,
            errno=None,
        )
        self.fail(error)
        raise error

    def close(self) -> None:
        """Level the session files and close all descriptors. Errors of the last checkpoint are raised."""
        if self._closed:
            return  # at the end of the interpreter, before the handles went
        self._closed = True
        self._stop.set()
        if self._lock_file is not None:
            self.checkpointer.listing.waiting.add(self)
        self._wake.put(None)
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        try:
            if self._lock_file is not None and self.failed is None:
                last = self._lock_file.leave_byte(layout.WRITERS_AT)
                if not self.checkpoint(_CLOSE_CHECKPOINT_S, rotate_bytes=_CLOSE_ROTATE_BYTES if last else None):
                    _log.warning("%s: not levelled at close, another process is at it", self.directory.path)
                if last:
                    self.committer.trim()
        finally:
            self._drop()
        self.view.cache.free()

    def _drop(self) -> None:
        with contextlib.ExitStack() as closing:  # all of them, whichever fails
            closing.callback(self.directory.close)
            for file in (self.view.journal, self.view.predecessor):
                if file is not None:
                    closing.callback(file.close)
            self.view.predecessor = None
            self.forget = lambda: None
            if self._lock_file is not None:
                closing.callback(self._lock_file.close)
                self.sync.forget()

    def after_fork(self) -> None:
        """In a forked child: drop what is shared with the parent, without unlocking, and start anew."""
        path = self.directory.path
        for fd in _inherited(self):
            with contextlib.suppress(OSError):
                self.fs.close(fd)
        # From here on nothing may use these numbers again: the child's own files will get them.
        self.directory.fd = -1
        self.directory._subdirectories.clear()
        for file in (self.view.journal, self.view.predecessor):
            if file is not None:
                file.fd = -1
        if self._lock_file is not None:
            self._lock_file.fd = -1
            self._lock_file = None
        self._refs = {}
        try:
            self.directory = StoreDirectory(self.fs, path)
            self._start()
        except (OSError, StoreError) as exc:
            self.fail(StoreNotFound(f"{path} is not there any more ({exc}); open the store again", path=path))
            _log.warning("after fork: %s: %s", path, str(exc))


def _inherited(core: Core) -> list[int]:
    fds = [core.directory.fd, *core.directory._subdirectories.values()]
    fds += [file.fd for file in (core.view.journal, core.view.predecessor) if file is not None]
    if core._lock_file is not None:
        fds += [core._lock_file.fd, *core._lock_file._stripes.values()]
    return [fd for fd in fds if fd >= 0]


def closed_error() -> StoreClosed:
    """The error of using a closed handle."""
    return StoreClosed("this handle was closed; open the store again")
