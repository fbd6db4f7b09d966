"""The part of a store handle that has to do with messages; what becomes of them is in ``inbox``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sessiondir import deciding, inbox, terms
from sessiondir.aside import MessageRecord
from sessiondir.errors import InvalidOption
from sessiondir.inbox import InboxInfo, Message, check_limit, deliveries_of, ids_of, message_of, waiting
from sessiondir.leasing import StoreLeases
from sessiondir.model import Durability
from sessiondir.watch import Quiet

LOOK_S = 0.01
"""How often who waits for a message looks: one system call each time, some 20 microseconds."""


class StoreInbox(StoreLeases):
    """The part of a store handle that has to do with messages."""

    def post(
        self,
        key: str | Iterable[str],
        message: Any,
        *,
        id: str | None = None,  # noqa: A002 - what everybody calls it
        ttl: float | None = None,
        durability: Durability | None = None,
    ) -> str:
        """Add a message to the inbox of a session, or of several in one commit; its id.

        Args:
            key: session key, or several. A session need not exist: its messages wait for it.
            message: any JSON value.
            id: makes the call safe to repeat: an inbox that has a message of this id, or is
                among the last 256 given ids that it delivered, stays as it is. None: a new one,
                ``"@"`` and a number; such an id is refused here, so put your own word in front
                of it when you pass a message on.
            ttl: seconds after which nobody gets the message any more; None: it waits until
                it is taken (or as long as ``Limits.message_age_s`` says).
            durability: for this call; None takes the handle's.

        Waits for no session and no lease: the session may be held by an ``update`` all the
        while, and what that commits is not disturbed. Raises ``InboxFull``,
        ``InvalidMessage``, ``MessageTooLarge``, ``InvalidKey``; nothing was posted then.
        """
        body = inbox.encode_message(message, self._limits)
        given = inbox.check_id(id)
        ttl_ms = terms.term_ms(ttl) if ttl is not None else None
        wanted = [key] if isinstance(key, str) else list(key)
        if not wanted:
            raise InvalidOption("post() needs the key of at least one session")
        core = self._writing()
        keys = list(dict.fromkeys(core.ref(one).key for one in wanted))
        level = self._level(durability)
        committed = inbox.post(core, keys, body, given, ttl_ms, self._lock_timeout, level)
        if committed is None:
            assert given is not None
            # Whoever repeats a call wants to know that it is safe now.
            core.settle(deciding.last_commit(core), level, self._interval)
            return given
        core.settle(committed, level, self._interval)
        return given if given is not None else f"@{committed.version}"

    def peek(self, key: str, limit: int | None = None, *, taken: bool = False) -> list[Message]:
        """The messages that wait in the session's inbox, oldest first; changes nothing.

        Args:
            key: session key.
            limit: at most so many; None: all.
            taken: those, too, that a consumer has taken and not acknowledged yet.

        Takes no lock. One system call when cached, and a copy of what is returned.
        """
        check_limit(limit)
        moment = deciding.now(self._clock)
        doc = self._document(key)
        found: Sequence[MessageRecord] = waiting(doc, moment)
        if taken and doc is not None and doc.aside is not None:
            found = [one for one in doc.aside.messages if not inbox.is_expired(one, moment)]
        return [message_of(one, moment) for one in found[:limit]]

    def take(
        self,
        key: str,
        limit: int | None = None,
        *,
        ttl: float = 300.0,
        ack: bool = False,
        durability: Durability | None = None,
    ) -> list[Message]:
        """Take the oldest messages that wait, in one commit; nobody else gets them meanwhile.

        Args:
            key: session key.
            limit: at most so many; None: all.
            ttl: seconds within which to ``ack`` them. Afterwards, or as soon as this process
                has died, they wait again for the next ``take``.
            ack: acknowledge them at once: a consumer that dies over them has lost them.
            durability: of the acknowledgement; taking alone needs no sync.

        Returns the messages, oldest first; none if none wait. Errors as ``post``.
        """
        check_limit(limit)
        ttl_ms = None if ack else terms.term_ms(ttl)
        level: Durability = self._level(durability) if ack else "process"
        # Whoever looks again and again at an empty inbox must not take the commit lock.
        if not waiting(self._document(key), deciding.now(self._clock)):
            return []
        core = self._writing()
        records, committed = inbox.take(core, core.ref(key).key, limit, ttl_ms, self._lock_timeout, level)
        if committed is not None:
            core.settle(committed, level, self._interval)
        moment = deciding.now(self._clock)
        return [message_of(one, moment, just_taken=True) for one in records]

    def ack(
        self,
        key: str,
        messages: Message | str | Iterable[Message | str],
        *,
        durability: Durability | None = None,
    ) -> int:
        """Tell that messages, or their ids, are dealt with: they are removed; how many were there.

        Acknowledging again does nothing. One commit.
        """
        level = self._level(durability)
        if self._reading() is None:
            return 0
        core = self._writing()
        count, committed = inbox.acknowledge(core, core.ref(key).key, ids_of(messages), self._lock_timeout, level)
        if committed is not None:
            core.settle(committed, level, self._interval)
        return count

    def put_back(self, key: str, messages: Message | str | Iterable[Message | str]) -> int:
        """Let messages that this process took wait again, in their old places; how many there were.

        A message that was taken again since stays taken; an id alone stands for whichever delivery.
        """
        if self._reading() is None:
            return 0
        core = self._writing()
        count, committed = inbox.put_back(core, core.ref(key).key, deliveries_of(messages), self._lock_timeout)
        self._settle_process(committed)
        return count

    @contextmanager
    def taking(self, key: str, limit: int | None = None, *, ttl: float = 300.0) -> Iterator[list[Message]]:
        """Take messages for a block: acknowledged when it ends, put back when it raises."""
        messages = self.take(key, limit, ttl=ttl)
        try:
            yield messages
        except BaseException:
            if messages:
                self.put_back(key, messages)
            raise
        if messages:
            self.ack(key, messages)

    def wait_inbox(self, key: str, timeout: float | None = None) -> list[Message]:
        """Wait until messages wait in the session's inbox, and return them as ``peek`` does.

        None of them after ``timeout`` seconds (None: never), or when the handle is closed. A
        message is seen within some 10 ms of its post, whichever process posted it.
        """
        quiet = Quiet(self._clock, timeout)
        try:
            while not self._closed:
                found = self.peek(key)
                if found or quiet.is_over():
                    return found
                self._clock.sleep(LOOK_S)
        except Exception:
            if not self._closed:  # else by another thread, in the middle of a look
                raise
        return []

    def inboxes(self) -> list[InboxInfo]:
        """All inboxes in which something is, by key. O(sessions)."""
        moment = deciding.now(self._clock)
        found = (inbox.inbox_info(doc, moment) for doc in self._documents_beside())
        return sorted((one for one in found if one is not None), key=lambda one: one.key)

    def _level(self, durability: Durability | None) -> Durability:
        level = durability or self._durability
        if level not in ("power", "process"):
            raise InvalidOption(f"durability must be 'power' or 'process', not {durability!r}")
        return level
