"""What the members of a legacy file mean: which entry stands for which key. Pure.

Keys are visited in JavaScript's order; of two spellings of a key the newer entry wins, and
of equally new ones the later. Old field names are renamed as the legacy program does on
every load.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from sessiondir import codec, jsjson, jsnumbers, json5, layout
from sessiondir.document import Document, put_document
from sessiondir.errors import InvalidKey
from sessiondir.members import MemberTooLong, split_members
from sessiondir.model import KeyRule, Limits

OLD_NAMES: Final = (("channel", "provider"), ("lastChannel", "lastProvider"), ("groupChannel", "room"))
"""Fields that old releases called otherwise: today's name, and theirs."""

_PLACES: Final = 5
_PLACE_LENGTH: Final = 200
_MORE_BYTES = 1 << 20
"""Room for the blanks around a small entry."""


@dataclass(frozen=True, slots=True)
class Alias:
    """Several spellings of one key: which entry of the file stands for ``key`` now."""

    key: str
    spellings: tuple[str, ...]
    winner: str


@dataclass(frozen=True, slots=True)
class Located:
    """An entry in the file: the spelling it stands under, and where its text is (bytes).

    ``digest`` is of that text: the same digest, the same entry. ``updated_at`` in epoch ms,
    0 if the entry has none.
    """

    name: str
    at: int
    length: int
    digest: bytes
    updated_at: float


class Unusable(Exception):
    """The file as a whole cannot be used; the text says why."""


class Reading:
    """One file on its way from bytes to sessions."""

    def __init__(self, limits: Limits, keep: bool, keys: KeyRule = "lowercase") -> None:
        self._limits = limits
        self._keys: KeyRule = keys
        self._keep = keep
        self.is_json5 = False
        self._begin()

    def _begin(self) -> None:
        self.notes: list[str] = []
        self.sessions: dict[str, Located] = {}
        self.documents: dict[str, Document] = {}
        self.dropped: dict[str, str] = {}
        self.aliases: tuple[Alias, ...] = ()
        self.count = 0
        self.has_session = False
        self._spellings: dict[str, list[str]] = {}

    def begin_again(self, *notes: str) -> None:
        """The bytes turned out to be something else than was thought."""
        self._begin()
        self.is_json5 = True
        self.notes += notes

    def take(self, parts: Iterator[bytes]) -> str:
        """Take all members in; why there is no session among them, or ""."""
        found: dict[str, Located | str] = {}
        kept: dict[str, Document] = {}
        longest = self._limits.entry_bytes * codec.MAX_GROWTH + _MORE_BYTES
        try:
            for member in split_members(parts, longest):
                # A name that comes twice keeps its first place and its last value.
                found[member.name] = self._look(member.name, member.raw, member.at, kept)
        except MemberTooLong as exc:
            raise self._too_large(exc.name, longest) from exc
        self.count = len(found)
        for name in jsjson.iteration_order(found):
            self._choose(name, found[name], kept)
        self.aliases = tuple(
            Alias(key, tuple(spellings), self.sessions[key].name)
            for key, spellings in self._spellings.items()
            if len(spellings) > 1
        )
        if len(self.sessions) > self._limits.sessions:
            raise Unusable(f"{len(self.sessions)} sessions, the limit is {self._limits.sessions}")
        return "" if self.sessions else "it has no entry that is an object with a usable key"

    def _look(self, name: str, raw: bytes, at: int, kept: dict[str, Document]) -> Located | str:
        """Where an entry is and what decides between two of them; or why it cannot be used."""
        kept.pop(name, None)
        text = self._as_text(raw, at)
        if not text.startswith(b"{"):
            jsnumbers.decode(text)
            return "the entry is not an object"
        fields, lost = read_entry(text, name)
        self.notes += lost_numbers(name, lost)
        doc = put_document("", 1, fields)
        self.has_session = self.has_session or looks_like_session(fields)
        if len(raw) > self._limits.entry_bytes and doc.size > self._limits.entry_bytes:
            # Leaving it out would lose a session, so nothing is taken over until the limit is raised.
            raise self._too_large(name, doc.size)
        if self._keep:
            kept[name] = doc
        digest = digest_of(raw)
        return Located(name, at, len(raw), digest, doc.updated_at() or 0)

    def _as_text(self, raw: bytes, at: int) -> bytes:
        try:
            raw.isascii() or raw.decode()
        except UnicodeDecodeError as exc:
            if not any(note.startswith("not UTF-8") for note in self.notes):
                place = at + exc.start
                self.notes.append(f"not UTF-8 at byte {place}; unreadable bytes were replaced by U+FFFD")
            return repaired(raw)
        return raw

    def _choose(self, name: str, found: Located | str, kept: dict[str, Document]) -> None:
        """Let one member stand for its key, unless another spelling of it is newer."""
        if isinstance(found, str):
            self.dropped[name] = found
            return
        try:
            key = layout.normalise_key(name, self._keys)
        except InvalidKey as exc:
            self.dropped[name] = f"the key is {exc.reason}" if exc.reason != "NUL" else "the key has a NUL"
            return
        self._spellings.setdefault(key, []).append(name)
        before = self.sessions.get(key)
        if before is None or found.updated_at >= before.updated_at:
            self.sessions[key] = found
            if self._keep:
                self.documents[key] = put_document(key, 1, kept[name].fields or {})

    def _too_large(self, name: str, size: int) -> Unusable:
        limit = self._limits.entry_bytes
        return Unusable(
            f"the entry of {shown(name)} has {size} bytes, the limit is {limit}; raise it (--max-entry-bytes, or "
            "Limits.entry_bytes)"
        )


