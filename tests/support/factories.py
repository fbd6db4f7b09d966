"""How the public-API tests open a store.

A factory has a ``name``, ``open(path, **options)`` and ``open_elsewhere(path, **options)``;
whatever they return has the methods of ``SessionStore``. Another backend, or a bridge to
the asynchronous store, goes through the same tests by adding its factory to ``FACTORIES``.
"""

from __future__ import annotations

from typing import Any

from sessiondir import SessionStore
from sessiondir.fs import FileSystem
from support.bridge import BridgedStore, LoopThread


class DirectoryFactory:
    """The directory store itself."""

    name = "directory"

    def open(self, path: str, **options: Any) -> SessionStore:
        """A handle that shares its core with the others of this process."""
        return SessionStore.open(path, **options)

    def open_elsewhere(self, path: str, **options: Any) -> SessionStore:
        """A handle that shares nothing with the others, as if it were in another process.

        A file system of its own gives it a core of its own; descriptors, locks and caches
        are then as separate as those of two processes.
        """
        options.setdefault("fs", FileSystem())
        return SessionStore.open(path, **options)


class AsyncFactory:
    """The asynchronous store, used by threads through a bridge."""

    name = "async"

    def __init__(self) -> None:
        self._loop: LoopThread | None = None

    def open(self, path: str, **options: Any) -> BridgedStore:
        """As ``DirectoryFactory.open``."""
        if self._loop is None:
            self._loop = LoopThread()
        return BridgedStore.open(self._loop, path, **options)

    def open_elsewhere(self, path: str, **options: Any) -> BridgedStore:
        """As ``DirectoryFactory.open_elsewhere``."""
        options.setdefault("fs", FileSystem())
        return self.open(path, **options)

    def end(self) -> None:
        """Stop the loop that the handles lived on."""
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.stop()


FACTORIES = (DirectoryFactory(), AsyncFactory())


class Opener:
    """Opens stores for one test and closes them after it."""

    def __init__(self, factory: Any, path: str) -> None:
        self._factory = factory
        self.path = path
        self._handles: list[Any] = []

    def __call__(self, path: str | None = None, **options: Any) -> Any:
        """A handle on ``path``, by default the test's own store."""
        return self._keep(self._factory.open(path or self.path, **options))

    def elsewhere(self, path: str | None = None, **options: Any) -> Any:
        """A handle as of another process."""
        return self._keep(self._factory.open_elsewhere(path or self.path, **options))

    def _keep(self, handle: Any) -> Any:
        self._handles.append(handle)
        return handle

    def close_all(self) -> None:
        """Close every handle; the first error is raised when all are closed."""
        errors = []
        while self._handles:
            try:
                self._handles.pop().close()
            except Exception as exc:
                errors.append(exc)
        getattr(self._factory, "end", lambda: None)()
        if errors:
            raise errors[0]
