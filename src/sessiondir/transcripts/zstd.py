"""Zstandard, where the optional package ``zstandard`` is installed."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Iterable, Iterator
from typing import Any, Final

from sessiondir.errors import CorruptFile, InvalidOption
from sessiondir.transcripts.lines import CHUNK

_LEVEL: Final = 10
_HEADER_BYTES: Final = 18
_WINDOW_BYTES: Final = 1 << 27


def _package(path: str) -> Any:
    try:
        return importlib.import_module("zstandard")
    except ImportError as exc:
        raise InvalidOption(
            f"{path}: compressed archives need the package zstandard: pip install 'sessiondir[zstd]'"
        ) from exc


class _Source:
    """A stream of pieces as something that can be read."""

    def __init__(self, data: Iterable[bytes]) -> None:
        self._data = iter(data)
        self._left = b""

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes; empty at the end."""
        if not self._left:
            self._left = next(self._data, b"")
        piece, self._left = self._left[:size], self._left[size:]
        return piece


def compressed(data: Iterable[bytes], size: int, path: str) -> Iterator[bytes]:
    """The compressed form of a stream of ``size`` bytes. Raises ``InvalidOption`` without the package."""
    # The size goes into the header, so that a file that ends early is recognised.
    compressor = _package(path).ZstdCompressor(level=_LEVEL, write_checksum=True).compressobj(size=size)
    for piece in data:
        if packed := compressor.compress(piece):
            yield packed
    yield compressor.flush()


def decompressed(data: Iterable[bytes], path: str) -> Iterator[bytes]:
    """What a compressed stream holds, in pieces of at most ``CHUNK`` bytes, however well it compresses.

    Raises ``CorruptFile`` where it is damaged or ends early, after what could be read;
    ``InvalidOption`` without the package.
    """
    package = _package(path)
    source = _Source(data)
    start = source.read(_HEADER_BYTES)
    done = 0
    try:
        wanted = package.frame_content_size(start)
        decompressor = package.ZstdDecompressor(max_window_size=_WINDOW_BYTES)
        reader = decompressor.stream_reader(
            _Source(itertools.chain([start], iter(lambda: source.read(CHUNK), b"")))
        )
        while piece := reader.read(CHUNK):
            done += len(piece)
            yield piece
    except package.ZstdError as exc:
        raise CorruptFile(f"{path} is damaged: {exc}", path=path, reason=str(exc)) from exc
    if done < wanted:
        raise CorruptFile(f"{path} is damaged: it ends early", path=path, reason="it ends early")
