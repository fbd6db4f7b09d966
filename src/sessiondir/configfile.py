"""A gateway's configuration as that program reads it: JSON5, files that include others, variables.

``"$include": "a.json5"``, or a list of names, beside which other members may stand, takes in the
members of other files: objects are merged, lists are joined, and otherwise the later one counts, the
members beside it last. Names are relative to the file that they stand in. In texts ``${NAME}``, in
capitals, stands for a variable of the environment, and ``$${NAME}`` for itself. One that is not set
is left as it stands: most are keys of services, which nobody needs to look after stores. (Facts
from the declarations of the legacy program, ``config/includes.d.ts``.)
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sessiondir import codec, json5
from sessiondir.errors import CorruptFile, storage_error
from sessiondir.fs import FileSystem

_BYTES: Final = 16 << 20
_DEPTH: Final = 10
_FILES: Final = 200
"""As many files are read at most: ten levels of lists could name millions."""
_INCLUDE: Final = "$include"
_VARIABLE = re.compile(r"\$(\$?)\{([A-Z_][A-Z0-9_]*)\}")


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A file that configuration was read from: its real path, and the device and inode it had then."""

    path: str
    device: int
    inode: int


def load_config(
    path: str, env: Mapping[str, str], fs: FileSystem, files: set[ConfigFile] | None = None
) -> dict[str, Any] | None:
    """The whole configuration at ``path``; None if there is no such file.

    ``files`` gets every file that was read, also if in the end the configuration cannot be used.

    Raises ``UnreadableFile``; ``CorruptFile``, naming the file, if it or one that it includes is
    not a JSON5 object, or if what it includes is missing or includes itself.
    """
    try:
        return _Loader(env, fs, files if files is not None else set()).load(os.path.abspath(path), ())
    except FileNotFoundError:
        return None


class _Loader:
    def __init__(self, env: Mapping[str, str], fs: FileSystem, files: set[ConfigFile]) -> None:
        self._env = env
        self._fs = fs
        self._read = files
        self._files = 0

    def load(self, path: str, chain: tuple[str, ...]) -> dict[str, Any]:
        if path in chain:
            raise corrupt_config(path, "it includes itself")
        if len(chain) > _DEPTH:
            raise corrupt_config(path, f"included more than {_DEPTH} levels deep")
        self._files += 1
        if self._files > _FILES:
            raise corrupt_config(path, f"more than {_FILES} files are included")
        try:
            value = json5.decode(_read(path, self._fs, self._read).decode())
        except (codec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise corrupt_config(path, f"not JSON5 ({exc})") from exc
        value = self._resolved(value, path, (*chain, path))
        if not isinstance(value, dict):
            raise corrupt_config(path, "not an object")
        return value

    def _resolved(self, value: Any, path: str, chain: tuple[str, ...]) -> Any:
        if isinstance(value, str):
            return _VARIABLE.sub(self._variable, value)
        if isinstance(value, list):
            return [self._resolved(item, path, chain) for item in value]
        if not isinstance(value, dict):
            return value
        own = {name: self._resolved(item, path, chain) for name, item in value.items() if name != _INCLUDE}
        if _INCLUDE not in value:
            return own
        names = value[_INCLUDE] if isinstance(value[_INCLUDE], list) else [value[_INCLUDE]]
        merged: Any = {}
        for name in names:
            if not isinstance(name, str):
                raise corrupt_config(path, f"{_INCLUDE} names files, not {type(name).__name__}")
            merged = _merge(merged, self._included(os.path.join(os.path.dirname(path), name), path, chain))
        return _merge(merged, own)

    def _included(self, path: str, by: str, chain: tuple[str, ...]) -> dict[str, Any]:
        try:
            return self.load(os.path.abspath(path), chain)
        except FileNotFoundError as exc:
            raise corrupt_config(by, f"it includes {path}, which is not there") from exc

    def _variable(self, found: re.Match[str]) -> str:
        escaped, name = found.groups()
        return found[0][1:] if escaped else self._env.get(name) or found[0]


def missing_variable(text: str) -> str | None:
    """The name of a variable that was not set when ``text`` was read; None if there is none in it."""
    found = _VARIABLE.search(text)
    return found[2] if found is not None else None


def _read(path: str, fs: FileSystem, files: set[ConfigFile]) -> bytes:
    try:
        fd = fs.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = fs.fstat(fd)
            files.add(ConfigFile(fs.realpath(path), status.st_dev, status.st_ino))
            return fs.read_all(fd, _BYTES)
        finally:
            fs.close(fd)
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise FileNotFoundError(path) from exc
    except OverflowError as exc:
        raise corrupt_config(path, f"{exc.args[0]} bytes, the limit is {_BYTES}") from exc
    except OSError as exc:
        raise storage_error(exc, path, "read") from exc


def _merge(under: Any, over: Any) -> Any:
    if isinstance(under, dict) and isinstance(over, dict):
        return under | {name: _merge(under[name], item) if name in under else item for name, item in over.items()}
    if isinstance(under, list) and isinstance(over, list):
        return under + over
    return over


def corrupt_config(path: str, reason: str) -> CorruptFile:
    """The error of a configuration that cannot be used."""
    return CorruptFile(f"{path}: {reason}; it was not used, mend it or name a store", path=path, reason=reason)
