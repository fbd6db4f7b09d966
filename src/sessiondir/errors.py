"""Every exception of the package.

Each class also inherits the nearest built-in, keeps its facts as attributes, survives
pickling, and carries the exit code of the ``sessiondir`` command and whether trying the
same call again may help.

    StoreError
    |-- LockTimeout (TimeoutError)          session or lock busy for the whole timeout
    |-- ReentrantUpdate (RuntimeError)      update of a session from inside its own callback
    |-- ConflictError                       a version moved; nothing was committed
    |-- LeaseHeld                           somebody else holds the lease
    |-- LeaseLost                           the lease that a change rests on is gone
    |-- InboxFull                           too many messages wait, or too many bytes
    |-- StoreClosed (ValueError)
    |-- ChangesUnavailable (LookupError)    the journal no longer reaches back that far
    |-- NotFoundError (LookupError)
    |   |-- StoreNotFound (FileNotFoundError)
    |   |-- TranscriptNotFound (FileNotFoundError)
    |   `-- SessionNotFound (KeyError)
    |-- InvalidInput (ValueError)
    |   |-- InvalidPath    InvalidKey    InvalidOption    InvalidTranscript
    |   |-- InvalidRecord -- RecordTooLarge
    |   |-- InvalidEntry -- EntryTooLarge
    |   `-- InvalidMessage -- MessageTooLarge
    |-- CorruptionError
    |   `-- CorruptFile
    |-- FormatTooNew
    |-- UnsafeDirectory (PermissionError)
    |-- UnsupportedFileSystem
    |-- MigrationError
    `-- StorageError (OSError)
        |-- DiskFull    ReadOnlyStore    DurabilityUnknown
        `-- UnreadableFile
"""

from __future__ import annotations

import contextlib
import errno as _errno
from collections.abc import Callable, Iterator
from typing import Any, ClassVar


def _rebuild(cls: type[StoreError], message: str, facts: dict[str, Any]) -> StoreError:
    return cls(message, **facts)


class StoreError(Exception):
    """Base of all errors raised on purpose; facts are attributes of the same name."""

    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.message = message
        self.facts = facts
        for name, value in facts.items():
            setattr(self, name, value)

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Callable[..., StoreError], tuple[Any, ...]]:
        return _rebuild, (type(self), self.message, self.facts)


class LockTimeout(StoreError, TimeoutError):
    """A lock stayed busy for the whole timeout; nothing was changed.

    Attributes: ``session`` (key, or None for a store-wide lock), ``holder_pid`` (int, or
    None if unknown), ``holder`` (text about the holder), ``held_s`` (seconds, or None if
    unknown), ``waited_s`` (seconds).
    """

    exit_code = 11
    retryable = True
    session: str | None
    holder_pid: int | None
    holder: str
    held_s: float | None
    waited_s: float


class ReentrantUpdate(StoreError, RuntimeError):
    """The calling thread already holds this session; waiting would never end."""

    exit_code = 2
    session: str


class ConflictError(StoreError):
    """A version moved since it was read; nothing was committed.

    Attributes: ``session``, ``expected`` and ``actual`` entry versions (0: no such session).
    """

    exit_code = 12
    retryable = True
    session: str
    expected: int
    actual: int


class LeaseHeld(StoreError):
    """Somebody else holds the session's lease; nothing was changed.

    Attributes: ``session``, ``owner`` and ``token`` of the lease that stands, ``pid`` of its
    process, ``ends_in_s`` (seconds until it is free if it is not renewed).
    """

    exit_code = 18
    retryable = True
    session: str
    owner: str
    token: int
    pid: int
    ends_in_s: float


class LeaseLost(StoreError):
    """The lease was let go, or somebody else was granted it since; nothing was changed.

    Attributes: ``session``, ``owner`` and ``token`` of the lost lease, ``holder`` and
    ``holder_token`` of the one that stands now (None if none does).
    """

    exit_code = 18
    session: str
    owner: str
    token: int
    holder: str | None
    holder_token: int | None


class InboxFull(StoreError):
    """The message does not fit into the inbox until others are taken; nothing was posted, to nobody.

    Attributes: ``session``, ``messages`` (how many wait), ``size`` (their bytes), ``oldest_ms``
    (when the oldest was posted, epoch milliseconds).
    """

    exit_code = 19
    retryable = True
    session: str
    messages: int
    size: int
    oldest_ms: int


class StoreClosed(StoreError, ValueError):
    """The handle was closed."""

    exit_code = 2


class ChangesUnavailable(StoreError, LookupError):
    """The journal no longer reaches back to ``since``; ``oldest`` is the first usable value."""

    exit_code = 13
    since: int
    oldest: int


class NotFoundError(StoreError, LookupError):
    """Something that had to exist does not."""

    exit_code = 10


