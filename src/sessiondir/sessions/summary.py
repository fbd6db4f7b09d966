"""A short account of every session in a store: where it was last heard of, and when."""

from __future__ import annotations

from typing import Any, Final, TypedDict

from sessiondir.clock import SYSTEM_CLOCK, Clock
from sessiondir.fs import SYSTEM_FS, FileSystem
from sessiondir.model import Limits
from sessiondir.sessions.state import read_members

FIELDS: Final = ("lastChannel", "lastTo", "updatedAt")


class Summary(TypedDict, total=False):
    """What a summary tells of a session; a field that is not stored is absent."""

    lastChannel: str
    lastTo: str
    updatedAt: int | float


def read_summary(
    path: str,
    *,
    tolerant: bool = False,
    limits: Limits | None = None,
    fs: FileSystem = SYSTEM_FS,
    clock: Clock = SYSTEM_CLOCK,
) -> dict[str, Summary]:
    """The summaries of all sessions, by key; of migrated and unmigrated stores alike.

    Takes no lock and writes nothing. Values are as stored, whatever their type. Sessions
    stored as null are left out. Arguments, errors and cost as ``read_entries``.
    """
    found: dict[str, Any] = dict(read_members(path, FIELDS, tolerant=tolerant, limits=limits, fs=fs, clock=clock))
    return found
