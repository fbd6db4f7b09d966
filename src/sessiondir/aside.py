"""What stands beside a session's entry: its lease and its inbox. Pure.

In a session file:

    "latest": V                   the last commit that changed anything here, if not the entry
    "lease": {"token": V, "owner": TEXT, "at": MS, "holder": {...}}
    "inbox": {"messages": [{"v": V, "at": MS, "message": JSON, ...}], "done": [ID, ...]}

Operations on them commute with operations on the entry: neither changes the other's version.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Final

import msgspec

from sessiondir import codec
from sessiondir.terms import Holder, Term

REMEMBERED_IDS: Final = 256
"""How many given ids of messages that are gone an inbox remembers, to deliver none of them again."""

MESSAGE_OVERHEAD: Final = 512
"""Bytes that a message counts for beyond its own: about what surrounds it in a session file."""

_Raw = msgspec.Raw


class LeaseRecord(msgspec.Struct, frozen=True, rename={"at_ms": "at"}):
    """A lease: ``token`` is the version of the commit that granted it, ``at_ms`` when (epoch milliseconds)."""

    token: int
    owner: str
    at_ms: int
    holder: Holder


class MessageRecord(
    msgspec.Struct, frozen=True, omit_defaults=True, rename={"version": "v", "at_ms": "at", "body": "message"}
):
    """A message in an inbox; ``version`` is that of the commit that posted it and tells it from the others.

    ``body`` is compact JSON; ``given`` is the id that the sender gave, if any. ``holder`` is
    the consumer that took it, ``takes`` how often it was taken.
    """

    version: int
    at_ms: int
    body: _Raw
    given: str | None = msgspec.field(default=None, name="id")
    term: Term | None = None
    holder: Holder | None = None
    takes: int = 0

    @property
    def id(self) -> str:
        """The sender's id, or ``@`` and the version, which no other message of the store has."""
        return self.given if self.given is not None else f"@{self.version}"

    @property
    def size(self) -> int:
        """Bytes that it counts for."""
        return memoryview(self.body).nbytes + MESSAGE_OVERHEAD


class _Inbox(msgspec.Struct, omit_defaults=True):
    messages: list[MessageRecord] = []
    done: list[str] = []


