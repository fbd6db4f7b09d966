"""Which sessions there once were, as far as what earlier migrations and rollbacks kept tells.

A session that the store does not have and a record does was deleted in between, in whichever program.
"""

from __future__ import annotations

from sessiondir import layout
from sessiondir.directory import StoreDirectory
from sessiondir.errors import StoreError
from sessiondir.legacy import ANY_SIZE, index_legacy
from sessiondir.model import KeyRule
from sessiondir.place import Place


class Formerly:
    """The records beside a store: legacy files that were taken over, and directories that were rolled back.

    ``is_complete``: the legacy file that the store was made from is among them. Cost: reads all of those files.
    """

    def __init__(self, place: Place, keys: KeyRule) -> None:
        self._keys: set[str] = set()
        self._names: set[str] = set()
        self.is_complete = False
        state = place.store_state()
        origin = (state.migrated_from if state is not None else None) or {}
        made_from = (origin.get("bytes"), origin.get("sha256"))
        seen = set()
        for name in (*place.backups(), *place.second_names()):
            status = place.status(name)
            if status is None or (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            found = index_legacy(place.fs, f"{place.path}/{name}", ANY_SIZE, keys)
            self._keys.update(found.sessions)
            self.is_complete |= bool(found.sha256) and (found.size, found.sha256) == made_from
        for name in place.former_stores():
            self._names.update(_session_files(place, name))

    def had(self, key: str) -> bool:
        """Whether there was a session ``key``."""
        return key in self._keys or not self._names.isdisjoint(layout.session_file_names(key))


def _session_files(place: Place, name: str) -> list[str]:
    """Names of the session files of a store that was rolled back; none if it is no store of ours any more."""
    try:
        directory = StoreDirectory(place.fs, f"{place.path}/{name}")
    except (FileNotFoundError, StoreError):
        return []
    try:
        return place.fs.listdir(directory.subdirectory(layout.ENTRIES))
    except (FileNotFoundError, StoreError):
        return []
    finally:
        directory.close()
