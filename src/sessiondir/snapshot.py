"""Reading many sessions: their keys, and a whole-store snapshot."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping

from sessiondir import layout, steps
from sessiondir.core import Core
from sessiondir.document import Document
from sessiondir.errors import CorruptFile, StoreError, UnreadableFile
from sessiondir.model import Entry
from sessiondir.view import View

_log = logging.getLogger("sessiondir")
_MAX_TRIES = 50


class Snapshot(Mapping[str, Entry]):
    """A whole store at one version; reading from it gives fresh copies.

    ``version`` is the store's version; ``of_legacy``: it is of a legacy file, not of a directory.
    ``damaged`` tells for each session that could not be read why (it is not in the mapping); a
    file whose name does not tell the key stands there under its own name.
    """

    def __init__(
        self,
        version: int,
        documents: dict[str, Document],
        errors: dict[str, StoreError],
        *,
        of_legacy: bool = False,
    ) -> None:
        self.version = version
        self.of_legacy = of_legacy
        self.damaged = {
            key: exc.reason if isinstance(exc, CorruptFile) else str(exc) for key, exc in errors.items()
        }
        self.errors = errors
        """The error that reading each damaged session raises."""
        self._documents = documents

    def __getitem__(self, key: str) -> Entry:
        entry = self._documents[key].entry()
        if entry is None:
            raise KeyError(key)
        return entry

    def __iter__(self) -> Iterator[str]:
        return iter(self._documents)

    def __len__(self) -> int:
        return len(self._documents)

    def __contains__(self, key: object) -> bool:
        return key in self._documents

    def version_of(self, key: str) -> int | None:
        """The entry version of a session in the snapshot."""
        doc = self._documents.get(key)
        return doc.version if doc is not None else None

    def document(self, key: str) -> Document | None:
        """The stored document, for code that compares versions."""
        return self._documents.get(key)


def take_snapshot(core: Core) -> Snapshot:
    """All sessions at one version. O(sessions); takes no lock, writers go on meanwhile.

    Documents are read one after the other while the journal is followed; whatever changed
    meanwhile is taken from the journal at the end, in one step.
    """
    for _ in range(_MAX_TRIES):
        result = _try_snapshot(core)
        if result is not None:
            return result
    raise AssertionError("the journal was replaced during each of many tries")


def _try_snapshot(core: Core) -> Snapshot | None:
    view = core.view
    changed: dict[str, Document | None] = {}

    def remember(key: str, doc: Document | None) -> None:
        changed[key] = doc

    documents: dict[str, Document] = {}
    damaged: dict[str, StoreError] = {}
    with view.mutex:
        view.listen(remember)
        epoch = view.epoch
    try:
        for key in all_keys(core, damaged=damaged):
            steps.breathe()
            _collect(lambda key=key: view.peek(key), key, documents, damaged)  # type: ignore[misc]
        with view.mutex:
            return _complete(view, epoch, changed, documents, damaged)
    finally:
        with view.mutex:
            view.cache.listeners.remove(remember)


def _complete(
    view: View,
    epoch: int,
    changed: dict[str, Document | None],
    documents: dict[str, Document],
    damaged: dict[str, StoreError],
) -> Snapshot | None:
    """Bring what was collected to one version: read again what changed, until nothing read is newer."""
    while True:
        view.catch_up()
        if view.epoch != epoch:
            return None
        again = list(changed)
        changed.clear()
        newest = 0
        for key in again:
            documents.pop(key, None)
            damaged.pop(key, None)
            _collect(lambda key=key: view.peek_locked(key), key, documents, damaged)  # type: ignore[misc]
            if key in documents:
                newest = max(newest, documents[key].latest)
        version = view.version
        view.catch_up()
        # A session without a file may have been deleted, and levelled, after ``version``.
        gone = [key for key in again if key not in documents and key in changed]
        if newest <= version and not gone and view.epoch == epoch:
            return Snapshot(version, documents, damaged)
        # A session file was ahead of us: its commit may have changed others, too.
        changed.update(dict.fromkeys(again))


def _collect(
    read: Callable[[], Document], key: str, documents: dict[str, Document], damaged: dict[str, StoreError]
) -> None:
    try:
        doc = read()
    except (CorruptFile, UnreadableFile) as exc:
        damaged[key] = _kept(exc)
    else:
        if doc.fields is not None:
            documents[key] = doc


def _kept(exc: StoreError) -> StoreError:
    """An error to keep: without the frames, which would keep descriptors open with them."""
    exc.__cause__ = exc.__context__ = None
    return exc.with_traceback(None)


def all_keys(core: Core, prefix: str = "", damaged: dict[str, StoreError] | None = None) -> list[str]:
    """The keys of all sessions, in the order of the directory. O(sessions).

    A session whose file is damaged is included when its file name tells its key; when it
    does not, ``damaged`` gets the file name and the reason.
    """
    view = core.view
    with view.mutex:
        view.catch_up()
        view.settle()
        uncertain = set(view.pending)
    found: dict[str, None] = {}
    for name in core.files.names():
        key = layout.key_of_name(name)
        if key is None:
            key = _key_inside(core, name, damaged)
        if key is not None and key.startswith(prefix):
            found[key] = None
    for key in uncertain:
        if key.startswith(prefix):
            try:
                exists = view.peek(key).fields is not None
            except CorruptFile:
                exists = True
            if exists:
                found[key] = None
            else:
                found.pop(key, None)
    return list(found)


def _key_inside(core: Core, name: str, damaged: dict[str, StoreError] | None) -> str | None:
    try:
        return core.files.read_name(name).key
    except FileNotFoundError:
        return None  # deleted since it was listed
    except (CorruptFile, UnreadableFile) as exc:
        if isinstance(exc, UnreadableFile):
            raise  # nobody can tell which session it holds, and "cannot read" is not "empty"
        if damaged is not None:
            damaged[name] = _kept(exc)
        else:
            _log.warning("%s is left out of the listing: %s", name, str(exc))
        return None
