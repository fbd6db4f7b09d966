"""Values that the layers hand to each other; nothing here touches a file."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

Entry = dict[str, Any]
"""A session's JSON object: ``{"sessionId": str, "updatedAt": epoch ms, ...}``."""

KeyRule = Literal["exact", "lowercase"]
Durability = Literal["power", "process"]
ChangeKind = Literal["put", "patch", "delete", "lease", "post", "take", "ack"]

HIGHEST_VERSION: Final = 10**17
"""No store gets there by committing; a file that says more would make the store's next version unusable."""


class Unset(enum.Enum):
    """The type of ``UNSET``, which removes a field in ``patch``."""

    UNSET = "UNSET"

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset.UNSET


@dataclass(frozen=True, slots=True)
class Change:
    """One committed change of one session.

    ``kind`` is ``"put"``, ``"patch"`` or ``"delete"`` for the entry, ``"lease"``, ``"post"``,
    ``"take"`` or ``"ack"`` for what stands beside it; ``fields`` names the top-level fields
    that a patch set or removed; ``at_ms`` is the writer's clock, epoch milliseconds.
    """

    version: int
    key: str
    kind: ChangeKind
    fields: tuple[str, ...]
    at_ms: int


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """What a listing tells of a session: no entry, no large field.

    ``updated_at`` is the entry's ``updatedAt`` (epoch milliseconds, None if absent or not a
    number), ``size`` the bytes of the entry as compact JSON.
    """

    key: str
    version: int
    updated_at: int | float | None
    session_id: str | None
    size: int


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a listing; ``next_cursor`` is None on the last one."""

    items: tuple[SessionInfo, ...]
    next_cursor: str | None

    def __iter__(self) -> Iterator[SessionInfo]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that ``check`` has to say.

    ``level`` is ``"error"`` (data damaged or lost), ``"warning"`` (something stands where it
    should not) or ``"note"`` (normal after a crash, mended by the next writer).
    """

    level: Literal["error", "warning", "note"]
    path: str
    reason: str
    session: str | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper bounds, in bytes; ``sessions`` is how many a legacy file may hold to be migrated.

    ``message_bytes`` bounds one message, ``inbox_messages`` and ``inbox_bytes`` what waits in
    one inbox (each message counts for some 500 bytes more), ``message_age_s`` how many seconds
    a message may wait before nobody gets it any more; None: for ever.
    """

    entry_bytes: int = 8 << 20
    commit_bytes: int = 64 << 20
    legacy_bytes: int = 64 << 20
    sessions: int = 1_000_000
    cache_bytes: int = 64 << 20
    journal_bytes: int = 4 << 20
    message_bytes: int = 256 << 10
    inbox_messages: int = 1000
    inbox_bytes: int = 4 << 20
    message_age_s: float | None = None


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """Facts about a store at one moment; sizes in bytes."""

    path: str
    store_id: str
    layout_version: int
    version: int
    checkpoint_version: int
    key_rule: KeyRule
    sessions: int
    session_bytes: int
    journal: str
    journal_bytes: int
    quarantined: int
    migrated_from: Mapping[str, Any] | None = field(default=None)
