"""What Linux tells in ``/proc``: who holds a lock, whether a process runs, which file system a path is on.

Holders of locks are only looked for when a wait has timed out, so taking a lock need not write down
who took it. Linux tells through ``/proc``; elsewhere, and for other users' processes, the answer is
"unknown".
"""

from __future__ import annotations

import functools
import os

from sessiondir.errors import UnsupportedFileSystem

NETWORK_FILE_SYSTEMS = frozenset(
    (
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "virtiofs", "afs", "ceph", "glusterfs", "lustre"),
        *("beegfs", "gfs2", "ocfs2", "davfs", "fuse.glusterfs", "fuse.sshfs", "fuse.rclone", "fuse.s3fs"),
        *("fuse.gcsfuse", "fuse.blobfuse", "fuse.blobfuse2", "fuse.juicefs"),
    )
)
"""File-system types on which locks or coherence cannot be relied on between hosts."""


def find_holder(fd: int, position: int) -> int | None:
    """The process that holds byte ``position`` of the file open as ``fd``, if it can be told.

    Reads ``/proc/<pid>/fdinfo`` (proc(5): one ``lock:`` line for each lock held through a
    descriptor). Cost: a look at every open file of this user, some milliseconds.
    """
    try:
        ours = os.fstat(fd)
        pids = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    except OSError:
        return None
    wanted = f":{ours.st_ino} {position} {position}"
    for pid in pids:
        if pid == os.getpid():
            continue
        try:
            for name in os.listdir(f"/proc/{pid}/fd"):
                status = os.stat(f"/proc/{pid}/fd/{name}")
                if (status.st_dev, status.st_ino) == (ours.st_dev, ours.st_ino) and _has_lock(pid, name, wanted):
                    return pid
        except OSError:
            continue  # it ended, or belongs to another user
    return None


def _has_lock(pid: int, name: str, wanted: str) -> bool:
    with open(f"/proc/{pid}/fdinfo/{name}", encoding="ascii", errors="replace") as file:
        return any(line.startswith("lock:") and wanted in line for line in file)


def file_system_type(path: str) -> str | None:
    """The type of the file system that ``path`` is on, by the longest matching mount point; None if unknown."""
    best, kind = "", None
    real = os.path.realpath(path)
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                left, _, right = line.partition(" - ")
                point = left.split(" ")[4].replace("\\040", " ")
                inside = real == point or real.startswith(point.rstrip("/") + "/")
                if inside and len(point) >= len(best):
                    best, kind = point, right.split(" ")[0]
    except (OSError, IndexError):
        return None
    return kind


def require_local(path: str, advice: str) -> None:
    """Raise ``UnsupportedFileSystem`` if ``path`` is on a network file system; ``advice`` ends the message."""
    kind = file_system_type(path)
    if kind in NETWORK_FILE_SYSTEMS:
        raise UnsupportedFileSystem(f"{path} is on {kind}, {advice}", path=path, reason=f"{kind} file system")


# -- which process, which boot ------------------------------------------------------------


@functools.cache
def boot_id() -> str:
    """What tells this run of the machine from every other; empty where the system does not tell."""
    try:
        with open("/proc/sys/kernel/random/boot_id", "rb") as file:
            return file.read().strip().decode()
    except OSError:
        return ""


def process_identity() -> tuple[int, int | None, str]:
    """This process: its number, its start, and the space that its number counts in.

    The start is in clock ticks since the boot, None if unknown; the space (PID namespace:
    containers have their own) is empty if unknown.
    """
    return _identity(os.getpid())


@functools.lru_cache(maxsize=4)
def _identity(own: int) -> tuple[int, int | None, str]:
    try:
        space = os.readlink("/proc/self/ns/pid").partition("[")[2].rstrip("]")
    except OSError:
        space = ""
    found = _status("self")
    # The /proc of another space would tell of somebody else.
    return own, found[2] if found is not None and found[0] == own else None, space


def is_running(pid: int, start: int | None, space: str) -> bool | None:
    """Whether the process of this number, start and space still runs; None if that cannot be told.

    One that ended and was not yet waited for by its parent does not run.
    """
    _, own_start, own_space = process_identity()
    if start is None or own_start is None or not space or space != own_space:
        return None
    try:
        found = _status(str(pid))
    except FileNotFoundError:
        return False
    if found is None:
        return None
    return found[2] == start and found[1] not in "ZXx"


def _status(pid: str) -> tuple[int, str, int] | None:
    """Number, state and start of a process; None if it cannot be told, ``FileNotFoundError`` if there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read().decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        if pid != "self":
            raise FileNotFoundError(pid) from None
        return None
    except OSError:
        return None
    # The second field is the program's name in brackets, which may hold anything.
    number, _, _ = text.partition(" ")
    rest = text.rpartition(")")[2].split()
    return (int(number), rest[0], int(rest[19])) if len(rest) > 19 else None
