"""G3, G6: what another process deleted or took, and levelled, does not come back.

Found by the history check: the places of older commits stayed noted when those of the newer
ones were given up because the session files had them; where the file was gone, the older
ones brought a deleted session, or a message that somebody had acknowledged, back to life.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

from support.factories import Opener

from sessiondir.fs import SYSTEM_FS

_NEVER_S = 3600.0


def test_a_session_that_was_deleted_elsewhere_stays_deleted(open_directory: Opener) -> None:
    """G6: our own commit, another process's deletion and checkpoint, our next checkpoint: it is gone."""
    ours = open_directory(checkpoint_interval=_NEVER_S)
    theirs = open_directory.elsewhere(checkpoint_interval=_NEVER_S)
    ours.put("a", {"n": 1})
    ours.put("b", {"n": 1})
    assert theirs.delete("b")
    theirs.flush()
    ours.flush()
    assert ours.get("b") is None
    assert list(ours.keys()) == ["a"]
    assert dict(ours.snapshot()) == {"a": {"n": 1}}
    assert ours.put("b", {"n": 2}, if_version=0) == 4


def test_a_message_that_was_acknowledged_elsewhere_is_not_delivered_again(open_directory: Opener) -> None:
    """G3: a message that another process took and acknowledged is not there for us to take."""
    ours = open_directory(checkpoint_interval=_NEVER_S)
    theirs = open_directory.elsewhere(checkpoint_interval=_NEVER_S)
    ours.post("a", "once")  # without an id that would be remembered
    messages = theirs.take("a")
    assert [message.body for message in messages] == ["once"]
    theirs.ack("a", [message.id for message in messages])
    theirs.flush()
    ours.flush()
    assert ours.peek("a") == []
    assert ours.take("a") == []


def test_threads_that_list_a_directory_at_once_get_all_names(tmp_path: Path) -> None:
    """G5: a listing does not share its place in the directory with others of the same descriptor.

    It did, and a snapshot taken while another thread listed, too, was missing sessions.
    """
    names = {f"file {number}" for number in range(2000)}
    for name in names:
        (tmp_path / name).touch()
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    wrong: list[int] = []

    def listing() -> None:
        for _ in range(100):
            found = SYSTEM_FS.listdir(fd)
            if set(found) != names or len(found) != len(names):
                wrong.append(len(found))

    threads = [threading.Thread(target=listing) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.close(fd)
    assert not wrong
