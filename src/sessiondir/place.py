"""The directory in which a legacy file and its store lie, while one takes the other's place.

Everything is done relative to one descriptor of that directory. Names beside the store:

    NAME.json.bak.<ms>          a legacy file that was taken over
    NAME.json.migrated.<ms>     a second name (hard link) of the first of them, which no rotation knows
    NAME.d.bak.<ms>             a store that was rolled back
    NAME.d.staging-<16 hex>     a store being built; its builder holds its flock
    NAME.d.rolled-back          marker: the store was rolled back, do not migrate by yourself
    NAME.json.tmp-<16 hex>, NAME.json.lock-<16 hex>     a file being written
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from sessiondir import codec, durable, layout
from sessiondir.clock import Clock
from sessiondir.directory import StoreDirectory
from sessiondir.errors import CorruptFile, StoreError
from sessiondir.fs import LOCK_EX, LOCK_NB, READ_FLAGS, FileSystem
from sessiondir.legacy import ANY_SIZE, LegacyFile, index_legacy
from sessiondir.legacylock import NO_LINKS, LegacyLock, alone, legacy_lock
from sessiondir.signature import Signature, signature_of
from sessiondir.state import State, read_state

_log = logging.getLogger("sessiondir")
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_HEX = "[0-9a-f]{16}"
_MARKER_KIND = "sessiondir-rolled-back"
_MARKER_LIMIT = 1 << 16
_DEEPEST = 4
_SMALL_BYTES = 1 << 10
"""Of a file that is looked into wherever it is met."""


@dataclass(frozen=True, slots=True)
class Marker:
    """What the marker says of the file that a rollback writes; zero and "" if it is unreadable."""

    size: int
    sha256: str

    def describes(self, file: LegacyFile) -> bool:
        """Whether ``file`` is, to the byte, what the rollback wrote."""
        return bool(self.sha256) and (self.size, self.sha256) == (file.size, file.sha256)


class Place:
    """A directory held open; close it after use.

    Raises ``FileNotFoundError`` if the directory does not exist.
    """

    def __init__(self, fs: FileSystem, clock: Clock, store_path: str, legacy_path: str) -> None:
        self.fs = fs
        self.clock = clock
        self.path = os.path.dirname(store_path)
        self.store_path, self.store_name = store_path, os.path.basename(store_path)
        self.legacy_path, self.legacy_name = legacy_path, os.path.basename(legacy_path)
        self._marker_name = f"{self.store_name}.rolled-back"
        self.fd = fs.open(self.path, _DIRECTORY)

    def close(self) -> None:
        """Close the descriptor, which frees ``alone``."""
        with contextlib.suppress(OSError):  # nothing was written through it that could be lost
            self.fs.close(self.fd)

    # -- locks ----------------------------------------------------------------------------

    @contextlib.contextmanager
    def alone(self, timeout_s: float) -> Iterator[None]:
        """Hold off other migrations and rollbacks here. Raises ``LockTimeout``. Not re-entrant."""
        # The one who is in may itself be waiting for the legacy lock for as long as we are told to wait.
        with alone(self.fs, self.clock, self.fd, self.path, timeout_s * 3):
            yield

    @contextlib.contextmanager
    def locked(self, timeout_s: float) -> Iterator[LegacyLock]:
        """Hold off the legacy program too. Raises ``LockTimeout``."""
        path = f"{self.legacy_path}.lock"
        with (
            self.alone(timeout_s),
            legacy_lock(self.fs, self.clock, self.fd, path, timeout_s) as lock,
        ):
            yield lock

    def clear_stale_lock(self) -> None:
        """Remove a legacy lock whose holder is dead; call inside ``alone`` and not inside ``locked``."""
        LegacyLock(self.fs, self.clock, self.fd, f"{self.legacy_path}.lock").clear_stale()

    # -- names ----------------------------------------------------------------------------

    def status(self, name: str) -> os.stat_result | None:
        """What stands under a name, not followed; None if nothing does."""
        try:
            return self.fs.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def fresh_name(self, prefix: str) -> str:
        """``<prefix>.<epoch ms>`` that nothing has yet; call inside ``alone``."""
        at_ms = int(self.clock.now() * 1000)
        while self.status(f"{prefix}.{at_ms}") is not None:
            at_ms += 1
        return f"{prefix}.{at_ms}"

    def temporary_name(self) -> str:
        """A fresh name for a file being written, which ``sweep`` recognises."""
        return f"{self.legacy_name}.tmp-{os.urandom(8).hex()}"

    def rename(self, old: str, new: str) -> None:
        """Rename within the directory, durably."""
        self.fs.rename(old, new, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        self.sync()

    def retire(self, expected: Signature | None, *, keep: bool = True) -> str | None:
        """Move the legacy file to a backup name, durably; that name. Call inside ``locked``.

        Args:
            expected: the file's signature. If another one turns out to have been moved, it is
                put back and the result is None.
            keep: give it a second name as well, outside of what the legacy program counts and
                removes: it keeps three ``.bak.`` files, and clears them away first when space is short.
        """
        second = self._name_twice() if keep else None
        backup = self.fresh_name(f"{self.legacy_name}.bak")
        self.fs.rename(self.legacy_name, backup, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        status = self.status(backup)
        if status is not None and signature_of(status) != expected:
            # A program that took no notice of the lock was quicker: its file is not in the store.
            if second is not None:
                self.fs.unlink(second, dir_fd=self.fd)
            self._put_back(backup)
            return None
        self.sync()
        return backup

    def _put_back(self, backup: str) -> None:
        """Give a file that was moved too soon its name again, unless there is yet another by now."""
        try:
            self.fs.link(backup, self.legacy_name, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        except FileExistsError:
            return
        except OSError as exc:
            if exc.errno not in NO_LINKS:
                raise
            if self.status(self.legacy_name) is None:
                self.fs.rename(backup, self.legacy_name, src_dir_fd=self.fd, dst_dir_fd=self.fd)
            return
        self.fs.unlink(backup, dir_fd=self.fd)

    def _name_twice(self) -> str | None:
        """Give the legacy file its second name; None if it has one, or the file system has no links."""
        status = self.status(self.legacy_name)
        if status is None or (status.st_nlink > 1 and self._has_second_name(status)):
            return None
        name = self.fresh_name(f"{self.legacy_name}.migrated")
        try:
            self.fs.link(self.legacy_name, name, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        except OSError as exc:
            if exc.errno not in NO_LINKS:
                raise
            return None
        return name

    def _has_second_name(self, status: os.stat_result) -> bool:
        return any((other := self.status(name)) and other.st_ino == status.st_ino for name in self.second_names())

    def second_names(self) -> list[str]:
        """Names that only migrations gave to legacy files that were taken over, see ``retire``."""
        prefix = f"{self.legacy_name}.migrated."
        return sorted(name for name in self.fs.listdir(self.fd) if name.startswith(prefix))

    def former_stores(self) -> list[str]:
        """Names of the directories that were rolled back."""
        pattern = re.compile(re.escape(self.store_name) + r"\.bak\.[0-9]{1,18}\Z")
        return sorted(name for name in self.fs.listdir(self.fd) if pattern.match(name))

    def backups(self) -> list[str]:
        """Names of the legacy files that were taken over, oldest first; second names not counted."""
        pattern = re.compile(re.escape(self.legacy_name) + r"\.bak\.([0-9]{1,18})\Z")
        found = [(int(match[1]), name) for name in self.fs.listdir(self.fd) if (match := pattern.match(name))]
        return [name for _, name in sorted(found)]

    def sync(self) -> None:
        """Make the names durable."""
        durable.sync_directory(self.fs, self.fd)

    # -- the store ------------------------------------------------------------------------

    def store_is_active(self) -> bool:
        """Whether the directory holds a store, which then counts instead of the legacy file.

        An empty directory does not. Raises ``UnsafeDirectory`` if something else stands there.
        """
        try:
            directory = StoreDirectory(self.fs, self.store_path)
        except FileNotFoundError:
            return False
        try:
            names = self.fs.listdir(directory.fd)
            if layout.STATE in names or any(layout.journal_generation(name) for name in names):
                return True
            if layout.ENTRIES not in names:
                return False
            return any(map(layout.is_session_name, self.fs.listdir(directory.subdirectory(layout.ENTRIES))))
        finally:
            directory.close()

    def store_state(self) -> State | None:
        """The store's state file; None if it is missing or damaged."""
        try:
            directory = StoreDirectory(self.fs, self.store_path)
        except FileNotFoundError:
            return None
        try:
            return read_state(directory)
        except CorruptFile:
            return None
        finally:
            directory.close()

    def legacy_file_is_late(self) -> bool:
        """Whether the file beside an active store is most likely none of ours, by its size alone.

        While a store changes hands, and after a run that was killed then, both are there.
        """
        status = self.status(self.legacy_name)
        if status is None:
            return False
        state, marker = self.store_state(), self.marker()
        ours = {(state.migrated_from or {}).get("bytes") if state is not None else None}
        if marker is not None:
            ours.add(marker.size)
        return status.st_size not in ours and not (
            status.st_size <= _SMALL_BYTES and self._legacy_file_has_nothing()
        )

    def _legacy_file_has_nothing(self) -> bool:
        """Whether it is blank or ``{}``, as a new installation has it, and as migrating leaves it."""
        try:
            found = index_legacy(self.fs, self.legacy_path, ANY_SIZE)
        except StoreError:
            return False
        return found.status == "empty" and not found.legacy_count

    # -- the marker -----------------------------------------------------------------------

    def marker(self) -> Marker | None:
        """The marker that a rollback left; None if there is none."""
        try:
            fd = self.fs.open(self._marker_name, READ_FLAGS, dir_fd=self.fd)
        except FileNotFoundError:
            return None
        except OSError:
            return Marker(0, "")
        try:
            value = codec.decode(self.fs.pread(fd, _MARKER_LIMIT, 0))
        except (OSError, codec.DecodeError):
            value = None
        finally:
            self.fs.close(fd)
        file = value.get("file") if isinstance(value, dict) and value.get("kind") == _MARKER_KIND else None
        size, digest = (file.get("bytes"), file.get("sha256")) if isinstance(file, dict) else (0, "")
        return Marker(size, digest) if type(size) is int and isinstance(digest, str) else Marker(0, "")

    def write_marker(
        self, size: int, digest: str, backup: str, version: int, owner: tuple[int, int] | None
    ) -> None:
        """Say which file a rollback is about to write, and where the store then goes."""
        value = {
            "kind": _MARKER_KIND,
            "at": int(self.clock.now() * 1000),
            "file": {"name": self.legacy_name, "bytes": size, "sha256": digest},
            "directory": backup,
            "version": version,
        }
        temporary = self.temporary_name()
        durable.write_new(self.fs, self.fd, temporary, codec.indent(codec.encode(value)), owner)
        try:
            self.rename(temporary, self._marker_name)
        except OSError:
            with contextlib.suppress(OSError):
                self.fs.unlink(temporary, dir_fd=self.fd)
            raise

    def remove_marker(self) -> None:
        """Remove the marker, if there is one."""
        try:
            self.fs.unlink(self._marker_name, dir_fd=self.fd)
        except FileNotFoundError:
            return
        self.sync()

    # -- what dead runs left --------------------------------------------------------------

    def sweep(self) -> None:
        """Remove what runs that died have left; call inside ``alone``. Failing only leaves it there.

        Files are written only inside ``alone``, so all that are found are abandoned; staging
        directories are built outside of it, by someone who holds their lock.
        """
        staging = re.compile(re.escape(self.store_name) + rf"\.staging-{_HEX}\Z")
        file = re.compile(re.escape(self.legacy_name) + rf"\.(tmp|lock)-{_HEX}\Z")
        for name in self.fs.listdir(self.fd):
            try:
                if staging.match(name):
                    self._remove_if_abandoned(name)
                elif file.match(name):
                    self.fs.unlink(name, dir_fd=self.fd)
            except OSError as exc:
                _log.warning(
                    "%s/%s, left by an interrupted run, could not be removed: %s", self.path, name, str(exc)
                )

    def _remove_if_abandoned(self, name: str) -> None:
        fd = self.fs.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=self.fd)
        try:
            # A builder holds this lock from the beginning, and its death frees it.
            self.fs.flock(fd, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            return
        finally:
            self.fs.close(fd)
        self.remove_tree(name)

    def remove_tree(self, name: str) -> None:
        """Remove a directory of our own making; no link is followed."""
        self._remove(name, self.fd, 0)

    def _remove(self, name: str, dir_fd: int, depth: int) -> None:
        fs = self.fs
        if not stat.S_ISDIR(fs.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode) or depth > _DEEPEST:
            fs.unlink(name, dir_fd=dir_fd)
            return
        fd = fs.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=dir_fd)
        try:
            for inner in fs.listdir(fd):
                self._remove(inner, fd, depth + 1)
        finally:
            fs.close(fd)
        fs.rmdir(name, dir_fd=dir_fd)