class StoreNotFound(NotFoundError, FileNotFoundError):
    """There is no store at ``path``, and it was not to be created."""

    path: str


class TranscriptNotFound(NotFoundError, FileNotFoundError):
    """There is no transcript or archive at ``path``."""

    path: str


class SessionNotFound(NotFoundError, KeyError):
    """There is no session ``session``."""

    session: str


class InvalidInput(StoreError, ValueError):
    """The caller's value cannot be stored or used."""

    exit_code = 2


class InvalidPath(InvalidInput):
    """``path`` names neither a legacy ``.json`` file nor a ``.d`` store directory."""

    path: str


class InvalidOption(InvalidInput):
    """An option has no such value, or contradicts the store."""


class InvalidKey(InvalidInput):
    """``session`` cannot be a session key; ``reason`` says why."""

    session: object
    reason: str


class InvalidEntry(InvalidInput):
    """The entry is not a JSON object; ``where`` names the place inside it."""

    where: str
    reason: str


class EntryTooLarge(InvalidEntry):
    """Encoded size ``size`` is above ``limit``, both in bytes."""

    size: int
    limit: int


class InvalidTranscript(InvalidInput):
    """``name``, a session id or ``sessionFile``, names no transcript of this folder; ``reason`` says why."""

    name: str
    reason: str


class InvalidRecord(InvalidInput):
    """The record is not a JSON object; ``where`` names the place inside it. Nothing was appended."""

    where: str
    reason: str


class RecordTooLarge(InvalidRecord):
    """A record, or what is appended at once, has ``size`` bytes, above ``limit``."""

    size: int
    limit: int


class InvalidMessage(InvalidInput):
    """The message, or its id, cannot be stored; ``where`` names the place inside it."""

    where: str
    reason: str


class MessageTooLarge(InvalidMessage):
    """Encoded size ``size`` is above ``limit``, both in bytes."""

    size: int
    limit: int


class CorruptionError(StoreError):
    """Stored bytes are damaged."""

    exit_code = 20


class CorruptFile(CorruptionError):
    """``path`` cannot be understood (``reason``); it is left unchanged."""

    path: str
    reason: str


class FormatTooNew(StoreError):
    """Written by a newer version: ``found`` against ``supported``; left untouched."""

    exit_code = 14
    path: str
    found: object
    supported: object


class UnsafeDirectory(StoreError, PermissionError):
    """``path`` could be changed by others or is not what it should be; nothing was done in it."""

    exit_code = 15
    path: str
    reason: str


class UnsupportedFileSystem(StoreError):
    """Locks on ``path`` cannot be relied on (``reason``)."""

    exit_code = 16
    path: str
    reason: str


class MigrationError(StoreError):
    """The store could not be taken over or rolled back; the original still stands."""

    exit_code = 21
    path: str
    reason: str


class StorageError(StoreError, OSError):
    """The operating system refused; ``path`` and ``errno`` say where and why."""

    exit_code = 30
    path: str

    def __init__(self, message: str, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.errno = facts.get("errno")


class DiskFull(StorageError):
    """No space left; the stored data is as it was before the call."""

    retryable = True


class ReadOnlyStore(StorageError):
    """The handle or the medium is read-only; nothing was changed."""

    exit_code = 17


class DurabilityUnknown(StorageError):
    """A sync failed: the commit may or may not survive power loss.

    It is visible to every process now. This handle refuses further writes; open a new one.
    """


class UnreadableFile(StorageError):
    """``path`` exists but cannot be read; it is never taken for empty."""


@contextlib.contextmanager
def translated(path: str, doing: str) -> Iterator[None]:
    """Let no bare ``OSError`` out of a block that is ``doing`` something to ``path``."""
    try:
        yield
    except OSError as exc:
        if isinstance(exc, StoreError):
            raise
        raise storage_error(exc, path, doing) from exc


def storage_error(exc: OSError, path: str, doing: str) -> StoreError:
    """Translate an ``OSError`` met while ``doing`` something to ``path``.

    ``"read"`` and ``"level"`` (bringing session files level with the journal) have a meaning
    of their own; anything else is a change that was not made.
    """
    number = exc.errno
    text = f"{doing} {path}: {exc.strerror or exc}"
    if number in (_errno.ENOSPC, _errno.EDQUOT) and doing != "read":
        after = "every commit is safe in the journal" if doing == "level" else "nothing was changed"
        return DiskFull(f"{text}; {after}, free some space and try again", path=path, errno=number)
    if number in (_errno.EROFS, _errno.EACCES, _errno.EPERM) and doing != "read":
        return ReadOnlyStore(f"{text}; check the owner and mode of the directory", path=path, errno=number)
    if doing == "read":
        return UnreadableFile(f"{text}; it was not taken for empty", path=path, errno=number)
    return StorageError(text, path=path, errno=number)
