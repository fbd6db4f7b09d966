"""What a commit does to the entry of a session, beside what it does to lease and inbox (``aside``).

Apart from ``model``, which may be compiled: these are made and compared much, and looked into little.
"""

from __future__ import annotations

import msgspec

from sessiondir import codec
from sessiondir.aside import AsideOperation


class Put(msgspec.Struct, frozen=True):
    """Store a whole entry."""

    key: str
    fields: codec.Fields


class Patch(msgspec.Struct, frozen=True):
    """Set and remove top-level fields of an entry; ``base`` is the entry version it was computed from."""

    key: str
    set: codec.Fields
    unset: tuple[str, ...] = ()
    base: int | None = None


class Delete(msgspec.Struct, frozen=True):
    """Remove a session."""

    key: str


Operation = Put | Patch | Delete | AsideOperation
