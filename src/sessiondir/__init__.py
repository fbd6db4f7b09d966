"""A store for the state of agent sessions: one directory, one readable JSON file per session.

from sessiondir import SessionStore, UNSET

with SessionStore.open("sessions.d") as store:
    store.put("agent:main:main", {"sessionId": "s1", "updatedAt": 1767225600000})
    store.update("agent:main:main", lambda entry: {**entry, "model": "m"})
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sessiondir.aio import AsyncEdit, AsyncLease, AsyncSessionStore, AsyncTransaction, AsyncWatch
    from sessiondir.errors import (
        ChangesUnavailable,
        ConflictError,
        CorruptFile,
        CorruptionError,
        DiskFull,
        DurabilityUnknown,
        EntryTooLarge,
        FormatTooNew,
        InboxFull,
        InvalidEntry,
        InvalidInput,
        InvalidKey,
        InvalidMessage,
        InvalidOption,
        InvalidPath,
        InvalidRecord,
        InvalidTranscript,
        LeaseHeld,
        LeaseLost,
        LockTimeout,
        MessageTooLarge,
        MigrationError,
        NotFoundError,
        ReadOnlyStore,
        RecordTooLarge,
        ReentrantUpdate,
        SessionNotFound,
        StorageError,
        StoreClosed,
        StoreError,
        StoreNotFound,
        TranscriptNotFound,
        UnreadableFile,
        UnsafeDirectory,
        UnsupportedFileSystem,
    )
    from sessiondir.inbox import InboxInfo, Message
    from sessiondir.leases import LeaseInfo
    from sessiondir.leasing import Lease
    from sessiondir.model import UNSET, Change, Finding, Limits, Page, SessionInfo, StoreInfo
    from sessiondir.snapshot import Snapshot
    from sessiondir.store import SessionStore
    from sessiondir.transaction import StoreEdit, Transaction

__version__ = "0.1.0"

__all__ = [
    "UNSET",
    "AsyncEdit",
    "AsyncLease",
    "AsyncSessionStore",
    "AsyncTransaction",
    "AsyncWatch",
    "Change",
    "ChangesUnavailable",
    "ConflictError",
    "CorruptFile",
    "CorruptionError",
    "DiskFull",
    "DurabilityUnknown",
    "EntryTooLarge",
    "Finding",
    "FormatTooNew",
    "InboxFull",
    "InboxInfo",
    "InvalidEntry",
    "InvalidInput",
    "InvalidKey",
    "InvalidMessage",
    "InvalidOption",
    "InvalidPath",
    "InvalidRecord",
    "InvalidTranscript",
    "Lease",
    "LeaseHeld",
    "LeaseInfo",
    "LeaseLost",
    "Limits",
    "LockTimeout",
    "Message",
    "MessageTooLarge",
    "MigrationError",
    "NotFoundError",
    "Page",
    "ReadOnlyStore",
    "RecordTooLarge",
    "ReentrantUpdate",
    "SessionInfo",
    "SessionNotFound",
    "SessionStore",
    "Snapshot",
    "StorageError",
    "StoreClosed",
    "StoreEdit",
    "StoreError",
    "StoreInfo",
    "StoreNotFound",
    "Transaction",
    "TranscriptNotFound",
    "UnreadableFile",
    "UnsafeDirectory",
    "UnsupportedFileSystem",
    "__version__",
]

# Names are loaded when first used: the command needs few of them to print its help.
_HOMES = {
    "aio": ("AsyncEdit", "AsyncLease", "AsyncSessionStore", "AsyncTransaction", "AsyncWatch"),
    "inbox": ("InboxInfo", "Message"),
    "leases": ("LeaseInfo",),
    "leasing": ("Lease",),
    "model": ("UNSET", "Change", "Finding", "Limits", "Page", "SessionInfo", "StoreInfo"),
    "snapshot": ("Snapshot",),
    "store": ("SessionStore",),
    "transaction": ("StoreEdit", "Transaction"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
