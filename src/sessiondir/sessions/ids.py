"""Account and agent ids in the one spelling that keys and routes use."""

from __future__ import annotations

import re
from typing import Final

from sessiondir.sessions.values import trimmed

DEFAULT_ACCOUNT: Final = "default"
DEFAULT_AGENT: Final = "main"

_VALID = re.compile("[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_FOREIGN = re.compile("[^a-z0-9_-]+")
_LONGEST: Final = 64
_RESERVED: Final = frozenset(("__proto__", "prototype", "constructor"))


def account_id(value: object) -> str | None:
    """An account id in its stored spelling; None if nothing usable is left of it.

    Lower case; runs of other characters than letters, digits, ``_`` and ``-`` become a dash;
    at most 64 characters.
    """
    canonical = _canonical(trimmed(value))
    return canonical if canonical not in _RESERVED else None


def account_or_default(value: object) -> str:
    """``account_id``, and ``"default"`` where there is none."""
    return account_id(value) or DEFAULT_ACCOUNT


def agent_id(value: object) -> str:
    """An agent id in its stored spelling, ``"main"`` if nothing is left of it; rules as ``account_id``."""
    return _canonical(trimmed(value)) or DEFAULT_AGENT


def is_agent_id(value: object) -> bool:
    """Whether ``value``, its blanks aside, is an agent id as it stands, in any case."""
    return _VALID.fullmatch(trimmed(value)) is not None


def _canonical(text: str) -> str | None:
    if _VALID.fullmatch(text):
        return text.lower()
    return _FOREIGN.sub("-", text.lower()).strip("-")[:_LONGEST] or None
