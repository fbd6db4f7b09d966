"""Names: paths to stores, keys to files and lock positions. Pure functions."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from typing import Final

from sessiondir import fs
from sessiondir.errors import InvalidKey, InvalidPath
from sessiondir.model import KeyRule

KIND: Final = "openclaw-session-store-directory"
LAYOUT_VERSION: Final = 1
STATE: Final = "state.json"
LOCK: Final = "lock"
LISTING: Final = "listing.jsonl"
ENTRIES: Final = "entries"
WAITING: Final = "waiting"
QUARANTINE: Final = "quarantine"
TRASH: Final = "trash"
KNOWN_NAMES: Final = frozenset((STATE, LOCK, LISTING, ENTRIES, WAITING, QUARANTINE, TRASH))

MAX_KEY_BYTES: Final = 4096
_PLAIN_NAME_BYTES: Final = 120
_FORBIDDEN: Final = frozenset(("__proto__", "constructor", "prototype"))
_JOURNAL = re.compile(r"journal-([1-9][0-9]{0,17})\.jsonl\Z")
_TEMPORARY = re.compile(r"\.tmp-[0-9a-f]{16}\Z")
_HASHED_NAME_BYTES = len("session-hash-.json") + 43
_HASHED = re.compile(r"session-hash-[A-Za-z0-9_-]{43}\.json\Z")
_PLAIN = re.compile(r"session-([A-Za-z0-9_-]+)\.json\Z")

# What String.prototype.trim removes; Python's strip() also takes 0x1C-0x1F and 0x85 and leaves U+FEFF.
JS_BLANKS: Final = (
    "\t\n\v\f\r \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)

# The lock file: a record of what is synced, single bytes for store-wide locks, then one byte a key.
SYNC_RECORD_AT: Final = 0
SYNC_LOCK_AT: Final = 1 << 20
CHECKPOINT_LOCK_AT: Final = (1 << 20) + 1
WRITERS_AT: Final = (1 << 20) + 2
"""Shared by every process that writes: who closes knows whether he is the last, and tidies the journal."""
PROBE_LOCKS_FROM: Final = 1 << 24
WAIT_MARKS_FROM: Final = 1 << 62
_KEY_LOCKS_FROM: Final = 1 << 32


def js_trim(text: str) -> str:
    """``text`` without the blanks that JavaScript's ``trim`` removes."""
    return text.strip(JS_BLANKS)


def store_path(path: str | os.PathLike[str]) -> tuple[str, str]:
    """The store directory and the legacy file that ``path`` stands for, both absolute.

    ``.../NAME.json`` and ``.../NAME.d`` name the same store.
    Raises ``InvalidPath`` for anything else.
    """
    text = os.path.abspath(os.path.expanduser(os.fspath(path)))
    if not isinstance(text, str):
        raise InvalidPath("the store path must be text", path=repr(path))
    stem, suffix = os.path.splitext(text)
    if suffix not in (".json", ".d") or not os.path.basename(stem) or "\0" in text:
        raise InvalidPath(
            f"{text} names no store: give .../NAME.json (a legacy file) or .../NAME.d (a directory)",
            path=text,
        )
    return stem + ".d", stem + ".json"


def normalise_key(key: object, rule: KeyRule) -> str:
    """``key`` under the store's key rule. Raises ``InvalidKey`` naming the reason."""
    if not isinstance(key, str):
        raise InvalidKey(f"session key {key!r} is not text", session=repr(key), reason="not text")
    text = js_trim(key).lower() if rule == "lowercase" else str.__str__(key)
    if not js_trim(text):
        raise InvalidKey("the session key is blank", session=key, reason="blank")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidKey(
            f"session key {key!r} has a lone surrogate", session=key, reason="lone surrogate"
        ) from None
    if "\0" in text:
        raise InvalidKey(f"session key {key!r} has a NUL", session=key, reason="NUL")
    if size > MAX_KEY_BYTES:
        raise InvalidKey(
            f"session key {key[:40]!r}... has {size} bytes, the limit is {MAX_KEY_BYTES}",
            session=key,
            reason="too long",
        )
    if text in _FORBIDDEN:
        raise InvalidKey(f"session key {key!r} is reserved in JavaScript", session=key, reason="reserved")
    return text


def session_file_names(key: str) -> tuple[str, ...]:
    """The names under which a session may stand, preferred one first."""
    data = key.encode()
    hashed = f"session-hash-{_base64url(hashlib.sha256(data).digest())}.json"
    if len(data) > _PLAIN_NAME_BYTES:
        return (hashed,)
    return f"session-{_base64url(data)}.json", hashed


def may_be_too_long(name: str) -> bool:
    """Whether a file system that holds a store may refuse this name as too long; hashed names it holds."""
    return len(name) > _HASHED_NAME_BYTES


def is_hashed_name(name: str) -> bool:
    """Whether a session file name is a hash, so that only the file tells its key."""
    return _HASHED.match(name) is not None


def is_session_name(name: str) -> bool:
    """Whether a name in ``entries/`` has the shape of a session file."""
    return is_hashed_name(name) or key_of_name(name) is not None


def key_of_name(name: str) -> str | None:
    """The key in a plain session file name; None for hashed and foreign names."""
    match = _PLAIN.match(name)
    if match is None:
        return None
    try:
        data = base64.urlsafe_b64decode(match[1] + "=" * (-len(match[1]) % 4))
        key = data.decode()
    except ValueError:
        return None
    # Other spellings of the same bytes would let two files claim one key.
    return key if key and len(data) <= _PLAIN_NAME_BYTES and session_file_names(key)[0] == name else None


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def journal_name(generation: int) -> str:
    """The file name of a journal."""
    return f"journal-{generation}.jsonl"


def journal_generation(name: str) -> int | None:
    """The generation in a journal's file name; None for other names."""
    match = _JOURNAL.match(name)
    return int(match[1]) if match else None


def temporary_name() -> str:
    """A fresh name for a file that is being written; 64 random bits and short enough for any system."""
    return f".tmp-{os.urandom(8).hex()}"


def is_temporary(name: str) -> bool:
    """Whether ``temporary_name`` made this name."""
    return _TEMPORARY.match(name) is not None


class KeyRef:
    """A session key under the store's rule, with its lock requests made ready."""

    __slots__ = ("key", "lock", "mark", "position", "turn_ends", "unlock")

    def __init__(self, key: str) -> None:
        self.key = key
        digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
        # 61 bits: offsets end at 2**63 - 1. Two keys that share a byte only queue for each other.
        self.position = _KEY_LOCKS_FROM + (int.from_bytes(digest, "big") >> 3)
        self.lock = fs.range_request(self.position)
        self.unlock = fs.range_request(self.position, unlock=True)
        self.mark = fs.range_request(self.position + WAIT_MARKS_FROM)
        self.turn_ends = 0.0
