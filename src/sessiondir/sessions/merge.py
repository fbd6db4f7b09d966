"""Laying a patch over an entry."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from sessiondir.codec import members
from sessiondir.lazyentry import with_members
from sessiondir.model import UNSET, Entry
from sessiondir.sessions.normalise import normal_runtime_model
from sessiondir.sessions.values import number, trimmed


def random_session_id() -> str:
    """A fresh session id: a random UUID."""
    return str(uuid.uuid4())


def merge_entry(
    existing: Mapping[str, Any] | None,
    patch: Mapping[str, Any],
    *,
    now_ms: float,
    preserve_activity: bool = False,
    new_session_id: Callable[[], str] = random_session_id,
) -> Entry:
    """``existing`` with ``patch`` laid over it, as a new dict of the same kind. O(number of fields).

    Args:
        existing: the stored entry, None for a new session.
        patch: fields to set; ``UNSET`` removes a field, None stores null. Objects inside are
            replaced as a whole.
        now_ms: epoch milliseconds.
        preserve_activity: leave ``updatedAt`` as it is. Otherwise it becomes the latest of the
            stored one, the patch's and now, so it never moves back.
        new_session_id: makes the id where neither entry nor patch has one.

    A new ``model`` without a ``modelProvider`` drops the stored provider, which belonged to
    the old one.
    """
    stored = existing if existing is not None else {}
    merged = with_members(stored, patch)
    merged["sessionId"] = _session_id(stored, patch, new_session_id)
    merged["updatedAt"] = _updated_at(existing, patch, now_ms, preserve_activity=preserve_activity)
    for name in [name for name, value in members(merged) if value is UNSET]:
        del merged[name]
    if existing is not None and "model" in patch and "modelProvider" not in patch:
        model = trimmed(patch["model"])
        if model and model != trimmed(stored.get("model")):
            merged.pop("modelProvider", None)
    return normal_runtime_model(merged)


def _session_id(stored: Mapping[str, Any], patch: Mapping[str, Any], new_session_id: Callable[[], str]) -> Any:
    for fields in (patch, stored):
        value = fields.get("sessionId")
        if value is not None and value is not UNSET:
            return value
    return new_session_id()


def _updated_at(
    existing: Mapping[str, Any] | None, patch: Mapping[str, Any], now_ms: float, *, preserve_activity: bool
) -> Any:
    old = existing.get("updatedAt") if existing is not None else None
    new = patch.get("updatedAt")
    if preserve_activity and existing is not None:
        return old if old is not None else new if new is not None and new is not UNSET else now_ms
    return max(number(old) or 0, number(new) or 0, now_ms)
