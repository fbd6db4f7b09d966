"""Where a store stands: which state, which journal, and what has to be mended before writing.

Looking changes nothing. ``make_writable`` gives a store that has no usable journal a new
one: a fresh directory, one written by a layout-1 program, a copy taken at a bad moment.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field, replace

from sessiondir import journal, layout, quarantine
from sessiondir.clock import Clock
from sessiondir.directory import StoreDirectory
from sessiondir.entries import SessionFiles
from sessiondir.errors import CorruptFile, InvalidKey, StoreError
from sessiondir.journal import Header, JournalFile
from sessiondir.model import KeyRule
from sessiondir.state import State, read_state, write_state

_log = logging.getLogger("sessiondir")
_TRIES = 20


@dataclass(slots=True)
class Opening:
    """What was found. ``journal`` is None when there is no journal to go by.

    ``damaged`` maps names of unusable files in the store directory to the reason;
    ``outdated`` are journals of before a layout-1 program took over.
    """

    state: State
    journal: JournalFile | None = None
    state_is_stored: bool = True
    damaged: dict[str, str] = field(default_factory=dict)
    outdated: list[str] = field(default_factory=list)


def look(directory: StoreDirectory, clock: Clock, files: SessionFiles, new_keys: KeyRule | None = None) -> Opening:
    """Find the state and the journal of a store; changes nothing.

    Args:
        new_keys: the key rule if this turns out to be an empty directory.

    Raises ``FormatTooNew``, ``UnreadableFile``. Damage is in the result, not raised.
    """
    damaged: dict[str, str] = {}
    state: State | None = None
    for attempt in range(_TRIES):
        damaged.clear()
        try:
            state = read_state(directory)
        except CorruptFile as exc:
            damaged[layout.STATE] = exc.reason
            state = None
        if state is None or state.journal is None:
            break
        try:
            file = JournalFile(directory, state.journal, writable=False)
        except FileNotFoundError:
            # Finished and removed after we read the state file, or really gone.
            if attempt:
                clock.sleep(0.005)
            continue
        except CorruptFile as exc:
            file_or_none = _without_first_line(directory, state)
            if file_or_none is None:
                damaged[state.journal] = exc.reason
                break
            file = file_or_none
        if state.store_id in (None, file.header.store_id):
            return Opening(state, file)
        damaged[state.journal] = "belongs to another store"
        file.close()
        break
    return _look_further(directory, files, state, damaged, new_keys)


def _without_first_line(directory: StoreDirectory, state: State) -> JournalFile | None:
    """A journal whose first line alone is damaged: the state file tells what stood there."""
    if state.journal is None or state.store_id is None:
        return None
    # Base 0 claims nothing about the session files, so every line is looked at.
    header = Header(state.store_id, layout.journal_generation(state.journal) or 0, 0, state.keys)
    try:
        return JournalFile(directory, state.journal, writable=False, assumed=header)
    except (CorruptFile, FileNotFoundError):
        return None


def _look_further(
    directory: StoreDirectory,
    files: SessionFiles,
    state: State | None,
    damaged: dict[str, str],
    new_keys: KeyRule | None,
) -> Opening:
    usable = _usable_journals(directory, damaged, state.store_id if state is not None else None)
    if state is not None and state.journal is None:
        # A layout-1 program wrote the state file: its session files win over our journals.
        names = [file.name for file in usable]
        if usable:
            header = usable[-1].header
            state = replace(state, store_id=header.store_id, keys=header.keys)
            _log.warning(
                "%s: the state file was replaced by a layout-1 program; its session files are used, not %s",
                directory.path,
                ", ".join(names),
            )
        _close(usable)
        return Opening(state, None, damaged=damaged, outdated=names)
    if usable:
        first = usable[0]
        _close(usable[1:])
        header = first.header
        if state is None:
            # What files without a version counted as is lost with the state file; patches of them still apply.
            state = State(header.base, 0, header.store_id, first.name, header.keys, unversioned=1)
        return Opening(state, first, False, damaged)
    if state is not None:
        return Opening(state, None, damaged=damaged)
    version, keys = _scan(files)
    return Opening(State(version, keys=keys or new_keys or "exact"), None, False, damaged)


def _usable_journals(
    directory: StoreDirectory, damaged: dict[str, str], store_id: str | None
) -> list[JournalFile]:
    found = []
    for name in journal.journal_names(directory):
        try:
            file = JournalFile(directory, name, writable=False)
        except FileNotFoundError:
            continue
        except CorruptFile as exc:
            damaged[name] = exc.reason
            continue
        if store_id is not None and file.header.store_id != store_id:
            damaged[name] = "belongs to another store"
            file.close()
        else:
            found.append(file)
    return found


def _close(files: list[JournalFile]) -> None:
    for file in files:
        file.close()


def _scan(files: SessionFiles) -> tuple[int, KeyRule | None]:
    """Version and key rule by the session files alone; O(sessions), only when all else is lost."""
    version, keys = 0, None
    for below, name in [*((layout.ENTRIES, name) for name in files.names()), *files.waiting_names()]:
        try:
            doc = files.read_name(name, below)
        except (StoreError, FileNotFoundError):
            continue  # check() reports it
        version = max(version, doc.latest)
        try:
            normal = layout.normalise_key(doc.key, "lowercase")
        except InvalidKey:
            continue  # planted by hand; check() reports it
        keys = "exact" if keys == "exact" or normal != doc.key else "lowercase"
    return version, keys  # type: ignore[return-value]


def start_journal(directory: StoreDirectory, clock: Clock, state: State, version: int) -> State:
    """Give the store a new journal from ``version`` on, and a state file that names it.

    Every session file must be level with ``version``, and no other process may be writing.
    """
    names = [*journal.journal_names(directory), state.journal or ""]
    generation = max(layout.journal_generation(name) or 0 for name in names) + 1
    at_ms = int(clock.now() * 1000)
    store_id = state.store_id or new_store_id()
    name = journal.create_journal(directory, Header(store_id, generation, version, state.keys), at_ms)
    state = replace(
        state,
        version=version,
        updated_at=at_ms,
        store_id=store_id,
        journal=name,
        position=0,
        inode="",
        unversioned=state.default_version,
    )
    write_state(directory, state)
    return state


def new_store_id() -> str:
    """A fresh store identity: a random (version 4) UUID."""
    data = bytearray(os.urandom(16))
    data[6] = data[6] & 0x0F | 0x40
    data[8] = data[8] & 0x3F | 0x80
    text = data.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def is_half_made(directory: StoreDirectory, files: SessionFiles, opening: Opening) -> bool:
    """Whether this is what a writer leaves that died while it made the store: no state, no commit."""
    if opening.state_is_stored or layout.STATE in opening.damaged or next(files.names(), None) is not None:
        return False
    for name in journal.journal_names(directory):
        try:
            if directory.read_file(name, journal.HEADER_LIMIT).rstrip(b"\0").count(b"\n") > 1:
                return False
        except (FileNotFoundError, CorruptFile):
            return False
    return True


def set_damaged_aside(directory: StoreDirectory, clock: Clock, files: SessionFiles, opening: Opening) -> None:
    """Move what cannot be used into the quarantine, unchanged; leftovers of a half-made store just go."""
    if is_half_made(directory, files, opening):
        for name in opening.damaged:
            directory.fs.unlink(name, dir_fd=directory.fd)
        return
    for name, reason in opening.damaged.items():
        quarantine.set_aside(directory, clock, name, reason)
    for name in opening.outdated:
        quarantine.set_aside(directory, clock, name, "journal of before a layout-1 program took over")


def journal_taken_away(path: str) -> CorruptFile:
    """The error of a store whose new journal vanished before it could be opened."""
    reason = "its new journal was taken away or replaced"
    return CorruptFile(f"{path}: {reason}; nothing was changed, try again", path=path, reason=reason)
