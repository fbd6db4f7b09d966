"""Names of the files beside a store: transcripts, their archives and copies. Pure functions.

    <session id>.jsonl                          a transcript
    <session id>-topic-<topic>.jsonl            one of a topic within a chat
    ....jsonl.deleted.<time>                    an archive; also .reset. and .bak.
    ....jsonl.deleted.<time>.zst                a compressed archive
    ....jsonl.bak-<number>-<epoch ms>           a backup that the agent program made itself
    <session id>.checkpoint.<uuid>.jsonl        a copy from before a compaction
    <session id>.trajectory.jsonl               a trace of runs, not a conversation
    <session id>.trajectory-path.json           where that trace is; neither a transcript nor a store
    NAME.json.bak.<epoch ms>                    a legacy store that was taken over or rotated

``<time>`` is ``2026-03-20T04-00-00.000Z``: ISO in UTC with dashes for colons.
"""

from __future__ import annotations

import calendar
import re
import time
import urllib.parse
from dataclasses import dataclass
from typing import Final, Literal, get_args

from sessiondir.errors import InvalidTranscript

Reason = Literal["deleted", "reset", "bak"]
REASONS: Final[tuple[Reason, ...]] = get_args(Reason)
Kind = Literal["transcript", "archive", "backup", "checkpoint", "trajectory", "store backup"]

