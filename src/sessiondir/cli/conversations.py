"""Finding transcripts for the commands that read them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from sessiondir.cli import output
from sessiondir.errors import SessionNotFound, StoreError, TranscriptNotFound

if TYPE_CHECKING:
    from sessiondir.store import SessionStore
    from sessiondir.transcripts import Record, TranscriptFile, TranscriptFolder, TranscriptReader

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_STEP_BYTES = 1 << 20


class SessionNames:
    """Keys of sessions by session id; of several keys with one id the shortest."""

    def __init__(self, store: SessionStore) -> None:
        self._keys: dict[str, str] = {}
        for key, entry in store.snapshot().items():
            session_id = entry.get("sessionId")
            if isinstance(session_id, str) and len(key) < len(self._keys.get(session_id, key + " ")):
                self._keys[session_id] = key

    def of(self, file: TranscriptFile) -> str:
        """The key that a file belongs to, else its session id, else its name."""
        session_id = file.told.session_id
        return file.name if session_id is None else self._keys.get(session_id, session_id)


def find_transcript(
    store: SessionStore, folder: TranscriptFolder, session: str, *, may_be_missing: bool = False
) -> TranscriptReader:
    """The transcript that ``session`` means: a key, a file name in the folder, or a session id.

    Raises ``SessionNotFound``, and ``TranscriptNotFound`` unless it ``may_be_missing``.
    """
    from sessiondir.transcripts import names

    entry = store.get(session)
    if entry is not None:
        found: TranscriptReader = folder.of(entry)
        if not found.exists() and not may_be_missing:
            raise TranscriptNotFound(
                f"session {session!r} has no transcript: there is no {found.path}; "
                "programs write it with the first answer",
                path=found.path,
            )
        return found
    told = names.parse(session)
    if told is not None and told.kind != "store backup" and (found := folder.file(session)).exists():
        return found
    if names.is_session_id(session) and (found := folder.transcript(session)).exists():
        return found
    raise SessionNotFound(
        f"there is no session {session!r} in {store.path}, and no transcript of that name or session id beside it",
        session=session,
    )


def since_option(command: Callable[..., None]) -> Callable[..., None]:
    """``--since WHEN`` as the argument ``since_ms``: epoch ms or None."""
    option = click.option(
        "--since",
        "since_ms",
        metavar="WHEN",
        callback=_parse_since,
        help="Only records from then on: 7d, 12h, 2026-03-20, 2026-03-20T08:00.  [UTC]",
    )
    return option(command)


def _parse_since(_context: click.Context, _parameter: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    number, unit = value[:-1], value[-1:]
    if unit in _UNITS_S and number.isdecimal() and len(number) < 8:
        return int((time.time() - int(number) * _UNITS_S[unit]) * 1000)
    try:
        at = datetime.fromisoformat(value)
        return int((at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{value!r} is neither a time span (7d, 12h, 30m) nor a date (2026-03-20)"
        ) from None


class Reading:
    """Every line of some files, with a progress bar on standard error if that is a terminal.

    A file that cannot be read is warned of, and the rest of it left out.
    """

    def __init__(self, folder: TranscriptFolder, files: list[TranscriptFile], doing: str) -> None:
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        self._folder = folder
        self._files = files
        target = output.console(err=True)
        self._shows = target.is_terminal and not target.is_dumb_terminal
        self._bar = Progress(
            *(TextColumn(doing), BarColumn(), DownloadColumn(), TimeRemainingColumn()),
            console=target,
            transient=True,
            disable=not self._shows,
            # Data must not go where the bar goes.
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._bar.add_task(doing, total=sum(file.size for file in files))

    def __iter__(self) -> Iterator[tuple[TranscriptFile, Record]]:
        done = 0
        with self._bar:
            for file in self._files:
                reported = 0
                try:
                    for record in self._folder.file(file.name).scan():
                        yield file, record
                        if record.end - reported >= _STEP_BYTES:
                            reported = record.end
                            # What a compressed archive holds is longer than the file.
                            self._bar.update(self._task, completed=done + min(reported, file.size))
                except StoreError as exc:
                    with self.paused():
                        output.warn(f"{exc}; the rest of the file was left out")
                done += file.size
                self._bar.update(self._task, completed=done)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Without the bar for as long as something else is printed."""
        if not self._shows:
            yield
            return
        self._bar.stop()
        try:
            yield
        finally:
            self._bar.start()
