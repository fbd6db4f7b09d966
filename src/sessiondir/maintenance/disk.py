"""What a store takes on disk: its own directory, the transcripts and archives beside it, backups."""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from sessiondir import layout, trash
from sessiondir.directory import StoreDirectory
from sessiondir.errors import CorruptFile, StoreError, UnreadableFile
from sessiondir.fs import FileSystem
from sessiondir.maintenance.ground import Ground
from sessiondir.maintenance.index import Index, Steps
from sessiondir.maintenance.plan import Usage
from sessiondir.store import SessionStore
from sessiondir.transcripts.names import FileName, is_pointer, parse
from sessiondir.trash import TrashItem

_NAMES_A_STEP = 50
_DEEPEST = 4
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Beside:
    """A file beside the store: what its name says, and its size in bytes."""

    told: FileName
    size: int


class DiskSurvey:
    """Sizes of everything that belongs to one store; filled by ``steps``.

    Where several stores share a folder, only files that this store refers to are its own.
    """

    def __init__(self, ground: Ground, known: dict[str, TrashItem] | None = None) -> None:
        self._ground = ground
        self.sizes: dict[str, int] = {}
        """Bytes of each session file, by name."""
        self.beside: dict[str, Beside] = {}
        """Transcripts, archives and copies, by name."""
        self.by_session: dict[str, list[str]] = {}
        """The names of live transcripts and copies of each session id."""
        self.backups: dict[str, int] = {}
        """Bytes of each backup of a migration, by name; a directory's name ends in ``/``."""
        self.trash: dict[str, TrashItem] = {} if known is None else known
        """Removed sessions, by file name; an item never changes, so those known are not read again."""
        self.left_over: list[str] = []
        """Temporary files in the trash; those of a run that goes on are not touched, it holds the lock."""
        self.neighbours: list[str] = []
        """Other stores in the same folder."""
        self.neighbour_users: Counter[str] = Counter()
        """What their sessions refer to, as ``Index.users``."""
        self.problems: list[str] = []
        self.neighbour_problems = False
        """Whether a store next door could not be asked, so that any transcript may be in use."""
        self.usage = Usage()
        """Bytes by kind, after ``count``."""
        self.journal_name = ""
        self.trashed: dict[str, list[int]] = {}
        """Transcripts that sessions in the trash had, and when those were removed (epoch ms)."""
        self._inside: Counter[str] = Counter()
        self._inodes: dict[int, str] = {}
        """The names of backups."""

    def count(self, index: Index) -> Steps:
        """Work out ``usage`` for a store with these sessions."""
        kinds: Counter[str] = Counter()
        for number, (name, file) in enumerate(self.beside.items()):
            if self.is_ours(name, index):
                kinds["archives" if file.told.kind in ("archive", "backup") else "transcripts"] += file.size
            if number % _NAMES_A_STEP == 0:
                yield
        for number, facts in enumerate(index.facts.values()):
            size = self.size_of(facts.key)
            kinds["sessions" if size else "unwritten"] += size or facts.weight
            if number % _NAMES_A_STEP == 0:
                yield
        for name in index.unreadable:
            kinds["sessions"] += self.size_of(name) or self.sizes.get(name, 0)
        self.usage = Usage(
            journal=self._inside["journal"],
            # The file of a session that was deleted goes with the next checkpoint: it is not counted.
            sessions=kinds["sessions"],
            unwritten=kinds["unwritten"],
            trash=self._inside[layout.TRASH],
            quarantine=self._inside[layout.QUARANTINE],
            other=self._inside["other"],
            transcripts=kinds["transcripts"],
            archives=kinds["archives"],
            backups=sum(self.backups.values()),
        )

    def size_of(self, key: str) -> int:
        """Bytes of a session's file; 0 if it has none yet."""
        return next((self.sizes[name] for name in layout.session_file_names(key) if name in self.sizes), 0)

    def is_ours(self, name: str, index: Index) -> bool:
        """Whether a file beside the store belongs to it and not to a neighbour."""
        if not self.neighbours:
            return True
        told = self.beside[name].told
        mine = {f"file:{told.base or name}", f"id:{told.session_id}"}
        used = any(index.users[one] > 0 for one in mine)
        return (used or (told.base or name) in self.trashed) and not any(self.neighbour_users[one] for one in mine)

    def steps(self) -> Steps:
        """Look at everything. Nothing is opened but the trash, and the stores next door."""
        try:
            directory = self._ground.directory()
        except FileNotFoundError:
            directory = None
        if directory is not None:
            try:
                yield from self._look_inside(directory)
                yield from self._look_at_trash(directory)
            finally:
                directory.close()
        yield from self.ask_neighbours()

    def ask_neighbours(self) -> Steps:
        """Look beside the store, and into the stores there, only."""
        yield from self._look_beside()
        for path in list(self.neighbours):
            self._ask_neighbour(path)
            yield

    def _look_inside(self, directory: StoreDirectory) -> Steps:
        fs = self._ground.fs
        for name in fs.listdir(directory.fd):
            status = _status(fs, name, directory.fd)
            if status is None:
                continue
            if stat.S_ISREG(status.st_mode):
                if layout.journal_generation(name) is not None:
                    self._inside["journal"] += status.st_size
                    self.journal_name = max(
                        self.journal_name, name, key=lambda one: layout.journal_generation(one) or 0
                    )
                else:
                    self._inside["other"] += status.st_size
            elif stat.S_ISDIR(status.st_mode) and name in layout.KNOWN_NAMES:
                yield from self._look_into(directory, name)
            yield

    def _look_into(self, directory: StoreDirectory, name: str) -> Steps:
        fs, dir_fd = self._ground.fs, directory.subdirectory(name)
        kind = name if name in (layout.TRASH, layout.QUARANTINE) else "other"
        for number, inner in enumerate(fs.listdir(dir_fd)):
            status = _status(fs, inner, dir_fd)
            if status is not None and stat.S_ISREG(status.st_mode):
                if name == layout.ENTRIES and layout.is_session_name(inner):
                    self.sizes[inner] = status.st_size
                else:
                    self._inside[kind] += status.st_size
            if number % _NAMES_A_STEP == 0:
                yield

    def _look_at_trash(self, directory: StoreDirectory) -> Steps:
        there = trash.names(directory)
        yield
        for gone in self.trash.keys() - set(there):
            del self.trash[gone]
        yield
        for number, name in enumerate(there):
            if number % _NAMES_A_STEP == 0:
                yield
            if layout.is_temporary(name):
                self.left_over.append(name)
            if name in self.trash or trash.removed_at_ms(name) is None:
                continue
            try:
                self.trash[name], _ = trash.read(directory, name, self._ground.trash_file_bytes)
            except FileNotFoundError:
                continue  # restored or emptied since it was listed
            except (CorruptFile, UnreadableFile) as exc:
                self.problems.append(f"{exc}; it stays in the trash")
            yield
        for number, item in enumerate(self.trash.values()):
            if number % _NAMES_A_STEP == 0:
                yield
            for transcript in item.note.transcripts:
                self.trashed.setdefault(transcript, []).append(item.note.at_ms)

    def _look_beside(self) -> Steps:
        ground = self._ground
        own = os.path.basename(ground.path)
        legacy = own.removesuffix(".d") + ".json"
        old_file = re.compile(rf"{re.escape(legacy)}\.(?:bak|migrated)\.[0-9]+\Z", re.ASCII)
        old_store = re.compile(rf"{re.escape(own)}\.(?:bak|orphan)\.[0-9]+\Z", re.ASCII)
        folder = StoreDirectory(ground.fs, ground.folder, follow=True)
        try:
            for name in sorted(ground.fs.listdir(folder.fd)):
                status = _status(ground.fs, name, folder.fd)
                if status is None or name in (own, legacy):
                    continue
                if stat.S_ISDIR(status.st_mode):
                    if old_store.match(name):
                        self.backups[f"{name}/"] = sum(_sizes_below(ground.fs, folder.fd, name, 0))
                    elif name.endswith(".d") and _holds_store(ground.fs, folder.fd, name):
                        self.neighbours.append(f"{ground.folder}/{name}")
                elif stat.S_ISREG(status.st_mode):
                    if old_file.match(name):
                        self._note_backup(name, status)
                    elif is_pointer(name):
                        pass  # thousands of them are no thousands of stores
                    elif name.endswith(".json") and f"{name.removesuffix('.json')}.d" != own:
                        self.neighbours.append(f"{ground.folder}/{name}")
                    else:
                        self._note(name, status.st_size)
                yield
        finally:
            folder.close()

    def _note_backup(self, name: str, status: os.stat_result) -> None:
        # Of a file with two names the first to go frees nothing.
        other = self._inodes.get(status.st_ino)
        if other is not None:
            self.backups[other] = 0
        self._inodes[status.st_ino] = name
        self.backups[name] = status.st_size

    def _note(self, name: str, size: int) -> None:
        told = parse(name)
        if told is None or told.kind == "store backup":
            return
        self.beside[name] = Beside(told, size)
        if told.is_primary and told.session_id is not None:
            self.by_session.setdefault(told.session_id, []).append(name)

    def _ask_neighbour(self, path: str) -> None:
        """Which transcripts the store next door uses; if it cannot be read, nobody touches any."""
        ground = self._ground
        try:
            with SessionStore.open(
                path,
                create=False,
                read_only=True,
                allow_network=ground.allow_network,
                fs=ground.fs,
                clock=ground.clock,
            ) as store:
                snapshot = store.snapshot()
                users = Index(doc for key in snapshot if (doc := snapshot.document(key)) is not None).users
                self.neighbour_users.update(users)
                if not snapshot.damaged:
                    if not users:
                        self.neighbours.remove(path)  # an empty store, or a file that is none
                    return
                problem = f"{len(snapshot.damaged)} sessions cannot be read"
        except CorruptFile as exc:
            if not os.path.basename(path).startswith("sessions") and path.endswith(".json"):
                self.neighbours.remove(path)  # no legacy store, for all that its name tells
                return
            problem = str(exc)
        except StoreError as exc:
            problem = str(exc)
        self.neighbour_problems = True
        self.problems.append(f"{path} may use any transcript here: {problem}")


def _status(fs: FileSystem, name: str, dir_fd: int) -> os.stat_result | None:
    try:
        return fs.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return None  # removed since it was listed


def _holds_store(fs: FileSystem, dir_fd: int, name: str) -> bool:
    fd = fs.open(name, _DIRECTORY, dir_fd=dir_fd)
    try:
        return not {layout.STATE, layout.ENTRIES}.isdisjoint(fs.listdir(fd))
    finally:
        fs.close(fd)


def _sizes_below(fs: FileSystem, dir_fd: int, name: str, depth: int) -> Iterator[int]:
    fd = fs.open(name, _DIRECTORY, dir_fd=dir_fd)
    try:
        for inner in fs.listdir(fd):
            status = _status(fs, inner, fd)
            if status is None:
                continue
            if stat.S_ISREG(status.st_mode):
                yield status.st_size
            elif stat.S_ISDIR(status.st_mode) and depth < _DEEPEST:
                yield from _sizes_below(fs, fd, inner, depth + 1)
    finally:
        fs.close(fd)
