"""Inboxes: messages for a session that anyone may add without its lock or its lease.

A message waits until a consumer *takes* it, which is a commit, and *acknowledges* it, which
is another. A consumer that dies in between, or does not acknowledge within its term, loses
nothing: the message waits again. So every message is delivered at least once, and its ``id``
tells a second delivery from a second message.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sessiondir import codec, deciding, procfs, terms
from sessiondir.aside import MESSAGE_OVERHEAD, Ack, Aside, MessageRecord, Post, Take, numbers_of
from sessiondir.commit import Committed
from sessiondir.core import Core
from sessiondir.deciding import Documents, commit_decided
from sessiondir.document import Document
from sessiondir.errors import InboxFull, InvalidMessage, InvalidOption, MessageTooLarge
from sessiondir.model import Durability, Limits
from sessiondir.operations import Operation
from sessiondir.terms import Moment

_log = logging.getLogger("sessiondir")
_LONGEST_ID = 200
_OWN_ID = re.compile("@[0-9]+")
_NOTHING = Aside(0)


@dataclass(frozen=True, slots=True)
class Message:
    """A message of an inbox, and the caller's own copy of what it says.

    Attributes:
        id: what the sender gave, or one that no other message of the store has; the same
            at every delivery.
        body: what was posted, any JSON value.
        posted_at_ms: epoch milliseconds by the sender's clock.
        version: the commit that posted it; messages of an inbox stand in this order.
        deliveries: how often it was taken, this time included; above 1 a consumer
            before this one did not acknowledge it.
        taken_by: process that has it now; None while it waits.
    """

    id: str
    body: Any
    posted_at_ms: int
    version: int
    deliveries: int
    taken_by: int | None


@dataclass(frozen=True, slots=True)
class InboxInfo:
    """What an inbox holds: how many messages, how many of them are taken, their bytes.

    ``oldest_ms`` is when the oldest was posted (epoch milliseconds); ``has_entry`` tells
    whether the session exists.
    """

    key: str
    messages: int
    taken: int
    size: int
    oldest_ms: int
    has_entry: bool


def encode_message(message: object, limits: Limits) -> bytes:
    """A message as compact JSON. Raises ``InvalidMessage`` or ``MessageTooLarge``."""
    try:
        body = codec.encode(message, "message")
    except codec.EncodeError as exc:
        raise InvalidMessage(f"{exc}; nothing was posted", where=exc.where, reason=exc.reason) from exc
    if len(body) > limits.message_bytes:
        raise MessageTooLarge(
            f"the message has {len(body)} bytes, the limit is {limits.message_bytes}; nothing was posted: keep "
            "large results in a file or an entry, and post where they are",
            where="",
            reason="too large",
            size=len(body),
            limit=limits.message_bytes,
        )
    return body


def check_id(given: object) -> str | None:
    """``given`` if it can be a message's id, else ``InvalidMessage``.

    One that the store itself may give is refused: acknowledging the one message would remove both.
    """
    if given is None:
        return None
    if isinstance(given, str) and 0 < len(given) <= _LONGEST_ID:
        if _OWN_ID.fullmatch(given) is None:
            return given
        raise InvalidMessage(
            f"the id {given!r} is of the form that the store gives to messages without one; nothing was posted: "
            "put something of yours in front of it",
            where="id",
            reason="not an id",
        )
    raise InvalidMessage(
        f"a message id is text of 1 to {_LONGEST_ID} characters, not {given!r:.80}; nothing was posted",
        where="id",
        reason="not an id",
    )


def post(
    core: Core,
    keys: Sequence[str],
    body: bytes,
    given: str | None,
    ttl_ms: int | None,
    timeout_s: float,
    durability: Durability,
) -> Committed | None:
    """Add a message to the inboxes of ``keys`` that do not know its id; None if all of them do.

    One commit. Raises ``InboxFull``.
    """
    moment = deciding.now(core.clock)
    longest_s = core.limits.message_age_s
    if longest_s is not None:
        longest_ms = terms.term_ms(longest_s)
        ttl_ms = longest_ms if ttl_ms is None else min(ttl_ms, longest_ms)
    term = terms.begin_term(ttl_ms, moment) if ttl_ms is not None else None

    def decide(documents: Documents) -> Sequence[Operation]:
        operations: list[Operation] = []
        for key in keys:
            aside = documents[key].aside or _NOTHING
            if given is None or not aside.knows(given):
                operations += _drop_expired(key, aside, moment)
                _require_room(key, aside, len(body), moment, core.limits)
                operations.append(Post(key, moment.wall_ms, body, given, term))
        return operations

    return commit_decided(core, keys, decide, timeout_s, durability)


def _require_room(key: str, aside: Aside, size: int, moment: Moment, limits: Limits) -> None:
    expired = [one for one in aside.messages if is_expired(one, moment)]
    standing = [one for one in aside.messages if one not in expired] if expired else aside.messages
    total = aside.size - sum(one.size for one in expired)
    if len(standing) < limits.inbox_messages and total + size + MESSAGE_OVERHEAD <= limits.inbox_bytes:
        return
    oldest_ms = standing[0].at_ms if standing else moment.wall_ms
    raise InboxFull(
        f"the inbox of session {key!r} holds {len(standing)} messages ({total} bytes), the limits are "
        f"{limits.inbox_messages} and {limits.inbox_bytes}; nothing was posted: its consumer has to take and "
        "acknowledge some, see sessiondir inbox",
        session=key,
        messages=len(standing),
        size=total,
        oldest_ms=oldest_ms,
    )


def is_expired(record: MessageRecord, moment: Moment) -> bool:
    """Whether nobody gets the message any more."""
    return record.term is not None and terms.is_over(record.term, moment)


def _drop_expired(key: str, aside: Aside, moment: Moment) -> list[Operation]:
    """The operation that removes what nobody gets any more; told to the log, because nobody got it."""
    expired = [one for one in aside.messages if is_expired(one, moment)]
    if not expired:
        return []
    _log.warning("inbox of session %r: dropped, because their term is over: %s", key, [one.id for one in expired])
    return [Ack(key, tuple(one.version for one in expired))]


def waiting(doc: Document | None, moment: Moment) -> list[MessageRecord]:
    """The messages that a consumer may take now, oldest first."""
    if doc is None or doc.aside is None:
        return []
    return [
        one
        for one in doc.aside.messages
        if not is_expired(one, moment)
        and (one.holder is None or terms.why_free(one.holder, moment, deciding.runs) is not None)
    ]


def take(
    core: Core, key: str, limit: int | None, ttl_ms: int | None, timeout_s: float, durability: Durability
) -> tuple[list[MessageRecord], Committed | None]:
    """Hand the oldest waiting messages to this process; without ``ttl_ms`` they are acknowledged at once."""
    moment = deciding.now(core.clock)
    holder = deciding.held_by_us(ttl_ms, moment) if ttl_ms is not None else None
    taken: list[MessageRecord] = []

    def decide(documents: Documents) -> Sequence[Operation]:
        taken[:] = waiting(documents[key], moment)[:limit]
        numbers = tuple(one.version for one in taken)
        operations = _drop_expired(key, documents[key].aside or _NOTHING, moment)
        if numbers:
            operations.append(Take(key, numbers, holder) if holder is not None else Ack(key, numbers))
        return operations

    committed = commit_decided(core, (key,), decide, timeout_s, durability)
    return taken, committed


def acknowledge(
    core: Core, key: str, ids: frozenset[str], timeout_s: float, durability: Durability
) -> tuple[int, Committed | None]:
    """Remove messages by their ids; how many there were."""
    return _change(core, key, ids, lambda numbers: Ack(key, numbers), timeout_s, durability)


def put_back(
    core: Core, key: str, deliveries: Mapping[str, int | None], timeout_s: float
) -> tuple[int, Committed | None]:
    """Let messages wait again that this process has taken; how many there were.

    By id which delivery is meant, None: whichever. What another consumer of this process has taken since stays
    taken, if the delivery is told.
    """
    ours = procfs.process_identity()

    def is_meant(one: MessageRecord) -> bool:
        if one.holder is None or one.holder.process != ours:
            return False
        return deliveries.get(one.id) in (None, one.takes)

    return _change(
        core,
        key,
        frozenset(deliveries),
        lambda numbers: Take(key, numbers, None),
        timeout_s,
        "process",
        is_meant,
    )


def _change(
    core: Core,
    key: str,
    ids: frozenset[str],
    operation: Callable[[tuple[int, ...]], Operation],
    timeout_s: float,
    durability: Durability,
    concerns: Callable[[MessageRecord], bool] | None = None,
) -> tuple[int, Committed | None]:
    found: tuple[int, ...] = ()

    def decide(documents: Documents) -> Sequence[Operation]:
        nonlocal found
        aside = documents[key].aside or _NOTHING
        found = numbers_of((one for one in aside.messages if concerns is None or concerns(one)), ids)
        return (operation(found),) if found else ()

    committed = commit_decided(core, (key,), decide, timeout_s, durability)
    return len(found), committed


def message_of(record: MessageRecord, moment: Moment, *, just_taken: bool = False) -> Message:
    """What a caller gets of a message."""
    taken_by = procfs.process_identity()[0] if just_taken else None
    holder = record.holder
    if not just_taken and holder is not None and terms.why_free(holder, moment, deciding.runs) is None:
        taken_by = holder.pid
    return Message(
        record.id,
        codec.decode(bytes(record.body)),
        record.at_ms,
        record.version,
        record.takes + just_taken,
        taken_by,
    )


def inbox_info(doc: Document, moment: Moment) -> InboxInfo | None:
    """What there is to tell of an inbox; None if it is empty."""
    messages = doc.aside.messages if doc.aside is not None else ()
    if not messages:
        return None
    return InboxInfo(
        doc.key,
        len(messages),
        len(messages) - len(waiting(doc, moment)),
        sum(one.size - MESSAGE_OVERHEAD for one in messages),
        messages[0].at_ms,
        doc.fields is not None,
    )


def ids_of(messages: Message | str | Iterable[Message | str]) -> frozenset[str]:
    """The ids of messages, given as such or as messages, one or several."""
    return frozenset(deliveries_of(messages))


def deliveries_of(messages: Message | str | Iterable[Message | str]) -> dict[str, int | None]:
    """By the id of each message which of its deliveries is meant; None where only the id was given."""
    if isinstance(messages, (str, Message)):
        messages = (messages,)
    found: dict[str, int | None] = {}
    for one in messages:
        if isinstance(one, Message):
            found[one.id] = one.deliveries
        else:
            found[one] = None
    return found


def check_limit(limit: object) -> None:
    """Raise ``InvalidOption`` unless ``limit`` is a positive whole number or None."""
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise InvalidOption(f"limit must be a positive whole number or None, not {limit!r}")
