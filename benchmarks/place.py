"""Where a measurement runs: a directory, or a fresh ext4 image on a loop device.

An image makes runs comparable: a journalled ext4 without discard, empty, whatever the
machine's own disk is. It needs root; without it a plain temporary directory is used.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sessiondir.procfs import file_system_type

_IMAGE_BYTES = 3 << 30
_INODES = 400_000


@dataclass(frozen=True, slots=True)
class Place:
    """A directory to measure in, and what it is."""

    path: Path
    description: str


@contextlib.contextmanager
def choose(directory: Path | None, image: bool | None) -> Iterator[Place]:
    """The place to measure in; gone again afterwards, also after an error or Ctrl-C.

    Args:
        directory: where to work; None for the system's temporary directory.
        image: whether to use an ext4 image; None: if possible, and no directory was named.
    """
    base = Path(tempfile.mkdtemp(prefix="sessiondir-bench-", dir=directory))
    try:
        wanted = directory is None if image is None else image
        reason = _obstacle() if wanted else "not asked for"
        with contextlib.ExitStack() as stack:
            place = None
            if wanted and reason is None:
                try:
                    place = stack.enter_context(_image(base))
                except (OSError, subprocess.CalledProcessError) as exc:
                    reason = _reason_of(exc)
            if place is None:
                if wanted:
                    print(f"no ext4 image ({reason}); running in {base}", flush=True)
                place = Place(base, f"{file_system_type(str(base)) or 'unknown'} at {base.parent}")
            yield place
    finally:
        shutil.rmtree(base, ignore_errors=True)


def _obstacle() -> str | None:
    if os.geteuid() != 0:
        return "needs root"
    missing = [tool for tool in ("losetup", "mkfs.ext4", "mount", "umount") if not shutil.which(tool)]
    return f"without {', '.join(missing)}" if missing else None


def _reason_of(exc: OSError | subprocess.CalledProcessError) -> str:
    if isinstance(exc, subprocess.CalledProcessError):
        return f"{exc.cmd[0]}: {(exc.stderr or '').strip() or exc.returncode}"
    return str(exc)


@contextlib.contextmanager
def _image(base: Path) -> Iterator[Place]:
    image, mount_point = base / "ext4.img", base / "mounted"
    with image.open("wb") as file:
        file.truncate(_IMAGE_BYTES)
    # A store of 100,000 session files needs more inodes than mkfs would make.
    _run("mkfs.ext4", "-q", "-F", "-N", str(_INODES), str(image))
    device = _run("losetup", "--find", "--show", str(image)).strip()
    try:
        mount_point.mkdir()
        _run("mount", device, str(mount_point))
        try:
            yield Place(mount_point, f"ext4 image of {_IMAGE_BYTES >> 30} GiB on a loop device")
        finally:
            # A worker that is being killed may still hold files; lazy, so that nothing stays mounted.
            _run("umount", "--lazy", str(mount_point))
    finally:
        subprocess.run(["losetup", "--detach", device], check=False, capture_output=True)


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
