"""The cores of this process: one for each store, found by the directory's device and inode.

Two spellings of a path meet in one core. A forked child starts its cores anew, and what
is still open at the end of the interpreter is levelled then.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import threading
from collections.abc import Iterator

from sessiondir.clock import Clock
from sessiondir.core import Core
from sessiondir.directory import StoreDirectory
from sessiondir.errors import InvalidOption, StoreError
from sessiondir.fs import FileSystem
from sessiondir.model import KeyRule, Limits

_log = logging.getLogger("sessiondir")

_cores: dict[tuple[int, int, int], Core] = {}
_registry_mutex = threading.Lock()


def open_core(
    fs: FileSystem, clock: Clock, path: str, limits: Limits, keys: KeyRule | None, *, allow_network: bool
) -> Core:
    """The core of the store directory ``path``, shared with every handle on the same directory.

    Raises ``FileNotFoundError``, ``UnsafeDirectory``, ``FormatTooNew``, ``InvalidOption`` if
    ``keys`` is not the store's key rule.
    """
    directory = StoreDirectory(fs, path)
    identity = (*directory.identity, id(fs))
    with _registry_mutex:
        core = _cores.get(identity)
        if core is None:
            try:
                core = Core(fs, clock, directory, limits, keys, allow_network=allow_network)
            except BaseException:
                directory.close()
                raise
            _cores[identity] = core
            core.forget = lambda: _forget(core)
        else:
            directory.close()
        core.users += 1
    if keys is not None and core.key_rule != keys:
        release_core(core)
        raise InvalidOption(
            f"{path} has the key rule {core.key_rule!r}, not {keys!r}; leave keys out to take the store's"
        )
    return core


def release_core(core: Core) -> None:
    """Give a core back; the last user closes it."""
    with _registry_mutex:
        core.users -= 1
        if core.users > 0:
            return
        _remove(core)  # in the same step: nobody may find a core that is about to close
    core.close()


@contextlib.contextmanager
def borrowed_core(
    fs: FileSystem, clock: Clock, path: str, limits: Limits, *, allow_network: bool
) -> Iterator[Core]:
    """The core of a store for the length of a block; errors as ``open_core``, and of the last checkpoint."""
    core = open_core(fs, clock, path, limits, None, allow_network=allow_network)
    try:
        yield core
    except BaseException:
        # The first failure is the one to report; every commit is in the journal.
        with contextlib.suppress(StoreError, OSError):
            release_core(core)
        raise
    try:
        release_core(core)
    except (StoreError, OSError) as exc:
        if not core.view.finished:
            raise
        _log.info("%s was handed back; its last checkpoint did not run: %s", path, str(exc))


def _remove(core: Core) -> None:
    for identity, other in list(_cores.items()):
        if other is core:
            del _cores[identity]


def _forget(core: Core) -> None:
    with _registry_mutex:
        _remove(core)


def _after_fork_in_child() -> None:
    global _registry_mutex  # noqa: PLW0603 - another thread may have held it at the fork
    _registry_mutex = threading.Lock()
    for core in list(_cores.values()):
        core.after_fork()


def _level_at_exit() -> None:
    for core in list(_cores.values()):
        try:
            core.close()
        except (OSError, StoreError) as exc:
            _log.error("closing %s at exit: %s", core.directory.path, str(exc))
    _cores.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(_level_at_exit)
