"""The lock of the legacy program: a file ``NAME.json.lock`` beside the store.

Used only for the short moments in which a legacy store changes hands, so that a running
legacy program does not write in between. Its protocol is weaker than ours: a holder may
be robbed after 30 s, and a robbed holder removes whatever lock it finds when it is done.
So a hold is kept short, ownership is proved again before every step that counts
(``require_ours``), and a lock is released only while it is still ours.

Calling sequence::

    with legacy_lock(fs, clock, dir_fd, path, timeout_s) as lock:
        lock.require_ours()
        ...one step...

Processes of this package exclude each other by the ``flock`` of the directory first
(``alone``), which dies with its owner; the lock file is then contended by one of them.

Not safe between user accounts or process-id namespaces: the legacy program takes a process
that it may not signal for dead.
"""

from __future__ import annotations

import calendar
import contextlib
import errno
import logging
import os
import re
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sessiondir import codec, durable, jsjson
from sessiondir.clock import Clock
from sessiondir.errors import LockTimeout, MigrationError
from sessiondir.fs import LOCK_UN, READ_FLAGS, FileSystem
from sessiondir.lockfile import take_flock

_log = logging.getLogger("sessiondir")
STALE_S = 30.0
_LONGEST_HOLD_S = 20.0
_LONGEST_PAUSE_S = 0.1
_PAUSE_STEP_S = 0.005
"""Shorter than the legacy program's own: a look costs little, and a busy program would rarely let us in."""
_PAYLOAD_LIMIT = 1 << 16
_ISO = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,9})?Z\Z", re.ASCII)
NO_LINKS = frozenset((errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK))
"""What ``link`` answers on file systems that have no hard links."""


@contextlib.contextmanager
def alone(fs: FileSystem, clock: Clock, dir_fd: int, path: str, timeout_s: float) -> Iterator[None]:
    """Hold off other processes and threads of this package from the stores of one directory.

    ``dir_fd`` must be a descriptor of the caller's own. Raises ``LockTimeout``.
    """
    if not take_flock(fs, clock, dir_fd, timeout_s):
        raise LockTimeout(
            f"{path}: another process has been migrating or rolling back for {timeout_s:.1f} s; nothing was "
            "changed, try again later",
            session=None,
            holder_pid=None,
            holder="another process",
            held_s=None,
            waited_s=timeout_s,
        )
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # the caller closes the descriptor next, which frees it all the same
            fs.flock(dir_fd, LOCK_UN)


@dataclass(frozen=True, slots=True)
class Holder:
    """What a lock file says and what is known of the process that it names."""

    pid: int | None
    created_s: float | None
    start_time: int | None
    alive: bool
    recycled: bool
    identity: tuple[int, int]
    changed_s: float

    def is_stale(self, now_s: float) -> bool:
        """Whether the protocol lets a contender remove this lock."""
        if self.pid is not None and (not self.alive or self.recycled or self._is_left_by_us()):
            return True
        if self.created_s is not None and now_s - self.created_s > STALE_S:
            return True
        if self.pid is None or self.created_s is None:
            # Perhaps just being written: only the file's own age counts.
            return now_s - self.changed_s > STALE_S
        return False

    def _is_left_by_us(self) -> bool:
        # Whoever asks holds the directory's flock, so no other thread of ours can be in here. With a start
        # time it is proved to be this process; without one the protocol says so.
        return self.pid == os.getpid()

    def describe(self) -> str:
        """For messages."""
        return f"process {self.pid}" if self.pid is not None else "an unknown process"


