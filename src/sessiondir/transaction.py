"""Changing several sessions in one commit: transactions, and the whole store as a mapping."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from types import TracebackType
from typing import Any

from sessiondir import codec
from sessiondir.errors import ConflictError, EntryTooLarge, InvalidEntry, InvalidKey, StoreError, UnreadableFile
from sessiondir.model import (
    Delete,
    Document,
    Entry,
    Limits,
    Operation,
    Patch,
    Put,
    missing_document,
    patch_document,
    put_document,
)

Loader = Callable[[str], Document]


def check_entry(entry: object) -> Mapping[str, Any]:
    """``entry`` if it is a mapping, else ``InvalidEntry``."""
    if type(entry) is dict or isinstance(entry, Mapping):
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
    """Raise ``ConflictError`` unless ``doc`` is at ``if_version`` (0: missing; None: any)."""
    actual = version_of(doc)
    if if_version is not None and if_version != actual:
        raise conflict(doc.key, if_version, actual)


def operation_for(doc: Document, entry: Mapping[str, Any], limits: Limits) -> Operation | None:
    """The operation that turns ``doc`` into ``entry``; None if they are equal.

    Raises ``InvalidEntry`` or ``EntryTooLarge``.
    """
    try:
        if doc.fields is None:
            put = Put(doc.key, codec.to_fields(entry))
            _check_size(put_document(doc.key, 0, put.fields), limits)
            return put
        set_, unset = codec.difference(doc.fields, entry)
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
        if type(value) is str or type(value) is bytes:
            added += len(value)
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


def as_stored(entry: Mapping[str, Any], operation: Operation | None) -> Entry:
    """``entry`` as reading it back gives it: what was written anew has plain types (tuples are lists).

    ``entry`` itself if it is that already; it is the caller's own.
    """
    written = operation.fields if type(operation) is Put else operation.set if type(operation) is Patch else {}
    stored: Entry | None = None
    for name, value in written.items():
        if type(value) is bytes or value is not entry[name]:
            if stored is None:
                stored = dict(entry)
            stored[name] = codec.decode_in_steps(value) if type(value) is bytes else value
    if stored is None:
        return entry if type(entry) is dict else dict(entry)
    return stored


class TransactionMapping(MutableMapping[str, Entry]):
    """The sessions of a transaction while its block runs: read and assigned, not yet committed."""

    _used = False

    def __init__(self, keys: Mapping[str, str], limits: Limits) -> None:
        self._keys = keys
        self._limits = limits
        self._documents: dict[str, Document] = {}
        self._changed: dict[str, Document] = {}
        self._open = False
        self.version: int | None = None
        """The commit's version, once the block was left; None if nothing changed."""

    def _use(self) -> None:
        if self._used:
            raise RuntimeError("the transaction's block was left; start another one")
        self._used = True

    def _difference(self) -> tuple[list[Operation], dict[str, int]]:
        """What the block changed, and the entry versions that it rests on."""
        changed = {key: doc.entry() for key, doc in self._changed.items()}
        operations = _operations(self._documents, changed, self._limits)
        return operations, {key: version_of(doc) for key, doc in self._documents.items()}

    def _normal(self, key: str) -> str:
        if not self._open:
            raise RuntimeError("the transaction's block was left; start another one")
        try:
            return self._keys[key]
        except KeyError:
            raise InvalidKey(
                f"session {key!r} is not part of this transaction; name it in transaction(...)",
                session=key,
                reason="not part of the transaction",
            ) from None

    def _current(self, key: str) -> Document:
        return self._changed.get(key) or self._documents[key]

    def __getitem__(self, key: str) -> Entry:
        entry = self._current(self._normal(key)).entry()
        if entry is None:
            raise KeyError(key)
        return entry

    def __setitem__(self, key: str, entry: Mapping[str, Any]) -> None:
        normal = self._normal(key)
        try:
            self._changed[normal] = put_document(normal, 0, codec.to_fields(check_entry(entry)))
        except codec.EncodeError as exc:
            raise invalid_entry(normal, exc) from exc

    def __delitem__(self, key: str) -> None:
        if key not in self:
            raise KeyError(key)
        normal = self._normal(key)
        self._changed[normal] = missing_document(normal)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._current(self._normal(key)).fields is not None

    def __iter__(self) -> Iterator[str]:
        return (key for key in self._documents if self._current(key).fields is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)


