"""What the tests of transcripts share: opening folders, and values of records."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from harness.watched import QuickFs

from sessiondir.transcripts import Record, Transcript, TranscriptFolder, TranscriptReader

ID = "8f3c1d0a-1111-4222-8333-123456789abc"
Value = dict[str, Any]


def quick(path: Path | str, **options: Any) -> TranscriptFolder:
    """A folder that does not wait for the disk."""
    return TranscriptFolder.open(path, **{"fs": QuickFs(), **options})


def values(records: Iterable[Record]) -> list[Value]:
    """What records hold."""
    return [record.value for record in records]


def both_ways(reader: TranscriptReader) -> list[Value]:
    """The values, after making sure that reading from the end finds the same records."""
    forward = list(reader.records(damaged=True))
    backward = list(reader.records(reverse=True, damaged=True))[::-1]
    assert [(r.offset, r.size, r.end, r.problem, r.raw) for r in forward] == [
        (r.offset, r.size, r.end, r.problem, r.raw) for r in backward
    ]
    return [record.value for record in forward if not record.problem]


def numbered(*numbers: int) -> list[Value]:
    """Small records that can be told apart."""
    return [{"type": "message", "n": number} for number in numbers]


def put_bytes(transcript: Transcript, data: bytes) -> None:
    """Make a transcript's file hold ``data``."""
    path = Path(transcript.path)
    path.write_bytes(data)
    path.chmod(0o600)
