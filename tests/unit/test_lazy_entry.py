"""Entries that copy arrays and objects when they are first looked at."""

from __future__ import annotations

import collections
import copy
import json
import pickle
import pprint
import threading
import types
from collections.abc import Callable
from operator import itemgetter
from typing import Any

import msgspec
import pytest

from sessiondir import Limits, codec, lazyentry, steps
from sessiondir.changes import operation_for
from sessiondir.document import Document, patch_document, put_document
from sessiondir.lazyentry import LazyEntry, raw_items

Entry = dict[str, Any]
ENTRY: Entry = {"n": 1, "object": {"deep": {"list": [1, [2]]}}, "list": [{"a": 1}, "x"], "text": "t", "empty": {}}


def document(entry: Entry = ENTRY) -> Document:
    """A document of an entry."""
    return put_document("k", 1, codec.to_fields(entry))


def lazy(doc: Document) -> LazyEntry:
    """The document's lazy entry."""
    entry = doc.lazy_entry()
    assert type(entry) is LazyEntry
    return entry


def untouched(entry: LazyEntry, doc: Document) -> set[str]:
    """Names of the fields in which the entry still has what the document has parsed."""
    parsed = doc.parsed or {}
    return {name for name, value in raw_items(entry) if value is parsed.get(name, entry)}


def test_only_what_is_looked_at_is_copied() -> None:
    """Reading and writing scalars copies nothing; looking at an object copies that one, once."""
    doc = document()
    entry = lazy(doc)
    entry["n"] += 1
    assert entry.get("text") == "t" and "list" in entry and len(entry) == 5
    assert list(entry) == list(entry.keys()) == list(ENTRY)
    assert untouched(entry, doc) == {"object", "list", "empty"}
    own = entry["object"]
    assert own == ENTRY["object"] and entry["object"] is own and entry.get("object") is own
    assert untouched(entry, doc) == {"list", "empty"}


SHALLOW: dict[str, Callable[[Entry], Any]] = {
    "dict": dict,
    "unpacking": lambda entry: {**entry},
    "union": lambda entry: entry | {},
    "union from the right": lambda entry: {"other": 1} | entry,
    "in-place union": lambda entry: operator_ior({}, entry),
    "update": lambda entry: updated({}, entry),
    "copy": lambda entry: entry.copy(),
    "copy.copy": copy.copy,
    "items": lambda entry: dict(entry.items()),
    "values": lambda entry: dict(zip(entry, entry.values(), strict=True)),
    "comprehension": lambda entry: {name: entry[name] for name in entry},
    "its type": lambda entry: type(entry)(entry),
    "arguments": lambda entry: named(**entry),
    "OrderedDict": collections.OrderedDict,
    "defaultdict": lambda entry: collections.defaultdict(int, entry),
    "UserDict": collections.UserDict,
    "ChainMap": lambda entry: dict(collections.ChainMap(entry)),
    "MappingProxyType": lambda entry: dict(types.MappingProxyType(entry)),
    "namespace": lambda entry: vars(types.SimpleNamespace(**entry)),
    "itemgetter": lambda entry: dict(zip(ENTRY, itemgetter(*ENTRY)(entry), strict=True)),
    "match": lambda entry: matched(entry),  # noqa: PLW0108 - defined below
    "pop": lambda entry: {name: entry.pop(name) for name in ENTRY},
    "popitem": lambda entry: dict(entry.popitem() for _ in ENTRY),
    "setdefault": lambda entry: {name: entry.setdefault(name, 0) for name in ENTRY},
    "deepcopy": copy.deepcopy,
    "pickle": lambda entry: pickle.loads(pickle.dumps(entry)),
    "old pickle": lambda entry: pickle.loads(pickle.dumps(entry, 0)),
    "json": lambda entry: json.loads(json.dumps(entry, indent=1)),
    "msgspec.to_builtins": msgspec.to_builtins,
}


def named(**fields: Any) -> Entry:
    """The arguments that a call was given by name."""
    return fields


def operator_ior(target: Entry, entry: Entry) -> Entry:
    """``target |= entry``."""
    target |= entry
    return target


def updated(target: Entry, entry: Entry) -> Entry:
    """``target.update(entry)``."""
    target.update(entry)
    return target


def matched(entry: Entry) -> Entry:
    """What a pattern takes out of an entry."""
    match entry:
        case {"object": found, "list": [first, *more], **rest}:
            return {"object": found, "list": [first, *more], **rest}
    raise AssertionError("it does not match")


@pytest.mark.parametrize("way", SHALLOW)
def test_nobody_gets_at_what_the_document_shares(way: str) -> None:
    """However an entry is copied or taken apart: right, and the caller's own at any depth."""
    doc = document()
    lazy(doc)
    parsed = doc.parsed
    assert parsed is not None
    taken = SHALLOW[way](lazy(doc))
    assert type(taken) is not LazyEntry
    assert {name: taken[name] for name in ENTRY} == ENTRY
    for name in ("object", "list", "empty"):
        assert taken[name] is not parsed[name]
    taken["object"]["deep"]["list"][1].append(3)
    taken["list"][0]["b"] = 2
    taken["empty"]["c"] = 1
    assert lazy(doc) == doc.entry() == ENTRY