class Aside(msgspec.Struct, frozen=True, eq=False):
    """The lease and inbox of one session as of commit ``version``. Never changed once made.

    ``size`` is what the messages count for, in bytes; ``done`` holds given ids of messages
    that are gone, oldest first.
    """

    version: int
    lease: LeaseRecord | None = None
    messages: tuple[MessageRecord, ...] = ()
    done: tuple[str, ...] = ()
    size: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to keep."""
        return self.lease is None and not self.messages and not self.done

    @property
    def weight(self) -> int:
        """Roughly its memory in bytes."""
        return 200 + self.size + 80 * len(self.done)

    def knows(self, given: str) -> bool:
        """Whether a message of this id is here, or was within what is remembered."""
        return given in self.done or any(message.id == given for message in self.messages)

    def without_entry(self, version: int) -> Aside:
        """What is left when commit ``version`` deletes the entry: ids are remembered only beside something."""
        if self.lease is None and not self.messages:
            return Aside(version)
        return Aside(version, self.lease, self.messages, self.done, self.size)


_NOTHING = Aside(0)


class LeaseChange(msgspec.Struct, frozen=True):
    """Grant a lease (no ``token``), renew it (``token`` and ``holder``) or let it go (no ``holder``)."""

    key: str
    token: int | None
    holder: Holder | None
    owner: str = ""
    at_ms: int = 0


class Post(msgspec.Struct, frozen=True):
    """Add a message to an inbox; ``body`` is compact JSON, ``at_ms`` epoch milliseconds."""

    key: str
    at_ms: int
    body: bytes
    given: str | None = None
    term: Term | None = None


class Take(msgspec.Struct, frozen=True):
    """Hand messages, named by their versions, to a consumer; without ``holder`` put them back."""

    key: str
    messages: tuple[int, ...]
    holder: Holder | None


class Ack(msgspec.Struct, frozen=True):
    """Remove messages, named by their versions."""

    key: str
    messages: tuple[int, ...]


AsideOperation = LeaseChange | Post | Take | Ack


def apply_aside(aside: Aside | None, op: AsideOperation, version: int) -> Aside:
    """What stands beside the entry after ``op`` of commit ``version``. O(messages)."""
    aside = aside if aside is not None else _NOTHING
    lease, messages, done, size = aside.lease, aside.messages, aside.done, aside.size
    if type(op) is LeaseChange:
        lease = _changed_lease(lease, op, version)
    elif type(op) is Post:
        if op.given is None or not aside.knows(op.given):
            message = MessageRecord(version, op.at_ms, _Raw(op.body), op.given, op.term)
            messages, size = (*messages, message), size + message.size
    elif type(op) is Take:
        taken, more = frozenset(op.messages), int(op.holder is not None)
        messages = tuple(
            msgspec.structs.replace(one, holder=op.holder, takes=one.takes + more) if one.version in taken else one
            for one in messages
        )
    elif type(op) is Ack:
        gone = frozenset(op.messages)
        left = [one for one in messages if one.version in gone]
        messages = tuple(one for one in messages if one.version not in gone)
        size -= sum(one.size for one in left)
        done = (*done, *(one.given for one in left if one.given is not None))[-REMEMBERED_IDS:]
    return Aside(version, lease, messages, done, size)


def _changed_lease(lease: LeaseRecord | None, op: LeaseChange, version: int) -> LeaseRecord | None:
    if op.token is None:
        assert op.holder is not None
        return LeaseRecord(version, op.owner, op.at_ms, op.holder)
    if lease is None or lease.token != op.token:
        return lease  # somebody else's by now
    return msgspec.structs.replace(lease, holder=op.holder) if op.holder is not None else None


# -- as JSON ------------------------------------------------------------------------------


def encode_aside(aside: Aside) -> list[tuple[str, bytes]]:
    """The members of a session file that hold it: name and JSON text."""
    members = []
    if aside.lease is not None:
        members.append(("lease", _encode(aside.lease)))
    if aside.messages or aside.done:
        members.append(("inbox", _encode(_Inbox(list(aside.messages), list(aside.done)))))
    return members


def parse_aside(lease: bytes | None, inbox: bytes | None, version: int) -> Aside:
    """From the members of a session file. Raises ``codec.DecodeError``."""
    record = _decode(lease, _lease_decoder) if lease is not None and lease != b"null" else None
    found = _decode(inbox, _inbox_decoder) if inbox is not None and inbox != b"null" else _Inbox()
    messages = tuple(
        msgspec.structs.replace(one, body=_Raw(codec.compact(bytes(one.body)))) for one in found.messages
    )
    return Aside(version, record, messages, tuple(found.done), sum(one.size for one in messages))


def encode_operation(op: AsideOperation) -> bytes:
    """An operation as a journal line holds it."""
    members: dict[str, object]
    if type(op) is Post:
        members = {"op": "post", "key": op.key, "at": op.at_ms}
        _add(members, id=op.given, term=op.term)
        members["message"] = _Raw(op.body)
    elif type(op) is LeaseChange:
        members = {"op": "lease", "key": op.key}
        if op.token is None:
            _add(members, at=op.at_ms, owner=op.owner)
        _add(members, token=op.token, holder=op.holder)
    elif type(op) is Take:
        members = {"op": "take", "key": op.key, "messages": op.messages}
        _add(members, holder=op.holder)
    else:
        assert type(op) is Ack
        members = {"op": "ack", "key": op.key, "messages": op.messages}
    return _encode(members)


def _add(members: dict[str, object], **more: object) -> None:
    members.update({name: value for name, value in more.items() if value is not None})


_encoder = msgspec.json.Encoder()


def _encode(value: Any) -> bytes:
    try:
        return _encoder.encode(value)
    except UnicodeEncodeError:  # a lone surrogate in a key, an id or an owner
        return codec.encode(_plain(value))


def _plain(value: Any) -> Any:
    if type(value) is _Raw:
        return codec.decode(bytes(value))
    if isinstance(value, msgspec.Struct):
        value = {
            shown: item
            for name, shown in zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True)
            if (item := getattr(value, name)) is not None
        }
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


# Made once, when the module is loaded: making one takes half as long as the rest of a first message.
_lease_decoder = msgspec.json.Decoder(LeaseRecord)
_inbox_decoder = msgspec.json.Decoder(_Inbox)


def _decode(data: bytes, decoder: msgspec.json.Decoder[Any]) -> Any:
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
        try:
            return msgspec.convert(_with_raw(codec.decode(data)), decoder.type)
        except codec.DecodeError:
            raise
        except (msgspec.MsgspecError, TypeError, AttributeError, ValueError) as other:
            raise codec.DecodeError(str(exc)) from other


def _with_raw(value: Any) -> Any:
    """Bodies as raw JSON, as the records want them, where msgspec could not read the text itself."""
    if isinstance(value, dict) and isinstance(value.get("messages"), list):
        for one in value["messages"]:
            if "message" in one:
                one["message"] = _Raw(codec.encode(one["message"]))
    return value


def numbers_of(messages: Iterable[MessageRecord], ids: Collection[str]) -> tuple[int, ...]:
    """The versions of those messages whose id is among ``ids``."""
    return tuple(one.version for one in messages if one.id in ids)
