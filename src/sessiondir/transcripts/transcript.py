"""One transcript: appending, reading, taking back, clearing, archiving."""

from __future__ import annotations

import datetime
import os
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sessiondir.errors import InvalidOption, TranscriptNotFound, translated
from sessiondir.model import Durability
from sessiondir.transcripts.appending import append, last_id, take_back
from sessiondir.transcripts.archives import archive
from sessiondir.transcripts.names import Reason
from sessiondir.transcripts.reader import TranscriptReader
from sessiondir.transcripts.records import encode_record

FORMAT_VERSION: Final = 3
"""The ``version`` in the first line of the transcripts that the agent program writes."""


class Transcript(TranscriptReader):
    """The transcript of one session. Made by ``TranscriptFolder``; threads may share it.

    It is a name, and holds neither a descriptor nor a lock: each change opens the file, takes
    the lock of that file (and of nothing else) and lets it go again. Who appends after
    somebody archived the file begins a new one.
    """

    def append(
        self, record: Mapping[str, Any], *, linked: bool = False, durability: Durability | None = None
    ) -> int:
        """Append one record; the offset behind it. As ``extend``."""
        return self.extend((record,), linked=linked, durability=durability)

    def extend(
        self,
        records: Iterable[Mapping[str, Any]],
        *,
        linked: bool = False,
        durability: Durability | None = None,
    ) -> int:
        """Append records, all or none of them, in one write; the offset behind the last.

        Args:
            records: JSON objects. The file is made with the first.
            linked: give each record without ``id`` a new one, without ``parentId`` the id of the
                record before it, without ``timestamp`` the time.
            durability: for this call; None takes the folder's.

        Raises ``InvalidRecord``, ``RecordTooLarge``, ``LockTimeout``, ``CorruptFile`` if the file is
        not a regular one, ``DiskFull``, ``ReadOnlyStore``; nothing was appended then. After
        ``DurabilityUnknown`` they can be read, and a power cut may take them. Cost: the bytes
        of the records, whatever the length of the file, and one sync with durability "power".
        """
        handle = self._handle
        level = durability or handle.durability
        if level not in ("power", "process"):
            raise InvalidOption(f"durability must be 'power' or 'process', not {durability!r}")
        limit = handle.record_bytes
        given = list(records)
        # Before anything is opened: what cannot be stored touches nothing.
        lines = [encode_record(record, limit) for record in given]
        handle.require_writable(self.name)
        if not lines:
            return self.size

        def encode(fd: int, size: int) -> Sequence[bytes]:
            if not linked:
                return lines
            return [encode_record(one, limit) for one in self._link(given, last_id(handle, fd, size))]

        return append(handle, self.name, encode, durability=level)

    def _link(self, records: Iterable[Mapping[str, Any]], parent: str | None) -> Iterable[Mapping[str, Any]]:
        now = self._now()
        for record in records:
            if record.get("type") == "session":
                yield record
                continue
            kind = {"type": record["type"]} if "type" in record else {}
            linked = {**kind, "id": str(uuid.uuid4()), "parentId": parent, "timestamp": now, **record}
            parent = linked["id"] if isinstance(linked["id"], str) else parent
            yield linked

    def _now(self) -> str:
        at = datetime.datetime.fromtimestamp(self._handle.clock.now(), datetime.UTC)
        return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"

    def begin(self, *, cwd: str = "", durability: Durability | None = None, **more: Any) -> bool:
        """Write the first line that the agent program expects, unless there is one; whether it was written.

        ``{"type": "session", "version": 3, "id": <session id>, "timestamp": ..., "cwd": cwd}`` and
        ``more``, such as ``parentSession``. Raises as ``extend``.
        """
        header = {
            "type": "session",
            "version": FORMAT_VERSION,
            "id": self.session_id or "",
            "timestamp": self._now(),
        }
        line = encode_record({**header, "cwd": cwd, **more}, self._handle.record_bytes)
        self._handle.require_writable(self.name)
        written = []

        def encode(_fd: int, size: int) -> Sequence[bytes]:
            if not size:
                written.append(line)
            return written

        append(self._handle, self.name, encode, durability=durability or self._handle.durability)
        return bool(written)

    def pop(self) -> dict[str, Any] | None:
        """Remove the last record and return it; None if there is none.

        A torn end behind it goes, too. Raises ``CorruptFile`` if a damaged line stands behind it, and
        ``RecordTooLarge``, ``LockTimeout``; nothing was removed then. It cannot be undone. A
        reader that is at that very record may find it damaged.
        """
        self._handle.require_writable(self.name)
        try:
            record = take_back(self._handle, self.name)
        except TranscriptNotFound:
            return None
        return record.value if record is not None else None

    def clear(self, *, keep: bool = True) -> str | None:
        """Begin anew; the name of the archive that holds the records so far.

        None if there was no transcript or with ``keep=False``, which removes them for good. Raises
        as ``archive``.
        """
        handle = self._handle
        handle.require_writable(self.name)
        try:
            if keep:
                return self.archive("reset")
            fd = handle.locked(self.name, os.O_RDWR)
        except TranscriptNotFound:
            return None  # asked beforehand, it could still be archived by somebody else in between
        try:
            # Readers keep what they have open, and the next writer begins a file of its own.
            with translated(self.path, "remove"):
                handle.fs.unlink(self.name, dir_fd=handle.directory.fd)
                handle.sync_names(self.name)
        finally:
            handle.unlock(fd)
        return None

    def archive(self, reason: Reason) -> str:
        """Rename the transcript to ``<name>.<reason>.<time>``, as the agent program does; the new name.

        Nothing is ever overwritten. Waits for a writer that is appending; the next one begins a new
        file. Raises ``TranscriptNotFound``, ``LockTimeout``; the transcript is where it was then.
        """
        self._handle.require_writable(self.name)
        return archive(self._handle, self.name, reason)
