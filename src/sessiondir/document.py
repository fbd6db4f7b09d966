"""A session's document, and what operations make of it. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from sessiondir import codec, steps
from sessiondir.aside import Ack, Aside, LeaseChange, Post, Take, apply_aside
from sessiondir.lazyentry import lazy_entry
from sessiondir.model import UNSET, Entry
from sessiondir.operations import Delete, Operation, Patch, Put

_PARSE_BYTES = 400
"""Arrays and objects above this size, unless large, are kept parsed once somebody asked for them."""


class Document:
    """One session as stored: key, version, entry, and what stands beside it. Never changed once made.

    ``fields`` maps a field name to its value; arrays and objects are kept as their compact
    JSON (``bytes``), so that a copy shares every immutable value and an unchanged field is
    recognised by comparing bytes. ``None`` means that there is no such session.
    ``weight`` is roughly the memory it takes, in bytes.
    ``extra`` holds the members of a session file that this version does not know.
    ``aside`` is the lease and inbox; ``version`` is the entry's and does not move with them.

    Filled on the way: ``nested``, the names of the fields that hold arrays and objects, once
    somebody asked for the entry; ``parsed``, some of them as Python values, which nobody may
    change; ``recent``, whether it was used since the cache last looked.
    """

    __slots__ = ("aside", "extra", "fields", "key", "nested", "parsed", "recent", "version", "weight")

    def __init__(
        self,
        key: str,
        version: int,
        fields: codec.Fields | None,
        weight: int,
        extra: codec.Fields | None = None,
        nested: tuple[str, ...] | None = None,
        aside: Aside | None = None,
        parsed: dict[str, Any] | None = None,
        recent: bool = True,
    ) -> None:
        self.key = key
        self.version = version
        self.fields = fields
        self.weight = weight
        self.extra = extra
        self.nested = nested
        self.aside = aside
        self.parsed = parsed
        self.recent = recent

    @property
    def latest(self) -> int:
        """Version of the last commit that changed anything of this session; replay goes by it."""
        return self.version if self.aside is None else max(self.version, self.aside.version)

    @property
    def is_worth_a_file(self) -> bool:
        """Whether there is anything to keep: an entry, a lease, messages."""
        return self.fields is not None or (self.aside is not None and not self.aside.is_empty)

    @property
    def size(self) -> int:
        """Bytes of the entry as compact JSON; O(entry)."""
        return codec.encoded_size(self.fields) if self.fields is not None else 0

    def entry(self) -> Entry | None:
        """The caller's own copy of the entry, a plain dict; O(its arrays and objects)."""
        fields = self.fields
        if fields is None:
            return None
        entry = fields.copy()
        for name in self._nested(fields):
            value = entry[name]
            if _PARSE_BYTES < len(value) <= steps.LARGE_BYTES:
                # Copying a parsed value takes half the time of parsing it: its texts are shared.
                entry[name] = msgspec.to_builtins(self._keep_parsed(name, value))
            else:
                entry[name] = codec.decode_in_steps(value)
        return entry

    @property
    def is_parsed(self) -> bool:
        """Whether ``lazy_entry`` has nothing to parse."""
        nested, parsed = self.nested, self.parsed
        return nested is not None and len(nested) == (len(parsed) if parsed is not None else 0)

    def lazy_entry(self) -> Entry | None:
        """The caller's own copy, whose arrays and objects are copied when they are first looked at.

        O(number of fields), and O(values) for those that are not parsed yet or large.
        """
        fields = self.fields
        if fields is None:
            return None
        nested = self._nested(fields)
        if not nested:
            return fields.copy()
        parsed = self.parsed
        if parsed is not None and len(parsed) == len(nested):
            return lazy_entry(fields, parsed)
        shared: Entry = {}
        large: Entry = {}
        for name in nested:
            value = fields[name]
            if len(value) <= steps.LARGE_BYTES:
                shared[name] = self._keep_parsed(name, value)
            else:
                # Kept parsed, its thousands of objects would make every garbage collection longer.
                large[name] = codec.decode_in_steps(value)
        entry = lazy_entry(fields, shared)
        entry.update(large)
        return entry

    def _nested(self, fields: codec.Fields) -> tuple[str, ...]:
        nested = self.nested
        if nested is None:
            nested = self.nested = tuple(name for name, value in fields.items() if type(value) is bytes)
        return nested

    def _keep_parsed(self, name: str, value: bytes) -> Any:
        """The value of a field, parsed and kept so."""
        parsed = self.parsed
        if parsed is None:
            parsed = self.parsed = {}
        if name in parsed:
            return parsed[name]
        return parsed.setdefault(name, codec.decode(value))

    def updated_at(self) -> int | float | None:
        """``updatedAt`` in epoch milliseconds, if it is a number."""
        value = self.fields.get("updatedAt") if self.fields is not None else None
        return value if type(value) in (int, float) else None


def put_document(
    key: str,
    version: int,
    fields: codec.Fields,
    extra: codec.Fields | None = None,
    aside: Aside | None = None,
) -> Document:
    """A document whose whole entry is ``fields``."""
    weight = codec.fields_weight(fields)
    if aside is None:
        return Document(key, version, fields, weight, extra)
    return Document(key, version, fields, weight + aside.weight, extra, aside=aside)


def missing_document(key: str, version: int = 0, aside: Aside | None = None) -> Document:
    """The document of a session that does not exist, or was deleted by commit ``version``."""
    return Document(key, version, None, aside.weight if aside is not None else 0, aside=aside)


def beside(doc: Document, aside: Aside) -> Document:
    """``doc`` with another lease or inbox; its entry and version stay."""
    weight = doc.weight + aside.weight - (doc.aside.weight if doc.aside is not None else 0)
    return Document(doc.key, doc.version, doc.fields, weight, doc.extra, doc.nested, aside, doc.parsed, doc.recent)


def patch_document(doc: Document, version: int, set_: codec.Fields, unset: tuple[str, ...]) -> Document:
    """``doc`` with some fields set and some removed; new fields go last."""
    fields = doc.fields.copy() if doc.fields is not None else {}
    weight = doc.weight
    nested = doc.nested
    for name, value in set_.items():
        old = fields.get(name, UNSET)
        fields[name] = value
        if type(value) is type(old) is int and codec.is_short(value) and codec.is_short(old):
            continue  # the most frequent change of all, which changes nothing below
        if old is UNSET:
            weight += codec.weight(value) + len(name)
        else:
            weight += codec.weight(value) - codec.weight(old)
        if type(old) is bytes or type(value) is bytes:
            nested = None
    for name in unset:
        if name in fields:
            weight -= len(name) + codec.weight(fields.pop(name))
            nested = None
    parsed = doc.parsed
    if parsed is not None and nested is None:
        parsed = parsed.copy()  # even if empty: a thread may be about to put an old value into it
        for name in (*set_, *unset):
            parsed.pop(name, None)
    return Document(doc.key, version, fields, weight, doc.extra, nested, doc.aside, parsed)


def apply_operation(doc: Document, op: Operation, version: int) -> Document:
    """The document after ``op`` of commit ``version``."""
    if type(op) is Patch:
        return patch_document(doc, version, op.set, op.unset)
    if type(op) is Put:
        return put_document(doc.key, version, op.fields, doc.extra, doc.aside)
    if type(op) is Delete:
        aside = doc.aside.without_entry(version) if doc.aside is not None else None
        return missing_document(doc.key, version, aside)
    assert isinstance(op, (LeaseChange, Post, Take, Ack))
    return beside(doc, apply_aside(doc.aside, op, version))
