"""Reading many sessions: keys, listing, a whole-store snapshot."""

from __future__ import annotations

import base64
import bisect
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from sessiondir import codec, layout
from sessiondir.core import Core
from sessiondir.errors import CorruptFile, InvalidOption, StoreError, UnreadableFile
from sessiondir.model import Document, Entry, Page, SessionInfo
from sessiondir.view import View

_log = logging.getLogger("sessiondir")
Order = Literal["updated", "key"]
_MAX_TRIES = 50


class Snapshot(Mapping[str, Entry]):
    """A whole store at one version; reading from it gives fresh copies.

    ``version`` is the store's version, ``damaged`` tells for each session that could not be
    read why (it is not in the mapping); a file whose name does not tell the key stands there
    under its own name.
    """

    def __init__(self, version: int, documents: dict[str, Document], errors: dict[str, StoreError]) -> None:
        self.version = version
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


def info_of(doc: Document) -> SessionInfo:
    """What a listing tells of a document."""
    fields = doc.fields or {}
    session_id = fields.get("sessionId")
    return SessionInfo(
        doc.key, doc.version, doc.updated_at(), session_id if isinstance(session_id, str) else None, doc.size
    )


class Listing:
    """Metadata of all sessions, read once and then kept current from the journal.

    Memory: some hundred bytes a session, from the first listing on.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self.view = core.view
        """What this listing follows; a forked child has another one."""
        self._lock = threading.Lock()
        self._infos: dict[str, SessionInfo] = {}
        self._stale: set[str] = set()
        self._sorted: dict[Order, list[tuple[Any, ...]]] = {}
        self._epoch = -1

    def page(self, prefix: str, order: Order, limit: int, cursor: str | None) -> Page:
        """A page of sessions whose key begins with ``prefix``; cost after the first call: what changed."""
        after = check_page_options(order, limit, cursor)
        with self._lock:
            self._refresh()
            return _page(self._infos, self._ranks(order), prefix, order, limit, after)

    def detach(self) -> None:
        """Stop following the store."""
        with self.view.mutex:
            if self._note in self.view.cache.listeners:
                self.view.cache.listeners.remove(self._note)

    def _note(self, key: str, _doc: Document | None) -> None:
        self._stale.add(key)

    def _refresh(self) -> None:
        view = self.view
        with view.mutex:
            view.catch_up()
            fresh = self._epoch == view.epoch
            if fresh:
                stale, self._stale = self._stale, set()
            elif self._note not in view.cache.listeners:
                view.listen(self._note)
        if not fresh:
            self._read_everything()
            return
        for key in stale:
            self._read_again(key)
        if stale:
            self._sorted.clear()

    def _read_everything(self) -> None:
        with self.view.mutex:
            self._stale = set()
        snapshot = take_snapshot(self._core)
        for key, exc in snapshot.errors.items():
            if isinstance(exc, UnreadableFile):
                raise exc
            _log.warning("session %r is left out of the listing: %s", key, str(exc))
        self._infos = {key: info_of(doc) for key in snapshot if (doc := snapshot.document(key)) is not None}
        self._sorted.clear()
        self._epoch = self.view.epoch

    def _read_again(self, key: str) -> None:
        try:
            doc = self.view.peek(key)
        except CorruptFile:
            self._infos.pop(key, None)
            return
        except UnreadableFile:
            self._stale.add(key)
            raise
        if doc.fields is None:
            self._infos.pop(key, None)
        else:
            self._infos[key] = info_of(doc)

    def _ranks(self, order: Order) -> list[tuple[Any, ...]]:
        ranks = self._sorted.get(order)
        if ranks is None:
            ranks = self._sorted[order] = sorted(_rank(info, order) for info in self._infos.values())
        return ranks


def check_page_options(order: Order, limit: int, cursor: str | None) -> tuple[Any, ...] | None:
    """The rank to go on behind. Raises ``InvalidOption``."""
    if order not in ("updated", "key"):
        raise InvalidOption(f"order must be 'updated' or 'key', not {order!r}")
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise InvalidOption(f"limit must be a positive whole number, not {limit!r}")
    return decode_cursor(cursor, order) if cursor is not None else None


def page_of(infos: list[SessionInfo], prefix: str, order: Order, limit: int, cursor: str | None) -> Page:
    """A page of ``infos``, for a store that keeps no listing. O(n log n)."""
    after = check_page_options(order, limit, cursor)
    ranks = sorted(_rank(info, order) for info in infos)
    return _page({info.key: info for info in infos}, ranks, prefix, order, limit, after)


def _page(
    infos: Mapping[str, SessionInfo],
    ranks: list[tuple[Any, ...]],
    prefix: str,
    order: Order,
    limit: int,
    after: tuple[Any, ...] | None,
) -> Page:
    items: list[SessionInfo] = []
    for number in range(bisect.bisect_right(ranks, after) if after is not None else 0, len(ranks)):
        key = ranks[number][-1]
        if not key.startswith(prefix):
            continue
        if len(items) == limit:
            return Page(tuple(items), encode_cursor(order, _rank(items[-1], order)))
        items.append(infos[key])
    return Page(tuple(items), None)


def _rank(info: SessionInfo, order: Order) -> tuple[Any, ...]:
    """What sessions are sorted by; unique, and its own position for a cursor."""
    if order == "key":
        return (info.key,)
    updated_at = info.updated_at
    # Newest first; sessions without a time last.
    return (1, 0, info.key) if updated_at is None else (0, -updated_at, info.key)


def encode_cursor(order: Order, rank: tuple[Any, ...]) -> str:
    """A cursor that goes on behind ``rank``, whatever is committed meanwhile."""
    return base64.urlsafe_b64encode(codec.encode([order, *rank])).decode("ascii").rstrip("=")


def decode_cursor(cursor: str, order: Order) -> tuple[Any, ...]:
    """The rank in a cursor. Raises ``InvalidOption``."""
    try:
        value = codec.decode(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        found, *rank = value
        shapes = {"key": (str,), "updated": (int, (int, float), str)}
        shape = shapes[found]
        good = found == order and len(rank) == len(shape) and all(map(isinstance, rank, shape))
    except (ValueError, TypeError, KeyError):
        good = False
    if not good:
        raise InvalidOption(f"cursor {cursor!r} is not one of a listing by {order!r}; start without a cursor")
    return tuple(rank)
