"""Several processes at one store while it changes hands."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.processes import Peer, environment

from migration.stores import leftovers, names, put_legacy, sessions
from sessiondir import SessionStore, StoreError, migration

MIGRATE = """
import json, sys
from sessiondir import migration
sys.stdin.readline()
result = migration.migrate(sys.argv[1])
print(json.dumps([result.outcome, result.backup_path, result.warnings]))
"""

FIRST_WRITE = """
import json, sys
from sessiondir import SessionStore
with SessionStore.open(sys.argv[1]) as store:
    store.get("agent:main:main")
    sys.stdin.readline()
    for number in range(5):
        store.update("agent:main:main", lambda entry: entry | {"count": entry.get("count", 0) + 1})
print(json.dumps(None))
"""


def run_together(path: Path, *codes: str) -> list[Any]:
    """Run every code in a process of its own, all from the same moment; what each printed."""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        for code in codes
    ]
    for process in running:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    found = []
    for process in running:
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "")
        found.append(json.loads(out))
    return found


REFUSALS = ("CorruptFile", "StorageError")
"""By the finished journal, or by the directory that is no longer where it was: whichever is seen first."""

CLOSE = """
try:
    store.close()
except Exception:
    pass  # it says once more that the store is gone
"""


def many(count: int) -> dict[str, Any]:
    return {f"agent:main:{n}": {"sessionId": f"{n}", "updatedAt": n} for n in range(count)} | {
        "agent:main:main": {"sessionId": "m"}
    }


def test_migrating_at_once(tmp_path: Path) -> None:
    """Of several migrations one does the work, the others find it done; there is one backup."""
    path = put_legacy(tmp_path, many(150))
    original = path.read_bytes()
    results = run_together(path, *[MIGRATE] * 3)
    assert sorted(outcome for outcome, _, _ in results) == ["already_directory", "already_directory", "migrated"]
    assert all(warnings == [] for _, _, warnings in results)
    (backup,) = names(tmp_path, ".bak.")
    assert (tmp_path / backup).read_bytes() == original
    assert sessions(path) == many(150)
    assert leftovers(tmp_path) == []


def test_first_writes_at_once(tmp_path: Path) -> None:
    """Processes that make the first change together migrate once and lose no update."""
    path = put_legacy(tmp_path, many(60))
    run_together(path, *[FIRST_WRITE] * 3)
    assert sessions(path)["agent:main:main"] == {"sessionId": "m", "count": 15}
    assert len(sessions(path)) == 61
    assert leftovers(tmp_path) == []


@pytest.mark.expect_findings("finished, and the journal that it names is not there")
def test_a_live_process_cannot_commit_into_a_store_that_was_rolled_back(tmp_path: Path) -> None:
    """Whoever still has the directory open is refused, and nothing changes in the backup."""
    path = put_legacy(tmp_path)
    migration.migrate(path)
    with Peer(str(path)) as peer:
        peer.do("store.patch('agent:main:main', {'note': 'from the peer'}); store.flush()")
        result = migration.rollback(path)
        assert result.backup_path is not None
        written = path.read_bytes()
        assert json.loads(written)["agent:main:main"]["note"] == "from the peer"
        refused = peer.do(
            "try:\n"
            "    store.patch('agent:main:main', {'note': 'too late'})\n"
            "except Exception as exc:\n"
            "    tell(type(exc).__name__)\n"
        )
        assert refused in REFUSALS
        peer.do(CLOSE)
    assert path.read_bytes() == written
    Path(result.backup_path).rename(tmp_path / "look.d")
    assert sessions(tmp_path / "look.d") == json.loads(written)


@pytest.mark.parametrize("idle", ["opened", "read"])
def test_a_reader_that_starts_to_write_after_a_rollback_is_refused(tmp_path: Path, idle: str) -> None:
    """A handle that had only read the directory does not bring it to life under its new name."""
    path = put_legacy(tmp_path)
    migration.migrate(path)
    with Peer(str(path)) as peer:
        peer.do("store.get('42')" if idle == "read" else "store.version")
        migration.rollback(path)
        refused = peer.do(
            "try:\n    store.put('new', {'a': 1})\nexcept Exception as exc:\n    tell(type(exc).__name__)\n"
        )
        assert refused in REFUSALS
        peer.do(CLOSE)
    assert "new" not in json.loads(path.read_bytes())
    assert "new" not in sessions(path)


def test_rollback_waits_for_writers(tmp_path: Path) -> None:
    """Commits that were acknowledged while a rollback began are in the file it writes."""
    path = put_legacy(tmp_path)
    migration.migrate(path)
    with Peer(str(path), durability="process") as peer:
        peer.start(
            "n = 0\n"
            "try:\n"
            "    while n < 100000:\n"
            "        store.put('counter', {'n': n + 1})\n"
            "        n += 1\n"
            "        if n == 20: tell('running')\n"
            "except Exception as exc:\n"
            "    tell([n, type(exc).__name__])\n"
        )
        assert peer.heard() == "running"
        migration.rollback(path)
        acknowledged, error = peer.heard()
        assert error in REFUSALS
        assert peer.heard() is None
        peer.do(CLOSE)
    assert json.loads(path.read_bytes())["counter"] == {"n": acknowledged}


def test_our_own_open_handle_is_refused_too(tmp_path: Path) -> None:
    """A handle of the process that rolls back is no exception; opened again it reads the legacy file."""
    path = put_legacy(tmp_path)
    migration.migrate(path)
    store = SessionStore.open(str(path))
    store.put("here", {"a": 1})
    migration.rollback(path)
    with pytest.raises(StoreError) as caught:
        store.put("here", {"a": 2})
    assert type(caught.value).__name__ in REFUSALS
    with contextlib.suppress(StoreError):
        store.close()
    with SessionStore.open(str(path)) as store:
        assert store.get("here") == {"a": 1}
        with pytest.raises(StoreError):
            store.put("here", {"a": 3})