def looks_like_session(fields: codec.Fields) -> bool:
    """Whether an entry has one of the two members that every session should have."""
    return any(_session_members(fields))


def is_surely_session(fields: codec.Fields) -> bool:
    """Whether an entry has both of them, as nothing else that lies about in a state directory."""
    return all(_session_members(fields))


def _session_members(fields: codec.Fields) -> tuple[bool, bool]:
    """Whether there is a text ``sessionId``, and whether a number ``updatedAt``."""
    session_id, updated_at = fields.get("sessionId"), fields.get("updatedAt")
    return isinstance(session_id, str) and session_id != "", type(updated_at) in (int, float)


def repaired(raw: bytes) -> bytes:
    """Bytes that are not all text as the legacy program reads them."""
    # The legacy program reads such a file, with the same marks in place of the bad bytes.
    return raw.decode("utf-8", "replace").encode()


def entry_fields(text: bytes, name: str) -> codec.Fields:
    """An entry's text as fields under their present names. Raises ``codec.DecodeError``."""
    return read_entry(text, name)[0]


def read_entry(text: bytes, name: str) -> tuple[codec.Fields, list[str]]:
    """As ``entry_fields``, with the places of numbers that JavaScript cannot hold, which became null."""
    lost: list[str] = []
    try:
        try:
            if jsnumbers.may_be_infinite(text):
                raise codec.DecodeError("it has a very long number")
            fields = codec.decode_fields(text)
        except codec.DecodeError:
            value, lost = jsnumbers.decode(text)
            fields = codec.to_fields(value) if lost else codec.decode_fields(text)
    except codec.DecodeError as exc:
        raise codec.DecodeError(f"in the entry of {shown(name)}: {exc}") from exc
    except (RecursionError, codec.EncodeError) as exc:
        if isinstance(exc, RecursionError) and not codec.is_nested_too_deeply(text):
            raise
        raise codec.DecodeError(f"the entry of {shown(name)} is nested too deeply") from exc
    rename_old_fields(fields)
    return fields, lost


def lost_numbers(name: str, places: list[str]) -> list[str]:
    """A line on numbers in an entry that JavaScript cannot hold; none if there are none."""
    if not places:
        return []
    named = ", ".join(place[:_PLACE_LENGTH] for place in places[:_PLACES])
    more = f" and {len(places) - _PLACES} more places" if len(places) > _PLACES else ""
    return [f"in {shown(name)} null stands in place of numbers that JavaScript cannot hold: {named}{more}"]


def rename_old_fields(fields: dict[str, Any]) -> None:
    """Give old fields today's names, in place, as the legacy program does with every entry it loads."""
    for new, old in OLD_NAMES:
        if not isinstance(fields.get(new), str) and isinstance(fields.get(old), str):
            fields[new] = fields.pop(old)
    fields.pop("room", None)


def json_of_json5(data: bytes) -> tuple[bytes, list[str]]:
    """JSON5 text as JSON text, and a line on each entry with numbers that became null.

    These are ``NaN``, ``Infinity`` and what is too large for a double. Raises ``codec.DecodeError``
    where it is not even JSON5.
    """
    try:
        value = json5.decode(data.decode())
        notes: list[str] = []
        for name, item in value.items() if isinstance(value, dict) else ():
            value[name], lost = jsnumbers.finite(item)
            notes += lost_numbers(name, lost) if isinstance(item, dict) else []  # anything else is left out
        return codec.encode(value), notes
    except UnicodeDecodeError as exc:
        raise codec.DecodeError(f"not UTF-8 at byte {exc.start}") from exc
    except codec.EncodeError as exc:
        raise codec.DecodeError(exc.reason) from exc


def digest_of(raw: bytes) -> bytes:
    """What tells one entry's text from another."""
    return hashlib.blake2b(raw, digest_size=16).digest()


def shown(name: str) -> str:
    """A key for a message: quoted, shortened."""
    return repr(name if len(name) <= 80 else name[:80] + "...")
