"""A store without a directory: nothing at all, or a legacy file that was not migrated yet.

Reads parse the legacy file and write nothing; the file is parsed again only when it
changed. All of it is held in memory, two to three times its size; a file too large to be
migrated is read all the same. The version of an entry is its check sum, so it moves with what
the legacy program writes (``entrysum``).
"""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from sessiondir.clock import Clock
from sessiondir.document import Document, put_document
from sessiondir.entrysum import entry_sum
from sessiondir.errors import CorruptFile, MigrationError
from sessiondir.fs import FileSystem
from sessiondir.listfile import info_of
from sessiondir.listing import Order, page_of
from sessiondir.model import Limits, Page
from sessiondir.signature import legacy_signature
from sessiondir.snapshot import Snapshot

if TYPE_CHECKING:
    from sessiondir.legacy import LegacyFile

# What is in use has to be readable, so the limits are those of migration alone.
_READING = Limits(legacy_bytes=1 << 40, entry_bytes=1 << 40, sessions=1 << 40)
_log = logging.getLogger("sessiondir")


def _with_sum(item: tuple[str, Document]) -> tuple[str, Document]:
    key, doc = item
    fields = doc.fields or {}
    return key, put_document(key, entry_sum(fields), fields)


def version_of_legacy(documents: dict[str, Document]) -> int:
    """The version of a store that is still a legacy file: 1 with sessions, 0 without."""
    return 1 if documents else 0


def snapshot_of_legacy(documents: dict[str, Document]) -> Snapshot:
    """All sessions of one moment."""
    return Snapshot(version_of_legacy(documents), documents, {}, of_legacy=True)


def page_of_legacy(
    documents: dict[str, Document], prefix: str, order: Order, limit: int, cursor: str | None
) -> Page:
    """A page of the listing."""
    return page_of([info_of(doc) for doc in documents.values()], prefix, order, limit, cursor)


class Unmigrated:
    """Reads where there is no store directory."""

    def __init__(
        self, fs: FileSystem, clock: Clock, path: str, legacy_path: str, limits: Limits, *, allow_network: bool
    ) -> None:
        self._fs = fs
        self._clock = clock
        self._path = path
        self.legacy_path = legacy_path
        self._limits = limits
        self._allow_network = allow_network
        self._mutex = threading.Lock()
        self._file: LegacyFile | None = None

    def exists(self) -> bool:
        """Whether there is a legacy file."""
        return legacy_signature(self._fs, self.legacy_path) is not None

    def counts(self) -> bool:
        """Whether the legacy file is the store: it is there, and the directory holds no store."""
        if not self.exists():
            return False
        from sessiondir.place import Place  # noqa: PLC0415 - as below

        place = Place(self._fs, self._clock, self._path, self.legacy_path)
        try:
            if not place.store_is_active():
                return True
            if place.legacy_file_is_late():
                _log.warning(
                    "%s stands beside %s and does not count: an old program may still write it; run: "
                    "sessiondir migrate",
                    self.legacy_path,
                    self._path,
                )
            return False
        finally:
            place.close()

    def file(self) -> LegacyFile | None:
        """The legacy file as parsed; None if there is none."""
        with self._mutex:
            signature = legacy_signature(self._fs, self.legacy_path)
            if signature is None:
                self._file = None
            elif self._file is None or self._file.signature != signature:
                # Most stores have been migrated, and reading the old format is a good part of all modules.
                from sessiondir.legacy import read_legacy  # noqa: PLC0415

                found = read_legacy(self._fs, self.legacy_path, _READING)
                self._file = replace(found, documents=dict(map(_with_sum, found.documents.items())))
            return self._file

    def documents(self) -> dict[str, Document]:
        """All sessions. ``CorruptFile`` if the legacy file cannot be understood; it is not "empty"."""
        file = self.file()
        if file is None:
            return {}
        if file.status == "invalid":
            raise CorruptFile(
                f"{self.legacy_path}: {file.reason}; it was left unchanged, run: sessiondir check",
                path=self.legacy_path,
                reason=file.reason,
            )
        return file.documents

    def document(self, key: str) -> Document | None:
        """One session."""
        return self.documents().get(key)

    def migrate(self, lock_timeout_s: float) -> None:
        """Take the legacy file over, before the first change is committed; wait so long for the legacy program.

        Raises ``LockTimeout``, ``MigrationError`` naming what is in the way; the legacy file still stands.
        """
        # Needed once in a store's life, so not at every program's start.
        from sessiondir.takeover import left_behind, take_over  # noqa: PLC0415

        result = take_over(
            self._fs,
            self._clock,
            self.legacy_path,
            self._path,
            self._limits,
            allow_network=self._allow_network,
            lock_timeout_s=lock_timeout_s,
        )
        if result.outcome == "migrated" and result.warnings and not result.late:
            # Nobody sees the result of a migration that nobody asked for.
            _log.warning("%s", left_behind(self.legacy_path, result.warnings))
        if result.outcome not in ("migrated", "already_directory", "skipped_empty", "missing"):
            reason = "; ".join(result.warnings) or result.outcome
            raise MigrationError(
                f"{self.legacy_path} could not be migrated ({reason}); nothing was changed, "
                "run: sessiondir migrate --dry-run",
                path=self.legacy_path,
                reason=reason,
            )
