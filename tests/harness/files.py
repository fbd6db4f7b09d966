"""The session files of a store, as bytes."""

from __future__ import annotations

from sessiondir.testing import read_tree


def session_files(path: str) -> dict[str, bytes]:
    """The bytes of every file in ``entries/``."""
    tree = read_tree(path)
    return {name: data for name, data in tree.items() if name.startswith("entries/") and data is not None}