SUFFIX: Final = ".jsonl"
COMPRESSED: Final = ".zst"
_MAX_NAME_BYTES: Final = 255 - len(".deleted.2026-03-20T04-00-00.000Z.zst")
_POINTER: Final = ".trajectory-path.json"
_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}\Z", re.IGNORECASE | re.ASCII)
_UUID: Final = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_FIRST_UUID = re.compile(f"({_UUID})", re.IGNORECASE)
_ARCHIVE = re.compile(
    r"(?P<base>.+)\.(?P<reason>deleted|reset|bak)\."
    r"(?P<time>\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d)(?:\.(?P<ms>\d{3}))?Z\Z",
    re.ASCII | re.DOTALL,
)
_BACKUP = re.compile(r"(?P<base>.+\.jsonl)\.bak-\d+-(?P<ms>\d{1,15})\Z", re.ASCII | re.DOTALL)
_STORE_BACKUP = re.compile(r".+\.json\.bak\.(?P<ms>\d{1,15})\Z", re.ASCII | re.DOTALL)
_CHECKPOINT = re.compile(rf"(?P<id>.+)\.checkpoint\.{_UUID}\Z", re.IGNORECASE)
_TOPIC = re.compile(r"(?P<id>.+?)-topic-(?P<topic>.+)\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class FileName:
    """What a file name says.

    ``session_id`` is None where the name holds none. ``reason`` and ``at_ms`` (epoch ms, from the name)
    are those of archives; backups have a time, too. ``base`` is the transcript's name that an
    archive or backup was made of.
    """

    name: str
    kind: Kind
    session_id: str | None = None
    topic: str | None = None
    reason: Reason | None = None
    at_ms: int | None = None
    base: str = ""
    compressed: bool = False

    @property
    def is_primary(self) -> bool:
        """Whether the agent program takes it for a live transcript: any name that ends in ``.jsonl``."""
        return self.name.endswith(SUFFIX)

    @property
    def counts_for_usage(self) -> bool:
        """Whether it holds messages that no other file holds: transcripts, deleted and reset ones."""
        return self.kind == "transcript" or (self.kind == "archive" and self.reason in ("deleted", "reset"))


def is_session_id(value: object) -> bool:
    """Whether ``value`` can be the id of a session with a transcript."""
    return isinstance(value, str) and _ID.match(value) is not None


def transcript_name(session_id: object, topic: int | str | None = None) -> str:
    """The file name of a session's transcript. Raises ``InvalidTranscript``."""
    if not isinstance(session_id, str) or not is_session_id(session_id):
        reason = "a session id has letters, digits, '.', '_' and '-', at most 128, the first a letter or digit"
        raise InvalidTranscript(
            f"{session_id!r} names no transcript: {reason}", name=str(session_id), reason=reason
        )
    # As encodeURIComponent does it.
    suffix = "" if topic is None else "-topic-" + urllib.parse.quote(str(topic), safe="!~*'()", errors="replace")
    name = f"{session_id}{suffix}{SUFFIX}"
    if len(name) > _MAX_NAME_BYTES:
        reason = f"the file name would have {len(name)} bytes, the limit is {_MAX_NAME_BYTES}"
        raise InvalidTranscript(f"{session_id!r} names no transcript: {reason}", name=session_id, reason=reason)
    return name


def is_transcript_name(name: str) -> bool:
    """Whether a file of this name, directly in the folder, may be appended to."""
    plain = "/" not in name and "\0" not in name and not name.startswith(".")
    return (
        plain
        and name.endswith(SUFFIX)
        and name != SUFFIX
        and len(name.encode(errors="replace")) <= _MAX_NAME_BYTES
    )


def is_pointer(name: str) -> bool:
    """Whether a name is that of the small file that says where a session's trace is."""
    return name.endswith(_POINTER) and is_session_id(name.removesuffix(_POINTER))


def parse(name: str) -> FileName | None:
    """What a file name in a sessions folder means; None for names that are none of ours."""
    found = _parse_archive(name)
    if found is None and not name.endswith(COMPRESSED):
        found = _parse_backup(name) or _parse_primary(name)
    return found


def _parse_archive(name: str) -> FileName | None:
    match = _ARCHIVE.match(name.removesuffix(COMPRESSED))
    at_ms = _epoch_ms(match["time"], match["ms"]) if match is not None else None
    if match is None or at_ms is None:
        return None
    base = match["base"]
    session_id, topic = _id_and_topic(base) if base.endswith(SUFFIX) else (None, None)
    reason: Reason = match["reason"]  # type: ignore[assignment]
    return FileName(name, "archive", session_id, topic, reason, at_ms, base, name.endswith(COMPRESSED))


def _parse_backup(name: str) -> FileName | None:
    if (match := _BACKUP.match(name)) is not None:
        return FileName(name, "backup", *_id_and_topic(match["base"]), None, int(match["ms"]), match["base"])
    if (match := _STORE_BACKUP.match(name)) is not None:
        return FileName(name, "store backup", at_ms=int(match["ms"]))
    return None


def _parse_primary(name: str) -> FileName | None:
    if not is_transcript_name(name):
        return None
    stem = name.removesuffix(SUFFIX)
    if stem.endswith(".trajectory"):
        return FileName(name, "trajectory", _id_or_none(stem.removesuffix(".trajectory")))
    if (match := _CHECKPOINT.match(stem)) is not None:
        return FileName(name, "checkpoint", _id_or_none(match["id"]))
    return FileName(name, "transcript", *_id_and_topic(name))


def _id_or_none(text: str) -> str | None:
    return text if is_session_id(text) else None


def _id_and_topic(name: str) -> tuple[str | None, str | None]:
    stem = name.removesuffix(SUFFIX)
    match = _TOPIC.match(stem)
    if match is not None and is_session_id(match["id"]):
        return match["id"], urllib.parse.unquote(match["topic"])
    return _id_or_none(stem), None


def archive_name(name: str, reason: Reason, at_ms: int) -> str:
    """The name of an archive of ``name``, in the legacy form."""
    seconds, ms = divmod(at_ms, 1000)
    return f"{name}.{reason}.{time.strftime('%Y-%m-%dT%H-%M-%S', time.gmtime(seconds))}.{ms:03d}Z"


def _epoch_ms(text: str, ms: str | None) -> int | None:
    try:
        at = time.strptime(text, "%Y-%m-%dT%H-%M-%S")
    except ValueError:
        return None
    return calendar.timegm(at) * 1000 + int(ms or 0)


def uuid_in(name: str) -> str | None:
    """The first generated id in a file name, in lower case; None if there is none."""
    match = _FIRST_UUID.search(name)
    return match[1].lower() if match else None
