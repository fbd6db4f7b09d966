"""What is fuzzed: every parser, each as a function of bytes that may do one of two things.

It returns: the bytes gave a value, which was written down again and read back equal. Or it
raises ``Refused``: the bytes gave the parser's documented error. Anything else is a fault.
"""

from __future__ import annotations

import dataclasses
import json
import re
import zlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NoReturn

from sessiondir import codec, journal, json5, layout, trash
from sessiondir.aside import encode_aside, parse_aside
from sessiondir.clock import SYSTEM_CLOCK
from sessiondir.commitline import DamagedLine
from sessiondir.entries import encode_document, parse_document
from sessiondir.errors import CorruptFile, FormatTooNew, InvalidKey, InvalidOption
from sessiondir.fs import FileSystem
from sessiondir.legacy import index_legacy, read_legacy
from sessiondir.legacylock import LegacyLock
from sessiondir.legacyparse import json_of_json5
from sessiondir.maintenance import Policy
from sessiondir.maintenance.units import duration_ms, duration_text, size_bytes, size_text
from sessiondir.members import MemberTooLong, split_members
from sessiondir.model import Limits
from sessiondir.state import parse_state
from sessiondir.transcripts import names
from sessiondir.transcripts.lines import split, split_backward
from sessiondir.transcripts.records import Record, Settling, encode_record

_LIMITS = Limits(entry_bytes=1 << 16, legacy_bytes=1 << 20, sessions=1000)
_RECORD_BYTES = 1 << 12


class Refused(Exception):
    """The documented error; the text is its message."""


def _refuse(exc: Exception) -> NoReturn:
    assert str(exc), f"{type(exc).__name__} says nothing"
    raise Refused(str(exc)) from exc


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass") if _is_text(data) else data.decode("latin-1")


