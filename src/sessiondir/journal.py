"""The journal: one line a commit, appended; the commit *is* the line.

    {"journal":1,"store":ID,"generation":7,"base":41,"keys":"exact","v":41,"t":ms,"crc":"8 hex"}
    {"v":42,"t":ms,"ops":[{"op":"patch","key":K,"set":{...},"unset":[...]}],"crc":"8 hex"}
    {"v":42,"t":ms,"next":"journal-8.jsonl","crc":"8 hex"}

The first line names the store, the generation and the version it starts from; the last
line of a finished journal names the next one. The check sum (CRC-32) covers the bytes
before ``,"crc"``. A journal ends at its first NUL byte or at the end of the file, so it
can be written full of zeros ahead of use. An incomplete last line is a torn tail.

Nothing here takes a lock: the callers hold the commit lock when they write.
"""

from __future__ import annotations

import binascii
import contextlib
import functools
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from sessiondir import codec, durable, layout, pieces, steps
from sessiondir.aside import Ack, LeaseChange, Post, Take, encode_operation
from sessiondir.commitline import DamagedLine, Line, LineForm
from sessiondir.directory import StoreDirectory
from sessiondir.errors import CorruptFile
from sessiondir.fs import FileSystem
from sessiondir.model import KeyRule
from sessiondir.operations import Delete, Operation, Patch, Put

HEADER_LIMIT = 4096
PEEK_BYTES = 4096
_CHUNK = 1 << 18
_PREALLOCATE = 1 << 18
_TAIL_CHUNK, _TAIL_BYTES, _LOOK_BYTES = 1 << 20, 64 << 20, 1 << 30
_TAIL = len(b',"crc":"01234567"}\n')


# A value may hold the same text; the price is a line parsed for nothing.
_KEY = b'"key":"'
_KEYS = re.compile(_KEY + rb'([^"]*)"')
_COMMIT = re.compile(rb'\{"v":([0-9]{1,18}),"t":[0-9]+,"ops":')

_line_decoder = msgspec.json.Decoder(LineForm)
_key_json = functools.lru_cache(maxsize=4096)(codec.encode_text)


@dataclass(frozen=True, slots=True)
class Header:
    """The first line of a journal."""

    store_id: str
    generation: int
    base: int
    keys: KeyRule
    at_ms: int = field(default=0, compare=False)
    """The writer's clock when the journal began, epoch milliseconds."""


def _seal(body: bytes) -> bytes:
    # The same as %08x, which takes as long as all the rest of a short line.
    return b'%b,"crc":"%b"}\n' % (body, binascii.hexlify(zlib.crc32(body).to_bytes(4, "big")))


def encode_operations(ops: Sequence[Operation]) -> bytes:
    """What stands in a commit's line for its operations; needs no lock and no version."""
    text = _encode_operation(ops[0]) if len(ops) == 1 else b",".join(map(_encode_operation, ops))
    steps.give_way(len(text))
    return text


def encode_commit(version: int, at_ms: int, operations: bytes) -> bytes:
    """The line of a commit; ``operations`` is what ``encode_operations`` gave."""
    if len(operations) <= steps.LARGE_BYTES:
        return _seal(b'{"v":%d,"t":%d,"ops":[%b]' % (version, at_ms, operations))
    head = b'{"v":%d,"t":%d,"ops":[' % (version, at_ms)
    crc = zlib.crc32(b"]", zlib.crc32(operations, zlib.crc32(head)))
    return b"".join((head, operations, b'],"crc":"%08x"}\n' % crc))  # joining megabytes lets other threads run


def _encode_operation(op: Operation) -> bytes:
    key = _key_json(op.key)
    if type(op) is Patch:
        base = b"" if op.base is None else b',"base":%d' % op.base
        unset = b',"unset":%b' % codec.encode(op.unset) if op.unset else b""
        head = b'{"op":"patch","key":%b%b%b,"set":' % (key, base, unset)
        return b"".join((head, codec.encode_fields(op.set), b"}"))
    if type(op) is Put:
        return b"".join((b'{"op":"put","key":%b,"entry":' % key, codec.encode_fields(op.fields), b"}"))
    if isinstance(op, Delete):
        return b'{"op":"delete","key":%b}' % key
    assert isinstance(op, (LeaseChange, Post, Take, Ack))
    return encode_operation(op)


