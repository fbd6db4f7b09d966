"""Random use of the entries that ``update`` hands out: as with a plain dict, and nobody else notices."""

from __future__ import annotations

import copy
import json
import pickle
import random
from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import given, seed
from hypothesis import strategies as st
from support.seed import SEED
from support.strategies import QUICK, any_text, entries, values

from sessiondir import Limits, codec
from sessiondir.changes import as_stored, operation_for
from sessiondir.document import Document, apply_operation, put_document
from sessiondir.lazyentry import LazyEntry

Entry = dict[str, Any]
Use = Callable[[Entry, random.Random, Any], Any]
"""Uses an entry; gets random choices and a value to put in, and returns what it saw."""


def name_in(entry: Entry, rng: random.Random) -> str:
    """The name of a field, mostly of one that is there."""
    return rng.choice([*entry, "other"])


def spoil(value: Any, rng: random.Random, new: Any) -> None:
    """Change something somewhere inside a value."""
    while isinstance(value, (dict, list)):
        inner = [part for part in (value.values() if isinstance(value, dict) else value) if part]
        if inner and rng.random() < 0.6:
            value = rng.choice(inner)
        elif isinstance(value, dict):
            value[rng.choice([*value, "new"])] = copy.deepcopy(new)
            return
        else:
            value.insert(rng.randint(0, len(value)), copy.deepcopy(new))
            return


def _spoil_field(entry: Entry, rng: random.Random, new: Any) -> Any:
    name = name_in(entry, rng)
    if name in entry:
        spoil(entry[name], rng, new)


def _spoil_got(entry: Entry, rng: random.Random, new: Any) -> Any:
    spoil(entry.get(name_in(entry, rng), {}), rng, new)


def _set(entry: Entry, rng: random.Random, new: Any) -> Any:
    entry[name_in(entry, rng)] = new


def _pop(entry: Entry, rng: random.Random, new: Any) -> Any:
    taken = entry.pop(name_in(entry, rng), None)
    seen = copy.deepcopy(taken)
    spoil(taken, rng, new)
    return seen


def _pop_last(entry: Entry, rng: random.Random, new: Any) -> Any:
    if entry:
        name, taken = entry.popitem()
        seen = copy.deepcopy(taken)
        spoil(taken, rng, new)
        return name, seen
    return None


def _take_out_and_put_back(entry: Entry, rng: random.Random, new: Any) -> Any:
    name = name_in(entry, rng)
    if name in entry:
        value = entry[name]
        del entry[name]
        entry[name] = value


def _move(entry: Entry, rng: random.Random, new: Any) -> Any:
    entry[name_in(entry, rng)] = entry.get(name_in(entry, rng))


def _set_default(entry: Entry, rng: random.Random, new: Any) -> Any:
    spoil(entry.setdefault(name_in(entry, rng), [new]), rng, new)


def _spoil_items(entry: Entry, rng: random.Random, new: Any) -> Any:
    for _, value in entry.items():
        spoil(value, rng, new)


def _spoil_values(entry: Entry, rng: random.Random, new: Any) -> Any:
    for value in reversed(entry.values()):
        spoil(value, rng, new)


def _lay_over(entry: Entry, rng: random.Random, new: Any) -> Any:
    if rng.random() < 0.5:
        entry.update({name_in(entry, rng): new}, more=copy.deepcopy(new))
    else:
        entry |= {name_in(entry, rng): new}


def _nest_a_copy(entry: Entry, rng: random.Random, new: Any) -> Any:
    entry["nested"] = {"entry": [copies(entry, rng)]}


def _clear(entry: Entry, rng: random.Random, new: Any) -> Any:
    if rng.random() < 0.2:
        entry.clear()


def copies(entry: Entry, rng: random.Random) -> Entry:
    """A copy of the entry, made in one of many ways; deep ones only."""
    ways: list[Callable[[Entry], Entry]] = [
        copy.deepcopy,
        lambda some: pickle.loads(pickle.dumps(some, rng.randint(0, pickle.HIGHEST_PROTOCOL))),
        lambda some: json.loads(json.dumps(some)),
        msgspec.to_builtins,
    ]
    return rng.choice(ways)(entry)


def named(**fields: Any) -> Entry:
    """The arguments that a call was given by name."""
    return fields


