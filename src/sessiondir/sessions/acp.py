"""Keeping what external agents (ACP) left in an entry when somebody writes the entry without it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any

from sessiondir.layout import js_trim
from sessiondir.sessions.keys import store_key
from sessiondir.sessions.values import member, truthy


def acp_data(entries: Mapping[str, Any]) -> dict[str, Any]:
    """The ``acp`` blocks of the entries that have one, by key."""
    return {key: block for key, entry in entries.items() if truthy(block := member(entry, "acp"))}


def preserve_acp(
    before: Mapping[str, Any], entries: MutableMapping[str, Any], allow_drop: Iterable[str] = ()
) -> None:
    """Give entries back the ``acp`` block that they had and lost. Changes ``entries``.

    Args:
        before: ``acp_data`` of the entries as they were.
        entries: the entries as they are to be saved.
        allow_drop: keys of sessions that may lose their block; other spellings of them may, too.

    An entry that is gone stays gone. The key may have been given another spelling meanwhile.
    """
    dropped = {store_key(key) for key in allow_drop}
    for key, block in before.items():
        if store_key(key) in dropped:
            continue
        now = _spelling(entries, key)
        entry = entries[now] if now is not None else None
        if now is not None and isinstance(entry, Mapping) and not truthy(entry.get("acp")):
            entries[now] = {**entry, "acp": block}


def _spelling(entries: Mapping[str, Any], key: str) -> str | None:
    """The spelling of ``key`` that is in ``entries``."""
    text, normal = js_trim(key), store_key(key)
    if not text:
        return None
    for spelling in (text, normal):
        if spelling in entries:
            return spelling
    return next((other for other in entries if store_key(other) == normal), None)
