"""Whether a file that lies where a store may lie is one, by what is in it; reading only.

A template such as ``.../{agentId}.json`` fits whatever lies in that directory: configuration,
credentials, caches. What nobody named is a store only if it is empty or holds a session with
both members that every session has, a text ``sessionId`` and a number ``updatedAt``.
"""

from __future__ import annotations

import errno
import stat
from collections.abc import Iterator
from typing import Final

from sessiondir import codec
from sessiondir.errors import storage_error
from sessiondir.fs import READ_FLAGS, FileSystem
from sessiondir.legacy import JSON5_BYTES
from sessiondir.legacyparse import entry_fields, is_surely_session, json_of_json5, repaired
from sessiondir.members import MemberTooLong, split_members

_PART_BYTES: Final = 1 << 18
_LONGEST_MEMBER: Final = 64 << 20
_NO_SESSION: Final = "nothing in it is a session (a text sessionId and a number updatedAt)"


def why_no_store(fs: FileSystem, path: str) -> str:
    """Why the file at ``path`` is not taken for a legacy store; "" if it is one, or holds nothing.

    Raises ``UnreadableFile``. Cost: up to the first session, all of a file that has none.
    """
    try:
        fd = fs.open(path, READ_FLAGS)
    except OSError as exc:
        if exc.errno in (errno.ELOOP, errno.ENXIO):
            return "not a regular file"
        raise storage_error(exc, path, "read") from exc
    try:
        status = fs.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            return "not a regular file"
        try:
            return _judge(_parts(fs, fd))
        except codec.DecodeError as exc:
            if status.st_size > JSON5_BYTES:
                return f"not JSON ({exc})"
            return _judge_json5(fs.read_all(fd, JSON5_BYTES), exc)
    except OverflowError:
        return "it grows while it is read"
    except OSError as exc:
        raise storage_error(exc, path, "read") from exc
    finally:
        fs.close(fd)


def _parts(fs: FileSystem, fd: int) -> Iterator[bytes]:
    at = 0
    while part := fs.pread(fd, _PART_BYTES, at):
        at += len(part)
        yield part


def _judge_json5(data: bytes, not_json: codec.DecodeError) -> str:
    if not data.strip():
        return ""
    try:
        return _judge(iter(json_of_json5(data)[:1]))
    except (codec.DecodeError, RecursionError):
        return f"not JSON ({not_json})"


def _judge(parts: Iterator[bytes]) -> str:
    is_empty = True
    try:
        for member in split_members(parts, _LONGEST_MEMBER):
            is_empty = False
            if member.raw.startswith(b"{") and is_surely_session(entry_fields(repaired(member.raw), member.name)):
                return ""
    except MemberTooLong:
        return f"a member of it is longer than {_LONGEST_MEMBER} bytes"
    return "" if is_empty else _NO_SESSION
