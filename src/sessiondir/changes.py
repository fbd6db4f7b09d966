"""What a change of one session comes to: its document in, the operation and the result out.

Pure: nothing here reads or locks. ``store`` and ``aio`` run these functions on the current
document and commit the operation, again if the session moved between.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from sessiondir import codec
from sessiondir.model import (
    UNSET,
    Delete,
    Document,
    Entry,
    Limits,
    Operation,
    apply_operation,
)
from sessiondir.transaction import (
    as_stored,
    check_entry,
    checked_patch,
    invalid_entry,
    operation_for,
    require_version,
)

T = TypeVar("T")
Compute = Callable[[Document], tuple[Operation | None, T]]
"""Takes a session's document; returns the operation, None for "no change", and the call's result."""


def putting(entry: Mapping[str, Any], if_version: int | None, limits: Limits) -> Compute[int]:
    """Store a whole entry; the result is the version of an equal one."""
    check_entry(entry)

    def compute(doc: Document) -> tuple[Operation | None, int]:
        require_version(doc, if_version)
        return operation_for(doc, entry, limits), doc.version

    return compute


def patching(fields: Mapping[str, Any], create: bool, limits: Limits) -> Compute[Document | None]:
    """Set and remove top-level fields; the result is the document afterwards, None if there is none."""
    check_entry(fields)
    set_ = {name: value for name, value in fields.items() if value is not UNSET}
    unset = tuple(name for name, value in fields.items() if value is UNSET)

    def compute(doc: Document) -> tuple[Operation | None, Document | None]:
        if doc.fields is None:
            if not create:
                return None, None
            created = operation_for(doc, set_, limits)
            return created, apply_operation(doc, created, 0) if created is not None else None
        try:
            old = {name: doc.fields[name] for name in set_ if name in doc.fields}
            changed, _ = codec.difference(old, set_)
        except codec.EncodeError as exc:
            raise invalid_entry(doc.key, exc) from exc
        removed = tuple(name for name in unset if name in doc.fields)
        if not changed and not removed:
            return None, doc
        operation = checked_patch(doc, changed, removed, limits)
        return operation, apply_operation(doc, operation, doc.version)

    return compute


def updated(
    doc: Document, result: Mapping[str, Any] | None, limits: Limits
) -> tuple[Operation | None, Entry | None]:
    """What the callback of an update made of ``doc``; the result is the entry afterwards."""
    if result is None:
        return None, doc.entry()
    operation = operation_for(doc, check_entry(result), limits)
    return operation, as_stored(result, operation)


def deleting(if_version: int | None) -> Compute[bool]:
    """Remove the session; the result is whether it was there."""

    def compute(doc: Document) -> tuple[Operation | None, bool]:
        require_version(doc, if_version)
        exists = doc.fields is not None
        return (Delete(doc.key) if exists else None), exists

    return compute
