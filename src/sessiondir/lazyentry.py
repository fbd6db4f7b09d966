"""An entry whose arrays and objects are copied when they are first looked at. Pure.

Whoever changes one field of a large entry should not pay for a copy of all the others. So
the dict that ``update`` hands out holds arrays and objects that the document has parsed and
shares with everybody; each is replaced by a copy of its own before it is handed on.

What reads the dict without asking its methods (``repr``, ``==``, JSON encoders written in C)
finds the right values there. What copies a dict without asking its methods would get at the
shared ones, so CPython must not: it does so only with a dict whose ``__iter__`` is dict's own.
Not compiled: compiled, it takes four times as long to make one.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, ItemsView, Iterator, Mapping, ValuesView
from typing import Any, final

from msgspec import to_builtins

_CONTAINERS = frozenset((dict, list))
_set = dict.__setitem__
_find = dict.get
_fill = dict.update
_new = dict.__new__
raw_value: Callable[[Any, str], Any] = dict.__getitem__
raw_items = dict.items
"""What any dict holds, what is shared, too: only to be looked at."""


@final
class LazyEntry(dict[str, Any]):
    """A dict, the caller's own, that copies arrays and objects when they are first looked at.

    It does all that a dict does; ``copy``, ``dict(entry)``, ``{**entry}``, ``|``, ``copy.deepcopy``
    and ``pickle`` give plain dicts. Not even reading is safe while another thread assigns fields.
    """

    __slots__ = ("_copies", "_shared")

    _shared: Mapping[str, Any]
    """Values that are others', too, by name. One of them is in the dict as long as the same object is."""

    _copies: dict[str, Any]
    """The copies in their place, so that threads which look at the same moment get the same one."""

    def __new__(cls, *args: Any, **members: Any) -> dict[str, Any]:  # type: ignore[misc]
        # For type(entry)(...) and fromkeys; those that share are made by ``lazy_entry``.
        return dict(*args, **members)

    def __getitem__(self, name: str) -> Any:
        value = raw_value(self, name)
        return self._owned(name, value) if type(value) in _CONTAINERS else value

    def get(self, name: str, default: Any = None) -> Any:
        """As ``dict.get``."""
        value = _find(self, name, default)
        return self._owned(name, value) if type(value) in _CONTAINERS else value

    def _owned(self, name: str, value: Any) -> Any:
        """``value``, or what takes its place if it is shared."""
        if self._shared.get(name) is not value:
            return value
        own = self._copies.setdefault(name, to_builtins(value))
        if _find(self, name) is value:
            _set(self, name, own)
        return own

    def _own_all(self) -> None:
        for name in self._shared:
            self.get(name)

    def __iter__(self) -> Iterator[str]:
        return super().__iter__()

    def items(self) -> ItemsView[str, Any]:  # type: ignore[override]
        """As ``dict.items``; copies all that is shared."""
        self._own_all()
        return super().items()

    def values(self) -> ValuesView[Any]:  # type: ignore[override]
        """As ``dict.values``; copies all that is shared."""
        self._own_all()
        return super().values()

    def pop(self, name: str, *default: Any) -> Any:
        """As ``dict.pop``."""
        if name in self:
            self[name]  # so that what goes is the caller's own
        return super().pop(name, *default)

    def popitem(self) -> tuple[str, Any]:
        """As ``dict.popitem``."""
        name, value = super().popitem()
        return name, to_builtins(value) if self._shared.get(name) is value else value

    def setdefault(self, name: str, default: Any = None) -> Any:
        """As ``dict.setdefault``."""
        return self._owned(name, super().setdefault(name, default))

    def __copy__(self) -> dict[str, Any]:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        memo[id(self)] = result
        for name, value in raw_items(self):
            result[name] = copy.deepcopy(value, memo)
        return result

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return dict, (self.copy(),)


def own_values(entry: dict[str, Any]) -> list[Any]:
    """The values of an entry that it does not share."""
    if type(entry) is not LazyEntry:
        return list(entry.values())
    shared = entry._shared
    return [value for name, value in raw_items(entry) if name not in shared or shared[name] is not value]


def lazy_entry(members: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of ``members``, with ``shared`` in place of those of the same names."""
    entry = _new(LazyEntry)
    _fill(entry, members)
    _fill(entry, shared)
    entry._shared = shared
    entry._copies = {}
    return entry


def with_members(entry: Mapping[str, Any], members: Mapping[str, Any]) -> dict[str, Any]:
    """A shallow copy with these members laid over it, which shares what ``entry`` shares."""
    if type(entry) is not LazyEntry:
        return {**entry, **members}
    result = _new(LazyEntry)
    _fill(result, raw_items(entry))
    _fill(result, members)
    result._shared = entry._shared
    result._copies = {}
    return result
