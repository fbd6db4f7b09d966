"""Listing: metadata of all sessions in order, kept current from the journal."""

from __future__ import annotations

import base64
import bisect
import contextlib
import heapq
import itertools
import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, TypeVar

from sessiondir import codec, layout
from sessiondir.core import Core
from sessiondir.document import Document
from sessiondir.errors import CorruptFile, InvalidOption, StoreError, UnreadableFile
from sessiondir.listfile import ListingFile, Rank, UnusableListing, info_of, recency, stamp
from sessiondir.model import Page, SessionInfo
from sessiondir.snapshot import take_snapshot
from sessiondir.state import StateListing, read_state

_log = logging.getLogger("sessiondir")
T = TypeVar("T")
Order = Literal["updated", "key"]
_LOOK_AGAIN_S = 0.005
_BYTES_A_LOOK = 25_000
"""Reading the sessions that a listing file of this size tells of takes longer than one more look."""
_FEW_CHANGED = 500
_SORT_ANEW = 16
"""When more than one session in so many has changed, sorting all is cheaper than moving each."""


class Listing:
    """Metadata of all sessions, read once and then kept current from the journal.

    Read from ``listing.jsonl`` where that can be relied on, else from the session files. A first
    page that is all that is ever asked for is taken from the beginning of that file.
    Memory: some hundred bytes a session, from the second page on.
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
        self._is_first = True

    def page(self, prefix: str, order: Order, limit: int, cursor: str | None) -> Page:
        """A page of sessions whose key begins with ``prefix``; cost after the first call: what changed."""
        after = check_page_options(order, limit, cursor)
        with self._lock:
            is_first, self._is_first = self._is_first, False
            if is_first and order == "updated" and not prefix and after is None:
                page = self._first_page(limit)
                if page is not None:
                    return page
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

    def _first_page(self, limit: int) -> Page | None:
        """The newest sessions, without reading more than that; None if it cannot be told."""

        def merge(file: ListingFile, changed: set[str]) -> Page | None:
            if len(changed) > _FEW_CHANGED:
                return None
            news = file.changes()
            news.update((key, self._info(key)) for key in changed)
            newer = sorted((info for info in news.values() if info is not None), key=recency)
            older = (info for info in file.newest() if info.key not in news)
            found = list(itertools.islice(heapq.merge(newer, older, key=recency), limit + 1))
            items = tuple(found[:limit])
            more = len(found) > limit
            return Page(items, encode_cursor("updated", recency(items[-1])) if more else None)

        return self._from_file(merge)

    def _from_file(self, read: Callable[[ListingFile, set[str]], T]) -> T | None:
        """What ``read`` makes of the listing file and the keys that changed since; None if it cannot be used."""
        looks = 0
        while True:
            mark, changed = self._look()
            if mark is None:
                return None
            problem = "session files are being written, or were by others"
            if changed is not None:
                try:
                    with contextlib.closing(ListingFile(self._core.directory, mark)) as file:
                        return read(file, changed)
                except UnusableListing as exc:
                    problem = str(exc)
            looks += 1
            if looks > 2 + mark.base // _BYTES_A_LOOK:
                break
            # A checkpoint may be at it, or have replaced the file just now: waiting is less than reading all.
            self._core.clock.sleep(_LOOK_AGAIN_S)
        _log.info("%s: %s is not used: %s", self._core.path, layout.LISTING, problem)
        if changed is not None:
            self._core.distrust_listing(mark.identity)
        return None

    def _look(self) -> tuple[StateListing | None, set[str] | None]:
        """The listing file that the state file names, and the sessions changed since; None for them: not now."""
        core, view = self._core, self.view
        try:
            state = read_state(core.directory)
        except StoreError:
            return None, None
        mark = state.listing if state is not None else None
        if state is None or mark is None:
            return None, None
        with view.mutex:
            view.catch_up()
            view.settle()
            journal = view.journal
            known = journal is not None and state.journal == journal.name and state.inode == journal.inode
            changed = set(view.pending)
        # Looked at last: until now no checkpoint has put into the session files what is not in ``changed``.
        good = known and state.position > 0 and stamp(core.directory) == mark.entries
        return mark, changed if good else None

    def _read_everything(self) -> None:
        with self.view.mutex:
            self._stale = set()
            epoch = self.view.epoch  # if it ends meanwhile, the next call reads everything once more
        found = self._from_file(lambda file, changed: (file.everything(), changed))
        if found is not None:
            self._infos, changed = found
            self._read_again(changed)
        else:
            self._read_session_files()
        self._ranks.clear()
        self._epoch = epoch

    def _read_session_files(self) -> None:
        snapshot = take_snapshot(self._core)
        for key, exc in snapshot.errors.items():
            if isinstance(exc, UnreadableFile):
                raise exc
            _log.warning("session %r is left out of the listing: %s", key, str(exc))
        self._infos = {key: info_of(doc) for key in snapshot if (doc := snapshot.document(key)) is not None}

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
    return (info.key,) if order == "key" else recency(info)


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
