"""What the exit codes of the command mean; ``docs/cli.md`` holds the same table."""

from __future__ import annotations

from typing import Final

OK: Final = 0
UNEXPECTED: Final = 1
USAGE: Final = 2
DAMAGE_FOUND: Final = 20
REFUSED: Final = 22
SYSTEM: Final = 30
INTERRUPTED: Final = 130
READER_GONE: Final = 141

EXIT_CODES: Final[dict[int, str]] = {
    OK: "done",
    UNEXPECTED: "unexpected failure, most likely a defect; SESSIONDIR_DEBUG=1 shows the traceback",
    USAGE: "wrong use: option, path, key, field or value",
    10: "no such store, session or field",
    11: "a lock stayed busy for the whole timeout; trying again may help",
    12: "a version moved since it was read; nothing was changed",
    13: "the journal no longer reaches back that far",
    14: "the store was written by a newer release; nothing was touched",
    15: "the directory is not safe to use: others could change it, or it is not what it should be",
    16: "locks cannot be relied on in this file system",
    17: "the store or the medium is read-only",
    18: "somebody else holds the lease, or it was lost; nothing was changed",
    19: "the inbox is full; nothing was posted",
    DAMAGE_FOUND: "stored data is damaged",
    21: "migration or rollback was refused or failed; the original still stands",
    REFUSED: "a clock is not believed, so nothing was removed",
    SYSTEM: "the operating system refused: disk full, input or output error",
    INTERRUPTED: "interrupted from the keyboard",
    READER_GONE: "whoever read the output went away",
}


def epilog() -> str:
    """The table as it stands below ``sessiondir --help``; the mark keeps click from re-wrapping it."""
    lines = [f"  {code:>3}  {meaning}" for code, meaning in EXIT_CODES.items()]
    return "\n".join(["\b", "Exit codes (any other means failure, too):", *lines])
