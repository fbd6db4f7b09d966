"""What is done to an entry whenever it is loaded, and whenever it is saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sessiondir.lazyentry import with_members
from sessiondir.legacyparse import OLD_NAMES, rename_old_fields
from sessiondir.model import Entry
from sessiondir.sessions.channels import BUILT_IN_CHANNELS, Channels
from sessiondir.sessions.route import FLAT_FIELDS, Route, flat_fields, route_of
from sessiondir.sessions.values import same, trimmed

_ROUTE_PARTS: Final = tuple(FLAT_FIELDS.values())
_ABSENT: Final = object()


def loaded(entry: Entry) -> Entry:
    """An entry with the field names of old releases replaced; the same object if it has none."""
    if "room" not in entry and not any(
        isinstance(entry.get(old), str) and not isinstance(entry.get(new), str) for new, old in OLD_NAMES
    ):
        return entry
    renamed = dict(entry)
    rename_old_fields(renamed)
    return renamed


def normal_runtime_model(entry: Entry) -> Entry:
    """``model`` and ``modelProvider`` trimmed; without a model both go, without a provider that goes.

    The same object if nothing changes. If one of them is neither text nor null both are left
    alone: nobody can tell what was meant.
    """
    model, provider = entry.get("model"), entry.get("modelProvider")
    if not all(value is None or isinstance(value, str) for value in (model, provider)):
        return entry
    kept: dict[str, str] = {}
    if trimmed(model):
        kept["model"] = trimmed(model)
        if trimmed(provider):
            kept["modelProvider"] = trimmed(provider)
    if all(entry.get(name, _ABSENT) == kept.get(name, _ABSENT) for name in ("model", "modelProvider")):
        return entry
    normal = {
        name: value for name, value in entry.items() if name in kept or name not in ("model", "modelProvider")
    }
    normal.update(kept)
    return normal


def normal_entry_route(entry: Entry, channels: Channels = BUILT_IN_CHANNELS) -> Entry:
    """The route of the entry in both of its places; the same object if it stood there already.

    Fields that are there keep their place, new ones go last. An account id that is not text is
    an entry that the legacy program cannot save at all: its route is left alone.
    """
    stored = entry.get("deliveryContext")
    stored = stored if isinstance(stored, Mapping) else {}
    for account in (entry.get("lastAccountId"), stored.get("accountId")):
        if account is not None and not isinstance(account, str):
            return entry
    route = route_of(entry, channels)
    if _is_in_place(entry, stored, route):
        return entry
    fields = flat_fields(route)
    normal = with_members(entry, {})
    for name in ("deliveryContext", *FLAT_FIELDS):
        if name in fields:
            normal[name] = fields[name]
        else:
            normal.pop(name, None)
    return normal


def _is_in_place(entry: Entry, stored: Mapping[str, Any], route: Route | None) -> bool:
    wanted: Mapping[str, Any] = route or {}
    # In the nested form null is as good as absent, among the flat fields it is not.
    return all(same(stored.get(part), wanted.get(part)) for part in _ROUTE_PARTS) and all(
        part in wanted and same(entry[name], wanted[part]) if name in entry else part not in wanted
        for name, part in FLAT_FIELDS.items()
    )


def normal_entry(entry: Entry, channels: Channels = BUILT_IN_CHANNELS) -> Entry:
    """An entry as every save writes it; the same object if it is so already. Cost: O(its fields)."""
    return normal_entry_route(normal_runtime_model(entry), channels)
