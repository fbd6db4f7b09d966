"""Who gets a heartbeat message over WhatsApp."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from sessiondir import jsjson
from sessiondir.sessions.canonical import Scope
from sessiondir.sessions.channels import Channels
from sessiondir.sessions.keys import AGENTLESS
from sessiondir.sessions.numbers import phone_number
from sessiondir.sessions.values import member, number

Source = Literal["flag", "all", "session-single", "session-ambiguous", "allowFrom"]

_GROUP_MARKS: Final = (":group:", ":channel:", "@g.us")
_EVERYONE: Final = "*"


@dataclass(frozen=True, slots=True)
class SessionRecipient:
    """A person with whom there is a WhatsApp session: the newest one's key, the number, ``updatedAt``."""

    key: str
    to: str
    updated_at: int | float


@dataclass(frozen=True, slots=True)
class Recipients:
    """The numbers to send to, and how they were chosen.

    ``source``: ``"flag"`` asked for; ``"all"``; ``"session-single"`` the only one;
    ``"session-ambiguous"`` several, of which the caller has to choose; ``"allowFrom"`` the allow
    list, for want of sessions (it may be empty).
    """

    numbers: tuple[str, ...]
    source: Source


def session_recipients(entries: Mapping[str, Any], *, scope: Scope = "per-sender") -> list[SessionRecipient]:
    """The people with a WhatsApp session, the latest first. O(n log n).

    Args:
        entries: entries or summaries of the main agent's store.
        scope: under ``"global"`` sessions tell nothing of people.

    Groups, ``global``, ``unknown`` and ``cron:`` keys are passed over. A number that several
    sessions share is named once, for its latest session.
    """
    if scope == "global":
        return []
    found = []
    for key in jsjson.iteration_order(entries):
        if key in AGENTLESS or key.startswith("cron:") or any(mark in key for mark in _GROUP_MARKS):
            continue
        entry = entries[key]
        to = member(entry, "lastTo")
        if Channels.built_in(member(entry, "lastChannel")) != "whatsapp" or not isinstance(to, str) or not to:
            continue
        dialled = phone_number(to)
        if len(dialled) > 1:
            found.append(SessionRecipient(key, dialled, number(member(entry, "updatedAt")) or 0))
    found.sort(key=lambda one: -one.updated_at)
    first: dict[str, SessionRecipient] = {}
    for one in found:
        first.setdefault(one.to, one)
    return list(first.values())


def choose_recipients(
    entries: Mapping[str, Any],
    *,
    to: str | None = None,
    everyone: bool = False,
    configured: Iterable[object] = (),
    paired: Iterable[object] = (),
    scope: Scope = "per-sender",
) -> Recipients:
    """Whom to send a heartbeat to.

    Args:
        entries: entries or summaries of the main agent's store.
        to: a number to send to, whatever else is known.
        everyone: all people with a session, then everyone on the allow list.
        configured: allow list of the configuration; ``"*"`` in it says nothing here.
        paired: numbers that were paired with the default account.
        scope: as for ``session_recipients``.

    With an allow list only people on it are chosen from the sessions.
    """
    if to:
        return Recipients((phone_number(to),), "flag")
    sessions = [one.to for one in session_recipients(entries, scope=scope)]
    listed = [phone_number(value) for value in configured if value != _EVERYONE]
    allowed = list(dict.fromkeys([*listed, *(phone_number(value) for value in paired)]))
    if everyone:
        return Recipients(tuple(dict.fromkeys([*sessions, *allowed])), "all")
    chosen = [one for one in sessions if one in allowed] if allowed else sessions
    if not chosen:
        return Recipients(tuple(allowed), "allowFrom")
    return Recipients(tuple(chosen), "session-single" if len(chosen) == 1 else "session-ambiguous")
