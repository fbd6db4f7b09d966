"""What a change of one session comes to: its document in, the operation and the result out.

Pure: nothing here reads or locks. ``store`` and ``aio`` run these functions on the current
document and commit the operation, again if the session moved between.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from sessiondir import codec, steps
from sessiondir.document import Document, apply_operation, patch_document, put_document
from sessiondir.entrysum import entry_sum, is_entry_sum
from sessiondir.errors import ConflictError, EntryTooLarge, InvalidEntry, InvalidOption
from sessiondir.lazyentry import LazyEntry, raw_value, with_members
from sessiondir.model import UNSET, Entry, Limits
from sessiondir.operations import Delete, Operation, Patch, Put
from sessiondir.readback import HandedOut, handed_out, read_back

T = TypeVar("T")
Compute = Callable[[Document], tuple[Operation | None, T]]
"""Takes a session's document; returns the operation, None for "no change", and the call's result."""


def check_entry(entry: object) -> Mapping[str, Any]:
    """``entry`` if it is a mapping, else ``InvalidEntry``."""
    if isinstance(entry, (dict, Mapping)):
        return entry
    raise InvalidEntry(
        f"an entry is a JSON object (dict), not {type(entry).__name__}",
        where="",
        reason=f"{type(entry).__name__} instead of an object",
    )


def conflict(key: str, expected: int, actual: int) -> ConflictError:
    """The error of a version that moved; 0 stands for "no such session"."""
    found = f"at version {actual}" if actual else "missing"
    wanted = f"version {expected}" if expected else "it to be missing"
    return ConflictError(
        f"session {key!r} is {found}, expected {wanted}; nothing was committed: read it again and retry",
        session=key,
        expected=expected,
        actual=actual,
    )


def require_version(doc: Document, if_version: int | None) -> None:
    """Raise ``ConflictError`` unless ``doc`` is at ``if_version`` (0: missing; None: any).

    A version that was read from a legacy file before its migration holds while the entry is the same.
    """
    actual = version_of(doc)
    if if_version is not None and if_version != actual:
        if is_entry_sum(if_version) and doc.fields is not None and entry_sum(doc.fields) == if_version:
            return
        raise conflict(doc.key, if_version, actual)


def _wanted_version(if_version: object) -> int | None:
    if if_version is None or isinstance(if_version, int):
        return if_version
    raise InvalidOption(f"if_version must be a whole number or None, not {if_version!r:.80}")


def operation_for(doc: Document, entry: Mapping[str, Any], limits: Limits) -> Operation | None:
    """The operation that turns ``doc`` into ``entry``; None if they are equal.

    Raises ``InvalidEntry`` or ``EntryTooLarge``.
    """
    try:
        if doc.fields is None:
            put = Put(doc.key, codec.to_fields(entry))
            _check_size(put_document(doc.key, 0, put.fields), limits)
            return put
        set_, unset = codec.difference(doc.fields, entry, doc.parsed)
    except codec.EncodeError as exc:
        raise invalid_entry(doc.key, exc) from exc
    if not set_ and not unset:
        return None
    return checked_patch(doc, set_, unset, limits)


def invalid_entry(key: str, exc: codec.EncodeError) -> InvalidEntry:
    """The error of a value that has no JSON form."""
    return InvalidEntry(f"session {key!r}: {exc}; nothing was changed", where=exc.where, reason=exc.reason)


def checked_patch(doc: Document, set_: codec.Fields, unset: tuple[str, ...], limits: Limits) -> Patch:
    """A patch of ``doc`` that keeps it within the size limit, or ``EntryTooLarge``."""
    added = 0
    for value in set_.values():
        added += len(value) if type(value) is str or type(value) is bytes else codec.weight(value)
    # A character takes at most six bytes of JSON: far below the limit there is nothing to measure.
    if (doc.weight + added) * 6 + 100 * len(set_) > limits.entry_bytes:
        _check_size(patch_document(doc, 0, set_, unset), limits)
    return Patch(doc.key, set_, unset, doc.version)


def _check_size(doc: Document, limits: Limits) -> None:
    if doc.weight * 6 > limits.entry_bytes and (size := doc.size) > limits.entry_bytes:
        raise EntryTooLarge(
            f"the entry of session {doc.key!r} would have {size} bytes, the limit is {limits.entry_bytes}; "
            "nothing was changed: keep large data outside the entry",
            where="",
            reason="too large",
            size=size,
            limit=limits.entry_bytes,
        )


def as_stored(
    entry: Mapping[str, Any],
    operation: Operation | None,
    fields: codec.Fields | None = None,
    given: HandedOut | None = None,
) -> Entry:
    """``entry`` as reading it back gives it: what was written anew has plain types (tuples are lists).

    ``entry`` itself if it is that already; it is the caller's own. ``given``: what the caller was
    given of ``fields``, those before.
    """
    written = operation.fields if type(operation) is Put else operation.set if type(operation) is Patch else {}
    is_dict = type(entry) is LazyEntry or type(entry) is dict
    anew: Entry = {}
    for name, value in written.items():
        now = raw_value(entry, name) if is_dict else entry[name]
        if type(value) is not bytes:
            if value is not now:
                anew[name] = value
        elif given and fields is not None and name in given:
            anew[name] = read_back(value, now, given[name], fields[name])
        else:
            anew[name] = codec.decode_in_steps(value)
    if is_dict and not anew:
        return entry  # type: ignore[return-value]
    return with_members(entry, anew)


def version_of(doc: Document) -> int:
    """The entry version; 0 if there is no such session."""
    return doc.version if doc.fields is not None else 0


def putting(entry: Mapping[str, Any], if_version: object, limits: Limits) -> Compute[int]:
    """Store a whole entry; the result is the version of an equal one."""
    check_entry(entry)
    wanted = _wanted_version(if_version)

    def compute(doc: Document) -> tuple[Operation | None, int]:
        require_version(doc, wanted)
        return operation_for(doc, entry, limits), doc.version

    return compute


def patching(fields: Mapping[Any, Any], create: object, limits: Limits) -> Compute[Document | None]:
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


def updating(
    fn: Callable[[Entry], Mapping[str, Any] | None], create: object, limits: Limits
) -> Compute[Entry | None]:
    """Let ``fn`` make the new entry of its own copy; the result is the entry afterwards."""

    def compute(doc: Document) -> tuple[Operation | None, Entry | None]:
        entry = doc.lazy_entry()
        if entry is None:
            if not create:
                return None, None
            entry = {}
        given = handed_out(doc, entry) if doc.weight > steps.LARGE_BYTES else None
        return updated(doc, fn(entry), limits, given)

    return compute


def updated(
    doc: Document, result: Mapping[str, Any] | None, limits: Limits, given: HandedOut | None = None
) -> tuple[Operation | None, Entry | None]:
    """What the callback of an update made of ``doc`` as it was ``given``; the result is the entry afterwards."""
    if result is None:
        return None, doc.lazy_entry()
    operation = operation_for(doc, check_entry(result), limits)
    return operation, as_stored(result, operation, doc.fields, given)


def deleting(if_version: object) -> Compute[bool]:
    """Remove the session; the result is whether it was there."""
    wanted = _wanted_version(if_version)

    def compute(doc: Document) -> tuple[Operation | None, bool]:
        require_version(doc, wanted)
        exists = doc.fields is not None
        return (Delete(doc.key) if exists else None), exists

    return compute
