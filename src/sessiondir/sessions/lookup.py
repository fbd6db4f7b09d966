"""Finding a session of which several spellings may be stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sessiondir import jsjson
from sessiondir.layout import js_trim
from sessiondir.sessions.keybuild import main_key
from sessiondir.sessions.keys import store_key
from sessiondir.sessions.values import member, number, truthy


@dataclass(frozen=True, slots=True)
class Found:
    """Where a session stands.

    ``key`` is the spelling under which it belongs, ``entry`` the entry that counts (None if
    there is none), ``other_keys`` the other spellings that are stored; whoever writes the
    entry under ``key`` removes those.
    """

    key: str
    entry: Any
    other_keys: tuple[str, ...]


def find_entry(entries: Mapping[str, Any], key: str) -> Found:
    """The session that ``key`` means in ``entries``, whatever case it is stored in. O(entries).

    Of several spellings the trimmed and lower-cased one counts, unless another is newer.
    """
    text, normal = js_trim(key), store_key(key)
    others: dict[str, None] = {}
    if text != normal and text in entries:
        others[text] = None
    entry = entries.get(normal)
    if entry is None and others:
        entry = entries[text]
    newest = _time(entry)
    for spelling in jsjson.iteration_order(entries):
        if spelling == normal or spelling.lower() != normal:
            continue
        others[spelling] = None
        candidate = entries[spelling]
        if not truthy(entry) or _time(candidate) > newest:
            entry, newest = candidate, _time(candidate)
    return Found(normal, entry, tuple(others))


@dataclass(frozen=True, slots=True)
class Place:
    """A session found in one of several stores: which store, under which key, and the entry."""

    store: int
    key: str
    entry: Any


def find_in_stores(
    stores: Iterable[Mapping[str, Any]], key: str, canonical: str, *, agent: object = None, main: object = None
) -> Place | None:
    """The newest match of a session in several stores of one agent; None if no store has it.

    Args:
        stores: the entries of each store; equally new matches go to the later one.
        key: what the caller asked for.
        canonical: the stored key that it means (``canonical.request_key``).
        agent, main: tell the main session's other name, ``agent:A:main``.
    """
    wanted = dict.fromkeys(name for name in (canonical, js_trim(key)) if name)
    if canonical == main_key(agent, main):
        wanted[main_key(agent)] = None
    best: Place | None = None
    for position, entries in enumerate(stores):
        match = _newest_match(entries, list(wanted))
        if match is not None and (best is None or _time(entries[match]) >= _time(best.entry)):
            best = Place(position, match, entries[match])
    return best


def _newest_match(entries: Mapping[str, Any], wanted: list[str]) -> str | None:
    folded = {name.lower() for name in wanted}
    matches = [name for name in wanted if truthy(entries.get(name))]
    matches += [key for key in jsjson.iteration_order(entries) if key.lower() in folded and truthy(entries[key])]
    # max() keeps the first of equals, so the spelling asked for wins a tie.
    return max(matches, key=lambda name: _time(entries[name]), default=None)


def _time(entry: object) -> int | float:
    """``updatedAt`` for comparisons: absent is 0."""
    return number(member(entry, "updatedAt")) or 0
