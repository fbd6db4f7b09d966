"""One change of one session, from taking its lock to letting it go: steps 1 to 6 of the commit protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from sessiondir.changes import Compute, version_of
from sessiondir.commit import Committed, Moved, Verify
from sessiondir.document import Document
from sessiondir.layout import KeyRef
from sessiondir.locks import KeyLocks
from sessiondir.model import Durability
from sessiondir.operations import Operation

T = TypeVar("T")
Append = Callable[[Sequence[Operation], Mapping[str, int | None], float, Durability, Verify | None], Committed]
"""``Core.append``."""


def change(
    locks: KeyLocks,
    ref: KeyRef,
    load: Callable[[str], Document],
    compute: Compute[T],
    append: Append,
    timeout_s: float,
    durability: Durability,
    verify: Verify | None,
) -> tuple[Committed | None, T]:
    """Run ``compute`` on the document of ``ref`` and append what it says, until nothing moved between.

    The commit, still to be settled, or None if nothing was to be changed, and what ``compute``
    gave as the result. The session is held meanwhile and free when this returns or raises;
    errors as those of ``KeyLocks.acquire``, ``load``, ``compute`` and ``append``.
    """
    mine = locks.claim()
    try:
        try:
            locks.acquire(ref, mine, timeout_s)
            while True:
                doc = load(ref.key)
                operation, result = compute(doc)
                if operation is None:
                    return None, result
                expected: dict[str, int | None] = {ref.key: version_of(doc)}
                try:
                    return append((operation,), expected, timeout_s, durability, verify), result
                except Moved:
                    pass
        finally:
            locks.release(ref, mine)
    except BaseException:
        locks.release(ref, mine)  # the first time may have been interrupted
        raise
