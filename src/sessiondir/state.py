"""``state.json``: who the store is and how far its session files are level.

It is read at open and replaced, atomically, by whoever holds the checkpoint lock. A file
of a layout-1 program has only kind, layoutVersion, version and updatedAt.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, field
from typing import Any

from sessiondir import codec, durable, layout
from sessiondir.directory import StoreDirectory
from sessiondir.errors import CorruptFile, FormatTooNew
from sessiondir.model import HIGHEST_VERSION, KeyRule

_LIMIT = 1 << 20
_LISTING = re.compile("([0-9a-f]{16})" + ":([0-9]{1,20})" * 6 + r":[0-9a-f]{8}\Z")
_KNOWN = frozenset(
    (
        "kind",
        "layoutVersion",
        "version",
        "updatedAt",
        "storeId",
        "journal",
        "position",
        "inode",
        "unversioned",
        "keys",
        "migratedFrom",
        "listing",
        "requires",
    )
)


@dataclass(frozen=True, slots=True)
class StateListing:
    """What a state file says of ``listing.jsonl``: it tells of the session files as of this state.

    Sorted rows in ``blocks`` lines of ``base`` bytes, then ``appended`` lines of changes up to byte
    ``size``; whatever follows does not count. ``entries`` is the stamp of ``entries/`` when this was written.
    """

    identity: str
    base: int
    size: int
    blocks: int
    appended: int
    entries: tuple[int, int]

    def encode(self) -> str:
        """As a member of the state file; a text with a check sum, so that no damage to a number goes unnoticed."""
        text = "{}:{}:{}:{}:{}:{}:{}".format(
            self.identity, self.base, self.size, self.blocks, self.appended, *self.entries
        )
        return f"{text}:{zlib.crc32(text.encode()):08x}"


def _parse_listing(value: object) -> StateListing | None:
    """The member ``listing``; None if it is not what it should be: the file is a hint, and so is this."""
    if not isinstance(value, str) or not (match := _LISTING.match(value)):
        return None
    identity, *numbers = match.groups()
    base, size, blocks, appended, inode, changed_ns = map(int, numbers)
    found = StateListing(identity, base, size, blocks, appended, (inode, changed_ns))
    return found if found.encode() == value and inode else None


@dataclass(frozen=True, slots=True)
class State:
    """The content of ``state.json``; ``store_id`` and ``journal`` are None in a layout-1 file."""

    version: int
    updated_at: int = 0
    store_id: str | None = None
    journal: str | None = None
    keys: KeyRule = "lowercase"
    migrated_from: dict[str, Any] | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    position: int = 0
    """How many bytes of the journal ``version`` covers; 0: unknown."""
    unversioned: int | None = None
    """The version of documents that carry none: the store's when we took it over."""
    inode: str = ""
    """The journal's device and inode number when this was written: a copy of the store has others."""
    listing: StateListing | None = None

    @property
    def default_version(self) -> int:
        """What a document without a version counts as; a layout-1 state file has the only answer."""
        if self.unversioned is not None:
            return self.unversioned
        return 0 if self.journal is not None else self.version

    def encode(self) -> bytes:
        """The file's bytes."""
        value: dict[str, Any] = {
            "kind": layout.KIND,
            "layoutVersion": layout.LAYOUT_VERSION,
            "version": self.version,
            "updatedAt": self.updated_at,
            "storeId": self.store_id,
            "journal": self.journal,
            "position": self.position,
            "inode": self.inode,
            "keys": self.keys,
        }
        if self.unversioned:
            value["unversioned"] = self.unversioned
        if self.migrated_from is not None:
            value["migratedFrom"] = self.migrated_from
        if self.listing is not None:
            value["listing"] = self.listing.encode()
        return codec.indent(codec.encode(value | self.extra))


def read_state(directory: StoreDirectory) -> State | None:
    """Read ``state.json``; None if there is none.

    Raises ``CorruptFile``, ``UnreadableFile``, or ``FormatTooNew`` for a store of a newer version.
    """
    path = directory.file_path(layout.STATE)
    try:
        data = directory.read_file(layout.STATE, _LIMIT)
    except FileNotFoundError:
        return None
    return parse_state(data, path)


def parse_state(data: bytes, path: str) -> State:
    """Parse the bytes of a state file; errors as ``read_state``."""
    try:
        value = codec.decode(data)
    except codec.DecodeError as exc:
        raise _corrupt(path, f"not JSON ({exc})") from exc
    if not isinstance(value, dict) or value.get("kind") != layout.KIND:
        raise _corrupt(path, "not the state file of a session store")
    found = value.get("layoutVersion")
    requires = value.get("requires", [])
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise _corrupt(path, f"layoutVersion is {found!r:.80}")
    if found > layout.LAYOUT_VERSION or requires != []:
        raise FormatTooNew(
            f"{path}: layout {found}, requires {requires!r}; this version reads layout "
            f"{layout.LAYOUT_VERSION} and left it untouched: use a newer sessiondir",
            path=path,
            found=found if found > layout.LAYOUT_VERSION else requires,
            supported=layout.LAYOUT_VERSION,
        )
    version = value.get("version")
    if type(version) is not int or not 0 <= version <= HIGHEST_VERSION:
        raise _corrupt(path, f"version is {version!r:.80}")
    journal, store_id = value.get("journal"), value.get("storeId")
    keys = value.get("keys", "lowercase")
    if keys not in ("lowercase", "exact"):
        raise _corrupt(path, f"keys is {keys!r:.80}")
    if journal is not None and (not isinstance(journal, str) or layout.journal_generation(journal) is None):
        raise _corrupt(path, f"journal is {journal!r:.80}")
    if store_id is not None and not isinstance(store_id, str):
        raise _corrupt(path, f"storeId is {store_id!r:.80}")
    extra = {name: item for name, item in value.items() if name not in _KNOWN}
    updated_at, migrated_from = value.get("updatedAt"), value.get("migratedFrom")
    try:
        # What is kept has to be written again, or no checkpoint would ever succeed.
        codec.encode([extra, migrated_from])
    except codec.EncodeError as exc:
        raise _corrupt(path, f"it cannot be kept: {exc.reason}") from exc
    position, inode, unversioned = value.get("position"), value.get("inode"), value.get("unversioned")
    return State(
        version=version,
        updated_at=int(updated_at) if isinstance(updated_at, (int, float)) else 0,
        store_id=store_id,
        journal=journal,
        keys=keys,
        migrated_from=migrated_from if isinstance(migrated_from, dict) else None,
        position=position if isinstance(position, int) else 0,
        inode=inode if isinstance(inode, str) else "",
        unversioned=unversioned if isinstance(unversioned, int) else None,
        extra=extra,
        listing=_parse_listing(value.get("listing")),
    )


def write_state(directory: StoreDirectory, state: State) -> None:
    """Replace ``state.json`` durably; on failure the old one stands."""
    durable.replace(directory.fs, directory.fd, layout.STATE, state.encode(), directory.owner)


def _corrupt(path: str, reason: str) -> CorruptFile:
    return CorruptFile(f"{path}: {reason}; run: sessiondir check", path=path, reason=reason)