class LegacyLock:
    """The lock file of one legacy store; use ``legacy_lock``."""

    def __init__(self, fs: FileSystem, clock: Clock, dir_fd: int, path: str) -> None:
        self._fs = fs
        self._clock = clock
        self._dir_fd = dir_fd
        self._path = path
        self._name = os.path.basename(path)
        self._fd = -1
        self._since = 0.0

    def acquire(self, timeout_s: float) -> None:
        """Take the lock within ``timeout_s`` seconds (0: one try). Raises ``LockTimeout``, ``OSError``."""
        started = self._clock.monotonic()
        attempt = 0
        while True:
            holder = self._look()
            if holder is None:
                if self._try():
                    return
                continue  # somebody was quicker
            if holder.is_stale(self._clock.now()):
                self._reclaim(holder)
                continue
            waited_s = self._clock.monotonic() - started
            if waited_s >= timeout_s:
                raise self._timeout(holder, waited_s)
            attempt += 1
            pause_s = min(_LONGEST_PAUSE_S, _PAUSE_STEP_S * attempt)
            self._clock.sleep(min(pause_s, max(0.0, timeout_s - waited_s)))

    def clear_stale(self) -> None:
        """Remove the lock of a dead holder, if that is what there is; for one who does not hold it."""
        holder = self._look()
        if holder is not None and holder.is_stale(self._clock.now()):
            self._reclaim(holder)

    def _try(self) -> bool:
        """Create the lock, already complete; False if there is one by now."""
        fs, dir_fd = self._fs, self._dir_fd
        temporary = f"{self._name}-{os.urandom(8).hex()}"
        # Synced, or a power cut could leave an empty lock, which everybody has to respect for a while.
        durable.write_new(fs, dir_fd, temporary, self._payload())
        taken = False
        try:
            self._fd = fs.open(temporary, READ_FLAGS, dir_fd=dir_fd)
            taken = self._link(temporary)
            fs.unlink(temporary, dir_fd=dir_fd)
        except BaseException:
            for name in (temporary, self._name) if taken else (temporary,):
                with contextlib.suppress(OSError):
                    fs.unlink(name, dir_fd=dir_fd)
            self._close()
            raise
        if not taken:
            self._close()
        self._since = self._clock.monotonic()
        return taken

    def _link(self, temporary: str) -> bool:
        fs, dir_fd = self._fs, self._dir_fd
        try:
            fs.link(temporary, self._name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        except FileExistsError:
            return False
        except OSError as exc:
            if exc.errno not in NO_LINKS:
                raise
            try:
                durable.write_new(fs, dir_fd, self._name, self._payload())
            except FileExistsError:
                return False
            self._close()
            self._fd = fs.open(self._name, READ_FLAGS, dir_fd=dir_fd)
        return True

    def _payload(self) -> bytes:
        now_s = self._clock.now()
        created = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now_s)) + f".{int(now_s * 1000) % 1000:03d}Z"
        payload: dict[str, Any] = {"pid": os.getpid(), "createdAt": created}
        start_time, _ = _process(self._fs, os.getpid())
        if start_time is not None:
            payload["starttime"] = start_time
        return jsjson.encode(payload)

    def _look(self) -> Holder | None:
        """Who has the lock; None if nobody does any more."""
        fs = self._fs
        try:
            fd = fs.open(self._name, READ_FLAGS, dir_fd=self._dir_fd)
        except FileNotFoundError:
            return None
        except OSError as exc:
            if exc.errno in (errno.ELOOP, errno.ENXIO):
                raise self._in_the_way() from exc
            raise
        try:
            status = fs.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise self._in_the_way()
            data = fs.pread(fd, _PAYLOAD_LIMIT, 0)
        finally:
            fs.close(fd)
        return self._holder(data, status)

    def _holder(self, data: bytes, status: os.stat_result) -> Holder:
        try:
            value = codec.decode(data)
        except codec.DecodeError:
            value = None
        members = value if isinstance(value, dict) else {}
        pid, start_time = _positive(members.get("pid")), _positive(members.get("starttime"))
        alive = recycled = False
        if pid is not None:
            actual, alive = _process(self._fs, pid)
            recycled = alive and None not in (actual, start_time) and actual != start_time
        return Holder(
            pid,
            _epoch_s(members.get("createdAt")),
            start_time,
            alive,
            recycled,
            (status.st_dev, status.st_ino),
            status.st_mtime,
        )

    def _in_the_way(self) -> MigrationError:
        reason = "the lock is not a regular file"
        return MigrationError(f"{self._path}: {reason}; move it away", path=self._path, reason=reason)

    def _reclaim(self, holder: Holder) -> None:
        """Remove a stale lock, and only that one.

        Another contender may have replaced it by a fresh lock since we looked. So it is moved
        aside and looked at again; a lock that was not meant is put back.
        """
        fs, dir_fd = self._fs, self._dir_fd
        aside = f"{self._name}-{os.urandom(8).hex()}"
        try:
            fs.rename(self._name, aside, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        except FileNotFoundError:
            return
        status = fs.stat(aside, dir_fd=dir_fd, follow_symlinks=False)
        if (status.st_dev, status.st_ino) != holder.identity:
            self._put_back(aside)
        with contextlib.suppress(FileNotFoundError):
            fs.unlink(aside, dir_fd=dir_fd)

    def _put_back(self, aside: str) -> None:
        fs, dir_fd = self._fs, self._dir_fd
        try:
            fs.link(aside, self._name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        except FileExistsError:
            pass  # a third contender has it; whoever lost this lock notices before its next step
        except OSError as exc:
            if exc.errno not in NO_LINKS:
                raise
            fs.rename(aside, self._name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)

    def _is_ours(self) -> bool:
        try:
            named = self._fs.stat(self._name, dir_fd=self._dir_fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        # Our descriptor keeps the inode in use, so its number cannot come back with another file.
        ours = self._fs.fstat(self._fd)
        return (named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino)

    def require_ours(self) -> None:
        """Raise ``MigrationError`` if the lock was taken from us or held for too long to rely on."""
        held_s = self._clock.monotonic() - self._since
        reason = ""
        if held_s > _LONGEST_HOLD_S:
            reason = f"the legacy lock was held for {held_s:.0f} s, longer than others respect it"
        elif not self._is_ours():
            reason = "another program took the legacy lock away"
        if reason:
            text = f"{self._path}: {reason}; stopped, run it again"
            raise MigrationError(text, path=self._path, reason=reason)

    def release(self) -> None:
        """Let go: remove the lock file if it is still ours."""
        try:
            if self._is_ours():
                with contextlib.suppress(FileNotFoundError):  # robbed in this very moment
                    self._fs.unlink(self._name, dir_fd=self._dir_fd)
        finally:
            self._close()

    def _close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            self._fs.close(fd)

    def _timeout(self, holder: Holder, waited_s: float) -> LockTimeout:
        held_s = self._clock.now() - holder.created_s if holder.created_s is not None else None
        return LockTimeout(
            f"{self._path} is held by {holder.describe()}; waited {waited_s:.1f} s, nothing was changed: "
            "stop the legacy program or try again later",
            session=None,
            holder_pid=holder.pid,
            holder=holder.describe(),
            held_s=held_s,
            waited_s=waited_s,
        )


@contextlib.contextmanager
def legacy_lock(fs: FileSystem, clock: Clock, dir_fd: int, path: str, timeout_s: float) -> Iterator[LegacyLock]:
    """Hold the legacy lock for the length of a block; call inside ``alone``.

    Args:
        dir_fd: the real directory of the legacy file.
        path: the lock file, ``.../NAME.json.lock``; its directory part is for messages.
        timeout_s: how long to wait for a live holder.

    Raises ``LockTimeout`` (nothing was changed), ``MigrationError`` if something that is no
    lock stands there, ``OSError``.
    """
    lock = LegacyLock(fs, clock, dir_fd, path)
    lock.acquire(timeout_s)
    try:
        yield lock
    finally:
        try:
            lock.release()
        except OSError as exc:
            # The work is done or has failed by now; others take the lock for stale in a while.
            _log.warning("%s could not be removed: %s", path, str(exc))


def _positive(value: object) -> int | None:
    return value if type(value) is int and value > 0 else None


def _epoch_s(value: object) -> float | None:
    """An ISO 8601 time in UTC as epoch seconds; None if it is not one."""
    match = _ISO.match(value) if isinstance(value, str) else None
    if match is None:
        return None
    try:
        whole = calendar.timegm(time.strptime(match[1], "%Y-%m-%dT%H:%M:%S"))
    except ValueError:
        return None
    return whole + float(match[2] or 0)


def _process(fs: FileSystem, pid: int) -> tuple[int | None, bool]:
    """A process's start time in clock ticks after boot (None if unknown) and whether it lives.

    Source: proc(5), fields 3 and 22 of ``/proc/<pid>/stat``, counted behind the last ``)``.
    """
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return None, False
    except PermissionError:
        pass  # this proves that there is such a process
    try:
        fd = fs.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        try:
            text = fs.pread(fd, 4096, 0).decode("ascii", "replace")
        finally:
            fs.close(fd)
        fields = text[text.rindex(")") + 2 :].split()
        return int(fields[19]), fields[0] not in ("Z", "X")
    except (OSError, ValueError, IndexError):
        return None, True  # not Linux, or hidden from us