@pytest.mark.parametrize(
    "read",
    [
        msgspec.json.encode,
        msgspec.json.Encoder().encode,
        msgspec.msgpack.encode,
        repr,
        str,
        json.dumps,
        lambda entry: json.dumps(entry, indent=1, sort_keys=True),
        lambda entry: pprint.pformat(entry, width=20),
        "{n} {object}".format_map,
        lambda entry: "%(list)s" % entry,  # noqa: UP031
        sorted,
        lambda entry: list(reversed(entry)),
        lambda entry: list(map(len, (entry, entry.keys(), entry.items()))),
        lambda entry: entry.keys() & {"n", "x"},
        lambda entry: entry == ENTRY and ENTRY == entry and entry == entry.copy(),  # noqa: SIM300
        bool,
        dict.fromkeys,
        lambda entry: type(entry).fromkeys("ab"),
        lambda entry: type(entry)(entry, more=1),
        lambda entry: (entry.get("missing"), entry.get("missing", 7), entry.pop("missing", 8)),
        lambda entry: (isinstance(entry, dict), isinstance(entry, collections.abc.MutableMapping)),
    ],
)
def test_it_is_read_as_a_plain_dict_is(read: Callable[[Entry], Any]) -> None:
    """Encoders, printing, comparing and all that a dict does give what they give for a plain dict."""
    assert read(lazy(document())) == read(copy.deepcopy(ENTRY))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda entry: entry["missing"],
        lambda entry: entry[["unhashable"]],
        lambda entry: entry.get([]),
        lambda entry: entry.pop("missing"),
        lambda entry: entry.pop(),
        lambda entry: entry.pop("n", 1, 2),
        hash,
        lambda entry: [entry.popitem() for _ in range(9)],
    ],
)
def test_its_errors_are_those_of_a_dict(wrong: Callable[[Any], Any]) -> None:
    """What a plain dict refuses, it refuses with an error of the same type."""
    with pytest.raises((KeyError, TypeError)) as expected:
        wrong(dict(ENTRY))
    with pytest.raises(expected.type):
        wrong(lazy(document()))


def test_an_entry_that_holds_itself_is_copied_like_one() -> None:
    """A deep copy of an entry put into itself holds itself, as with a plain dict."""
    entry = lazy(document())
    entry["self"] = entry
    other = copy.deepcopy(entry)
    assert type(other) is dict and other["self"] is other


def test_an_entry_of_scalars_is_a_plain_dict() -> None:
    """Where nothing can be shared there is no need of anything but a dict."""
    assert type(document({"n": 1, "t": "x"}).lazy_entry()) is dict
    assert type(document({}).lazy_entry()) is dict


def test_what_is_not_looked_at_is_not_compared() -> None:
    """The document's own parsed value is no change, and is not even encoded; an equal copy is none either."""
    doc = document()
    entry = lazy(doc)
    entry["n"] = 2
    assert doc.parsed is not None
    doc.parsed["list"].append("nobody may do this: only to see that it is not looked at")
    operation = operation_for(doc, entry, Limits())
    assert operation is not None and operation.set == {"n": 2} and operation.unset == ()  # type: ignore[union-attr]
    doc.parsed["list"].pop()
    assert operation_for(doc, {**lazy(doc)}, Limits()) is None
    moved = lazy(doc)
    moved["object"] = moved["list"]
    operation = operation_for(doc, moved, Limits())
    assert operation is not None and operation.set == {"object": b'[{"a":1},"x"]'}  # type: ignore[union-attr]


def test_the_parsed_values_stay_from_one_version_to_the_next() -> None:
    """A change keeps what is parsed of the other fields, and drops the parsed value of its own."""
    doc = document()
    lazy(doc)
    counted = patch_document(doc, 2, {"n": 2}, ())
    assert counted.is_parsed and untouched(lazy(doc), counted) == {"object", "list", "empty"}
    changed = patch_document(doc, 2, {"list": b"[5]", "text": b"{}"}, ("empty",))
    assert not changed.is_parsed
    entry = lazy(changed)
    assert changed.is_parsed
    assert entry == {"n": 1, "object": ENTRY["object"], "list": [5], "text": {}}
    assert lazy(doc) == ENTRY


def test_what_a_thread_parses_late_stays_with_the_version_it_is_of() -> None:
    """A thread that is about to keep the first parsed value of a version keeps it for no later version."""
    doc = document()
    doc.parsed = {}
    changed = patch_document(doc, 2, {"list": b"[5]"}, ())
    assert lazy(doc) == ENTRY
    assert changed.entry() == lazy(changed) == ENTRY | {"list": [5]}


def test_large_values_are_not_kept_parsed() -> None:
    """An array above ``steps.LARGE_BYTES`` is parsed for each entry; what is smaller is shared all the same."""
    large = ["x" * 100] * (steps.LARGE_BYTES // 100)
    doc = document({**ENTRY, "large": large})
    first, second = lazy(doc), lazy(doc)
    assert doc.parsed is not None and set(doc.parsed) == {"object", "list", "empty"}
    assert not doc.is_parsed
    first["large"].append(1)
    assert second == {**ENTRY, "large": large} and untouched(second, doc) == {"object", "list", "empty"}


def test_threads_that_look_at_one_moment_get_one_object(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads that have copied a field at the same moment get the same copy, and it stays."""
    entry = lazy(document())
    together = threading.Barrier(2)
    found: list[Any] = []

    def copied(value: Any) -> Any:
        own = msgspec.to_builtins(value)
        together.wait(10)
        return own

    monkeypatch.setattr(lazyentry, "to_builtins", copied)
    threads = [threading.Thread(target=lambda: found.append(entry["list"])) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2 and found[0] is found[1] is entry["list"]