def _shallow_copy(entry: Entry, rng: random.Random, new: Any) -> Any:
    """A shallow copy has the very same arrays and objects: changed here, changed there."""
    ways: list[Callable[[Entry], Entry]] = [
        dict,
        copy.copy,
        lambda some: some.copy(),
        lambda some: {**some},
        lambda some: some | {},
        lambda some: {} | some,
        lambda some: named(**some),
        lambda some: type(some)(some),
        lambda some: {name: some[name] for name in some},
        lambda some: dict(zip(some.keys(), some.values(), strict=True)),
    ]
    shallow = rng.choice(ways)(entry)
    assert type(shallow) is dict
    spoil(shallow, rng, new)
    return shallow


USES: list[Use] = [
    _spoil_field, _spoil_got, _set, _pop, _pop_last, _take_out_and_put_back, _move, _set_default, _spoil_items,
    _spoil_values, _lay_over, _nest_a_copy, _clear, _shallow_copy,
]  # fmt: skip
BIG = {"big": [{"n": number, "text": "x" * 20, "tags": ["a"]} for number in range(20)]}


def in_use(doc: Document, how: list[int], at: int, new: Any) -> tuple[Entry, Entry]:
    """The document's lazy entry and a plain one after the same random uses, which saw the same."""
    lazy, plain = doc.lazy_entry(), doc.entry()
    assert lazy is not None and plain is not None and type(plain) is dict
    for step, number in enumerate(how):
        use = USES[number]
        seen = [use(entry, random.Random(f"{at}/{step}"), copy.deepcopy(new)) for entry in (lazy, plain)]
        assert repr(seen[0]) == repr(seen[1]), use.__name__
        assert repr(lazy) == repr(plain), use.__name__
        assert lazy == plain and plain == lazy
    return lazy, plain


@seed(SEED)
@QUICK
@given(
    entries,
    st.lists(st.lists(st.integers(0, len(USES) - 1), max_size=6), min_size=1, max_size=4),
    st.integers(),
    values,
)
def test_a_lazy_entry_is_used_as_a_plain_one(entry: Entry, rounds: list[list[int]], at: int, new: Any) -> None:
    """Updates one after the other, each using its entry at random: the same comes of it, and of nothing else."""
    doc = put_document("k", 1, codec.to_fields({**entry, **BIG}))
    for version, how in enumerate(rounds, 2):
        stored = repr(doc.entry())
        lazy, plain = in_use(doc, how, at, new)
        # Nobody else's entry has changed, and what the document has parsed is still what it holds.
        assert repr(doc.lazy_entry()) == repr(doc.entry()) == stored
        operation = operation_for(doc, lazy, Limits())
        expected = operation_for(put_document("k", 1, doc.fields or {}), plain, Limits())
        assert repr(operation and (operation.set, operation.unset)) == repr(  # type: ignore[union-attr]
            expected and (expected.set, expected.unset)  # type: ignore[union-attr]
        )
        result = as_stored(lazy, operation)
        if operation is not None:
            doc = apply_operation(doc, operation, version)
        stored = repr(doc.entry())
        assert sorted_repr(result) == sorted_repr(doc.entry())
        spoil(result, random.Random(at), new)
        assert repr(doc.lazy_entry()) == repr(doc.entry()) == stored


def sorted_repr(entry: Entry | None) -> str:
    """A text that two entries share only if they are equal as JSON."""
    assert entry is not None
    return json.dumps(entry, sort_keys=True)


@seed(SEED)
@QUICK
@given(entries, any_text, values)
def test_a_lazy_entry_may_be_stored_anywhere(entry: Entry, name: str, value: Any) -> None:
    """As the entry of another session, or inside another entry, it is stored as the plain one is."""
    doc = put_document("k", 1, codec.to_fields({**entry, **BIG}))
    other = put_document("o", 1, codec.to_fields({**entry, **BIG, name: value}))
    lazy = doc.lazy_entry()
    assert type(lazy) is LazyEntry
    assert codec.to_fields(lazy) == doc.fields
    assert codec.encode({"entries": [lazy]}) == codec.encode({"entries": [doc.entry()]})
    operation = operation_for(other, lazy, Limits())
    if operation is not None:
        other = apply_operation(other, operation, 2)
    assert sorted_repr(other.entry()) == sorted_repr(doc.entry())
