"""What ``migration.migrate`` would find; reading only."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from sessiondir import layout
from sessiondir.clock import SYSTEM_CLOCK, Clock
from sessiondir.errors import translated
from sessiondir.fs import SYSTEM_FS, FileSystem
from sessiondir.legacy import index_legacy
from sessiondir.legacyparse import Alias
from sessiondir.model import Limits
from sessiondir.place import Place
from sessiondir.registry import borrowed_core
from sessiondir.snapshot import all_keys
from sessiondir.takeover import as_a_store, is_rolled_back

Status = Literal["already_directory", "ready_to_migrate", "empty_legacy", "invalid_legacy", "missing"]


@dataclass(frozen=True, slots=True)
class Inspection:
    """What there is to migrate.

    ``legacy_count`` counts the members of the legacy file, ``session_count`` the sessions it
    would give, ``directory_count`` those in an existing directory. ``aliases`` are spellings
    of one key that merge, and which of them wins; ``dropped`` names members that no store
    can hold, with the reason. ``size`` is the legacy file's in bytes. ``backups`` are paths
    of legacy files that were taken over before.
    """

    path: str
    store_path: str
    status: Status
    legacy_count: int = 0
    session_count: int = 0
    directory_count: int = 0
    aliases: tuple[Alias, ...] = ()
    dropped: Mapping[str, str] = field(default_factory=dict)
    size: int = 0
    backups: tuple[str, ...] = ()
    rolled_back: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def preview(self) -> str:
        """One line for people."""
        if self.status == "ready_to_migrate":
            return f"{self.legacy_count} legacy entries would become {self.session_count} sessions"
        return {
            "already_directory": f"a directory with {self.directory_count} sessions is in use",
            "empty_legacy": "the legacy file holds no session",
            "invalid_legacy": "the legacy file cannot be used",
            "missing": "there is no store",
        }[self.status]


def inspect(
    path: str | os.PathLike[str],
    *,
    any_content: bool = False,
    limits: Limits | None = None,
    fs: FileSystem = SYSTEM_FS,
    clock: Clock = SYSTEM_CLOCK,
) -> Inspection:
    """Say what ``migrate``, given the same arguments, would find; takes no lock and changes nothing. O(file).

    Raises ``InvalidPath``, ``UnreadableFile``, ``UnsafeDirectory``, ``FormatTooNew``.
    """
    store_path, legacy_path = layout.store_path(path)
    limits = limits or Limits()
    legacy = index_legacy(fs, legacy_path, limits)
    if legacy.status == "usable" and not any_content:
        with (
            translated(store_path, "read"),
            contextlib.closing(Place(fs, clock, store_path, legacy_path)) as place,
        ):
            legacy = as_a_store(place, legacy)
    active = is_active(fs, clock, store_path, legacy_path)
    warnings = list(legacy.warnings)
    status: Status = "missing"
    if legacy.status == "invalid":
        status = "invalid_legacy"
        warnings.append(legacy.reason)
    elif active:
        status = "already_directory"
        if legacy.status == "usable":
            warnings.append(
                f"{legacy_path} exists beside the directory and does not count; migrating takes in what is newer "
                "there and moves it away"
            )
    elif legacy.status == "usable":
        status = "ready_to_migrate"
    elif legacy.status == "empty":
        status = "empty_legacy"
    return Inspection(
        legacy_path,
        store_path,
        status,
        legacy.legacy_count,
        len(legacy.sessions),
        _count_sessions(fs, clock, store_path, limits) if active else 0,
        legacy.aliases,
        legacy.dropped,
        legacy.size,
        _backups(fs, clock, store_path, legacy_path),
        not active and is_rolled_back(fs, store_path),
        tuple(warnings),
    )


def is_active(fs: FileSystem, clock: Clock, store_path: str, legacy_path: str) -> bool:
    """Whether the directory counts, not the legacy file. Raises ``UnsafeDirectory``, ``UnreadableFile``."""
    with translated(store_path, "read"):
        try:
            place = Place(fs, clock, store_path, legacy_path)
        except FileNotFoundError:
            return False
        try:
            return place.store_is_active()
        finally:
            place.close()


def _count_sessions(fs: FileSystem, clock: Clock, store_path: str, limits: Limits) -> int:
    with translated(store_path, "read"), borrowed_core(fs, clock, store_path, limits, allow_network=True) as core:
        return len(all_keys(core))


def _backups(fs: FileSystem, clock: Clock, store_path: str, legacy_path: str) -> tuple[str, ...]:
    with translated(store_path, "read"):
        try:
            place = Place(fs, clock, store_path, legacy_path)
        except FileNotFoundError:
            return ()
        try:
            return tuple(f"{place.path}/{name}" for name in place.backups())
        finally:
            place.close()
