"""Directory trees as values: to copy, compare and write down again."""

from __future__ import annotations

import hashlib
import os

Tree = dict[str, bytes | None]
"""Relative path to content; None for a directory."""


def read_tree(root: str) -> Tree:
    """All regular files and directories below ``root``."""
    found: Tree = {}
    for folder, names, files in os.walk(root):
        below = os.path.relpath(folder, root)
        for name in names:
            found[os.path.normpath(f"{below}/{name}")] = None
        for name in files:
            with open(f"{folder}/{name}", "rb") as file:
                found[os.path.normpath(f"{below}/{name}")] = file.read()
    return found


def write_tree(root: str, tree: Tree) -> None:
    """Make ``root``, which must not exist, hold ``tree``, with the modes that a store has."""
    os.mkdir(root, 0o700)
    for name in sorted(tree):
        data = tree[name]
        if data is None:
            os.mkdir(f"{root}/{name}", 0o700)
            continue
        fd = os.open(f"{root}/{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            content = data.rstrip(b"\0")
            os.pwrite(fd, content, 0)
            os.ftruncate(fd, len(data))  # the zeros ahead of a journal's use need not be written
        finally:
            os.close(fd)


def digest(tree: Tree) -> bytes:
    """Equal for equal trees."""
    total = hashlib.blake2b(digest_size=16)
    for name in sorted(tree):
        data = tree[name]
        total.update(name.encode() + b"\0")
        if data is not None:
            content = data.rstrip(b"\0")
            total.update(b"%d %d " % (len(data), len(content)) + content)
    return total.digest()


def session_files(path: str) -> dict[str, bytes]:
    """The bytes of every file in ``entries/``."""
    tree = read_tree(path)
    return {name: data for name, data in tree.items() if name.startswith("entries/") and data is not None}
