"""Reading one session for the commands that show it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sessiondir import codec
from sessiondir.entrysum import entry_sum, is_entry_sum
from sessiondir.errors import ConflictError, SessionNotFound

if TYPE_CHECKING:
    from sessiondir.store import SessionStore

_TRIES = 20


def not_found(store: SessionStore, key: str) -> SessionNotFound:
    """The error for a session that is not there."""
    return SessionNotFound(f"there is no session {key!r} in {store.path}", session=key)


def normal_prefix(store: SessionStore, prefix: str) -> str:
    """``prefix`` as keys that begin with it are stored: lower-cased where the store's key rule says so."""
    lower = prefix.lower()
    # The question costs a look at every session file, and is seldom worth asking.
    return lower if lower != prefix and store.info().key_rule == "lowercase" else prefix


def read_session(store: SessionStore, key: str) -> tuple[dict[str, Any], int]:
    """The entry of a session and its version, which belong together. Raises ``SessionNotFound``."""
    for _ in range(_TRIES):
        version = store.version_of(key)
        entry = store.get(key)
        if entry is None or version is None:
            raise not_found(store, key)
        if store.version_of(key) == version:
            return entry, version
    raise ConflictError(
        f"session {key!r} changed during each of {_TRIES} reads",
        session=key,
        expected=version,
        actual=version,
    )


def _is_same_entry(store: SessionStore, key: str, version: int) -> bool:
    """Whether ``version`` was read from a legacy file before its migration, and the entry is still the same."""
    entry = store.get(key) if is_entry_sum(version) else None
    return entry is not None and entry_sum(codec.to_fields(entry)) == version


def find_session(store: SessionStore, key: str) -> tuple[dict[str, Any] | None, int | None]:
    """As ``read_session``; nothing and no version if there is no entry."""
    try:
        return read_session(store, key)
    except SessionNotFound:
        return None, None


def check_version(store: SessionStore, key: str, if_version: int | None) -> None:
    """Raise ``ConflictError`` if the session's version is not ``if_version`` (0: no such session)."""
    actual = store.version_of(key) or 0
    if if_version is None or actual == if_version or _is_same_entry(store, key, if_version):
        return
    found = f"is at version {actual}" if actual else "does not exist"
    wanted = f"version {if_version}" if if_version else "no such session"
    raise ConflictError(
        f"session {key!r} {found}, expected {wanted}; nothing was changed: look at it again",
        session=key,
        expected=if_version,
        actual=actual,
    )
