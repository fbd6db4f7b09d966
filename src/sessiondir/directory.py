"""The store's directories, opened once and safely.

All file work is relative to the descriptors held here, so renaming or swapping a path
component later cannot lead anything outside the store. No symbolic link is followed, and
every opened file is checked to be a regular one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator

from sessiondir import durable, layout
from sessiondir.errors import CorruptFile, UnreadableFile, UnsafeDirectory, storage_error
from sessiondir.fs import FileSystem

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK a FIFO in place of a file would block the open for ever.
_FILE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class StoreDirectory:
    """Descriptors of a store directory and of what lies in it.

    Args:
        fs: the file system.
        path: absolute path of the ``NAME.d`` directory, for opening and for messages.
        follow: the directory itself may be a symbolic link; what lies in it never may.

    Raises ``FileNotFoundError`` if there is no such directory, ``UnsafeDirectory`` if
    something else stands there.
    """

    def __init__(self, fs: FileSystem, path: str, *, follow: bool = False) -> None:
        self.fs = fs
        self.path = path
        self._subdirectories: dict[str, int] = {}
        # A final dot is what is behind a link, so that no-follow holds for everything else.
        self.fd = self._open_directory(f"{path}/." if follow else path, None)
        try:
            self.status = fs.fstat(self.fd)
        except BaseException:
            self.close()
            raise
        self.identity = (self.status.st_dev, self.status.st_ino)
        # Files made by root in a user's store must stay readable for that user.
        ours = os.geteuid()
        foreign = ours == 0 and self.status.st_uid != 0
        self.owner = (self.status.st_uid, self.status.st_gid) if foreign else None

    def _open_directory(self, name: str, dir_fd: int | None) -> int:
        try:
            return self.fs.open(name, _DIRECTORY, dir_fd=dir_fd)
        except OSError as exc:
            if exc.errno in (errno.ENOTDIR, errno.ELOOP):
                reason = "a symbolic link" if self._is_link(name, dir_fd) else "not a directory"
                path = name if dir_fd is None else f"{self.path}/{name}"
                raise UnsafeDirectory(
                    f"{path} is {reason}; move it away or give the real directory", path=path, reason=reason
                ) from exc
            raise

    def _is_link(self, name: str, dir_fd: int | None) -> bool:
        with contextlib.suppress(OSError):
            return stat.S_ISLNK(self.fs.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode)
        return False

    def file_path(self, name: str, below: str | None = None) -> str:
        """The path of a file for messages."""
        return f"{self.path}/{below}/{name}" if below else f"{self.path}/{name}"

    def subdirectory(self, name: str, *, create: bool = False) -> int:
        """The descriptor of a sub-directory, opened once; ``FileNotFoundError`` unless ``create``."""
        fd = self._subdirectories.get(name)
        if fd is not None:
            return fd
        try:
            fd = self._open_directory(name, self.fd)
        except FileNotFoundError:
            if not create:
                raise
            fd = self._create_subdirectory(name)
        return self._subdirectories.setdefault(name, fd)

    def _create_subdirectory(self, name: str) -> int:
        with contextlib.suppress(FileExistsError):
            self.fs.mkdir(name, 0o700, dir_fd=self.fd)
        fd = self._open_directory(name, self.fd)
        try:
            self.fs.fchmod(fd, 0o700)
            if self.owner is not None:
                self.fs.fchown(fd, *self.owner)
            durable.sync_directory(self.fs, self.fd)
        except BaseException:
            self.fs.close(fd)
            raise
        return fd

    def require_safe(self) -> None:
        """Raise ``UnsafeDirectory`` if another user could change the store under us."""
        self._require_safe(self.path, self.fs.fstat(self.fd))
        for name in (layout.ENTRIES, layout.WAITING):
            with contextlib.suppress(FileNotFoundError):
                self._require_safe(self.file_path(name), self.fs.fstat(self.subdirectory(name)))

    def _require_safe(self, path: str, status: os.stat_result) -> None:
        ours = os.geteuid()
        reason = ""
        if ours not in (status.st_uid, 0):
            reason = f"owned by user {status.st_uid}, not by {ours}"
        elif status.st_mode & 0o022:
            reason = f"writable session-store directory (mode {stat.S_IMODE(status.st_mode):04o})"
        if reason:
            raise UnsafeDirectory(
                f"{path}: {reason}; nothing was written, run: chmod 700 '{path}'", path=path, reason=reason
            )

    @contextlib.contextmanager
    def open_file(self, name: str, flags: int, below: str | None = None) -> Iterator[int]:
        """Open an existing regular file for the length of a block; errors as in ``open_fd``."""
        fd = self.open_fd(name, flags, below)
        try:
            yield fd
        finally:
            self.fs.close(fd)

    def open_fd(self, name: str, flags: int, below: str | None = None, *, create: bool = False) -> int:
        """Open a regular file and return its descriptor.

        Raises ``FileNotFoundError``, ``CorruptFile`` if it is not a regular file, and
        ``UnreadableFile`` or another ``StorageError`` for what the system refuses.
        """
        dir_fd = self.subdirectory(below) if below else self.fd
        path = self.file_path(name, below)
        try:
            fd = self.fs.open(name, flags | _FILE | (os.O_CREAT if create else 0), 0o600, dir_fd=dir_fd)
        except FileNotFoundError:
            raise
        except OSError as exc:
            if exc.errno == errno.ENAMETOOLONG and layout.may_be_too_long(name):
                raise FileNotFoundError(exc.errno, exc.strerror, path) from exc
            if exc.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
                raise CorruptFile(f"{path} is not a regular file", path=path, reason="not a regular file") from exc
            doing = "read" if flags & os.O_ACCMODE == os.O_RDONLY else "open"
            raise storage_error(exc, path, doing) from exc
        try:
            status = self.fs.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise CorruptFile(f"{path} is not a regular file", path=path, reason="not a regular file")
            if flags & os.O_ACCMODE != os.O_RDONLY and status.st_nlink > 1:
                # Writing in place through a hard link would change a file outside the store.
                reason = "has a second name (hard link)"
                raise CorruptFile(f"{path} {reason}", path=path, reason=reason)
            if create:
                self.fs.fchmod(fd, 0o600)
                if self.owner is not None:
                    self.fs.fchown(fd, *self.owner)
        except BaseException:
            self.fs.close(fd)
            raise
        return fd

    def read_file(self, name: str, limit: int, below: str | None = None) -> bytes:
        """The bytes of a regular file; ``CorruptFile`` above ``limit`` bytes, else as ``open_fd``."""
        path = self.file_path(name, below)
        with self.open_file(name, os.O_RDONLY, below) as fd:
            try:
                return self.fs.read_all(fd, limit)
            except OverflowError as exc:
                reason = f"{exc.args[0]} bytes, the limit is {limit}"
                raise CorruptFile(f"{path} has {reason}", path=path, reason=reason) from exc
            except OSError as exc:
                raise UnreadableFile(
                    f"read {path}: {exc.strerror}; it was not taken for empty", path=path, errno=exc.errno
                ) from exc

    def close(self) -> None:
        """Close all descriptors."""
        fds = [fd for fd in (self.fd, *self._subdirectories.values()) if fd >= 0]
        self.fd = -1
        self._subdirectories.clear()
        with contextlib.ExitStack() as closing:  # all of them, whichever fails
            for fd in fds:
                closing.callback(self.fs.close, fd)


def create_directory(fs: FileSystem, path: str) -> None:
    """Create the store directory (0700) and, if needed, its parents; no error if it is there."""
    parent = os.path.dirname(path)
    try:
        fs.mkdir(path, 0o700)
    except FileExistsError:
        return
    except FileNotFoundError:
        create_directory(fs, parent)
        with contextlib.suppress(FileExistsError):
            fs.mkdir(path, 0o700)
    fd = fs.open(path, _DIRECTORY)
    try:
        fs.fchmod(fd, 0o700)  # whatever the umask took away
    finally:
        fs.close(fd)
    fd = fs.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        durable.sync_directory(fs, fd)
    finally:
        fs.close(fd)
