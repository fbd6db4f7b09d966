"""sessiondir and its competitors, by name.

A competitor whose package cannot be imported is named in ``missing()`` and in every report.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.stores.base import Durability, Store

OURS = "sessiondir"
_WHERE = {
    OURS: ("ours", "Ours"),
    "sqlite": ("sqlite", "Sqlite"),
    "lmdb": ("lmdb", "Lmdb"),
    "diskcache": ("diskcache", "DiskCache"),
    "files": ("files", "FilePerSession"),
    "directory": ("directory", "EarlierDirectory"),
    "legacy": ("legacy", "SingleJson"),
}
NAMES = tuple(_WHERE)
LOOP = "loop"
"""No store, and so none of ``NAMES``: what the scheduler alone does to processes."""
_WHERE[LOOP] = ("loop", "Loop")


@cache
def store_class(name: str) -> type[Store]:
    """The class of a store. Raises ``ImportError`` if its package is not there."""
    module, class_name = _WHERE[name]
    found: type[Store] = getattr(import_module(f"benchmarks.stores.{module}"), class_name)
    return found


def open_store(name: str, place: Path, durability: Durability, **options: Any) -> Store:
    """A handle on the store of that name in the directory ``place``."""
    return store_class(name)(place, durability, **options)


@cache
def missing() -> dict[str, str]:
    """Stores that cannot be measured here, and why."""
    found = {}
    for name in NAMES:
        try:
            store_class(name)
        except ImportError as exc:
            found[name] = str(exc)
    return found


def available() -> tuple[str, ...]:
    """Stores that can be measured here."""
    return tuple(name for name in NAMES if name not in missing())


def title(name: str) -> str:
    """What people call a store, also one that is missing here."""
    return name if name in missing() else store_class(name).title
