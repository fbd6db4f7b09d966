"""Real file systems for a test, mounted and unmounted again; where that is not allowed the skip says why."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def mounted(where: Path, *arguments: str) -> Iterator[Path]:
    """``mount ARGUMENTS WHERE`` for the length of a block; if nothing is there a directory is made."""
    if not where.exists():
        where.mkdir()
    if shutil.which("mount") is None:
        pytest.skip("there is no mount command")
    done = subprocess.run(["mount", *arguments, str(where)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this machine does not let us mount: {done.stderr.strip()}")
    try:
        yield where
    finally:
        subprocess.run(["umount", str(where)], check=True)


@contextlib.contextmanager
def ext4(folder: Path, mib: int) -> Iterator[Path]:
    """A fresh ext4 file system of so many MiB in a file, on a loop device."""
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("there is no mkfs.ext4")
    image = folder / "image"
    with image.open("wb") as file:
        file.truncate(mib << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
    with mounted(folder / "ext4", "-o", "loop", str(image)) as where:
        yield where
