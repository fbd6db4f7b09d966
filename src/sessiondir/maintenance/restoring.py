"""Looking into the trash, bringing sessions back, emptying it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass

from sessiondir import trash
from sessiondir.directory import StoreDirectory
from sessiondir.document import Document
from sessiondir.errors import (
    ConflictError,
    CorruptFile,
    InvalidInput,
    InvalidOption,
    SessionNotFound,
    StoreError,
    UnreadableFile,
    translated,
)
from sessiondir.maintenance.ground import (
    Ground,
    core_of,
    document_of,
    get_ready,
    ground_of,
    normalised,
    require_unleased,
)
from sessiondir.maintenance.running import require_store
from sessiondir.store import SessionStore
from sessiondir.transcripts.folder import TranscriptFolder
from sessiondir.trash import Note, TrashItem

_log = logging.getLogger("sessiondir")


@dataclass(frozen=True, slots=True)
class TrashListing:
    """What is in the trash, the latest removal first, and files in it that cannot be read, with the reason."""

    items: tuple[TrashItem, ...]
    damaged: dict[str, str]


@dataclass(frozen=True, slots=True)
class Restored:
    """What ``restore`` did.

    ``version`` is the session's new one; ``transcripts`` are those brought back from their archives;
    ``replaced`` is the trash file of the live session that gave way, or None; ``problems`` say which
    transcripts could not be brought back.
    """

    item: TrashItem
    version: int
    transcripts: tuple[str, ...]
    replaced: str | None
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Emptied:
    """How many files of the trash were deleted, and their bytes."""

    count: int
    size: int


def list_trash(store: SessionStore) -> TrashListing:
    """What is in a store's trash. Changes nothing. O(bytes in the trash).

    Raises ``UnsafeDirectory`` if something else stands in the place of ``trash/``.
    """
    ground = ground_of(store)
    if core_of(store) is None:
        return TrashListing((), {})
    with translated(ground.path, "read"):
        directory = ground.directory()
        try:
            return _read_all(directory, ground.trash_file_bytes)
        finally:
            directory.close()


def _read_all(directory: StoreDirectory, limit: int) -> TrashListing:
    items, damaged = [], {}
    for name in trash.names(directory):
        if trash.removed_at_ms(name) is None:
            continue
        try:
            items.append(trash.read(directory, name, limit)[0])
        except FileNotFoundError:
            continue  # restored or emptied meanwhile
        except (CorruptFile, UnreadableFile) as exc:
            damaged[name] = exc.reason if isinstance(exc, CorruptFile) else str(exc)
    return TrashListing(tuple(sorted(items, key=lambda item: (-item.note.at_ms, item.name))), damaged)


def restore(store: SessionStore, what: str, *, overwrite: bool = False) -> Restored:
    """Bring a removed session back as it was, with a new version, and its transcripts.

    Args:
        store: the store that it was removed from.
        what: the session's key, which stands for its latest removal, or a file's name in the trash.
        overwrite: replace the session of that key that lives now; it goes to the trash in turn.

    Raises ``ConflictError`` if the session lives and ``overwrite`` is false, ``LeaseHeld`` if it is leased
    (in both cases nothing was changed, and a run that goes on is not robbed of what it works on),
    ``SessionNotFound``, ``CorruptFile``, ``LockTimeout`` and as ``SessionStore.put``. The trash file goes
    last: killed in between the session is in both places, and the same call again finishes it.
    """
    ground = require_store(store)
    get_ready(store)
    with translated(ground.path, "write"), _held(ground) as directory:
        trash.sweep(directory)
        item, doc = _find(store, ground, directory, what)
        replaced = _put(store, directory, ground, item, doc, overwrite=overwrite)
        back, problems = _bring_transcripts(ground, item)
        trash.remove(directory, [item.name])
        _log.info("%s: session %r restored from %s", ground.path, item.key, item.name)
        return Restored(item, store.version_of(item.key) or 0, back, replaced, problems)


@contextlib.contextmanager
def _held(ground: Ground) -> Iterator[StoreDirectory]:
    directory = ground.directory()
    try:
        with trash.locked(directory, ground.clock, ground.lock_timeout_s):
            yield directory
    finally:
        directory.close()


def _find(store: SessionStore, ground: Ground, directory: StoreDirectory, what: str) -> tuple[TrashItem, Document]:
    if trash.removed_at_ms(what) is not None:
        try:
            return trash.read(directory, what, ground.trash_file_bytes)
        except FileNotFoundError:
            raise SessionNotFound(f"there is no {what} in the trash of {ground.path}", session=what) from None
    key = normalised(store, what)
    listing = _read_all(directory, ground.trash_file_bytes)
    for item in listing.items:
        if item.key == key:
            return trash.read(directory, item.name, ground.trash_file_bytes)
    more = f"; {len(listing.damaged)} files in it cannot be read" if listing.damaged else ""
    raise SessionNotFound(f"session {what!r} is not in the trash of {ground.path}{more}", session=what)


def _put(
    store: SessionStore,
    directory: StoreDirectory,
    ground: Ground,
    item: TrashItem,
    doc: Document,
    *,
    overwrite: bool,
) -> str | None:
    """Put the entry back; the trash file of what was there before."""
    entry = doc.entry()
    assert entry is not None
    live = document_of(store, item.key)
    if live is None:
        store.put(item.key, entry, if_version=0)
        return None
    if live.fields == doc.fields:
        return None  # a run that was killed has got this far
    if not overwrite:
        raise ConflictError(
            f"session {item.key!r} lives, at version {live.version}; nothing was changed: overwrite it to put it "
            "into the trash and this one in its place",
            session=item.key,
            expected=0,
            actual=live.version,
        )
    require_unleased(store, live)
    at_ms = ground.now_ms()
    staged = trash.stage(directory, live, Note(at_ms, "replaced", f"{item.name} was restored in its place"))
    (kept,) = trash.keep(directory, [(staged, at_ms)])
    try:
        store.put(item.key, entry, if_version=live.version)
    except StoreError:
        # What goes wrong here must not hide that error, perhaps a failed sync; then both stay.
        with contextlib.suppress(StoreError, OSError):
            now = document_of(store, item.key)
            if now is not None and now.version == live.version:
                trash.remove(directory, [kept])
        raise
    return kept


def _bring_transcripts(ground: Ground, item: TrashItem) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if not item.note.transcripts:
        return (), ()
    back, problems = [], []
    with TranscriptFolder.open(
        ground.folder,
        lock_timeout=ground.lock_timeout_s,
        allow_network=ground.allow_network,
        fs=ground.fs,
        clock=ground.clock,
    ) as folder:
        files = folder.files()
        for name in item.note.transcripts:
            archives = [
                file.told
                for file in files
                if file.size
                and (file.told.base, file.told.reason) == (name, "deleted")
                and (file.told.at_ms or 0) >= item.note.at_ms
            ]
            # An empty one was left by a run that was killed before it could rename the transcript.
            if any(file.name == name and file.size for file in files):
                if archives:  # else a run that was killed has brought it back
                    problems.append(
                        f"{name}: there is one of that name again; its archive {archives[0].name} stays"
                    )
                continue
            if not archives:
                problems.append(f"{name}: its archive is not there any more")
                continue
            told = min(archives, key=lambda found: found.at_ms or 0)
            try:
                archive = folder.expand(told.name) if told.compressed else told.name
                back.append(folder.restore(archive).name)
            except InvalidInput as exc:  # it cannot be done this way; all else may be tried again
                problems.append(str(exc))
    return tuple(back), tuple(problems)


def empty_trash(
    store: SessionStore, *, older_than_ms: int | None = None, damaged: bool = False, dry_run: bool = False
) -> Emptied:
    """Delete what is in the trash for good.

    Args:
        store: the store.
        older_than_ms: only what was removed longer ago than this, in milliseconds.
        damaged: delete files, too, that cannot be read.
        dry_run: only count.

    Archives of transcripts stay, and can no longer be brought back with their session. Raises
    ``LockTimeout`` while other maintenance runs; nothing was deleted then.
    """
    if older_than_ms is not None and older_than_ms < 0:
        raise InvalidOption(f"older_than_ms must be 0 or more, not {older_than_ms}")
    ground = ground_of(store)
    if core_of(store) is None:
        return Emptied(0, 0)
    if dry_run:
        listing = list_trash(store)
        names, size = _chosen(ground, listing, older_than_ms, damaged=damaged)
        return Emptied(len(names), size)
    get_ready(store)
    with translated(ground.path, "write"), _held(ground) as directory:
        trash.sweep(directory)
        listing = _read_all(directory, ground.trash_file_bytes)
        names, size = _chosen(ground, listing, older_than_ms, damaged=damaged)
        trash.remove(directory, names)
    if names:
        _log.info("%s: %d files deleted from the trash for good", ground.path, len(names))
    return Emptied(len(names), size)


def _chosen(
    ground: Ground, listing: TrashListing, older_than_ms: int | None, *, damaged: bool
) -> tuple[list[str], int]:
    before_ms = None if older_than_ms is None else ground.now_ms() - older_than_ms
    chosen = [item for item in listing.items if before_ms is None or item.note.at_ms < before_ms]
    names = [item.name for item in chosen]
    if damaged:
        names += [
            name for name in listing.damaged if before_ms is None or (trash.removed_at_ms(name) or 0) < before_ms
        ]
    return names, sum(item.size for item in chosen)
