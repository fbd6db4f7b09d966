"""Documents kept at hand, within a budget of bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sessiondir import steps
from sessiondir.document import Document

Listener = Callable[[str, Document | None], None]
"""Called with a key and its new document, or None when that is not at hand."""

_OVERHEAD = 600
"""Rough bytes of a cached document beyond its weight."""


class DocumentCache:
    """Documents by key. What was used since the last look gets a second chance before it is dropped."""

    def __init__(self, budget_bytes: int) -> None:
        self._budget_bytes = budget_bytes
        self.used_bytes = 0
        self.documents: dict[str, Document] = {}
        self.listeners: list[Listener] = []
        self.get = self.documents.get

    def __iter__(self) -> Iterator[str]:
        return iter(list(self.documents))

    def put(self, doc: Document) -> None:
        """Keep ``doc``, in place of an older one, and tell the listeners."""
        key = doc.key
        old = self.documents.get(key)
        self.documents[key] = doc
        self.used_bytes += doc.weight + _OVERHEAD if old is None else doc.weight - old.weight
        for listener in self.listeners:
            listener(key, doc)
        if self.used_bytes > self._budget_bytes:
            self._shrink(key)

    def tell(self, key: str) -> None:
        """Tell the listeners that a session changed whose document is not at hand."""
        for listener in self.listeners:
            listener(key, None)

    def drop(self, key: str) -> None:
        """Forget one document."""
        doc = self.documents.pop(key, None)
        if doc is not None:
            self.used_bytes -= doc.weight + _OVERHEAD

    def clear(self) -> None:
        """Forget all documents."""
        self.documents.clear()
        self.used_bytes = 0

    def free(self) -> None:
        """As ``clear``, document by document: giving back tens of megabytes at once stops all threads."""
        for key in self:
            doc = self.documents.get(key)
            size = doc.weight if doc is not None else 0
            del doc
            self.drop(key)
            steps.give_way(size)

    def _shrink(self, keep: str) -> None:
        """Drop documents, oldest first, until three quarters of the budget are used."""
        aim = self._budget_bytes * 3 // 4
        for _ in range(2 * len(self.documents)):
            if self.used_bytes <= aim:
                return
            key = next(iter(self.documents))
            doc = self.documents[key]
            if doc.recent or key == keep:
                doc.recent = False
                del self.documents[key]
                self.documents[key] = doc  # to the end of the line
            else:
                self.drop(key)
