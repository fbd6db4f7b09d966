"""What Linux tells in ``/proc``: who holds a byte of the lock file, which file system a path is on.

Only asked when a wait has timed out, so taking a lock need not write down who took it.
Linux tells through ``/proc``; elsewhere, and for other users' processes, the answer is
"unknown".
"""

from __future__ import annotations

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