def encode_header(header: Header, at_ms: int) -> bytes:
    """The first line of a journal."""
    return _seal(
        b'{"journal":1,"store":%b,"generation":%d,"base":%d,"keys":%b,"v":%d,"t":%d'
        % (
            codec.encode_text(header.store_id),
            header.generation,
            header.base,
            codec.encode_text(header.keys),
            header.base,
            at_ms,
        )
    )


def encode_next(version: int, at_ms: int, name: str) -> bytes:
    """The last line of a finished journal."""
    return _seal(b'{"v":%d,"t":%d,"next":%b' % (version, at_ms, codec.encode_text(name)))


def parse_line(data: bytes) -> Line:
    """Parse a complete line, its line feed included. Raises ``DamagedLine``."""
    line = _parse(data)
    return Line(line.v, line.t, line.ops, line.next)


def _is_sound(data: bytes) -> bool:
    body = data[:-_TAIL] if len(data) <= steps.LARGE_BYTES else memoryview(data)[:-_TAIL]
    return data[-_TAIL:] == b',"crc":"%08x"}\n' % zlib.crc32(body)


def _parse(data: bytes) -> LineForm:
    if not _is_sound(data):
        raise DamagedLine("check sum does not match")
    try:
        pieces.require_text(data)  # members that we skip, too
        return steps.step(_line_decoder.decode, data, len(data))
    except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
        return _parse_tolerantly(data, exc)


def _parse_tolerantly(data: bytes, cause: Exception) -> LineForm:
    # Lone surrogates: only the standard library reads them.
    try:
        value = codec.decode(data)
        for op in value.get("ops", ()):
            for member in ("entry", "set"):
                if member in op:
                    op[member] = {name: msgspec.Raw(codec.encode(item)) for name, item in op[member].items()}
            if "message" in op:
                op["message"] = msgspec.Raw(codec.encode(op["message"]))
        return msgspec.convert(value, LineForm)
    except (ValueError, TypeError, AttributeError) as exc:
        raise DamagedLine(f"not a journal line ({cause})") from exc


def read_text(fs: FileSystem, fd: int, at: int, data: bytes) -> tuple[bytes, bool]:
    """The whole lines from position ``at`` to the journal's end, and whether a torn line follows.

    ``data`` is what was already read there, with one read of ``PEEK_BYTES``.
    """
    if len(data) == PEEK_BYTES and b"\0" not in data:
        parts, position, last, asked = [data], at + len(data), data, PEEK_BYTES
        while len(last) == asked and b"\0" not in last:
            asked = min(asked * 4, _CHUNK)
            last = fs.pread(fd, asked, position)
            parts.append(last)
            position += len(last)
        data = b"".join(parts)
    end = pieces.find(data, b"\0")
    cut = data.rfind(b"\n", 0, end if end >= 0 else len(data)) + 1
    return pieces.part_of(data, 0, cut), cut < (end if end >= 0 else len(data))


def read_range(fs: FileSystem, fd: int, start: int, end: int) -> bytes:
    """The bytes from ``start`` to ``end``."""
    parts = []
    while start < end and (part := fs.pread(fd, end - start, start)):
        parts.append(part)
        start += len(part)
    return b"".join(parts)


@functools.lru_cache(maxsize=4096)
def key_text(key: str) -> bytes:
    """What ``keys_in`` finds of a session key in a line: its JSON text up to the first quote."""
    return codec.encode_text(key)[1:-1].partition(b'"')[0]


