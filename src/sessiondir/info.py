"""Facts about a store, for people."""

from __future__ import annotations

from sessiondir import layout, quarantine
from sessiondir.core import Core
from sessiondir.document import Document
from sessiondir.model import KeyRule, StoreInfo
from sessiondir.snapshot import all_keys
from sessiondir.state import read_state
from sessiondir.unmigrated import version_of_legacy


def describe(core: Core | None, path: str, documents: dict[str, Document], new_rule: KeyRule) -> StoreInfo:
    """Versions, counts and sizes; O(sessions). Without a core ``documents`` are those of the legacy file.

    ``new_rule`` is what a store that is made now will have.
    """
    if core is None:
        size = sum(doc.size for doc in documents.values())
        version = version_of_legacy(documents)
        return StoreInfo(path, "", 0, version, 0, new_rule, len(documents), size, "", 0, 0)
    view = core.view
    with view.mutex:
        view.catch_up()
        version, file, end = view.version, view.journal, view.end
    state = read_state(core.directory) or core.state
    dir_fd = None
    size = 0
    for name in core.files.names():
        dir_fd = dir_fd if dir_fd is not None else core.directory.subdirectory(layout.ENTRIES)
        try:
            size += core.fs.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_size
        except FileNotFoundError:
            continue  # deleted since it was listed
    sessions = len(all_keys(core))
    return StoreInfo(
        path=path,
        store_id=state.store_id or "",
        layout_version=layout.LAYOUT_VERSION,
        version=version,
        checkpoint_version=state.version,
        key_rule=core.key_rule,
        sessions=sessions,
        session_bytes=size,
        journal=file.name if file is not None else "",
        journal_bytes=end if file is not None else 0,
        quarantined=len(quarantine.kept_names(core.directory)),
        migrated_from=state.migrated_from,
    )
