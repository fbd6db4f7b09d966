"""Reading all entries of a store, migrated or not, without opening it for writing and without a lock.

A legacy file is read as it stands: keys in their own spelling and in JavaScript's order, null
entries included. The file's bytes are never changed by reading.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from sessiondir import codec, jsjson, layout
from sessiondir.clock import SYSTEM_CLOCK, Clock
from sessiondir.document import Document
from sessiondir.errors import CorruptFile, StoreError, StoreNotFound, UnreadableFile
from sessiondir.fs import SYSTEM_FS, FileSystem
from sessiondir.json5 import decode as decode_json5
from sessiondir.legacy import read_legacy_bytes
from sessiondir.legacyparse import rename_old_fields
from sessiondir.model import Limits
from sessiondir.snapshot import Snapshot
from sessiondir.store import SessionStore
from sessiondir.unmigrated import Unmigrated

_log = logging.getLogger("sessiondir")


def read_entries(
    path: str,
    *,
    renamed: bool = True,
    allow_json5: bool = False,
    tolerant: bool = False,
    limits: Limits | None = None,
    fs: FileSystem = SYSTEM_FS,
    clock: Clock = SYSTEM_CLOCK,
) -> dict[str, Any]:
    """The entries of the store at ``.../NAME.json`` or ``.../NAME.d``; ``{}`` if there is none.

    Args:
        path: legacy file or store directory.
        renamed: give fields that old releases called otherwise today's names.
        allow_json5: accept a legacy file with comments, trailing commas and the like.
        tolerant: take a store that cannot be read for empty, as the legacy program's readers
            do, and log a warning. Only for looking; never write what was read so.
        limits: how large a legacy file may be.
        fs, clock: seams for tests.

    Takes no lock and writes nothing. O(bytes stored). Raises ``CorruptFile`` and
    ``UnreadableFile`` unless ``tolerant``; a single damaged session is left out with a warning.
    """
    try:
        found = _read(path, limits or Limits(), fs, clock, allow_json5=allow_json5)
    except StoreError as exc:
        if not tolerant:
            raise
        _log.warning("%s could not be read and counts as empty here: %s", path, str(exc))
        return {}
    entries = _of_snapshot(found) if isinstance(found, Snapshot) else found
    for entry in entries.values():
        if renamed and isinstance(entry, dict):
            rename_old_fields(entry)
    return entries


def read_members(
    path: str,
    names: tuple[str, ...],
    *,
    tolerant: bool = False,
    limits: Limits | None = None,
    fs: FileSystem = SYSTEM_FS,
    clock: Clock = SYSTEM_CLOCK,
) -> dict[str, dict[str, Any]]:
    """Some fields of each entry, as they are stored; entries that are null or nothing are left out.

    Arguments and errors as ``read_entries``. Of a migrated store nothing else is decoded.
    """
    try:
        found = _read(path, limits or Limits(), fs, clock, allow_json5=False)
    except StoreError as exc:
        if not tolerant:
            raise
        _log.warning("%s could not be read and counts as empty here: %s", path, str(exc))
        return {}
    if isinstance(found, Snapshot):
        documents = ((key, found.document(key)) for key in _keys(found))
        return {key: _members(doc, names) for key, doc in documents if doc is not None}
    return {
        key: {name: entry[name] for name in names if isinstance(entry, Mapping) and name in entry}
        for key, entry in found.items()
        if isinstance(entry, (dict, list)) or entry
    }


def _members(doc: Document, names: tuple[str, ...]) -> dict[str, Any]:
    fields = doc.fields or {}
    return {
        name: codec.decode(value) if isinstance(value := fields[name], bytes) else value
        for name in names
        if name in fields
    }


def _read(
    path: str, limits: Limits, fs: FileSystem, clock: Clock, *, allow_json5: bool
) -> Snapshot | dict[str, Any]:
    directory, legacy_path = layout.store_path(path)
    unmigrated = Unmigrated(fs, clock, directory, legacy_path, limits, allow_network=True)
    if unmigrated.counts():
        data = read_legacy_bytes(fs, legacy_path, limits)
        if data is not None:
            return _parse(data, legacy_path, allow_json5=allow_json5)
    try:
        # Reading takes no lock, so it does not matter whether locks can be trusted there.
        with SessionStore.open(
            path, create=False, read_only=True, limits=limits, allow_network=True, fs=fs, clock=clock
        ) as store:
            snapshot = store.snapshot()
    except StoreNotFound:
        return {}
    for key, exc in snapshot.errors.items():
        if isinstance(exc, UnreadableFile):
            raise exc
        _log.warning("session %r is left out: %s", key, str(exc))
    return snapshot


def _parse(data: bytes, path: str, *, allow_json5: bool) -> dict[str, Any]:
    text = data.decode("utf-8", "replace")
    if not layout.js_trim(text):
        return {}
    try:
        try:
            value = codec.decode(text.encode())
        except codec.DecodeError:
            if not allow_json5:
                raise
            value = decode_json5(text)
    except (codec.DecodeError, RecursionError) as exc:
        raise _corrupt(path, f"not JSON ({exc})") from exc
    if not isinstance(value, dict):
        raise _corrupt(path, "not a JSON object")
    return {key: value[key] for key in jsjson.iteration_order(value)}


def _corrupt(path: str, reason: str) -> CorruptFile:
    return CorruptFile(f"{path}: {reason}; it was left unchanged, run: sessiondir check", path=path, reason=reason)


def _keys(snapshot: Snapshot) -> list[str]:
    # A directory lists in no order at all; what is shown and chosen should not depend on that.
    return jsjson.iteration_order(sorted(snapshot))


def _of_snapshot(snapshot: Snapshot) -> dict[str, Any]:
    return {key: snapshot[key] for key in _keys(snapshot)}