def keys_in(text: bytes) -> list[bytes]:
    """The ``key_text`` of every session that these lines change, and perhaps of some that they do not."""
    if len(text) <= pieces.SCAN_BYTES:
        return _KEYS.findall(text)
    found: list[bytes] = []
    at = 0
    while at < len(text):
        end = at + pieces.SCAN_BYTES
        matches = steps.step(lambda window: list(_KEYS.finditer(text, *window)), (at, end), pieces.SCAN_BYTES)
        found += [match[1] for match in matches]
        past = matches[-1].end() if matches else at
        cut_off = text.rfind(_KEY, past, end)  # its last quote is behind the window
        if cut_off == at and end < len(text):
            match = _KEYS.match(text, at)  # longer than a window
            found += [match[1]] if match else []
            at = match.end() if match else at + 1
        elif cut_off >= 0:
            at = cut_off if end < len(text) else end
        else:
            at = max(past, end - len(_KEY) + 1) if end < len(text) else end
    return found


def lines(text: bytes) -> Iterator[bytes]:
    """The single lines of whole lines, their line feeds included."""
    if len(text) <= steps.LARGE_BYTES:
        for part in text.split(b"\n")[:-1]:
            yield part + b"\n"
        return
    start = 0
    while (end := text.find(b"\n", start) + 1) > 0:
        yield pieces.part_of(text, start, end)
        start = end


def lines_with(data: bytes, text: bytes) -> Iterator[tuple[int, bytes]]:
    """The lines among whole lines that change the session of this ``key_text``, with their positions."""
    wanted = b'"key":"%b"' % text
    hit = pieces.find(data, wanted)
    while hit >= 0:
        start, end = data.rfind(b"\n", 0, hit) + 1, data.find(b"\n", hit) + 1
        yield start, pieces.part_of(data, start, end)
        hit = pieces.find(data, wanted, end)


def last_version(text: bytes) -> int | None:
    """The version of the last of these lines; None if it is not a sound commit."""
    line = pieces.part_of(text, text.rfind(b"\n", 0, -1) + 1, len(text))
    match = _COMMIT.match(line)
    if match is None or not _is_sound(line):
        return None
    return int(match[1])


def names_next(text: bytes) -> str | None:
    """The next journal, if the last of these lines names one."""
    line = pieces.part_of(text, text.rfind(b"\n", 0, -1) + 1, len(text))
    if b',"next":"' not in line or _COMMIT.match(line):
        return None
    try:
        return parse_line(line).next
    except DamagedLine:
        return None


