"""Any bytes give a value or the documented error, and nothing else (F5)."""

from __future__ import annotations

import json
import zlib
from typing import Any

from hypothesis import given, seed
from hypothesis import strategies as st
from support.files import KIND, session_name
from support.seed import SEED
from support.strategies import QUICK, any_text, entries, keys, values

from sessiondir import CorruptFile, FormatTooNew, StoreError, codec, journal, layout
from sessiondir.commitline import DamagedLine
from sessiondir.entries import encode_document, parse_document
from sessiondir.operations import Delete, Patch, Put
from sessiondir.state import parse_state

names = st.sampled_from(
    ["kind", "layoutVersion", "version", "updatedAt", "journal", "keys", "requires", "sessionKey", "entry", "v",
     "t", "ops", "op", "key", "set", "unset", "next", "position", "inode", "storeId"]
)  # fmt: skip
likely = st.sampled_from(
    [KIND, 1, 0, 7, "exact", "journal-1.jsonl", [], {}, "put", "patch", "k", None, True, 1.5, "\ud800"]
)
documents = st.dictionaries(names | any_text, likely | values, max_size=8)
nested = st.recursive(
    likely | documents, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4)
)


def damage(text: bytes, edits: list[tuple[int, int]]) -> bytes:
    """Some bytes of a text replaced."""
    changed = bytearray(text)
    for place, value in edits:
        if changed:
            changed[place % len(changed)] = value
    return bytes(changed)


sessions = st.fixed_dictionaries(
    {"sessionKey": st.just("k"), "entry": st.just({}) | documents},
    optional={"version": likely, "later": values | likely},
)
texts = st.builds(
    damage,
    (nested | sessions).map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60),
    st.lists(st.tuples(st.integers(0, 500), st.integers(0, 255)), max_size=3),
)


@seed(SEED)
@QUICK
@given(texts)
def test_decoders_raise_decode_error_only(data: bytes) -> None:
    """Bytes decode to a value that encodes again, or raise DecodeError."""
    try:
        value = codec.decode(data)
    except codec.DecodeError:
        value = None
    assert codec.decode(codec.encode(value)) == value
    try:
        fields = codec.decode_fields(data)
    except codec.DecodeError:
        return
    assert isinstance(value, dict)
    assert list(fields) == list(value) == list(codec.split_object(data))


@seed(SEED)
@QUICK
@given(texts)
def test_a_state_file_is_read_or_refused(data: bytes) -> None:
    """Bytes parse as a state that encodes again, or raise CorruptFile or FormatTooNew."""
    try:
        state = parse_state(data, "state.json")
    except (CorruptFile, FormatTooNew):
        return
    assert parse_state(state.encode(), "state.json") == state


@seed(SEED)
@QUICK
@given(texts, st.none() | keys)
def test_a_session_file_is_read_or_refused(data: bytes, key: str | None) -> None:
    """Bytes parse as a document with an entry, or raise CorruptFile."""
    try:
        doc = parse_document(data, key, "path", 3)
    except CorruptFile as exc:
        assert exc.reason
        return
    assert isinstance(doc.entry(), dict)
    assert key is None or doc.key == key
    again = parse_document(encode_document(doc), doc.key, "path", 3)
    assert (again.version, repr(again.entry())) == (doc.version, repr(doc.entry()))


@seed(SEED)
@QUICK
@given(texts | nested.map(lambda value: json.dumps({"v": 1, "t": 1, "ops": value}).encode()), st.booleans())
def test_a_journal_line_is_read_or_damaged(data: bytes, sealed: bool) -> None:
    """Bytes, with a right check sum or not, give operations or DamagedLine; FormatTooNew for new operations."""
    if sealed:
        body = data[:-1] if data.endswith(b"}") else data
        data = body + b',"crc":"%08x"}\n' % zlib.crc32(body)
    try:
        line = journal.parse_line(data)
        operations = line.operations()
    except (DamagedLine, FormatTooNew):
        return
    assert len(operations) == len(line.ops)
    encoded = journal.encode_commit(max(line.version, 0), line.at_ms, journal.encode_operations(operations))
    assert journal.parse_line(encoded).operations() == operations


@seed(SEED)
@QUICK
@given(st.lists(st.tuples(keys, entries), min_size=1, max_size=4), st.integers(1, 2**62), st.data())
def test_commits_read_back_and_changed_bytes_are_noticed(
    pairs: list[tuple[str, dict[str, Any]]], version: int, data: st.DataObject
) -> None:
    """A commit of random operations reads back, and any changed byte makes the line damaged."""
    operations: list[Any] = []
    for key, entry in pairs:
        fields = codec.to_fields(entry)
        operations += [Put(key, fields), Patch(key, fields, tuple(entry)), Delete(key)]
    text = journal.encode_commit(version, 5, journal.encode_operations(operations))
    assert text.count(b"\n") == 1 and b"\0" not in text
    line = journal.parse_line(text)
    assert (line.version, line.operations()) == (version, operations)
    assert {journal.key_text(key) for key, _ in pairs} <= set(journal.keys_in(text))
    place = data.draw(st.integers(0, len(text) - 1))
    changed = data.draw(st.integers(0, 255).filter(lambda value: value != text[place]))
    try:
        journal.parse_line(damage(text, [(place, changed)]))
    except DamagedLine:
        return
    raise AssertionError(f"byte {place} was changed to {changed} and nobody noticed")


@seed(SEED)
@QUICK
@given(keys, keys)
def test_keys_and_names_are_one_to_one(one: str, two: str) -> None:
    """A key has one name, short names give it back, and two keys never share one."""
    name = layout.session_file_names(one)[0]
    assert name == session_name(one)
    assert layout.is_session_name(name)
    assert layout.key_of_name(name) == (one if len(one.encode()) <= 120 else None)
    assert len(name) <= 255 and "/" not in name and "\0" not in name
    assert (set(layout.session_file_names(one)) & set(layout.session_file_names(two)) != set()) == (one == two)


@seed(SEED)
@QUICK
@given(any_text | texts.map(lambda data: data.decode("latin-1")))
def test_any_name_is_judged(name: str) -> None:
    """Any file name is a session's, or it is not; a name that tells a key is that key's name."""
    key = layout.key_of_name(name)
    if key is not None:
        assert layout.session_file_names(key)[0] == name
    assert layout.is_session_name(name) == (key is not None or layout.is_hashed_name(name))


@seed(SEED)
@QUICK
@given(any_text, st.sampled_from(["exact", "lowercase"]))
def test_a_key_is_normalised_once(text: str, rule: Any) -> None:
    """Any text is a key or refused with a reason, and a normalised key stays what it is."""
    try:
        key = layout.normalise_key(text, rule)
    except StoreError as exc:
        assert exc.reason in ("blank", "NUL", "lone surrogate", "too long", "reserved")  # type: ignore[attr-defined]
        return
    assert layout.normalise_key(key, rule) == key
    assert rule == "lowercase" or key == text
