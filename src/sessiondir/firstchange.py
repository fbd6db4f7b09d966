"""The first change of a legacy store: computed from the file, committed to the directory made of it.

The legacy program may have saved in between. So the change is committed only if what it was
computed from is what the directory holds now; entries of the file have a check sum for a
version (``entrysum``), by which that is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from sessiondir.changes import version_of
from sessiondir.commit import Moved
from sessiondir.core import Core
from sessiondir.entrysum import entry_sum
from sessiondir.operations import Operation, Patch
from sessiondir.snapshot import Snapshot, all_keys
from sessiondir.transaction import StoreEdit


def rebased(
    core: Core, operations: Iterable[Operation], expected: Mapping[str, int]
) -> tuple[list[Operation], dict[str, int]]:
    """A change of entries of the legacy file as one of the store, and the versions that it rests on now.

    Raises ``Moved`` if one of the entries is not what the store holds.
    """
    versions = {}
    for key, seen in expected.items():
        doc = core.view.load(key)
        same = entry_sum(doc.fields) == seen if doc.fields is not None else not seen
        if not same:
            raise Moved(key, seen, version_of(doc))
        versions[key] = version_of(doc)
    moved: list[Operation] = [
        msgspec.structs.replace(one, base=versions[one.key]) if isinstance(one, Patch) else one
        for one in operations
    ]
    return moved, versions


def rebased_edit(
    core: Core, snapshot: Snapshot, edit: StoreEdit, operations: list[Operation], expected: dict[str, int]
) -> tuple[list[Operation], dict[str, int], int]:
    """As ``rebased`` for the changes of an edit, with the store's version that ``snapshot`` is of.

    They are as given if the snapshot is of a directory already.
    """
    if not snapshot.of_legacy:
        return operations, expected, snapshot.version
    operations, expected = rebased(core, operations, expected)
    return operations, expected, _require_same_keys(core, snapshot) if edit.listed else snapshot.version


def _require_same_keys(core: Core, snapshot: Snapshot) -> int:
    """Raise ``Moved`` unless the store has the sessions of ``snapshot``; the version at which it has them."""
    with core.view.mutex:
        core.view.catch_up()
        version = core.view.version
    if set(all_keys(core)) != set(snapshot):
        raise Moved("", snapshot.version, version)
    return version