class JournalFile:
    """An open journal. Closed with its last user, or at once in a forked child.

    ``size`` is the file's length as last seen; bytes beyond the content are zeros.
    ``damage`` tells what is wrong with the first line when ``assumed`` had to stand in for it.
    """

    fd = -1  # for __del__, however early making one ended

    def __init__(
        self, directory: StoreDirectory, name: str, *, writable: bool, assumed: Header | None = None
    ) -> None:
        self._fs = directory.fs
        self.name = name
        self.path = directory.file_path(name)
        self.writable = writable
        self.fd = directory.open_fd(name, os.O_RDWR if writable else os.O_RDONLY)
        self.tail_checked = False
        self.size = 0
        status = self._fs.fstat(self.fd)
        self.inode = f"{status.st_dev}:{status.st_ino}"
        self.damage = ""
        try:
            self.header, self.start = self._read_header(assumed)
        except BaseException:
            self.close()
            raise
        self.generation = self.header.generation

    def _read_header(self, assumed: Header | None) -> tuple[Header, int]:
        data = self._fs.pread(self.fd, HEADER_LIMIT, 0)
        cut = data.find(b"\n") + 1
        try:
            if not cut:
                raise DamagedLine("no complete first line")
            line = _parse(data[:cut])
            if (
                line.journal != 1
                or line.store is None
                or line.base is None
                or line.generation != layout.journal_generation(self.name)
                or line.generation is None
                or line.keys not in ("exact", "lowercase")
            ):
                raise DamagedLine("the first line does not describe this journal")
        except DamagedLine as exc:
            if assumed is not None and cut and b"\0" not in data[:cut]:
                self.damage = str(exc)
                return assumed, cut
            raise CorruptFile(
                f"{self.path}: {exc}; run: sessiondir check", path=self.path, reason=str(exc)
            ) from exc
        return Header(line.store, line.generation, line.base, line.keys, line.t), cut  # type: ignore[arg-type]

    def check_tail(self, end: int) -> bytes:
        """What stands after the content, zeros left out: normally nothing.

        After a power cut old lines may stand behind a gap of zeros; appending over the gap
        would bring them back to life, so the first writer of a journal looks. Time and memory
        are bounded: of a file that no writer of ours made only the first ``_TAIL_BYTES`` are told.
        """
        self.size = size = self._fs.fstat(self.fd).st_size
        parts: list[bytes] = []
        position, stop = end, min(size, end + _LOOK_BYTES)
        while position < stop and len(parts) * _TAIL_CHUNK < _TAIL_BYTES:
            part = self._fs.pread(self.fd, min(_TAIL_CHUNK, stop - position), position)
            if not part:
                break
            position += len(part)
            # Every process does this once, commit lock held: stripping takes a millisecond, comparing does not.
            if parts or part != bytes(len(part)):
                parts.append(part)
        self.tail_checked = True
        return b"".join(parts).strip(b"\0")

    def cut(self, end: int) -> None:
        """Make ``end`` the end of the file."""
        self._fs.ftruncate(self.fd, end)
        self.size = end

    def append(self, line: bytes, end: int, *, preallocate: bool) -> None:
        """Write ``line`` at ``end``; on failure nothing of it remains and the error is raised.

        With ``preallocate`` zeros are written ahead, so that the sync that follows need not
        also write a new file length.
        """
        try:
            if preallocate and end + len(line) > self.size:
                self._extend(end + len(line))
            written = self._fs.pwrite(self.fd, line, end)
            if written != len(line):
                durable.write_all(self._fs, self.fd, line[written:], end + written)
        except BaseException:
            self.tail_checked = False  # if the cut fails too, the next writer does it
            # Readers take no lock: a whole line may have been seen, and stands whatever interrupted us.
            if not self._stands(line, end):
                self.cut(end)
            raise
        self.size = max(self.size, end + len(line))

    def _stands(self, line: bytes, position: int) -> bool:
        try:
            return self._fs.pread(self.fd, len(line), position) == line
        except OSError:
            return False

    def _extend(self, needed: int) -> None:
        size = self._fs.fstat(self.fd).st_size
        if size < needed:
            grown = needed + _PREALLOCATE
            # Clearing megabytes of memory keeps the interpreter to itself; the same half a megabyte does for all.
            zeros = memoryview(bytes(min(grown - size, 2 * _PREALLOCATE)))
            try:
                for at in range(size, grown, len(zeros)):
                    durable.write_all(self._fs, self.fd, zeros[: grown - at], at)
                size = grown
            except OSError:
                # No room to reserve; the line itself may still fit, and says so if not.
                self._fs.ftruncate(self.fd, size)
        self.size = size

    def close(self) -> None:
        """Close the descriptor."""
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            self._fs.close(fd)

    def __del__(self) -> None:
        with contextlib.suppress(OSError):  # nobody could be told
            self.close()


def create_journal(directory: StoreDirectory, header: Header, at_ms: int, lines: bytes = b"") -> str:
    """Create a journal that nothing names yet, durably; a leftover of the same name goes first."""
    name = layout.journal_name(header.generation)
    try:
        directory.fs.unlink(name, dir_fd=directory.fd)
    except FileNotFoundError:
        pass
    content = encode_header(header, at_ms), lines
    durable.write_new(directory.fs, directory.fd, name, content, directory.owner)
    durable.sync_directory(directory.fs, directory.fd)
    return name


def journal_names(directory: StoreDirectory) -> list[str]:
    """The journals in the store, oldest generation first."""
    found = {layout.journal_generation(name): name for name in directory.fs.listdir(directory.fd)}
    return [found[generation] for generation in sorted(g for g in found if g is not None)]