class Transaction(TransactionMapping):
    """Some sessions, to read and assign; leaving the block commits all changes as one.

    Reading gives copies: assign an entry to change it. An exception in the block changes nothing.
    """

    def __init__(
        self,
        keys: Mapping[str, str],
        begin: Callable[[], Loader],
        commit: Callable[[list[Operation], dict[str, int]], int],
        end: Callable[[], None],
        limits: Limits,
    ) -> None:
        super().__init__(keys, limits)
        self._begin = begin
        self._commit = commit
        self._end = end

    def __enter__(self) -> Transaction:
        self._use()
        try:
            load = self._begin()
            self._documents = {key: load(key) for key in dict.fromkeys(self._keys.values())}
        except BaseException:
            self._end()
            raise
        self._open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        try:
            try:
                if kind is None:
                    operations, expected = self._difference()
                    if operations:
                        self.version = self._commit(operations, expected)
            finally:
                self._end()
        except BaseException:
            self._end()  # the first time may have been interrupted
            raise

    def __del__(self) -> None:
        # A signal handler may raise before the first line of __exit__: then this is what lets go.
        if self._used:
            self._end()


class StoreEdit(MutableMapping[str, Entry]):
    """The whole store as a mapping of one moment, to change as one commit.

    Entries read from it are the editor's own: they may be changed in place. What was read,
    changed or iterated over is compared when the block ends, and only differences are
    committed. ``load`` gives the documents of one snapshot.
    """

    def __init__(
        self,
        documents: Mapping[str, Document],
        damaged: Mapping[str, StoreError],
        normalise: Callable[[object], str],
        limits: Limits,
    ) -> None:
        self._documents = documents
        self._damaged = damaged
        self._normalise = normalise
        self._limits = limits
        self._entries: dict[str, Entry | Mapping[str, Any] | None] = {}
        self.listed = False
        """Whether the set of sessions was looked at, so that a new one is a conflict."""

    def _key(self, key: object) -> str | None:
        try:
            return self._normalise(key)
        except InvalidKey:
            return None

    def __getitem__(self, key: str) -> Entry:
        normal = self._key(key)
        if normal is None:
            raise KeyError(key)
        if normal not in self._entries:
            if normal in self._damaged:
                raise self._damaged[normal]  # cannot be read, which is not "missing"
            doc = self._documents.get(normal)
            self._entries[normal] = doc.entry() if doc is not None else None
        entry = self._entries[normal]
        if entry is None:
            raise KeyError(key)
        return entry  # type: ignore[return-value]

    def __setitem__(self, key: str, entry: Mapping[str, Any]) -> None:
        self._entries[self._normalise(key)] = check_entry(entry)

    def __delitem__(self, key: str) -> None:
        self[key]  # KeyError, or the error of a session that cannot be read
        self._entries[self._normalise(key)] = None

    def __contains__(self, key: object) -> bool:
        normal = self._key(key)
        if normal is None:
            return False
        if normal in self._entries:
            return self._entries[normal] is not None
        if normal in self._damaged:
            return True
        self._entries[normal] = doc.entry() if (doc := self._documents.get(normal)) is not None else None
        return self._entries[normal] is not None

    def __iter__(self) -> Iterator[str]:
        self.listed = True
        kept = [key for key in self._documents if self._entries.get(key, self) is not None]
        added = [key for key, entry in self._entries.items() if key not in self._documents and entry is not None]
        return iter(kept + added)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def require_readable(self) -> None:
        """Raise ``UnreadableFile`` if some session could not be read; a damaged one is left alone."""
        for exc in self._damaged.values():
            if isinstance(exc, UnreadableFile):
                raise exc

    def changes(self) -> tuple[list[Operation], dict[str, int]]:
        """The operations, and the entry versions that they rest on (0: no such session)."""
        documents = {key: self._documents.get(key) or missing_document(key) for key in self._entries}
        operations = _operations(documents, self._entries, self._limits)
        return operations, {key: version_of(doc) for key, doc in documents.items()}


def _operations(
    documents: Mapping[str, Document], changed: Mapping[str, Mapping[str, Any] | None], limits: Limits
) -> list[Operation]:
    operations: list[Operation] = []
    for key, entry in changed.items():
        doc = documents[key]
        if entry is not None:
            operation = operation_for(doc, entry, limits)
            if operation is not None:
                operations.append(operation)
        elif doc.fields is not None:
            operations.append(Delete(key))
    return operations


def version_of(doc: Document) -> int:
    """The entry version; 0 if there is no such session."""
    return doc.version if doc.fields is not None else 0
