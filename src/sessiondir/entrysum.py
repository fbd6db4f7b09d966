"""What stands for the version of an entry that no commit has stored. Pure."""

from __future__ import annotations

import hashlib
from typing import Final

from sessiondir import codec

_LEAST: Final = 1 << 52


def entry_sum(fields: codec.Fields) -> int:
    """A check sum of an entry, to be used as its version: the same for the same entry. O(entry).

    No store gets that far by committing, so it is never taken for a commit's number; and it is
    below 2**53, so every program can hold it exactly.
    """
    digest = hashlib.blake2b(codec.encode_fields(fields), digest_size=6).digest()
    return _LEAST + int.from_bytes(digest)


def is_entry_sum(version: int) -> bool:
    """Whether ``version`` is such a check sum, not the number of a commit."""
    return version >= _LEAST
