"""The lock file itself: proving that locks work here, and refusing what is no lock file (F25)."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable

import pytest
from support.acting import ActingFs
from support.places import Place
from support.seams import RuledFileSystem

from sessiondir import CorruptFile, UnsupportedFileSystem, layout
from sessiondir.fs import range_request
from sessiondir.layout import KeyRef


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL])
@pytest.mark.parametrize("call", ["flock", "fcntl"])
def test_locks_that_do_not_work_are_refused(place: Place, number: int, call: str) -> None:
    """A file system that refuses locks is refused by the probe."""
    fs = RuledFileSystem()
    fs.fail(call, number)
    other = Place(place.path, fs)
    with pytest.raises(UnsupportedFileSystem) as caught:
        other.lock_file().probe()
    assert caught.value.path.endswith("/lock")
    other.close()


@pytest.mark.parametrize("call", ["flock", "fcntl"])
def test_locks_that_only_pretend_are_refused(place: Place, call: str) -> None:
    """If two descriptors get the same lock, the probe refuses the place."""
    fs = RuledFileSystem()
    setattr(fs, call, lambda *args: b"")
    other = Place(place.path, fs)
    with pytest.raises(UnsupportedFileSystem):
        other.lock_file().probe()
    other.close()


def test_a_sound_place_passes_the_probe(place: Place) -> None:
    """On a local file system the probe says nothing, leaves nothing held, and works twice at once."""
    one, two = place.lock_file(), place.lock_file()
    one.probe()
    two.probe()
    assert one.try_byte(KeyRef("c").position, range_request(KeyRef("c").position))
    one.probe()


def test_g10_a_lock_file_that_is_not_one_is_refused(place: Place, tmp_path: object) -> None:
    """G10: a link, a FIFO, a directory or a second name in place of the lock file is refused."""
    path = place.path / layout.LOCK
    outside = place.path.parent / "outside"
    outside.write_bytes(b"precious")
    makers: list[Callable[[], object]] = [
        lambda: path.symlink_to(outside),
        lambda: path.symlink_to(place.path.parent / "missing"),
        lambda: os.mkfifo(path),
        path.mkdir,
        lambda: os.link(outside, path),
    ]
    for make in makers:
        make()
        with pytest.raises(CorruptFile):
            place.lock_file()
        assert outside.read_bytes() == b"precious"
        assert outside.stat().st_mode & 0o777 == 0o644
        assert not (place.path.parent / "missing").exists()
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink()


def test_two_threads_that_miss_the_lock_file_open_it_once(place: Place) -> None:
    """F15: else each closes the same descriptor, whose number may be another file's by then."""
    fs = ActingFs()
    other = Place(place.path, fs)
    file = other.lock_file()
    (place.path / layout.LOCK).unlink()
    opened = len(fs.open_fds)
    failures: list[BaseException] = []

    def reopen() -> None:
        try:
            file.reopen_if_unlinked()
        except BaseException as exc:
            failures.append(exc)

    thread = threading.Thread(target=reopen)

    def let_another_in() -> None:
        thread.start()
        thread.join(0.2)  # it waits for us, or has done it all

    fs.before("open", let_another_in, lambda name, *_: name == layout.LOCK)
    reopen()
    thread.join()
    assert fs.acted
    assert failures == []
    assert os.fstat(file.fd).st_ino == (place.path / layout.LOCK).stat().st_ino
    assert len(fs.open_fds) == opened
    other.close()