def _is_text(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


def value(data: bytes) -> None:
    """JSON to a value and back, and to an entry's fields and back."""
    try:
        found = codec.decode(data)
        written = codec.encode(found)
    except (codec.DecodeError, codec.EncodeError) as exc:
        _refuse(exc)
    assert codec.decode(written) == found
    assert codec.decode_in_steps(written) == found
    assert codec.decode(codec.indent(written)) == found
    if isinstance(found, dict):
        fields = codec.decode_fields(data)
        assert list(fields) == list(found)
        assert codec.decode_fields(codec.encode_fields(fields)) == fields
    else:
        try:
            codec.decode_fields(data)
        except codec.DecodeError:
            return
        raise AssertionError("an entry that is no object")


def sealed(data: bytes) -> bytes:
    """``data`` as a line with the check sum that belongs to it."""
    body = data.rstrip(b"\n")
    body = body.removesuffix(b"}")
    return body + b',"crc":"%08x"}\n' % zlib.crc32(body)


def journal_line(data: bytes) -> None:
    """A line as it stands, and as a line that somebody gave the right check sum."""
    results = [_journal_line(line) for line in (data, sealed(data))]
    if not any(results):
        raise Refused("damaged")


def _journal_line(data: bytes) -> bool:
    journal.last_version(data)
    journal.names_next(data)
    try:
        line = journal.parse_line(data)
        operations = line.operations()
    except (DamagedLine, FormatTooNew) as exc:
        assert str(exc)
        return False
    if line.version < 0 or line.at_ms < 0:
        return True  # no writer of ours; replay compares versions and goes by nothing else
    again = journal.parse_line(
        journal.encode_commit(line.version, line.at_ms, journal.encode_operations(operations))
    )
    assert (again.version, again.operations()) == (line.version, operations)
    return True


def journal_text(data: bytes) -> None:
    """A piece of a journal: whole lines up to the first NUL, each found by its session's key."""
    fs = _Bytes(data)
    text, torn = journal.read_text(fs, 0, 0, data[: journal.PEEK_BYTES])
    content = data.partition(b"\0")[0]
    assert text == content[: content.rfind(b"\n") + 1]
    assert torn == (text != content)
    journal.last_version(text)
    journal.names_next(text)
    for key in journal.keys_in(text):
        if b"\n" in key:
            continue  # no JSON text has one; such a line is damaged
        for at, line in journal.lines_with(text, key):
            assert text[at : at + len(line)] == line
            assert line.count(b"\n") == 1
            assert b'"key":"%b"' % key in line


def session_file(data: bytes) -> None:
    """A session file, of a session with an entry or of one that waits."""
    refused = None
    for waiting in (False, True):
        try:
            doc = parse_document(data, None, "session.json", 3, waiting=waiting)
        except CorruptFile as exc:
            assert exc.reason
            refused = exc
            continue
        again = parse_document(encode_document(doc), doc.key, "session.json", 3, waiting=waiting)
        assert (again.key, again.version, again.latest, again.fields) == (
            doc.key, doc.version, doc.latest, doc.fields,
        )  # fmt: skip
        assert codec.decode(encode_document(again)) == codec.decode(encode_document(doc))
        refused = None
        break
    if refused is not None:
        _refuse(refused)


def state_file(data: bytes) -> None:
    """``state.json``."""
    try:
        state = parse_state(data, "state.json")
    except (CorruptFile, FormatTooNew) as exc:
        _refuse(exc)
    # Zero says no more than nothing beside a journal, and only such states are written.
    expected = dataclasses.replace(state, unversioned=state.unversioned or None)
    assert parse_state(state.encode(), "state.json") == expected


def trash_note(data: bytes) -> None:
    """The note in a file of the trash."""
    try:
        note = trash._parse_note(data, "removed.json")
    except (CorruptFile, codec.DecodeError) as exc:
        _refuse(exc)
    written = codec.encode(
        {"at": note.at_ms, "rule": note.rule, "reason": note.reason, "transcripts": list(note.transcripts)}
    )
    assert trash._parse_note(written, "removed.json") == note


def aside(data: bytes) -> None:
    """Lease and inbox, with a NUL between them."""
    lease, _, inbox = data.partition(b"\0")
    try:
        found = parse_aside(lease or None, inbox or None, 7)
    except codec.DecodeError as exc:
        _refuse(exc)
    members = dict(encode_aside(found))
    again = parse_aside(members.get("lease"), members.get("inbox"), 7)
    shown = [bytes(one.body) for one in again.messages]
    assert shown == [bytes(one.body) for one in found.messages]
    assert (again.lease, again.done, again.size) == (found.lease, found.done, found.size)


class _Bytes(FileSystem):
    """A file system with one file, whose descriptor is 0."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.pread = lambda fd, count, at: data[at : at + count]  # type: ignore[method-assign,assignment]


def legacy_file(data: bytes) -> None:
    """A legacy ``sessions.json``, JSON or JSON5, read whole and read as an index."""
    fs = _OneFile(data)
    found = read_legacy(fs, "sessions.json", _LIMITS)
    index = index_legacy(fs, "sessions.json", _LIMITS)
    assert (index.status, index.reason, index.legacy_count, index.sessions, index.sha256) == (
        found.status, found.reason, found.legacy_count, found.sessions, found.sha256,
    )  # fmt: skip
    if found.status != "usable":
        assert found.reason
        raise Refused(found.reason)
    assert set(found.documents) == set(found.sessions)
    for key, doc in found.documents.items():
        assert layout.normalise_key(key, "lowercase") == key
        again = codec.decode_fields(codec.encode_fields(doc.fields or {}))
        assert again == doc.fields
    assert found.legacy_count >= len(found.sessions)


class _OneFile(FileSystem):
    """A file system in which every path is one regular file."""

    def __init__(self, data: bytes) -> None:
        status = SimpleNamespace(st_mode=0o100600, st_dev=1, st_ino=1, st_size=len(data), st_mtime_ns=1)
        self.open = lambda *_args, **_kwargs: 0  # type: ignore[method-assign,assignment]
        self.close = lambda _fd: None  # type: ignore[method-assign,assignment]
        self.fstat = lambda _fd: status  # type: ignore[method-assign,assignment,return-value]
        self.pread = lambda _fd, count, at: data[at : at + count]  # type: ignore[method-assign,assignment]


def json5_text(data: bytes) -> None:
    """JSON5; whatever is JSON must mean the same."""
    text = _text(data)
    try:
        found = json5.decode(text)
    except codec.DecodeError as exc:
        assert re.search(r"line [0-9]+\Z", str(exc))
        refused: Exception | None = exc
    else:
        refused = None
    try:
        plain = json.loads(text, parse_constant=_no_constant)
        if codec.decode(codec.encode(plain)) != plain:
            return  # more than JSON can carry
    except (ValueError, RecursionError):
        plain = refused
    if refused is not None:
        assert plain is refused or "__proto__" in text, f"JSON that is no JSON5: {refused}"
        _refuse(refused)
    if plain is not None:
        assert _same(found, plain)
    try:
        assert codec.decode(json_of_json5(data)[0]) is not None or text.strip()
    except codec.DecodeError:
        pass  # nested deeper than is written, or a number above all doubles where no entry is


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_same(left[name], right[name]) for name in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_same, left, right))
    return bool(left == right)


def members(data: bytes) -> None:
    """A large object taken apart member by member, in parts of any size, as ``split_object`` does it at once."""
    size = data[0] % 7 + 1 if data else 1
    text = data[1:]
    parts = (text[at : at + size] for at in range(0, len(text), size))
    try:
        found = list(split_members(parts, 4096))
    except (codec.DecodeError, MemberTooLong) as exc:
        _refuse(exc)
    for one in found:
        assert text[one.at : one.at + len(one.raw)] == one.raw
    if _is_text(text):
        try:
            whole = codec.decode(text)
        except codec.DecodeError as exc:
            _refuse(exc)
        assert {one.name for one in found} == set(whole)
        assert all(codec.decode(one.raw) == whole[one.name] for one in {one.name: one for one in found}.values())


def lock_payload(data: bytes) -> None:
    """The legacy lock file: whoever wrote it, there is a holder, and whether it is stale."""
    lock = LegacyLock(_NoProcesses(), SYSTEM_CLOCK, -1, "/sessions.json.lock")
    status: Any = SimpleNamespace(st_dev=1, st_ino=1, st_mtime=0.0)
    holder = lock._holder(data, status)
    assert holder.is_stale(4e9) in (True, False)
    assert holder.describe()
    if holder.pid is None and holder.created_s is None:
        raise Refused("nobody is named")


class _NoProcesses(FileSystem):
    """A file system without /proc."""

    def __init__(self) -> None:
        self.open = _not_there  # type: ignore[method-assign,assignment]


def _not_there(*_args: object, **_kwargs: object) -> NoReturn:
    raise FileNotFoundError(2, "no such file")


def file_name(data: bytes) -> None:
    """A name found in a store or beside it."""
    name = _text(data)
    key = layout.key_of_name(name)
    if key is not None:
        assert layout.session_file_names(key)[0] == name
    generation = layout.journal_generation(name)
    assert generation is None or layout.journal_name(generation) == name
    at_ms = trash.removed_at_ms(name)
    found = names.parse(name)
    if found is not None and found.base and found.reason and (found.at_ms or 0) > 0:
        assert found.at_ms is not None
        again = names.parse(names.archive_name(found.base, found.reason, found.at_ms))
        assert again is not None and again.at_ms == found.at_ms and again.base == found.base
    names.uuid_in(name)
    known = (key, generation, at_ms, found, layout.is_temporary(name) or None, layout.is_hashed_name(name) or None)
    if known == (None,) * len(known):
        raise Refused("a foreign name")


def session_key(data: bytes) -> None:
    """A key that somebody gives."""
    text = _text(data)
    for rule in ("exact", "lowercase"):
        try:
            key = layout.normalise_key(text, rule)  # type: ignore[arg-type]
        except InvalidKey as exc:
            _refuse(exc)
        assert layout.normalise_key(key, rule) == key  # type: ignore[arg-type]
        for name in layout.session_file_names(key):
            assert "/" not in name and len(name) <= 255 and layout.is_session_name(name)


def amount(data: bytes) -> None:
    """A duration or a size in the settings; the one decides nothing about the other."""
    text = _text(data)
    accepted = 0
    for read, shown in ((lambda: duration_ms(text, "d", "pruneAfter"), duration_text),
                        (lambda: size_bytes(text, "maxDiskBytes"), size_text)):  # fmt: skip
        try:
            found = read()
        except InvalidOption as exc:
            assert len(str(exc)) < 400
            continue
        accepted += 1
        assert isinstance(found, int) and 0 <= found < 2**53
        assert shown(found)
    assert not accepted or duration_ms(f"{accepted}ms", "d", "x") == accepted
    if not accepted:
        raise Refused("neither a duration nor a size")


def policy(data: bytes) -> None:
    """``session.maintenance`` as a whole."""
    try:
        settings = codec.decode(data)
    except codec.DecodeError as exc:
        _refuse(exc)
    if not isinstance(settings, dict):
        raise Refused("no settings")
    try:
        found = Policy.from_config(settings)
    except InvalidOption as exc:
        _refuse(exc)
    assert found.max_entries >= 1
    assert found.disk_target_bytes is None or 0 <= found.disk_target_bytes <= (found.max_disk_bytes or 0)


def transcript(data: bytes) -> None:
    """A transcript: read from either end, in any parts, the same records count."""
    forward = _records(split(iter((data,)), 0, _RECORD_BYTES), backward=False)
    in_parts = _records(
        split((data[at : at + 3] for at in range(0, len(data), 3)), 0, _RECORD_BYTES), backward=False
    )
    backward = _records(split_backward(_Bytes(data), 0, len(data), _RECORD_BYTES), backward=True)[::-1]
    assert forward == in_parts
    assert [one for one in forward if not one[2]] == [one for one in backward if not one[2]]
    for offset, size, problem, found in forward:
        assert data[offset : offset + size].count(b"\n") == 0
        if not problem:
            assert codec.decode(encode_record(found, 1 << 20)) == found
    if not any(not problem for _, _, problem, _ in forward):
        raise Refused("no record counts")


def _records(lines: Any, *, backward: bool) -> list[tuple[int, int, str, Any]]:
    settling = Settling(backward=backward)
    found: list[Record] = []
    for line in lines:
        found += settling.feed(line)
    found += settling.give_up()
    return [(one.offset, one.size, one.problem, one.value) for one in found]


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (
        value, journal_line, journal_text, session_file, state_file, trash_note, aside, legacy_file, json5_text,
        members, lock_payload, file_name, session_key, amount, policy, transcript,
    )
}  # fmt: skip
