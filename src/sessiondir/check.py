"""Verifying a store: everything that is not as it should be, and nothing changed.

Reads with descriptors of its own and takes no lock, so it may run beside live writers;
what they are just doing shows as notes at most.
"""

from __future__ import annotations

import contextlib
import errno
import stat

from sessiondir import journal, layout, opening, quarantine, steps, trash
from sessiondir.clock import Clock
from sessiondir.directory import StoreDirectory
from sessiondir.entries import SessionFiles, ignores_case
from sessiondir.errors import (
    CorruptFile,
    InvalidKey,
    StoreError,
    UnreadableFile,
    UnsafeDirectory,
    storage_error,
)
from sessiondir.fs import FileSystem
from sessiondir.listfile import ListingFile, UnusableListing, info_of, stamp
from sessiondir.model import Finding, KeyRule, Limits, SessionInfo
from sessiondir.view import View


def check_store(fs: FileSystem, clock: Clock, path: str, limits: Limits) -> list[Finding]:
    """Findings about the store at ``path``, errors first; empty for a sound or missing store.

    Raises ``FormatTooNew`` and ``UnreadableFile`` for a state file that cannot be judged.
    Cost: reads every byte of the store once.
    """
    try:
        directory = StoreDirectory(fs, path)
    except FileNotFoundError:
        return []
    except OSError as exc:
        if isinstance(exc, StoreError):
            raise
        raise storage_error(exc, path, "read") from exc
    checking = _Check(directory, clock, limits)
    try:
        findings = checking.run()
    except OSError as exc:
        if isinstance(exc, StoreError):
            raise
        raise storage_error(exc, path, "read") from exc
    finally:
        checking.close()
        directory.close()
    order = {"error": 0, "warning": 1, "note": 2}
    return sorted(findings, key=lambda finding: (order[finding.level], finding.path))


