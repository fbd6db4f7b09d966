"""G2: what is committed to a new journal rests on the line that leads there."""

from __future__ import annotations

import os
from pathlib import Path

from sessiondir import Limits, SessionStore
from sessiondir.fs import FileSystem


class Recording(FileSystem):
    """Notes which journals are synced, and acts inside the sync of a journal's last line."""

    def __init__(self) -> None:
        self.synced: list[str] = []
        self.before_last: object = None

    def fdatasync(self, fd: int) -> None:  # type: ignore[override]
        name = os.path.basename(os.readlink(f"/proc/self/fd/{fd}"))
        if callable(self.before_last) and b'"next":' in os.pread(fd, 1 << 20, 0):
            act, self.before_last = self.before_last, None
            act()
        self.synced.append(name)
        os.fdatasync(fd)


def test_g2_a_commit_to_a_new_journal_waits_for_the_line_that_names_it(tmp_path: Path) -> None:
    """A writer that followed a line which nobody has synced yet syncs it before it acknowledges."""
    path = str(tmp_path / "sessions.d")
    mine, theirs = Recording(), Recording()
    store = SessionStore.open(path, fs=mine, checkpoint_interval=1000)
    store.put("a", {"n": 0})
    other = SessionStore.open(path, fs=theirs, limits=Limits(journal_bytes=1), checkpoint_interval=1000)
    other.put("b", {"n": 0})

    def commit_meanwhile() -> None:
        mine.synced.clear()
        store.put("a", {"n": 1})

    theirs.before_last = commit_meanwhile
    other.flush()
    assert theirs.before_last is None
    assert mine.synced == ["journal-1.jsonl", "journal-2.jsonl"]
    assert other["a"] == {"n": 1}
    other.close()
    store.close()
