"""What one line of a journal says, once it is parsed.

Apart from ``journal``, which may be compiled: msgspec makes these from JSON itself.
"""

from __future__ import annotations

import msgspec

from sessiondir import codec
from sessiondir.aside import Ack, LeaseChange, Post, Take
from sessiondir.errors import FormatTooNew
from sessiondir.operations import Delete, Operation, Patch, Put
from sessiondir.terms import Holder, Term


class DamagedLine(ValueError):
    """A complete line that is not what was written."""


class OperationForm(msgspec.Struct):
    """An operation as it stands in a line."""

    op: str
    key: str
    entry: dict[str, msgspec.Raw] | None = None
    set: dict[str, msgspec.Raw] | None = None
    unset: list[str] | None = None
    base: int | None = None
    message: msgspec.Raw = msgspec.Raw(b"null")
    id: str | None = None
    term: Term | None = None
    owner: str = ""
    token: int | None = None
    holder: Holder | None = None
    messages: list[int] = []
    at: int = 0


class LineForm(msgspec.Struct):
    """A line as it stands in the journal, whatever it is."""

    v: int
    t: int = 0
    ops: list[OperationForm] = []
    next: str | None = None
    journal: int | None = None
    store: str | None = None
    generation: int | None = None
    base: int | None = None
    keys: str | None = None


class Line(msgspec.Struct):
    """One line of a journal: a commit, or the name of the ``next`` journal."""

    version: int
    at_ms: int
    ops: list[OperationForm]
    next: str | None

    def operations(self) -> list[Operation]:
        """The commit's operations; ``DamagedLine`` if a value in them is not JSON."""
        try:
            return [_operation(op) for op in self.ops]
        except codec.DecodeError as exc:
            raise DamagedLine(str(exc)) from exc

    def plain_patch(self, key: str, base: int) -> dict[str, msgspec.Raw] | None:
        """What the line sets, if all it does is to set fields of this session at version ``base``."""
        op = self.ops[0] if len(self.ops) == 1 else None
        if op is None or op.op != "patch" or op.key != key or op.base != base or op.unset:
            return None
        return op.set or {}


def _operation(op: OperationForm) -> Operation:
    if op.op == "patch":
        return Patch(op.key, codec.fields_from_raw(op.set or {}), tuple(op.unset or ()), op.base)
    if op.op == "put":
        return Put(op.key, codec.fields_from_raw(op.entry or {}))
    if op.op == "delete":
        return Delete(op.key)
    return _aside_operation(op)


def _aside_operation(op: OperationForm) -> Operation:
    if op.op == "post":
        return Post(op.key, op.at, codec.compact(bytes(op.message)), op.id, op.term)
    if op.op == "take":
        return Take(op.key, tuple(op.messages), op.holder)
    if op.op == "ack":
        return Ack(op.key, tuple(op.messages))
    if op.op == "lease":
        if op.token is None and op.holder is None:
            raise DamagedLine("a lease without holder and token")
        return LeaseChange(op.key, op.token, op.holder, op.owner, op.at)
    # Skipping what we do not know would give wrong entries without a word.
    raise FormatTooNew(
        f"the journal has operation {op.op!r}; use a newer sessiondir",
        path="journal",
        found=op.op,
        supported="put, patch, delete, lease, post, take, ack",
    )