class _Check:
    def __init__(self, directory: StoreDirectory, clock: Clock, limits: Limits) -> None:
        self._directory = directory
        self._fs = directory.fs
        self._clock = clock
        self._limits = limits
        self._files = SessionFiles(
            directory, clock, limits.entry_bytes + limits.inbox_bytes, hashed_only=ignores_case(directory)
        )
        self._view: View | None = None
        self._findings: list[Finding] = []
        self._named: dict[str, str] = {}
        self._infos: dict[str, SessionInfo] = {}

    def close(self) -> None:
        """Close the journal now: whoever keeps a logged exception would keep it open."""
        if self._view is not None and self._view.journal is not None:
            self._view.journal.close()

    def _add(self, level: str, name: str, reason: str, session: str | None = None) -> None:
        path = f"{self._directory.path}/{name}" if name else self._directory.path
        self._findings.append(Finding(level, path, reason, session))  # type: ignore[arg-type]

    def run(self) -> list[Finding]:
        try:
            self._directory.require_safe()
        except UnsafeDirectory as exc:
            self._add("warning", "", exc.reason)
        found = opening.look(self._directory, self._clock, self._files)
        self._files.default_version = found.state.default_version
        view = self._view = View(self._directory, self._files, found.state.version, self._limits.cache_bytes)
        # A writer that died while it made the store leaves the like, and no commit in it.
        half_made = opening.is_half_made(self._directory, self._files, found)
        for name, reason in found.damaged.items():
            self._add("note" if half_made else "error", name, reason)
        if not found.state_is_stored and layout.STATE not in found.damaged and self._looks_used():
            level = "note" if half_made else "error"
            self._add(level, layout.STATE, "missing; it is made anew by the next writer")
        for name in found.outdated:
            self._add("warning", name, "journal of before a layout-1 program replaced the state file")
        if found.journal is not None:
            self._check_journal(view, found.journal)
        elif found.state.journal is not None and found.state.journal not in found.damaged:
            self._add("error", found.state.journal, "missing; commits since the last checkpoint are lost")
        rule = view.journal.header.keys if view.journal is not None else found.state.keys
        self._check_names(view, found)
        self._check_sessions(view, rule)
        self._check_listing(found)
        for name in quarantine.kept_names(self._directory):
            self._add("warning", f"{layout.QUARANTINE}/{name}", "set aside earlier; see the note beside it")
        self._check_trash(view)
        return self._findings

    def _looks_used(self) -> bool:
        return bool(journal.journal_names(self._directory)) or next(self._files.names(), None) is not None

    def _check_journal(self, view: View, file: journal.JournalFile) -> None:
        if file.damage:
            self._add("error", file.name, f"first line: {file.damage}")
        view.start(file)
        view.settle()
        current = view.journal
        assert current is not None
        for (generation, offset), reason in view.damaged.items():
            self._add("error", layout.journal_name(generation), f"damaged line at byte {offset}: {reason}")
        if view.finished:
            self._add("warning", current.name, "finished, and the journal that it names is not there")
        if view.torn:
            self._add("note", current.name, f"torn tail at byte {view.end}; the next writer cuts it")
        elif b"\n" in current.check_tail(view.end):
            self._add(
                "warning",
                current.name,
                f"lines behind the end at byte {view.end}; the next writer sets them aside",
            )

    def _check_names(self, view: View, found: opening.Opening) -> None:
        current = view.journal
        for name in self._fs.listdir(self._directory.fd):
            generation = layout.journal_generation(name)
            if generation is not None:
                if current is not None and generation != current.generation and name not in found.damaged:
                    self._add("note", name, "not in use; the next checkpoint that starts a journal removes it")
            elif layout.is_temporary(name):
                self._add("note", name, "temporary file of a writer")
            elif name not in layout.KNOWN_NAMES and not name.startswith(f"{layout.LOCK}."):
                self._add("warning", name, "not part of the store; left alone")

    def _check_sessions(self, view: View, rule: KeyRule) -> None:
        for below in (layout.ENTRIES, layout.WAITING):
            for name in self._files.all_names(below):
                steps.breathe()
                if layout.is_temporary(name):
                    self._add("note", f"{below}/{name}", "temporary file of a writer")
                elif not layout.is_session_name(name):
                    self._add("warning", f"{below}/{name}", "not a session file; left alone")
                else:
                    self._check_file(name, below, rule)
        for key in list(view.pending):
            try:
                view.peek(key)
            except CorruptFile as exc:
                if exc.path not in {finding.path for finding in self._findings}:
                    self._add("error", layout.ENTRIES, exc.reason, key)
            except StoreError as exc:
                self._add("error", layout.ENTRIES, str(exc), key)
        for key in view.lost:
            # What was committed while a copy was made, or the file was removed; the session is whole.
            self._add("warning", layout.ENTRIES, "commits are missing before others in the journal", key)

    def _check_file(self, name: str, below: str, rule: KeyRule) -> None:
        shown = f"{below}/{name}"
        try:
            doc = self._files.read_name(name, below)
        except FileNotFoundError:
            return  # deleted while we looked
        except (CorruptFile, UnreadableFile) as exc:
            reason = exc.reason if isinstance(exc, CorruptFile) else str(exc)
            self._add("error", shown, reason, layout.key_of_name(name))
            return
        if below == layout.ENTRIES:
            self._infos[doc.key] = info_of(doc)
        other = self._named.setdefault(doc.key, shown)
        if other != shown:
            if below == layout.WAITING and other.startswith(layout.ENTRIES):
                self._add(
                    "note", shown, "left by a checkpoint that did not end; the session has its entry", doc.key
                )
            else:
                self._add("warning", shown, f"{other.rpartition('/')[2]} holds the same session", doc.key)
        try:
            if layout.normalise_key(doc.key, rule) != doc.key:
                self._add(
                    "warning",
                    shown,
                    f"the key is not what the {rule} rule makes of it: it is never found, run: sessiondir migrate",
                    doc.key,
                )
        except InvalidKey as exc:
            self._add("warning", shown, f"no valid session key: {exc.reason}", doc.key)
        if doc.size > self._limits.entry_bytes:
            self._add(
                "warning",
                shown,
                f"entry of {doc.size} bytes, the limit is {self._limits.entry_bytes}",
                doc.key,
            )
        mode = self._mode(name, below)
        if mode & 0o077:
            self._add("warning", shown, f"others may access it (mode {mode:04o}); run: chmod 600", doc.key)

    def _check_listing(self, found: opening.Opening) -> None:
        """Compare the listing file, if listings rely on it, with the session files."""
        state, journal_file = found.state, found.journal
        mark = state.listing
        if mark is None or journal_file is None or state.inode != journal_file.inode or state.position == 0:
            return
        try:
            with contextlib.closing(ListingFile(self._directory, mark)) as file:
                rows = file.everything()
        except UnusableListing as exc:
            rows, problem = None, str(exc)
        if stamp(self._directory) != mark.entries:
            return  # not relied on, or a checkpoint went on while we looked
        if rows is None:
            self._add("note", layout.LISTING, f"not used, listings read the session files instead: {problem}")
        elif rows != self._infos:
            key = next(key for key in {**rows, **self._infos} if rows.get(key) != self._infos.get(key))
            reason = "does not show what the file of a session says, which was overwritten in place; delete it"
            self._add("warning", layout.LISTING, reason, key)

    def _check_trash(self, view: View) -> None:
        try:
            names = trash.names(self._directory)
        except UnsafeDirectory as exc:
            self._add("warning", layout.TRASH, exc.reason)
            return
        for name in names:
            shown = f"{layout.TRASH}/{name}"
            if layout.is_temporary(name):
                self._add("note", shown, "temporary file of a writer")
            elif trash.removed_at_ms(name) is None:
                self._add("warning", shown, "not a removed session; left alone")
            else:
                self._check_removed(view, name, shown)

    def _check_removed(self, view: View, name: str, shown: str) -> None:
        try:
            item, _ = trash.read(self._directory, name, trash.file_limit(self._limits))
            live = view.peek(item.key)
        except FileNotFoundError:
            return  # restored or emptied while we looked
        except (CorruptFile, UnreadableFile) as exc:
            self._add("error", shown, exc.reason if isinstance(exc, CorruptFile) else str(exc))
            return
        except (StoreError, UnicodeEncodeError):
            return  # the session's own finding says why
        if live.fields is not None and live.version == item.version:
            self._add(
                "note", shown, "its session was not removed after all; the next maintenance removes it", item.key
            )

    def _mode(self, name: str, below: str) -> int:
        try:
            dir_fd = self._directory.subdirectory(below)
            return stat.S_IMODE(self._fs.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode)
        except OSError as exc:
            if exc.errno != errno.ENOENT:
                raise
            return 0
