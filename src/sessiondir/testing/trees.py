"""Directory trees as values: to copy, compare and write down again. Symbolic links are not part of one."""

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
        with open(f"{root}/{name}", "xb", opener=_private) as file:
            file.write(data.rstrip(b"\0"))
            file.truncate(len(data))  # the zeros ahead of a journal's use need not be written


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


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
