"""Listing: metadata of all sessions in order, kept current from the journal."""

from __future__ import annotations

import base64
import bisect
import logging
import threading
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from sessiondir import codec
from sessiondir.core import Core
from sessiondir.document import Document
from sessiondir.errors import CorruptFile, InvalidOption, UnreadableFile
from sessiondir.model import Page, SessionInfo
from sessiondir.snapshot import take_snapshot

_log = logging.getLogger("sessiondir")
Order = Literal["updated", "key"]
Rank = tuple[Any, ...]
"""What sessions are sorted by: unique, its last item the key."""
_SORT_ANEW = 16
"""When more than one session in so many has changed, sorting all is cheaper than moving each."""


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
        self._ranks: dict[Order, list[Rank]] = {}
        self._epoch = -1

    def page(self, prefix: str, order: Order, limit: int, cursor: str | None) -> Page:
        """A page of sessions whose key begins with ``prefix``; cost after the first call: what changed."""
        after = check_page_options(order, limit, cursor)
        with self._lock:
            self._refresh()
            return _page(self._infos, self._ranked(order), prefix, order, limit, after)

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
        elif stale:
            self._read_again(stale)

    def _read_everything(self) -> None:
        with self.view.mutex:
            self._stale = set()
            epoch = self.view.epoch  # if it ends meanwhile, the next call reads everything once more
        snapshot = take_snapshot(self._core)
        for key, exc in snapshot.errors.items():
            if isinstance(exc, UnreadableFile):
                raise exc
            _log.warning("session %r is left out of the listing: %s", key, str(exc))
        self._infos = {key: info_of(doc) for key in snapshot if (doc := snapshot.document(key)) is not None}
        self._ranks.clear()
        self._epoch = epoch

    def _read_again(self, stale: set[str]) -> None:
        """Take over what changed. Raises ``UnreadableFile``; the next call then reads ``stale`` again."""
        try:
            found = {key: self._info(key) for key in stale}
        except BaseException:
            with self.view.mutex:
                self._stale |= stale
            raise
        if len(found) * _SORT_ANEW > len(self._infos):
            self._ranks.clear()
        for order, ranks in self._ranks.items():
            _move(ranks, order, [(self._infos.get(key), info) for key, info in found.items()])
        for key, info in found.items():
            if info is None:
                self._infos.pop(key, None)
            else:
                self._infos[key] = info

    def _info(self, key: str) -> SessionInfo | None:
        try:
            doc = self.view.peek(key)
        except CorruptFile:
            return None
        return info_of(doc) if doc.fields is not None else None

    def _ranked(self, order: Order) -> list[Rank]:
        ranks = self._ranks.get(order)
        if ranks is None:
            ranks = self._ranks[order] = sorted(_rank(info, order) for info in self._infos.values())
        return ranks


def _move(
    ranks: list[Rank], order: Order, changes: Iterable[tuple[SessionInfo | None, SessionInfo | None]]
) -> None:
    """Move sessions whose metadata changed to where they belong now. O(log n) comparisons for each."""
    for old, new in changes:
        before = _rank(old, order) if old is not None else None
        after = _rank(new, order) if new is not None else None
        if before == after:
            continue
        if before is not None:
            del ranks[bisect.bisect_left(ranks, before)]
        if after is not None:
            bisect.insort(ranks, after)


def check_page_options(order: Order, limit: int, cursor: str | None) -> Rank | None:
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
    ranks: list[Rank],
    prefix: str,
    order: Order,
    limit: int,
    after: Rank | None,
) -> Page:
    items: list[SessionInfo] = []
    start = bisect.bisect_right(ranks, after) if after is not None else 0
    if order == "key":
        start = max(start, bisect.bisect_left(ranks, (prefix,)))  # keys with one prefix stand together
    for number in range(start, len(ranks)):
        key = ranks[number][-1]
        if not key.startswith(prefix):
            if order == "key":
                break
            continue
        if len(items) == limit:
            return Page(tuple(items), encode_cursor(order, _rank(items[-1], order)))
        items.append(infos[key])
    return Page(tuple(items), None)


def _rank(info: SessionInfo, order: Order) -> Rank:
    """What sessions are sorted by; unique, and its own position for a cursor."""
    if order == "key":
        return (info.key,)
    updated_at = info.updated_at
    # Newest first; sessions without a time last.
    return (1, 0, info.key) if updated_at is None else (0, -updated_at, info.key)


def encode_cursor(order: Order, rank: Rank) -> str:
    """A cursor that goes on behind ``rank``, whatever is committed meanwhile."""
    return base64.urlsafe_b64encode(codec.encode([order, *rank])).decode("ascii").rstrip("=")


def decode_cursor(cursor: str, order: Order) -> Rank:
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
