"""G2, G8: session files that are damaged or gone cost what they held, and nothing that was stored since."""

from __future__ import annotations

import logging
import os

import pytest
from harness.journals import quarantined
from harness.story import open_on
from harness.watched import QuickFs
from support.acting import ActingFs

from sessiondir import SessionStore


def _session_file(path: str) -> str:
    """The path of the only session file."""
    (name,) = os.listdir(f"{path}/entries")
    return f"{path}/entries/{name}"


def _begin_a_journal(store: SessionStore) -> None:
    """Level everything and start a journal that knows nothing of before."""
    core = store._core
    assert core is not None
    assert core.checkpoint(1, rotate_bytes=0)


def _fresh(path: str, key: str) -> object:
    with open_on(QuickFs(), path, read_only=True) as store:
        return store.get(key)


@pytest.mark.expect_findings("set aside earlier", "(error|warning) entries", "error journal-")
def test_g2_a_session_stored_after_its_file_was_lost_is_kept(store_path: str) -> None:
    """Changes that have nothing to rest on are set aside; what is put afterwards reaches the session file."""
    with open_on(QuickFs(), store_path) as writer:
        writer.put("k", {"n": 0})
        _begin_a_journal(writer)
        writer.patch("k", {"n": 1})
        os.unlink(_session_file(store_path))
        with open_on(QuickFs(), store_path) as other:
            assert other.get("k") is None
            other.put("k", {"n": 99})
            assert other["k"] == {"n": 99}
            other.flush()
            _begin_a_journal(other)
    assert _fresh(store_path, "k") == {"n": 99}
    with open(_session_file(store_path)) as file:
        assert '"n": 99' in file.read()


def test_g6_a_session_deleted_while_it_is_read_lacks_nothing(
    store_path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A reader whose file another process deletes and levels meanwhile looks again, and reports no loss."""
    caplog.set_level(logging.ERROR)
    fs = ActingFs()
    with open_on(QuickFs(), store_path) as writer:
        writer.put("k", {"n": 0})
        _begin_a_journal(writer)
        writer.patch("k", {"n": 1})
        with open_on(fs, store_path) as reader:
            assert reader.version == 2

            def delete() -> None:
                writer.delete("k")
                writer.flush()

            fs.before("open", delete, lambda name, *_: str(name).startswith("session-"))
            assert reader.get("k") is None
            assert fs.acted
            reader.put("k", {"n": 99})
            reader.flush()
            assert reader.check() == []
    assert not caplog.records
    assert quarantined(store_path) == {}
    assert _fresh(store_path, "k") == {"n": 99}


def test_g8_a_loss_that_was_made_good_is_forgotten(store_path: str) -> None:
    """Changes that found nothing to rest on while the file was away count again when it is back."""
    with open_on(QuickFs(), store_path) as writer:
        writer.put("k", {"n": 0})
        _begin_a_journal(writer)
        writer.patch("k", {"n": 1})
        name = _session_file(store_path)
        with open_on(QuickFs(), store_path) as other:
            os.rename(name, f"{name}.away")
            assert dict(other.snapshot()) == {}
            os.rename(f"{name}.away", name)
            assert other["k"] == {"n": 1}
            other.put("other", {})
            other.flush()
    assert quarantined(store_path) == {}
    assert _fresh(store_path, "k") == {"n": 1}


@pytest.mark.expect_findings("set aside earlier")
def test_g2_a_session_stored_while_its_damaged_file_is_set_aside_is_kept(store_path: str) -> None:
    """What is committed between the moving of the damaged file and the end of the checkpoint is levelled later."""
    fs = ActingFs()
    with open_on(fs, store_path) as store:
        store.put("k", {"n": 0})
        _begin_a_journal(store)
    store = open_on(fs, store_path)
    store.put("other", {})
    with open_on(QuickFs(), store_path) as elsewhere:
        elsewhere.patch("k", {"n": 1})
        with open(_session_file(store_path), "w") as file:
            file.write("garbage")
        fs.after("rename", lambda: store.put("k", {"n": 99}), lambda name, *_: str(name).startswith("session-"))
        store.flush()
        assert fs.acted
        _begin_a_journal(store)
        store.close()
    assert _fresh(store_path, "k") == {"n": 99}
    assert any(b"garbage" in data for data in quarantined(store_path).values())
    assert any(b'"n":1' in data for data in quarantined(store_path).values())
