"""Changing several sessions in one commit: transactions, and the whole store as a mapping."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from types import TracebackType
from typing import Any

from sessiondir import codec, steps
from sessiondir.changes import check_entry, invalid_entry, operation_for, version_of
from sessiondir.document import Document, missing_document, put_document
from sessiondir.errors import InvalidKey, StoreError, UnreadableFile
from sessiondir.model import Entry, Limits
from sessiondir.operations import Delete, Operation

Loader = Callable[[str], Document]


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
        steps.breathe()
        doc = documents[key]
        if entry is not None:
            operation = operation_for(doc, entry, limits)
            if operation is not None:
                operations.append(operation)
        elif doc.fields is not None:
            operations.append(Delete(key))
    return operations
