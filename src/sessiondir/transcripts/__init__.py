"""Transcripts: the ``<session id>.jsonl`` files beside a store, one JSON record a line.

    with TranscriptFolder.beside("sessions.json") as folder:
        transcript = folder.transcript("8f3c1d0a")
        transcript.append({"type": "message", "message": {"role": "user", "content": "hello"}})
        for record in transcript.tail(50):
            print(record.value)

Independent of the store: nothing here reads or writes an entry.
"""

from __future__ import annotations

from sessiondir.transcripts.folder import Location, TranscriptFile, TranscriptFolder
from sessiondir.transcripts.names import FileName
from sessiondir.transcripts.reader import TranscriptReader
from sessiondir.transcripts.records import Record
from sessiondir.transcripts.summary import Summary, Totals, summarise
from sessiondir.transcripts.transcript import Transcript

__all__ = (
    "FileName",
    "Location",
    "Record",
    "Summary",
    "Totals",
    "Transcript",
    "TranscriptFile",
    "TranscriptFolder",
    "TranscriptReader",
    "summarise",
)
