"""Sessions that stand under a spelling of their key under which nobody looks for them.

A program that knows only layout 1 may have written ``Agent:Main:X`` into a store whose keys
are compared in lower case: listed, but never found. ``straighten`` puts such sessions under
the key that everybody asks for. Of several spellings one entry stays; the others go to the trash.
"""

from __future__ import annotations

from collections.abc import Sequence

from sessiondir import layout, trash
from sessiondir.changes import version_of
from sessiondir.commit import Moved
from sessiondir.core import Core
from sessiondir.document import Document
from sessiondir.errors import CorruptFile, InvalidKey
from sessiondir.legacyparse import shown
from sessiondir.model import Limits
from sessiondir.operations import Delete, Operation, Put
from sessiondir.place import Place
from sessiondir.registry import borrowed_core
from sessiondir.snapshot import all_keys

_TRIES = 100
_CHECKPOINT_S = 1.0


def straighten(place: Place, limits: Limits, timeout_s: float, allow_network: bool) -> tuple[str, ...]:
    """Bring misspelt sessions of an active store to their keys; a line on each, for people.

    Of several spellings the newer entry stays, of equally new ones the one under the right
    key, and the trash has the others. One commit a session. Raises what a commit raises. Cost: a
    listing, if there is nothing to do.
    """
    with borrowed_core(place.fs, place.clock, place.store_path, limits, allow_network=allow_network) as core:
        if core.key_rule != "lowercase":
            return ()
        return tuple(
            told for key, spellings in _misspelt(core).items() if (told := _move(core, key, spellings, timeout_s))
        )


def _misspelt(core: Core) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for spelling in sorted(all_keys(core)):
        try:
            key = layout.normalise_key(spelling, "lowercase")
        except InvalidKey:
            continue  # check() reports it
        if key != spelling:
            found.setdefault(key, []).append(spelling)
    return found


def _move(core: Core, key: str, spellings: list[str], timeout_s: float) -> str:
    """Commit one session's move; a line about it, "" if it is gone or cannot be read."""
    for _ in range(_TRIES):
        try:
            docs = [core.view.load(one) for one in (key, *spellings)]
        except CorruptFile:
            return ""  # check() reports it; nothing is decided on half of what there is
        there = [doc for doc in docs if doc.fields is not None]
        wrong = [doc for doc in there if doc.key != key]
        if not wrong:
            return ""
        winner = max(there, key=lambda doc: doc.updated_at() or 0)  # the first of equals
        operations: list[Operation] = [Delete(doc.key) for doc in wrong]
        if winner.key != key:
            operations.append(Put(key, winner.fields or {}))
        expected = {doc.key: version_of(doc) for doc in docs}
        losers = [doc for doc in there if doc is not winner]
        core.begin_writing()
        kept = _keep(core, losers, winner, timeout_s)
        try:
            committed = core.append(operations, expected, timeout_s, "power")
        except Moved:
            trash.remove(core.directory, kept)  # they live on
            continue
        core.settle(committed, "power", _CHECKPOINT_S)
        names = ", ".join(shown(doc.key) for doc in wrong)
        taken = f"{shown(key)} now has the entry of {shown(winner.key)}"
        told = f"{names} could not be found under that spelling; {taken}"
        others = ", ".join(shown(doc.key) for doc in losers)
        return f"{told}, the trash that of {others}" if others else told
    return ""


def _keep(core: Core, losers: Sequence[Document], winner: Document, timeout_s: float) -> list[str]:
    """Put the entries that do not stay into the trash, durably; the names of their files there."""
    if not losers:
        return []
    at_ms = int(core.clock.now() * 1000)
    note = trash.Note(at_ms, "spelling", f"another spelling of its key, {winner.key!r}, was as new or newer")
    with trash.locked(core.directory, core.clock, timeout_s):
        return trash.keep(core.directory, [(trash.stage(core.directory, doc, note), at_ms) for doc in losers])
