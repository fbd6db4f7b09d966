"""The life of a handle: options, opening, finding the core, closing."""

from __future__ import annotations

import threading
import warnings
from dataclasses import replace
from types import TracebackType
from typing import Self

from sessiondir import layout
from sessiondir.clock import SYSTEM_CLOCK, Clock
from sessiondir.core import Core, closed_error
from sessiondir.directory import create_directory
from sessiondir.document import Document, missing_document
from sessiondir.errors import (
    InvalidKey,
    InvalidOption,
    ReadOnlyStore,
    StoreError,
    StoreNotFound,
    storage_error,
    translated,
)
from sessiondir.fs import SYSTEM_FS, FileSystem
from sessiondir.listing import Listing
from sessiondir.model import Durability, KeyRule, Limits
from sessiondir.registry import open_core, release_core
from sessiondir.terms import wait_s
from sessiondir.unmigrated import Unmigrated


class StoreHandle:
    """What ``SessionStore`` needs before it can read or write a session."""

    def __init__(
        self,
        path: str,
        legacy_path: str,
        *,
        read_only: bool,
        durability: Durability,
        lock_timeout: float,
        checkpoint_interval: float,
        keys: KeyRule | None,
        limits: Limits,
        allow_network: bool,
        fs: FileSystem,
        clock: Clock,
    ) -> None:
        self.path = path
        self._read_only = read_only
        self._durability: Durability = durability
        self._lock_timeout = min(lock_timeout, threading.TIMEOUT_MAX)
        self._interval = checkpoint_interval
        self._keys = keys
        self._limits = limits
        self._allow_network = allow_network
        self._fs = fs
        self._clock = clock
        self._closed = False
        self._core: Core | None = None
        self._attached: dict[str, object] = {}
        self._tentative: set[tuple[int, str]] = set()
        """Sessions that threads compute a first change of, while there is no store to lock them in."""
        self._listing: Listing | None = None
        self._unmigrated = Unmigrated(fs, clock, path, legacy_path, limits, allow_network=allow_network)

    @classmethod
    def open(
        cls,
        path: str,
        *,
        create: bool = True,
        read_only: bool = False,
        durability: Durability = "power",
        lock_timeout: float = 10.0,
        checkpoint_interval: float = 1.0,
        cache_bytes: int = 64 << 20,
        keys: KeyRule | None = None,
        limits: Limits | None = None,
        allow_network: bool = False,
        fs: FileSystem = SYSTEM_FS,
        clock: Clock = SYSTEM_CLOCK,
    ) -> Self:
        """Open the store at ``.../NAME.json`` or ``.../NAME.d``, which stand for the same store.

        Nothing is created or changed before the first write. A legacy file that was not
        migrated is read as it is, and migrated by the first change.

        Args:
            path: legacy file or store directory; ``~`` is expanded.
            create: whether a missing store is an empty one; else ``StoreNotFound``.
            read_only: write nothing at all, not even a lock; works on a read-only medium.
            durability: ``"power"``: a commit survives power loss when the call returns;
                ``"process"``: it survives the death of any process, power loss may take the last ones.
            lock_timeout: seconds to wait for a session that someone else is updating, and for a
                legacy program that holds its lock when a first change migrates its file.
            checkpoint_interval: seconds by which session files may lag behind; 0 writes through.
            cache_bytes: memory for entries kept at hand.
            keys: key rule, ``"exact"`` or ``"lowercase"`` (trim and lower-case as JavaScript
                does); None takes the store's, and ``"exact"`` for a new one.
            limits: upper bounds (``Limits``); ``cache_bytes`` in it is replaced by the argument.
            allow_network: open on a network file system although its locks are not trusted;
                safe only while a single host uses the store.
            fs, clock: seams for tests.

        Raises ``InvalidPath``, ``InvalidOption``, ``StoreNotFound``, ``FormatTooNew``,
        ``UnsafeDirectory``, ``UnreadableFile``. Cost: the state file and at most one journal.

        Handles on one store in one process share a core; the first one's limits hold.
        """
        _check_options(durability, lock_timeout, checkpoint_interval, keys, cache_bytes)
        directory, legacy_path = layout.store_path(path)
        limits = limits or Limits()
        store = cls(
            directory,
            legacy_path,
            read_only=read_only,
            durability=durability,
            lock_timeout=lock_timeout,
            checkpoint_interval=checkpoint_interval,
            keys=keys,
            limits=replace(limits, cache_bytes=cache_bytes),
            allow_network=allow_network,
            fs=fs,
            clock=clock,
        )
        # Looked at again: another process may just have moved the legacy file away.
        if store._reading() is None and not (create or store._unmigrated.exists()) and store._reading() is None:
            store.close()
            raise StoreNotFound(f"there is no store at {directory} and no {legacy_path}", path=directory)
        return store

    def close(self) -> None:
        """Close the handle; closing it again does nothing.

        The last handle of a process first brings the session files level, so that the
        directory is plain files at rest. If that fails the error is raised and the handle is
        closed all the same; every commit stays in the journal.
        """
        if self._closed:
            return
        self._closed = True
        core, self._core = self._core, None
        if core is not None:
            if self._listing is not None:
                self._listing.detach()
            with translated(self.path, "level"):
                release_core(core)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # Only a warning: this may run in any thread, in the middle of anything. What is still
        # open at the end of the interpreter is levelled then.
        if not getattr(self, "_closed", True) and self._core is not None:
            warnings.warn(f"the handle on {self.path} was not closed", ResourceWarning, source=self, stacklevel=2)

    def __repr__(self) -> str:
        return f"<SessionStore {self.path}{' closed' if self._closed else ''}>"

    def _reading(self) -> Core | None:
        """The core, or None while there is no store directory."""
        if self._core is None:
            if self._closed:
                raise closed_error()
            try:
                return None if self._unmigrated.counts() else self._attach(self._keys)
            except OSError as exc:
                if isinstance(exc, StoreError):
                    raise
                raise storage_error(exc, self.path, "read") from exc
        return self._core

    def _wait_s(self, timeout: object) -> float:
        """Seconds to wait, by a call's ``timeout`` or else the handle's. Raises ``InvalidOption``."""
        return self._lock_timeout if timeout is None else wait_s(timeout)

    def _before_migration(self, name: str) -> Document | None:
        """A session while there is no directory; None if there is one by now that may have it."""
        doc = self._unmigrated.document(name)
        if doc is None and self._reading() is not None:
            return None
        return doc or missing_document(name)

    def _either_side(self) -> tuple[Core | None, dict[str, Document]]:
        """The core, or the sessions of the legacy file while that counts."""
        core = self._reading()
        if core is not None:
            return core, {}
        documents = self._unmigrated.documents()
        # No sessions may mean that another process has migrated the legacy file just now.
        return (None, documents) if documents else (self._reading(), {})

    def _attach(self, keys: KeyRule | None) -> Core | None:
        """Find the core of the store directory, if there is one."""
        try:
            core = open_core(
                self._fs, self._clock, self.path, self._limits, keys, allow_network=self._allow_network
            )
        except FileNotFoundError:
            return None
        # Two threads may get here at once; setdefault is one step, so one use is counted.
        mine = object()
        if self._attached.setdefault("by", mine) is not mine:
            release_core(core)
        self._core = core
        return core

    def _writing(self) -> Core:
        """The core, ready to write; creates or migrates the store if there is no directory yet."""
        if self._read_only:
            raise ReadOnlyStore(
                f"{self.path} was opened with read_only=True; nothing was changed", path=self.path, errno=None
            )
        core = self._core or self._reading() or self._make_store()
        core.begin_writing()
        return core

    def _make_store(self) -> Core:
        beside_legacy = self._unmigrated.exists()
        if beside_legacy:
            self._unmigrated.migrate(self._lock_timeout)
            core = self._reading()
            if core is not None:
                return core
        # Nothing to migrate, or a legacy file without sessions, whose key rule goes on.
        try:
            create_directory(self._fs, self.path)
            core = self._attach(self._keys or ("lowercase" if beside_legacy else None))
        except OSError as exc:
            if isinstance(exc, StoreError):
                raise
            raise storage_error(exc, self.path, "create") from exc
        assert core is not None
        return core

    def _document(self, key: object) -> Document | None:
        """The current document of a session; None for a key that no session can have."""
        core = self._core or self._reading()
        try:
            if core is None:
                doc = self._unmigrated.document(self._normalise(key))
                # None may mean that another process has migrated the legacy file just now.
                core = self._reading() if doc is None else None
                if core is None:
                    return doc
            ref = core.ref(key)
            return core.view.load(ref.key)
        except InvalidKey:
            if isinstance(key, str):
                return None
            raise
        except OSError as exc:
            if isinstance(exc, StoreError):
                raise
            raise storage_error(exc, self.path, "read") from exc

    def _normalise(self, key: object) -> str:
        core = self._core or self._reading()
        if core is not None:
            return core.ref(key).key
        return layout.normalise_key(key, self._new_rule())

    def _new_rule(self) -> KeyRule:
        """The key rule of a store that is not there yet: a legacy file decides it, else the caller."""
        return "lowercase" if self._unmigrated.exists() else self._keys or "exact"


def _check_options(
    durability: object, lock_timeout: object, interval: object, keys: object, cache_bytes: object
) -> None:
    if durability not in ("power", "process"):
        raise InvalidOption(f"durability must be 'power' or 'process', not {durability!r}")
    if keys not in (None, "exact", "lowercase"):
        raise InvalidOption(f"keys must be 'exact' or 'lowercase', not {keys!r}")
    for name, value in (("lock_timeout", lock_timeout), ("checkpoint_interval", interval)):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
            raise InvalidOption(f"{name} must be a number of seconds, 0 or more, not {value!r}")
    if isinstance(cache_bytes, bool) or not isinstance(cache_bytes, int) or not 0 <= cache_bytes < 1 << 63:
        raise InvalidOption(f"cache_bytes must be a whole number of bytes, 0 or more, not {cache_bytes!r:.80}")
